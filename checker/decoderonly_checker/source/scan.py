"""A small scanner for Python text: logical lines, comments and how deep things nest.

The standard `tokenize` gives up at the first mistake and differs between Python versions (f-strings became
tokens in 3.12). Suppression comments, notebook magics and the guard against parser crashes need something
that reads any text, finished or not, the same way everywhere.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import field
from typing import TYPE_CHECKING

from decoderonly_checker.immutable import immutable, record
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = late_pattern(
    r"""
    (?P<comment>\#[^\r\n]*)
  | (?P<string>\b[bBfFrRtTuU]{1,2}(?=["'])|["'])
  | (?P<word>\w+)
  | (?P<newline>\r\n|\n|\r)
  | (?P<continuation>\\(?:\r\n|\n|\r))
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<comma>[,;])
  | (?P<operator>[-+*/%@&|^~<>!.]+|==)
    """,
    re.VERBOSE,
)
_NESTING_WORDS = frozenset({"not", "and", "or", "if", "lambda", "await", "in", "is", "for"})
_LINE_END = late_pattern(r"\r\n|\n|\r")
_STRING_STOP = {
    "'": late_pattern(r"['\\\r\n]"),
    '"': late_pattern(r'["\\\r\n]'),
    "'''": late_pattern(r"'''|\\"),
    '"""': late_pattern(r'"""|\\'),
}
_FIELD_STOP = late_pattern(r"[{}\\\"'\r\n]")


@immutable
class Comment:
    """A comment: offset of its `#` and its text from there."""

    start: int
    text: str
    alone: bool


@record
class LogicalLine:
    """One logical line, with the comments in it.

    `start` and `end` are offsets; `end` is behind the line break. `empty` lines hold no token but comments.
    `nesting` bounds from above how deep the syntax tree of the line can get, `brackets` is the deepest
    nesting of brackets.
    """

    start: int
    end: int = 0
    comments: list[Comment] = field(default_factory=list)
    empty: bool = True
    nesting: int = 0
    brackets: int = 0
    first_word: str = ""


class Lines:
    """Maps offsets to 1-based lines; breaks are those of Python (CR, LF, CRLF), unlike `str.splitlines`."""

    def __init__(self, text: str) -> None:
        """Index the line breaks of `text`."""
        self._starts = [0, *(match.end() for match in _LINE_END.finditer(text))]

    def line(self, offset: int) -> int:
        """The 1-based line of an offset."""
        return bisect_right(self._starts, offset)

    def start(self, line: int) -> int:
        """The offset at which a 1-based line begins."""
        return self._starts[line - 1]


def split_lines(text: str) -> list[str]:
    """Split at the line breaks that Python knows; the breaks are dropped."""
    return _LINE_END.split(text)


def logical_lines(text: str) -> Iterator[LogicalLine]:
    """Yield the logical lines of a text, in order, without gaps."""
    position = 0
    while position < len(text):
        line = read_logical_line(text, position)
        yield line
        position = line.end


def read_logical_line(text: str, start: int) -> LogicalLine:
    """Read the logical line at an offset. Never fails: what is unbalanced runs to the end of the text."""
    line = LogicalLine(start)
    # One counter of nesting operators for each open bracket; their sum bounds the depth of the tree.
    counters = [0]
    total = 0
    position = start
    fresh = True  # nothing but blanks yet on this physical line
    while True:
        match = _TOKEN.search(text, position)
        if match is None:
            line.end = len(text)
            if text[position:].strip():
                line.empty = False
            return line
        if line.empty and text[position : match.start()].strip():
            line.empty = False
        position = match.end()
        kind = match.lastgroup
        if kind == "comment":
            line.comments.append(Comment(match.start(), match.group(), fresh))
            continue
        if kind == "newline":
            if len(counters) == 1:
                line.end = position
                return line
            fresh = True
            continue
        if kind == "continuation":
            fresh = True
            continue
        fresh = False
        line.empty = False
        if kind == "word":
            if not line.first_word:
                line.first_word = match.group()
            if match.group() not in _NESTING_WORDS:
                continue
            counters[-1] += 1
            total += 1
        elif kind == "string":
            quote_at = match.end() if match.group() not in "\"'" else match.start()
            prefix = match.group().lower() if quote_at == match.end() else ""
            position, depth = _skip_string(text, quote_at, prefix)
            counters[-1] += 1
            total += 1
            line.nesting = max(line.nesting, total + depth)
        elif kind == "open":
            counters[-1] += 1  # a call or a subscript of what stands before it nests too: f()()()
            counters.append(1)
            total += 2
            line.brackets = max(line.brackets, len(counters) - 1)
        elif kind == "close":
            if len(counters) > 1:
                total -= counters.pop()
        elif kind == "comma":
            total -= counters[-1]
            counters[-1] = 0
        else:
            amount = len(match.group())
            counters[-1] += amount
            total += amount
        line.nesting = max(line.nesting, total)


def _skip_string(text: str, quote_at: int, prefix: str) -> tuple[int, int]:
    """Return the offset behind a string and how deep the expressions in it may nest (0 but for f-strings).

    A string of single quotes that is not closed ends with its line, so that one slip does not hide the
    rest of the text.
    """
    quote = text[quote_at]
    closing = quote * 3 if text.startswith(quote * 3, quote_at) else quote
    begin = quote_at + len(closing)
    if "f" in prefix or "t" in prefix:
        return _skip_formatted(text, begin, closing)
    return _skip_plain(text, begin, closing), 0


def _skip_plain(text: str, begin: int, closing: str) -> int:
    stop = _STRING_STOP[closing]
    position = begin
    while (match := stop.search(text, position)) is not None:
        if match.group() == closing:
            return match.end()
        if match.group() != "\\":
            return match.start()
        position = _skip_escape(text, match.start())
    return len(text)


def _skip_escape(text: str, backslash: int) -> int:
    return backslash + (3 if text.startswith("\r\n", backslash + 1) else 2)


def _skip_formatted(text: str, begin: int, closing: str) -> tuple[int, int]:
    """Skip the body of an f-string, whose replacement fields may hold the very same quotes (PEP 701)."""
    position = begin
    nesting = deepest = 0
    # What encloses the position: "text" of the string, "code" of a field, "spec" behind a field's colon.
    modes = ["text"]
    depths = [0]
    while position < len(text):
        if modes[-1] == "code":
            match = _TOKEN.search(text, position)
            colon = text.find(":", position, match.start() if match else len(text)) if depths[-1] == 0 else -1
            if colon >= 0:
                modes[-1] = "spec"
                position = colon + 1
                continue
            if match is None:
                return len(text), deepest
            position = match.end()
            kind = match.lastgroup
            # Whatever a field holds can nest; a field ends what was counted, but for the fields around it.
            if kind in ("open", "operator", "word"):
                nesting += (
                    len(match.group())
                    if kind == "operator"
                    else match.group() in _NESTING_WORDS or kind == "open"
                )
                deepest = max(deepest, nesting)
            if kind == "string":
                named = match.group() not in "\"'"
                quote_at = match.end() if named else match.start()
                if text[quote_at] == closing and not _again_on_line(text, quote_at):
                    return quote_at + 1, deepest
                position, inner = _skip_string(text, quote_at, match.group().lower() if named else "")
                deepest = max(deepest, nesting + inner + 1)
            elif kind == "newline" and len(closing) == 1:
                return match.start(), deepest
            elif kind == "open":
                depths[-1] += 1
            elif kind == "close":
                if match.group() == "}" and depths[-1] == 0:
                    modes.pop()
                    depths.pop()
                    nesting = nesting if len(modes) > 1 else 0
                else:
                    depths[-1] = max(0, depths[-1] - 1)
            continue
        match = _FIELD_STOP.search(text, position)
        if match is None:
            return len(text), deepest
        position = match.end()
        character = match.group()
        if character == "\\":
            if not text.startswith(("{", "}"), position):
                position = _skip_escape(text, match.start())
        elif character == "{":
            if modes[-1] == "text" and text.startswith("{", position):
                position += 1
            else:
                modes.append("code")
                depths.append(0)
        elif character == "}":
            if modes[-1] == "spec":
                modes.pop()
                depths.pop()
        elif character in "\r\n":
            if len(closing) == 1:
                return match.start(), deepest
        elif text.startswith(closing, match.start()) and modes[-1] == "text":
            return match.start() + len(closing), deepest
    return len(text), deepest


def _again_on_line(text: str, quote_at: int) -> bool:
    """Whether this quote stands once more on the line: then it opens a string in a field."""
    stop = _LINE_END.search(text, quote_at)
    return text.find(text[quote_at], quote_at + 1, stop.start() if stop else len(text)) >= 0
