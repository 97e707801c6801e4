"""What running models needs beyond the package's own requirements, and how it is installed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MODELS = "pip install 'pytest-decoderonly[models]'"


def missing_libraries(names: Sequence[str] = ("torch", "transformers")) -> list[str]:
    """Return which of these cannot be imported here, without importing them."""
    missing = []
    for name in names:
        try:
            found = find_spec(name) is not None
        except (ImportError, ValueError):
            found = False
        if not found:
            missing.append(name)
    return missing


def need(who: str, *names: str) -> None:
    """Make sure that libraries are there.

    Raises:
        ModuleNotFoundError: One is not; the message says who needs it, and what installs it.
    """
    missing = missing_libraries(names)
    if missing:
        raise ModuleNotFoundError(f"{who} needs {' and '.join(missing)}: {MODELS}", name=missing[0])
