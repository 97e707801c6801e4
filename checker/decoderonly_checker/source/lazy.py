"""Trees whose function bodies are parsed when they are needed: most functions of a file never are.

The file's text without these bodies is parsed at once; a body is parsed alone and put into its place in that tree, which
is then, when all are in, the tree of the whole text, node for node.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import libcst

from decoderonly_checker.source.parse import DEEP, ParseError, check_length, nesting, parse

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

_STANDS_FOR = "__body_of_function_{}__"
_MARK = re.compile(r"__body_of_function_(\d+)__$")
_WORTHWHILE = 3  # lines
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")
# What makes a syntax tree deep; a statement with fewer of them needs no closer look.
_DEEPENS = re.compile(r"[-+*/%@&|^~<>!.(\[{]|\b(?:not|and|or|if|lambda|await|in|is|for)\b")
_SHALLOW = 120
_SHORT = 240  # characters


class LazyTree:
    """A libcst tree that grows.

    Attributes:
        root: The tree as far as it is parsed.
    """

    def __init__(self, text: str, known: ast.Module, unused: Container[str] = ()) -> None:
        """Parse what is outside of functions.

        Args:
            text: The whole text.
            known: Python's own tree of it.
            unused: Functions and classes of its top level that are left out altogether.

        Raises:
            ParseError: It is too long or nests too deep, or libcst refuses it.
        """
        check_length(text)
        self._lines = _LINE.findall(text)
        self._parse = libcst.parse_module if _is_shallow(known, self._lines, text) else parse
        # First and last line, from 0, and what opens it, for the parser; None for a whole definition.
        self._bodies: list[tuple[int, int, str | None]] = []
        self._unused = unused
        kept: list[str] = []
        done = 0
        for first, last, opening, indent in self._worthwhile(known.body):
            if first < done:
                continue
            kept += self._lines[done:first]
            end = self._lines[last - 1]
            kept.append(indent + _STANDS_FOR.format(len(self._bodies)) + end[len(end.rstrip("\r\n")) :])
            self._bodies.append((first, last, opening))
            done = last
        kept += self._lines[done:]
        self.root = self._parse("".join(kept))

    def _worthwhile(
        self, body: Sequence[ast.stmt], outer: bool = True
    ) -> Iterator[tuple[int, int, str | None, str]]:
        """Yield the bodies of the outermost functions that are worth leaving out, and definitions that are not used."""
        for node in body:
            if (
                outer
                and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
                and node.name in self._unused
            ):
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)]) - 1
                yield first, self._with_comments(node.end_lineno or node.lineno), None, ""
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found = self._body(node)
                if found is not None:
                    yield found
            else:
                for name in ("body", "orelse", "finalbody"):
                    inner = getattr(node, name, None)
                    if isinstance(inner, list):
                        yield from self._worthwhile(inner, outer=False)
                for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                    yield from self._worthwhile(part.body, outer=False)

    def _with_comments(self, last: int) -> int:
        """Return where a definition ends with the indented comments behind it, which belong to it."""
        for number in range(last, len(self._lines)):
            text = self._lines[number].strip()
            if text.startswith("#") and self._lines[number][0] in " \t":
                last = number + 1
            elif text:
                break
        return last

    def _body(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[int, int, str, str] | None:
        start = node.body[0]
        decorators = getattr(start, "decorator_list", ())
        line = min([start.lineno, *(d.lineno for d in decorators)]) - 1
        first = self._lines[line]
        indent = first[: len(first) - len(first.lstrip())]
        starts_line = (
            first.lstrip().startswith("@") if decorators else len(indent.encode()) == start.col_offset
        )
        header = line
        while header > node.lineno and (
            not (text := self._lines[header - 1].strip()) or text.startswith("#")
        ):
            header -= 1
        before = self._lines[header - 1].rstrip()
        last = node.end_lineno or 0
        if not starts_line or "\f" in indent or before.endswith("\\") or last - header < _WORTHWHILE:
            return None
        outer = self._lines[node.lineno - 1]
        outer = outer[: len(outer) - len(outer.lstrip())]
        word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        opening = f"{outer}{word} _():\n"
        return header, last, f"if 1:\n{opening}" if outer else opening, indent

    def load(self, node: libcst.FunctionDef | libcst.Lambda) -> None:
        """Parse the body of a function of this tree, if that has not been done.

        Raises:
            ParseError: libcst refuses what Python accepts.
        """
        number = _number(node)
        if number is None:
            return
        first, last, opening = self._bodies[number]
        if opening is None:
            return
        # The first line break is a module's usual one, which its tree does not repeat.
        opening = opening.replace("\n", self.root.default_newline)
        module = self._parse(opening + "".join(self._lines[first:last]))
        inner: libcst.CSTNode = module.body[0]
        if isinstance(inner, libcst.If):
            inner = inner.body.body[0]
        block = inner.body if isinstance(inner, libcst.FunctionDef) else None
        if not isinstance(block, libcst.IndentedBlock):
            raise ParseError("syntax error: a function's body is not where it was expected", None)
        if module.default_indent != self.root.default_indent:
            _say_indents(block, module.default_indent)
        # Nodes are frozen for those who share trees; this one is still being made.
        object.__setattr__(node.body, "body", block.body)

    def complete(self) -> libcst.Module:
        """Return the tree of the whole text.

        Raises:
            ParseError: libcst refuses what Python accepts.
        """
        body: list[libcst.SimpleStatementLine | libcst.BaseCompoundStatement] = []
        between: tuple[libcst.EmptyLine, ...] = ()  # comments that belong to nothing before them
        for statement in self.root.body:
            if between:
                object.__setattr__(statement, "leading_lines", (*between, *statement.leading_lines))
                between = ()
            number = _number_of(statement)
            if number is None:
                body.append(statement)
                continue
            first, last, _ = self._bodies[number]
            module = self._parse(self.root.default_newline + "".join(self._lines[first:last]))
            if module.default_indent != self.root.default_indent:
                _say_indents(module, module.default_indent)
            (whole,) = module.body
            leading = (*module.header, *whole.leading_lines)[1:]
            object.__setattr__(whole, "leading_lines", (*statement.leading_lines, *leading))
            body.append(whole)
            between = tuple(module.footer)
        object.__setattr__(self.root, "footer", (*between, *self.root.footer))
        object.__setattr__(self.root, "body", body)
        pending: list[object] = [self.root]
        while pending:
            node = pending.pop()
            if isinstance(node, libcst.FunctionDef):
                self.load(node)
                continue
            for name in _STATEMENTS_IN:
                inner = getattr(node, name, None)
                pending += inner if isinstance(inner, (list, tuple)) else [inner] if inner is not None else []
        return self.root


# The fields of nodes that may hold statements.
_STATEMENTS_IN = ("body", "orelse", "handlers", "finalbody", "cases")


def _number(node: libcst.FunctionDef | libcst.Lambda) -> int | None:
    """Return which left-out body a function has; None for one that is there."""
    if not isinstance(node.body, libcst.IndentedBlock):
        return None
    return _number_of(node.body.body[0]) if node.body.body else None


def _number_of(line: libcst.CSTNode) -> int | None:
    small = line.body[0] if isinstance(line, libcst.SimpleStatementLine) else None
    if not isinstance(small, libcst.Expr) or not isinstance(small.value, libcst.Name):
        return None
    match = _MARK.match(small.value.value)
    return int(match[1]) if match is not None else None


def _say_indents(block: libcst.IndentedBlock | libcst.Module, indent: str) -> None:
    """Write down the indentation of blocks that use their own module's usual one, as they are moved to another."""
    pending: list[object] = [*block.body]
    while pending:
        node = pending.pop()
        if isinstance(node, libcst.IndentedBlock) and node.indent is None:
            object.__setattr__(node, "indent", indent)
        for name in _STATEMENTS_IN:
            inner = getattr(node, name, None)
            pending += inner if isinstance(inner, (list, tuple)) else [inner] if inner is not None else []


def _is_shallow(known: ast.Module, lines: Sequence[str], text: str) -> bool:
    """Whether no statement nests so deep that the parser needs care: told without reading most of the text."""
    if text.count("elif") > _SHALLOW:
        return False
    pending = [*known.body]
    while pending:
        node = pending.pop()
        end = node.end_lineno or node.lineno
        for name in ("body", "orelse", "finalbody"):
            inner = getattr(node, name, None)
            if inner and isinstance(inner, list):
                end = min(end, inner[0].lineno)
                pending += inner
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            end = min(end, part.body[0].lineno)
            pending += part.body
        own = lines[node.lineno - 1 : end]
        if sum(map(len, own)) > _SHORT and len(_DEEPENS.findall("".join(own))) > _SHALLOW:
            try:
                if nesting("".join(own)) > DEEP:
                    return False
            except ParseError:
                return False
    return True
