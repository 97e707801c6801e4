"""One file a check; the file's name is the check's name, its docstring says what it protects from.

A check module has `ORDER` (where it stands among the others) and `run(case) -> str`, which returns one line
of what was seen, or raises `CheckFailed` or `NotApplicable`. There is no table to register it in.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_decoderonly.conformance.case import Case


@dataclass(frozen=True)
class Check:
    """One check of the suite."""

    name: str
    about: str
    order: int
    run: Callable[[Case], str]


def discover() -> tuple[Check, ...]:
    """Return all checks in their order; imports neither torch nor transformers."""
    found = []
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found.append(
            Check(info.name.replace("_", "-"), (module.__doc__ or "").strip(), module.ORDER, module.run)
        )
    return tuple(sorted(found, key=lambda check: (check.order, check.name)))
