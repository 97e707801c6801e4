"""Modules, statements and patterns: from Python's own tree to libcst's nodes.

A node made here holds what the code means, field for field and with the raw text of literals, as libcst's parser would have
it; names are written as Python understands them, in one form of Unicode. What only the text looks like (whitespace, commas,
redundant parentheses) stands at its default until `dress.py` fills it in.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.source.bare import nodes as make
from decoderonly_checker.source.bare.expressions import Expressions, UnusualError, dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

Line = cst.SimpleStatementLine | cst.BaseCompoundStatement

_WORTHWHILE = 3  # lines
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPOUND = frozenset(
    getattr(ast, name)
    for name in (
        "FunctionDef",
        "AsyncFunctionDef",
        "ClassDef",
        "If",
        "For",
        "AsyncFor",
        "While",
        "With",
        "AsyncWith",
        "Try",
        "TryStar",
        "Match",
    )
    if hasattr(ast, name)
)


class Converter(Expressions):
    """Makes the nodes of one text.

    Attributes:
        unread: The functions that still lack their bodies, here and in Python's tree, by the identity of the node here.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        """Convert code that stands in `lines`, which keep their breaks."""
        super().__init__(lines)
        self._continued = any(line.rstrip("\r\n").endswith("\\") for line in lines)
        self.unread: dict[int, tuple[cst.FunctionDef, ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        self._putting_off = False

    def module(
        self, tree: ast.Module, unused: Container[str]
    ) -> tuple[cst.Module, list[tuple[int, ast.stmt]]]:
        """Convert a module without the bodies of functions, and without the definitions of its top level in `unused`.

        Returns:
            The module; where definitions are missing, with these.

        Raises:
            UnusualError: It is left to the parser.
        """
        body: list[Line] = []
        missing: list[tuple[int, ast.stmt]] = []
        kept: list[ast.stmt] = []
        self._putting_off = True
        try:
            for node in tree.body:
                if isinstance(node, _DEFINITIONS) and node.name in unused:
                    body += self._statements(kept)
                    kept = []
                    missing.append((len(body), node))
                    body.append(make.UNREAD_LINE)
                else:
                    kept.append(node)
            body += self._statements(kept)
        finally:
            self._putting_off = False
        last = body[-1] if kept else None
        if isinstance(last, cst.SimpleStatementLine) and isinstance(last.body[-1], cst.Expr):
            self._say_semicolon(last.body[-1], kept[-1])
        return make.module(tuple(body)), missing

    def statement(self, node: ast.stmt) -> Line:
        """Convert a statement with all that is in it.

        Raises:
            UnusualError: It is left to the parser.
        """
        return self._statements([node])[0]

    def block(self, body: Sequence[ast.stmt]) -> cst.BaseSuite:
        """Convert the body of a function with all that is in it.

        Raises:
            UnusualError: It is left to the parser.
        """
        return self._block(body)

    def _statements(self, body: Sequence[ast.stmt]) -> list[Line]:
        of = self._of
        found: list[Line] = []
        small: list[cst.BaseSmallStatement] = []
        end = 0
        for node in body:
            kind = node.__class__
            convert = of[kind]
            if kind in _COMPOUND:
                if small:
                    found.append(make.line(tuple(small)))
                    small = []
                found.append(convert(self, node))
                end = 0
            else:
                if small and node.lineno != end:
                    if self._continued:
                        self._no_continuation(end)
                    found.append(make.line(tuple(small)))
                    small = []
                small.append(convert(self, node))
                end = node.end_lineno or 0
        if small:
            found.append(make.line(tuple(small)))
        return found

    def _block(self, body: Sequence[ast.stmt]) -> cst.BaseSuite:
        first = body[0]
        if self._begins_line(first):
            if self._continued and first.lineno > 1:
                self._no_continuation(first.lineno - 1)
            return make.block(tuple(self._statements(body)))
        of = self._of
        return make.suite(tuple([of[node.__class__](self, node) for node in body]))

    def _begins_line(self, node: ast.stmt) -> bool:
        return not self._lines[node.lineno - 1][: node.col_offset].strip()

    def _no_continuation(self, line: int) -> None:
        """Refuse a line that goes on in the next one: what stands there belongs to it."""
        text = self._lines[line - 1].strip()
        if text.endswith("\\") and not text.startswith("#"):
            raise UnusualError("a line goes on in the next one")

    def _pass(self, _: ast.Pass) -> cst.Pass:
        return make.pass_()

    def _break(self, _: ast.Break) -> cst.Break:
        return make.break_()

    def _continue(self, _: ast.Continue) -> cst.Continue:
        return make.continue_()

    def _expr(self, node: ast.Expr) -> cst.Expr:
        return make.expr(self._of[node.value.__class__](self, node.value))

    def _assign(self, node: ast.Assign) -> cst.Assign:
        of = self._of
        targets = tuple([make.assign_target(of[one.__class__](self, one)) for one in node.targets])
        return make.assign(targets, of[node.value.__class__](self, node.value))

    def _annassign(self, node: ast.AnnAssign) -> cst.AnnAssign:
        return make.ann_assign(
            self._any(node.target), make.annotation(self._any(node.annotation)), self._maybe(node.value)
        )

    def _augassign(self, node: ast.AugAssign) -> cst.AugAssign:
        return make.aug_assign(
            self._any(node.target), make.BINARY[node.op.__class__][1], self._any(node.value)
        )

    def _return(self, node: ast.Return) -> cst.Return:
        return make.return_(self._maybe(node.value))

    def _raise(self, node: ast.Raise) -> cst.Raise:
        cause = None if node.cause is None else make.from_(self._any(node.cause))
        return make.raise_(self._maybe(node.exc), cause)

    def _assert(self, node: ast.Assert) -> cst.Assert:
        return make.asserted(self._any(node.test), self._maybe(node.msg))

    def _delete(self, node: ast.Delete) -> cst.Del:
        if len(node.targets) > 1 or self._raw(node).endswith(","):
            return make.del_(make.tuple_(self._elements(node.targets)))
        return make.del_(self._any(node.targets[0]))

    def _import(self, node: ast.Import) -> cst.Import:
        return make.import_(self._aliases(node.names))

    def _importfrom(self, node: ast.ImportFrom) -> cst.ImportFrom:
        names = make.import_star() if node.names[0].name == "*" else self._aliases(node.names)
        module = None if node.module is None else dotted(node.module)
        return make.import_from(module, names, (make.shared(cst.Dot),) * node.level)

    def _aliases(self, names: Sequence[ast.alias]) -> tuple[cst.ImportAlias, ...]:
        return tuple(
            [
                make.import_alias(
                    dotted(one.name), None if one.asname is None else make.as_name(make.name(one.asname))
                )
                for one in names
            ]
        )

    def _global(self, node: ast.Global) -> cst.Global:
        return make.global_(tuple([make.name_item(make.name(one)) for one in node.names]))

    def _nonlocal(self, node: ast.Nonlocal) -> cst.Nonlocal:
        return make.nonlocal_(tuple([make.name_item(make.name(one)) for one in node.names]))

    def _if(self, node: ast.If) -> cst.If:
        orelse: cst.If | cst.Else | None = None
        if node.orelse:
            first = node.orelse[0]
            if first.__class__ is ast.If and self._lines[first.lineno - 1].startswith(
                "elif", first.col_offset
            ):
                orelse = self._if(first)
            else:
                orelse = make.else_(self._block(node.orelse))
        return make.if_(self._of[node.test.__class__](self, node.test), self._block(node.body), orelse)

    def _else(self, body: Sequence[ast.stmt]) -> cst.Else | None:
        return make.else_(self._block(body)) if body else None

    def _for(self, node: ast.For | ast.AsyncFor, asynchronous: cst.Asynchronous | None = None) -> cst.For:
        return make.for_(
            self._any(node.target),
            self._any(node.iter),
            self._block(node.body),
            self._else(node.orelse),
            asynchronous,
        )

    def _asyncfor(self, node: ast.AsyncFor) -> cst.For:
        return self._for(node, make.ASYNC)

    def _while(self, node: ast.While) -> cst.While:
        return make.while_(self._any(node.test), self._block(node.body), self._else(node.orelse))

    def _with(self, node: ast.With | ast.AsyncWith, asynchronous: cst.Asynchronous | None = None) -> cst.With:
        items = [
            make.with_item(
                self._any(one.context_expr),
                None if one.optional_vars is None else make.as_name(self._any(one.optional_vars)),
            )
            for one in node.items
        ]
        return make.with_(tuple(items), self._block(node.body), asynchronous)

    def _asyncwith(self, node: ast.AsyncWith) -> cst.With:
        return self._with(node, make.ASYNC)

    def _try(self, node: ast.Try) -> cst.Try:
        return make.try_(*self._parts_of_try(node, make.except_))

    def _trystar(self, node: Any) -> cst.TryStar:
        return make.try_star(*self._parts_of_try(node, make.except_star))

    def _parts_of_try(self, node: ast.Try, handler: Callable[..., cst.CSTNode]) -> Iterator[object]:
        yield self._block(node.body)
        yield tuple(
            [
                handler(
                    self._block(one.body),
                    self._maybe(one.type),
                    None if one.name is None else make.as_name(make.name(one.name)),
                )
                for one in node.handlers
            ]
        )
        yield self._else(node.orelse)
        yield make.finally_(self._block(node.finalbody)) if node.finalbody else None

    def _functiondef(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, asynchronous: cst.Asynchronous | None = None
    ) -> cst.FunctionDef:
        if getattr(node, "type_params", None):
            raise UnusualError
        first, last = lines_of(node.body)
        put_off = self._putting_off and last - first + 1 >= _WORTHWHILE and self._begins_line(node.body[0])
        made = make.function(
            make.name(node.name),
            self._parameters(node.args),
            make.UNREAD if put_off else self._block(node.body),
            self._decorators(node),
            None if node.returns is None else make.annotation(self._any(node.returns)),
            asynchronous,
            None,
        )
        if put_off:
            self.unread[id(made)] = made, node
        self.functions[id(made)] = lines_of([node])[0], node.col_offset, last, node.end_col_offset or 0
        return made

    def _asyncfunctiondef(self, node: ast.AsyncFunctionDef) -> cst.FunctionDef:
        return self._functiondef(node, make.ASYNC)

    def _decorators(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ) -> tuple[cst.Decorator, ...]:
        return tuple([make.decorator(self._any(one)) for one in node.decorator_list])

    def _classdef(self, node: ast.ClassDef) -> cst.ClassDef:
        if getattr(node, "type_params", None):
            raise UnusualError
        args = self._args(node.bases, node.keywords)
        named = next(
            (i for i, one in enumerate(args) if one.keyword is not None or one.star == "**"), len(args)
        )
        return make.class_(
            make.name(node.name),
            self._block(node.body),
            args[:named],
            args[named:],
            self._decorators(node),
            None,
        )

    def _say_semicolon(self, made: cst.Expr, statement: ast.stmt) -> None:
        """Write down a semicolon at a module's end: in a notebook it hides what the cell shows."""
        last = self._lines[(statement.end_lineno or 0) - 1].encode()
        if last[statement.end_col_offset :].lstrip().startswith(b";"):
            object.__setattr__(made, "semicolon", make.shared(cst.Semicolon))

    def _match(self, node: ast.Match) -> cst.Match:
        cases = [
            make.match_case(self._any(one.pattern), self._block(one.body), self._maybe(one.guard))  # type: ignore[arg-type]
            for one in node.cases
        ]
        return make.match(self._any(node.subject), tuple(cases))

    def _matchvalue(self, node: ast.MatchValue) -> cst.MatchValue:
        return make.match_value(self._any(node.value))

    def _matchsingleton(self, node: ast.MatchSingleton) -> cst.MatchSingleton:
        return make.match_singleton(make.name(make.CONSTANTS[node.value]))

    def _matchsequence(self, node: ast.MatchSequence) -> cst.MatchSequence:
        patterns = tuple([self._pattern_element(one) for one in node.patterns])
        raw = self._raw(node)
        if patterns and not self._wrapped(node, node.patterns, raw[0]):
            return make.open_match_list(patterns)
        return (make.match_list if raw.startswith("[") else make.match_tuple)(patterns)

    def _pattern_element(self, node: Any) -> cst.MatchStar | cst.MatchSequenceElement:
        if node.__class__ is ast.MatchStar:
            return make.match_star(None if node.name is None else make.name(node.name))
        return make.match_element(self._any(node))

    def _matchmapping(self, node: ast.MatchMapping) -> cst.MatchMapping:
        elements = [
            make.match_mapping_element(self._any(key), self._any(one))  # type: ignore[arg-type]
            for key, one in zip(node.keys, node.patterns, strict=True)
        ]
        return make.match_mapping(tuple(elements), None if node.rest is None else make.name(node.rest))

    def _matchclass(self, node: ast.MatchClass) -> cst.MatchClass:
        keywords = [
            make.match_keyword(make.name(key), self._any(one))  # type: ignore[arg-type]
            for key, one in zip(node.kwd_attrs, node.kwd_patterns, strict=True)
        ]
        patterns = tuple([self._pattern_element(one) for one in node.patterns])
        return make.match_class(self._any(node.cls), patterns, tuple(keywords))

    def _matchas(self, node: ast.MatchAs) -> cst.MatchAs:
        pattern = None if node.pattern is None else self._any(node.pattern)  # type: ignore[arg-type]
        return make.match_as(pattern, None if node.name is None else make.name(node.name))

    def _matchor(self, node: ast.MatchOr) -> cst.MatchOr:
        return make.match_or(tuple([make.match_or_element(self._any(one)) for one in node.patterns]))  # type: ignore[arg-type]


def lines_of(body: Sequence[ast.stmt]) -> tuple[int, int]:
    """Return the first and the last line of statements, with the decorators."""
    first = body[0]
    marks = getattr(first, "decorator_list", ())
    return min([first.lineno, *[one.lineno for one in marks]]), body[-1].end_lineno or body[-1].lineno
