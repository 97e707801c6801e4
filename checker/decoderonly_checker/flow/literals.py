"""The values of literals as they are written."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from decoderonly_checker.source.syntax import quiet

if TYPE_CHECKING:
    import libcst as cst


def plain_text(node: cst.SimpleString) -> str | bytes | None:
    """Return the value of a string literal; most need no evaluation. None for one that Python refuses."""
    text = node.value
    if "\\" not in text and text[0] in "\"'":
        quotes = 3 if text[:3] in {'"""', "'''"} else 1
        return text[quotes:-quotes]
    return cast("str | bytes | None", literal_of(text))


@lru_cache(maxsize=4096)
def literal_of(text: str) -> str | bytes | int | float | None:
    """Return the value of a literal by its source: few are written, and each is run many times.

    None for one that Python refuses: an unknown escape, or more than 4,300 digits.
    """
    try:
        with quiet():
            return cast("str | bytes | int | float", ast.literal_eval(text))
    except (SyntaxError, ValueError, MemoryError):
        return None
