"""The static checker of pytest-decoderonly: finds mistakes of code for decoder-only language models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decoderonly_checker.config import Settings as Settings
    from decoderonly_checker.diagnostics import CheckResult as CheckResult
    from decoderonly_checker.diagnostics import Diagnostic as Diagnostic
    from decoderonly_checker.runner import check_paths as check_paths
    from decoderonly_checker.runner import check_source as check_source

_HOMES = {
    "CheckResult": "diagnostics",
    "Diagnostic": "diagnostics",
    "Settings": "config",
    "check_paths": "runner",
    "check_source": "runner",
}

__all__ = ["CheckResult", "Diagnostic", "Settings", "check_paths", "check_source"]


def __getattr__(name: str) -> object:
    """Import public names on first use (PEP 562): importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
