"""Python's own verdict on syntax, in the best words, and its own tree; neither needs libcst."""

from __future__ import annotations

import ast
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what Python says of escapes in the user's strings: a warning on standard error, from 3.12 on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def syntax_error(text: str) -> tuple[str, int | None] | None:
    """Say what the running Python finds wrong with a text: message and 1-based line; None for nothing.

    A newer syntax than the running Python's is reported too, so a caller that must be sure asks the parser.
    """
    try:
        with quiet():
            ast.parse(text)
    except SyntaxError as problem:
        return f"syntax error: {problem.msg}", problem.lineno
    except (ValueError, RecursionError, MemoryError):
        return None
    return None


def statements(text: str) -> ast.Module | None:
    """Return Python's own tree of a text, None where it has none (Python 2, newer syntax, or too deep)."""
    try:
        with quiet():
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
