"""One file a rule. Rules are found by their file's name; there is no table to keep."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decoderonly_checker.rules.base import Rule

_FILE = late_pattern(r"^(dlm\d{3})_([a-z0-9_]+)\.py$")


@cache
def codes() -> dict[str, str]:
    """Return every rule's code and name (`DLM101`: `missing-attention-mask`). Imports no rule."""
    found = {}
    for path in sorted(Path(__file__).parent.iterdir()):
        match = _FILE.match(path.name)
        if match:
            found[match[1].upper()] = match[2].replace("_", "-")
    return found


_BASE = late_pattern(r"^class \w+\((?:RuntimeRule|CommentRule)\):", re.MULTILINE)


@cache
def findable() -> dict[str, str]:
    """Return the rules whose findings source code shows, code and name: not those that only running code, or comments, do.

    Imports no rule, as rules bring libcst.
    """
    folder = Path(__file__).parent
    return {
        code: name
        for code, name in codes().items()
        if not _BASE.search(
            (folder / f"{code.lower()}_{name.replace('-', '_')}.py").read_text(encoding="utf-8")
        )
    }


@cache
def load(code: str) -> Rule:
    """Import one rule and return it.

    Raises:
        KeyError: There is no rule with this code.
    """
    from decoderonly_checker.rules.base import Rule

    name = codes()[code]
    module = importlib.import_module(f"{__name__}.{code.lower()}_{name.replace('-', '_')}")
    classes = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and c.__module__ == module.__name__ and issubclass(c, Rule)
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__}: expected one Rule class, found {len(classes)}")
    return classes[0](code, name)


def load_all(wanted: Iterable[str] | None = None) -> list[Rule]:
    """Import the rules with these codes; all of them by default."""
    return [load(code) for code in (codes() if wanted is None else wanted)]
