"""Long texts, dressed a part at a time: libcst's parser needs 500 times the memory of what it is given at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.immutable import record
from decoderonly_checker.source.bare import nodes as make
from decoderonly_checker.source.bare.statements import lines_of
from decoderonly_checker.source.dress import dress
from decoderonly_checker.source.files import DifferenceError

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Sequence

_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")


@record
class Part:
    """Statements of a module: which of its body, from where, and the lines that they stand on, both from 0."""

    begin: int
    end: int
    first: int
    last: int
    blank: int  # empty lines before it


def spans_of(body: Sequence[ast.stmt]) -> list[tuple[int, int]]:
    """Return the first and the last lines of a module's statements; those that stand on one line are one."""
    spans: list[tuple[int, int]] = []
    for node in body:
        first, last = lines_of([node])
        if spans and first <= spans[-1][1]:
            spans[-1] = spans[-1][0], max(last, spans[-1][1])
        else:
            spans.append((first, last))
    return spans


def parts_of(lines: Sequence[str], spans: Sequence[tuple[int, int]], size: int) -> list[Part]:
    """Divide a text where there is nothing between two statements, or empty lines alone; [] if it is short enough.

    Args:
        lines: The text's lines, with their breaks.
        spans: Of the statements.
        size: How many characters a part shall have at least.
    """
    if sum(map(len, lines)) < 2 * size or any("\r" in line for line in lines):
        return []
    parts: list[Part] = []
    begin = first = blank = length = 0
    for number, (start, _) in enumerate(spans):
        before = spans[number - 1][1] if number else 0
        if number and length >= size and all(line == "\n" for line in lines[before : start - 1]):
            parts.append(Part(begin, number, first, before, blank))
            begin, first, blank, length = number, start - 1, start - 1 - before, 0
        length += sum(map(len, lines[start - 1 : spans[number][1]]))
    return [*parts, Part(begin, len(spans), first, len(lines), blank)]


def dress_in_parts(
    root: cst.Module, parts: Sequence[Part], lines: Sequence[str], parse: Callable[[str], cst.Module]
) -> None:
    """Do what `dress` does for a whole tree.

    Raises:
        DifferenceError: As `dress`.
    """
    body: list[cst.BaseStatement | cst.SimpleStatementLine] = []
    indent = ""
    for number, part in enumerate(parts):
        piece = make.module(root.body[part.begin : part.end])
        dress(piece, [parse("".join(lines[part.first : part.last]))])
        lead = piece.body[0]
        if number == 0:
            indent = piece.default_indent
            for name in ("header", "encoding", "default_indent", "default_newline"):
                object.__setattr__(root, name, getattr(piece, name))
        elif piece.header or lead.leading_lines:
            raise DifferenceError("a part begins before its first statement")
        else:
            blank = tuple(cst.EmptyLine(indent=True) for _ in range(part.blank))
            object.__setattr__(lead, "leading_lines", blank)
        if piece.default_indent != indent:
            _say_indents(piece, piece.default_indent, indent)
        if number == len(parts) - 1:
            for name in ("footer", "has_trailing_newline"):
                object.__setattr__(root, name, getattr(piece, name))
        elif piece.footer:
            raise DifferenceError("a part goes on behind its last statement")
        body += piece.body
    object.__setattr__(root, "body", tuple(body))


def _say_indents(piece: cst.Module, own: str, usual: str) -> None:
    """Write down the indentation of blocks as the whole module has it."""
    pending: list[object] = [*piece.body]
    while pending:
        node = pending.pop()
        if isinstance(node, cst.IndentedBlock | cst.Match):
            indent = own if node.indent is None else node.indent
            object.__setattr__(node, "indent", None if indent == usual else indent)
        for name in _BLOCKS:
            inner = getattr(node, name, None)
            pending += inner if isinstance(inner, (list, tuple)) else [inner] if inner is not None else []
