"""Trees whose function bodies are made when they are needed: most functions of a file never are.

Nodes come from Python's own tree of the text (`bare/`). What they look like in the text is put into them when somebody
asks for the complete tree (`dress.py`): that is done for few files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import libcst

from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.bare.expressions import UnusualError
from decoderonly_checker.source.bare.statements import Converter, lines_of
from decoderonly_checker.source.dress import dress
from decoderonly_checker.source.dress_parts import dress_in_parts, parts_of, spans_of
from decoderonly_checker.source.parse import DEEP, ParseError, check_length, nesting, parse
from decoderonly_checker.source.stack import on_deep_stack

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Container, Iterable, Sequence

T = TypeVar("T")

_LINE = late_pattern(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
# What makes a syntax tree deep; a statement with fewer of them needs no closer look.
_DEEPENS = late_pattern(r"[-+*/%@&|^~<>!.(\[{]|\b(?:not|and|or|if|lambda|await|in|is|for)\b")
_SHALLOW = 120
_SHORT = 240  # characters
_RECURSION = 20_000
# libcst's parser needs 500 times the memory of what it is given at once.
PART = 60_000  # characters


class LazyTree:
    """A libcst tree that grows.

    Attributes:
        root: The tree as far as it is made.
        dressed: Whether it is complete, and looks like the text.
    """

    def __init__(self, text: str, known: ast.Module, unused: Container[str] = ()) -> None:
        """Make what is outside of functions.

        Args:
            text: The whole text.
            known: Python's own tree of it.
            unused: Functions and classes of its top level that are left out altogether.

        Raises:
            ParseError: It is too long or nests too deep, or is left to libcst, which refuses it.
        """
        check_length(text)
        self._text = text
        self._lines = _LINE.findall(text)
        self._shallow = _is_shallow(known, self._lines, text)
        self._converter = Converter(self._lines)
        self._left_out: list[tuple[int, ast.stmt]] = []
        self._spans = spans_of(known.body)
        self.dressed = False
        try:
            self.root, self._left_out = self._deep(lambda: self._converter.module(known, unused))
        except UnusualError:
            self._converter.unread.clear()
            self.dressed = True
            self.root = self._parsed(text)
            return
        if not self._shallow:
            bodies = [lines_of(node.body) for _, node in self._converter.unread.values()]
            self._check(bodies + [lines_of([node]) for _, node in self._left_out])

    def _deep(self, work: Callable[[], T]) -> T:
        """Do some work that recurses as deep as the tree."""
        try:
            if self._shallow:
                return work()
        except RecursionError:
            pass
        try:
            return on_deep_stack(work, recursion_limit=_RECURSION)
        except (RecursionError, MemoryError):
            nesting(self._text)
            raise ParseError("nests too deep to be parsed", None) from None

    def _check(self, absent: Iterable[tuple[int, int]], first: int = 1, last: int | None = None) -> None:
        """Refuse what nests too deep, between two lines, without those that are not there yet."""
        lines = self._lines[first - 1 : last]
        for begin, end in absent:
            lines[begin - 1 : end] = ["\n"] * (end - begin + 1)
        try:
            nesting("".join(lines))
        except ParseError as problem:
            line = None if problem.line is None else problem.line + first - 1
            raise ParseError(problem.message, line) from None

    def load(self, node: libcst.FunctionDef | libcst.Lambda) -> None:
        """Make the body of a function of this tree, if that has not been done.

        Raises:
            ParseError: It nests too deep, or is left to libcst, which refuses it.
            DifferenceError: It is left to libcst, whose tree is another.
        """
        _, known = self._converter.unread.get(id(node), (None, None))
        if known is None:
            return
        if not self._shallow:
            self._check((), *lines_of(known.body))
        try:
            body = self._deep(lambda: self._converter.block(known.body))
        except UnusualError:
            self.complete()
            return
        object.__setattr__(node, "body", body)
        del self._converter.unread[id(node)]

    def whole(self) -> libcst.Module:
        """Return the tree with all functions, whatever they look like.

        Raises:
            ParseError: As in `load`.
            DifferenceError: As in `load`.
        """
        body = [*self.root.body]
        for number, node in self._left_out:
            if not self._shallow:
                self._check((), *lines_of([node]))
            try:
                body[number] = self._deep(lambda: self._converter.statement(node))  # noqa: B023 - run at once
            except UnusualError:
                return self.complete()
        if self._left_out:
            self._left_out = []
            object.__setattr__(self.root, "body", tuple(body))
        for function, _ in list(self._converter.unread.values()):
            self.load(function)
        return self.root

    def complete(self, part: int = PART) -> libcst.Module:
        """Return the tree of the whole text, as libcst has it.

        Args:
            part: How many characters libcst is given at once, about.

        Raises:
            ParseError: libcst refuses what Python accepts, or it nests too deep.
            DifferenceError: libcst's tree is another: a mistake in the making of this one.
        """
        if not self.dressed:
            self._converter.unread.clear()  # with Python's tree
            self._left_out = []
            parts = parts_of(self._lines, self._spans, part) if self._shallow else []
            if len(parts) > 1 and len(self._spans) == len(self.root.body):
                dress_in_parts(self.root, parts, self._lines, self._parsed)
            else:
                dress(self.root, [self._parsed(self._text)])
            self.dressed = True
        return self.root

    def code_of(self, node: libcst.FunctionDef | libcst.Lambda) -> str:
        """Return the text of a function or lambda of this tree, a function's with the comments around it; "" if unknown."""
        span = self._converter.functions.get(id(node))
        if span is None:
            return ""
        first, column, last, _ = span
        if isinstance(node, libcst.Lambda):
            return self._converter.between(*span)
        while first > 1 and (indent := _comment(self._lines[first - 2])) is not None and indent <= column:
            first -= 1
        while (
            last < len(self._lines)
            and (indent := _comment(self._lines[last])) is not None
            and (not indent or indent > column)
        ):
            last += 1
        return "".join(self._lines[first - 1 : last])

    def _parsed(self, text: str) -> libcst.Module:
        try:
            return libcst.parse_module(text) if self._shallow else parse(text)
        except libcst.ParserSyntaxError:
            return parse(self._text)  # which has better words for it


def _comment(line: str) -> int | None:
    """Return how far the comment on a line is indented, 0 for one that is empty; None for code."""
    begin = line.lstrip()
    return None if begin and not begin.startswith("#") else len(line) - len(begin) if begin else 0


def _is_shallow(known: ast.Module, lines: Sequence[str], text: str) -> bool:
    """Whether no statement nests so deep that the parser needs care: told without reading most of the text."""
    if text.count("elif") > _SHALLOW:
        return False
    pending = [*known.body]
    while pending:
        node = pending.pop()
        first = node.lineno - 1
        end = node.end_lineno or first
        if end - first == 1 and len(lines[first]) <= _SHORT:
            continue
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if inner and isinstance(inner, list):
                end = min(end, inner[0].lineno)
                pending += inner
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            end = min(end, part.body[0].lineno)
            pending += part.body
        own = lines[first:end]
        if sum(map(len, own)) > _SHORT and len(_DEEPENS.findall("".join(own))) > _SHALLOW:
            try:
                if nesting("".join(own)) > DEEP:
                    return False
            except ParseError:
                return False
    return True
