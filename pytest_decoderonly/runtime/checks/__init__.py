"""The guard's checks, one file a code: `dlmNNN_some_name.py` with a class `Check`, found by its name."""

from __future__ import annotations

import pkgutil
import re
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.checks.base import GuardCheck

_FILE = re.compile(r"(dlm\d{3})_(\w+)")


@lru_cache(maxsize=16)
def checks_of(hook: str) -> tuple[GuardCheck, ...]:
    """Return the checks that judge one kind of event: those that have a method of this name."""
    from pytest_decoderonly.runtime.checks.base import GuardCheck

    return tuple(
        check for check in all_checks() if getattr(type(check), hook) is not getattr(GuardCheck, hook)
    )


@lru_cache(maxsize=1)
def all_checks() -> tuple[GuardCheck, ...]:
    """Return one instance of every check, in the order of codes."""
    found = []
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        parts = _FILE.fullmatch(module)
        if parts is not None:
            check_class: type[GuardCheck] = import_module(f"{__name__}.{module}").Check
            found.append(check_class(parts[1].upper(), parts[2].replace("_", "-")))
    return tuple(found)
