"""Mistakes put into the checker of a worker, to see that the harness notices them.

A worker imports this where a job's input holds the word in front; what it does is what a mistake would do.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable

    from decoderonly_checker.diagnostics import FileError

_KEPT: list[bytes] = []
_COUNT = itertools.count()


def _raise() -> None:
    raise ValueError("planted")


def _hang() -> None:
    while True:
        pass


def _crash() -> None:
    ctypes.string_at(0)


def _eat() -> None:
    _KEPT[:] = [b"x" * 400_000_000]


MISTAKES: dict[str, Callable[[], None]] = {
    "RAISE": _raise,
    "HANG": _hang,
    "CRASH": _crash,
    "EAT": _eat,
    "EXIT": lambda: sys.exit(3),
}


def plant() -> None:
    """Make what parses in this process do what comments in the text ask for."""
    from decoderonly_checker.source import files, syntax

    original = syntax.statements

    def statements(text: str) -> ast.Module | None:
        for word, mistake in MISTAKES.items():
            if f"# {word}" in text:
                mistake()
        return original(text)

    syntax.statements = statements

    error = files.FileError

    def flickering(path: str, message: str, *more: Any) -> FileError:
        return error(path, f"{message} {next(_COUNT)}" if path.endswith("flicker.py") else message, *more)

    files.FileError = flickering
