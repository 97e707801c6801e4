"""Why a type is not safe, as its code in transformers says; read from `causes.toml`, with links to the lines.

A failure without a cause is a false alarm until somebody has read the code.
"""

from __future__ import annotations

import ast
import functools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DATA = tomllib.loads(Path(__file__).with_name("causes.toml").read_text(encoding="utf-8"))
VERSION: str = _DATA["transformers"]
_SOURCE = f"https://github.com/huggingface/transformers/blob/v{VERSION}/src/transformers/models"


@dataclass(frozen=True)
class Cause:
    """One sentence, and where to read it.

    Attributes:
        sentence: What the code does.
        file: The file under `models/`.
        function: The function or class in it; empty where the line alone says it.
        line: What stands in the line that says it; empty where the whole function does.
        checks: The checks of the conformance suite that fail for it.
        thread: Where it was reported; may be empty.
    """

    sentence: str
    file: str
    function: str
    line: str = ""
    checks: tuple[str, ...] = ()
    thread: str = ""

    def link(self) -> str:
        """Return the address of the place at the version that it was read in.

        Raises:
            LookupError: The installed library has no such place.
        """
        return f"{_SOURCE}/{self.file}#L{_line(self.file, self.function, self.line)}"


def of_check(arch: str, check: str) -> list[Cause]:
    """Return why a check of the conformance suite fails on a type; empty where nobody has said."""
    return [cause for cause in _ALL.get(arch, ()) if check in cause.checks]


def types() -> tuple[str, ...]:
    """Return the types that have a cause."""
    return tuple(_ALL)


def causes(arch: str) -> tuple[Cause, ...]:
    """Return all causes of a type."""
    return tuple(_ALL.get(arch, ()))


@functools.cache
def _tree(file: str) -> tuple[ast.Module, list[str]]:
    import transformers

    text = (Path(transformers.__file__).parent / "models" / file).read_text(encoding="utf-8")
    return ast.parse(text), text.splitlines()


def _line(file: str, function: str, text: str) -> int:
    tree, lines = _tree(file)
    node: Any = tree
    for name in filter(None, function.split(".")):
        kinds = (ast.ClassDef, ast.FunctionDef)
        found = [each for each in node.body if isinstance(each, kinds) and each.name == name]
        if not found:
            raise LookupError(f"{file}: no {function}")
        node = found[0]
    first, last = (1, len(lines)) if node is tree else (node.lineno, node.end_lineno)
    for number in range(first, last + 1):
        if text in lines[number - 1]:
            return number
    raise LookupError(f"{file}: no line of {function or 'it'} holds {text!r}")


def _read() -> tuple[dict[str, list[Cause]], dict[str, Cause]]:
    everything: dict[str, list[Cause]] = {}
    battery: dict[str, Cause] = {}
    for entry in _DATA["cause"]:
        for arch, place in entry["places"].items():
            cause = Cause(
                entry["why"],
                *place[:2],
                *place[2:],
                checks=tuple(entry["checks"]),
                thread=entry.get("thread", ""),
            )
            everything.setdefault(arch, []).append(cause)
            if entry.get("battery"):
                battery[arch] = cause
    return everything, battery


_ALL, CAUSES = _read()
