"""Writing the code of a notebook's cells back into its JSON, where all other bytes stay as they are."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_BLANKS = late_pattern(r"[ \t\n\r]*")
_CHARACTER = late_pattern(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|.", re.DOTALL
)
_DECODER = json.JSONDecoder()


class NotebookError(Exception):
    """A notebook that cannot be written back, and why, in one line."""


@immutable
class Replacement:
    """Put `content` instead of the characters from `start` to `end` of a cell's source."""

    start: int
    end: int
    content: str


@immutable
class _Literal:
    """One string of the JSON text: the offsets of its quotes, and where each of its characters begins."""

    begin: int  # of the opening quote
    end: int  # behind the closing quote
    offsets: tuple[int, ...]  # of each character, and of the closing quote

    @property
    def length(self) -> int:
        return len(self.offsets) - 1


def rewritten(text: str, changes: Mapping[int, Sequence[Replacement]]) -> str:
    """Return a notebook with some of its code changed.

    Args:
        text: The notebook, decoded.
        changes: By the index of a cell, what to replace in its source; in order, and apart from each other.

    Raises:
        NotebookError: The notebook is of a format before 4, or would not say what it should.
    """
    try:
        before = json.loads(text)
        literals = _sources(text)
    except (ValueError, RecursionError) as problem:
        raise NotebookError("is no notebook any more") from problem
    edits: list[tuple[int, int, str]] = []
    for index, replacements in changes.items():
        if index not in literals:
            raise NotebookError("is a notebook of a format that fixes do not know")
        edits += _edits(text, literals[index], replacements)
    parts, done = [], 0
    for start, end, content in sorted(edits):
        parts += [text[done:start], content]
        done = end
    after = "".join((*parts, text[done:]))
    _check(before, after, changes)
    return after


def _check(before: dict[str, Any], after: str, changes: Mapping[int, Sequence[Replacement]]) -> None:
    """Compare what the notebook says now with what it should say."""
    for index, replacements in changes.items():
        cell = before["cells"][index]
        cell["source"] = replaced(_joined(cell["source"]), replacements)
    try:
        now = json.loads(after)
        for index in changes:
            now["cells"][index]["source"] = _joined(now["cells"][index]["source"])
    except (ValueError, KeyError, IndexError, TypeError) as problem:
        raise NotebookError("the fix does not fit into its JSON; please report this") from problem
    if now != before:
        raise NotebookError("the fix does not fit into its JSON; please report this")


def replaced(source: str, replacements: Iterable[Replacement]) -> str:
    """Return a text with replacements made, which are in order and apart from each other."""
    parts, done = [], 0
    for one in replacements:
        parts += [source[done : one.start], one.content]
        done = one.end
    return "".join((*parts, source[done:]))


def _joined(source: Any) -> str:
    return source if isinstance(source, str) else "".join(source)


def _edits(
    text: str, literals: Sequence[_Literal], replacements: Sequence[Replacement]
) -> Iterator[tuple[int, int, str]]:
    """Yield what to replace in the JSON text: offsets and content."""
    starts = [0]
    for literal in literals:
        starts.append(starts[-1] + literal.length)
    separator = _separator(text, literals)
    cuts: list[list[tuple[int, int, str]]] = [[] for _ in literals]
    for one in replacements:
        # What is put between two strings belongs to the second one, behind all to the last.
        first = min(bisect_right(starts, one.start) - 1, len(literals) - 1)
        for number, (begin, end) in enumerate(pairwise(starts)):
            if number == first:
                cuts[number].append((one.start - begin, min(one.end, end) - begin, one.content))
            elif number > first and one.end > begin:
                cuts[number].append((0, min(one.end, end) - begin, ""))
    # A line that is taken away takes its string along.
    kept = [
        number
        for number, (literal, mine) in enumerate(zip(literals, cuts, strict=True))
        if not literal.length
        or any(content for *_, content in mine)
        or sum(stop - start for start, stop, _ in mine) < literal.length
    ] or [0]
    for number, mine in enumerate(cuts):
        if number in kept:
            offsets = literals[number].offsets
            yield from ((offsets[a], offsets[b], _escaped(content, separator)) for a, b, content in mine)
        elif number < kept[-1]:
            yield literals[number].begin, literals[number + 1].begin, ""
    if kept[-1] < len(literals) - 1:
        yield literals[kept[-1]].end, literals[-1].end, ""


def _escaped(content: str, separator: str | None) -> str:
    """Write text as part of a JSON string; each line break ends one where the cell's lines have strings of their own."""
    escaped = (json.dumps(line, ensure_ascii=False)[1:-1] for line in content.split("\n"))
    return ("\\n" if separator is None else f'\\n"{separator}"').join(escaped)


def _separator(text: str, literals: Sequence[_Literal]) -> str | None:
    """Return what stands between the strings of a cell's lines; None where its source is one string."""
    if len(literals) > 1:
        return text[literals[0].end : literals[1].begin]
    before = text[: literals[0].begin].rstrip(" \t\n\r")
    if not before.endswith("["):
        return None
    return "," + (text[len(before) : literals[0].begin] or " ")


def _sources(text: str) -> dict[int, list[_Literal]]:
    """Return the strings that cells' sources consist of, by the index of the cell."""
    found: dict[int, list[_Literal]] = {}
    for key, at in _members(text, text.index("{")):
        if key == "cells" and text[at] == "[":
            found = {}
            for number, begin in enumerate(_elements(text, at)):
                if text[begin] != "{":
                    continue
                for name, start in _members(text, begin):
                    if name == "source":
                        found[number] = [
                            _literal(text, one)
                            for one in ([start] if text[start] == '"' else _elements(text, start))
                        ]
    return {number: literals for number, literals in found.items() if literals}


def _literal(text: str, begin: int) -> _Literal:
    _, end = _DECODER.raw_decode(text, begin)
    offsets = [match.start() for match in _CHARACTER.finditer(text, begin + 1, end - 1)]
    return _Literal(begin, end, (*offsets, end - 1))


def _members(text: str, begin: int) -> Iterator[tuple[str, int]]:
    """Yield the keys of the object at an offset, and where their values begin."""
    at = _skip_blanks(text, begin + 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        at = _skip_blanks(text, _skip_blanks(text, at) + 1)
        yield key, at
        at = _behind(text, at)


def _elements(text: str, begin: int) -> Iterator[int]:
    """Yield where the elements of the array at an offset begin."""
    at = _skip_blanks(text, begin + 1)
    while text[at] != "]":
        yield at
        at = _behind(text, at)


def _behind(text: str, at: int) -> int:
    """Return the offset of the next member or element behind a value, or of what closes."""
    _, at = _DECODER.raw_decode(text, at)
    at = _skip_blanks(text, at)
    return _skip_blanks(text, at + 1) if text[at] == "," else at


def _skip_blanks(text: str, at: int) -> int:
    match = _BLANKS.match(text, at)
    return at if match is None else match.end()
