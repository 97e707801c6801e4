"""Expressions: from Python's own tree to libcst's nodes."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any, ClassVar

import libcst as cst

from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.bare import nodes as make

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_OPENING = late_pattern(r"([rRbBuUfF]{0,2})(\'\'\'|\"\"\"|'|\")")
_REST = {
    "'": late_pattern(r"(?:[^\\']|\\.)*'", re.DOTALL),
    '"': late_pattern(r'(?:[^\\"]|\\.)*"', re.DOTALL),
    "'''": late_pattern(r"(?:[^\\]|\\.)*?'''", re.DOTALL),
    '"""': late_pattern(r'(?:[^\\]|\\.)*?"""', re.DOTALL),
}
_GAP = late_pattern(r"(?:\s|\\|#[^\r\n]*)+")
# A replacement field without strings and without fields in it.
_FIELD = late_pattern(r"\{([^{}'\"\\:!=\r\n#]+)(?:!([rsa]))?(?::([^{}'\"\\\r\n]+))?\}")
_DOTTED = late_pattern(r"[A-Za-z_][A-Za-z_0-9]*(?:\.[A-Za-z_][A-Za-z_0-9]*)*")
_COMMENT = late_pattern(r"#[^\r\n]*")


class UnusualError(Exception):
    """Code that is left to libcst's parser."""


class _Makers(dict[type, "Callable[[Any, Any], Any]"]):
    """The methods that make a node, by the kind of Python's node."""

    def __missing__(self, kind: type) -> Callable[[Any, Any], Any]:
        raise UnusualError(kind.__name__)


class Expressions:
    """Makes the nodes of expressions.

    Attributes:
        functions: Where all functions and lambdas stand that were made so far: lines from 1, columns in bytes.
    """

    _of: ClassVar[_Makers]

    def __init_subclass__(cls) -> None:
        """Find the methods that convert Python's nodes, by their names."""
        cls._of = _Makers(
            {
                kind: getattr(cls, name)
                for kind in vars(ast).values()
                if isinstance(kind, type) and issubclass(kind, ast.stmt | ast.expr | ast.pattern)
                if hasattr(cls, name := f"_{kind.__name__.lower()}")
            }
        )

    def __init__(self, lines: Sequence[str]) -> None:
        """Convert code that stands in `lines`, which keep their breaks."""
        self._lines = lines
        self.functions: dict[int, tuple[int, int, int, int]] = {}

    def _raw(self, node: Any) -> str:
        return self.between(node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)

    def between(self, line: int, column: int, end_line: int, end_column: int) -> str:
        """Return the text between two places: lines from 1, columns in bytes."""
        first = self._lines[line - 1]
        if line == end_line:
            if first.isascii():
                return first[column:end_column]
            return first.encode()[column:end_column].decode()
        last = self._lines[end_line - 1]
        return "".join(
            [
                first[column:] if first.isascii() else first.encode()[column:].decode(),
                *self._lines[line : end_line - 1],
                last[:end_column] if last.isascii() else last.encode()[:end_column].decode(),
            ]
        )

    def _any(self, node: ast.expr) -> Any:
        return self._of[node.__class__](self, node)

    def _maybe(self, node: ast.expr | None) -> Any:
        return None if node is None else self._of[node.__class__](self, node)

    def _name(self, node: ast.Name) -> cst.Name:
        return make.name(node.id)

    def _attribute(self, node: ast.Attribute) -> cst.Attribute:
        return make.attribute(self._of[node.value.__class__](self, node.value), make.name(node.attr))

    def _constant(self, node: ast.Constant) -> cst.BaseExpression:
        value = node.value
        kind = value.__class__
        if kind is str or kind is bytes:
            return self._string(self._raw(node))
        if kind is bool or value is None:
            return make.name(make.CONSTANTS[value])
        if kind is int:
            return make.integer(self._raw(node))
        if kind is float:
            return make.float_(self._raw(node))
        if kind is complex:
            return make.imaginary(self._raw(node))
        return make.ellipsis()

    def _joinedstr(self, node: ast.JoinedStr) -> cst.BaseExpression:
        # The places of what is inside are wrong before Python 3.12.
        return self._string(self._raw(node))

    def _string(self, raw: str) -> cst.BaseExpression:
        """Return the nodes of a string, or of several that stand side by side."""
        pieces: list[cst.SimpleString | cst.FormattedString] = []
        at = 0
        while at < len(raw):
            start = _OPENING.match(raw, at)
            if start is None:
                gap = _GAP.match(raw, at)
                if gap is None:
                    raise UnusualError("a string")
                at = gap.end()
                continue
            mark = start[2]
            end = len(raw) if raw.count(mark, start.end()) == 1 and raw.endswith(mark) else 0
            if not end:
                rest = _REST[mark].match(raw, start.end())
                if rest is None:
                    return _parsed(raw)
                end = rest.end()
            if "f" not in start[1] and "F" not in start[1]:
                pieces.append(make.simple_string(raw[at:end]))
            else:
                formatted = self._formatted(raw[start.end() : end - len(mark)], start[0], mark)
                if formatted is None:
                    return _parsed(raw)
                pieces.append(formatted)
            at = end
        made: cst.BaseExpression = pieces.pop()
        while pieces:
            made = make.concatenated(pieces.pop(), made)
        return made

    def _formatted(self, inner: str, start: str, end: str) -> cst.FormattedString | None:
        """Return a formatted string whose fields are simple; None for any other."""
        if "\\N{" in inner:
            return None
        parts: list[cst.BaseFormattedStringContent] = []
        at = 0
        for field in _FIELD.finditer(inner):
            expression = self._field(field[1])
            if expression is None or not self._plain_text(inner[at : field.start()], parts):
                return None
            spec = None if field[3] is None else (make.formatted_text(field[3]),)
            parts.append(make.formatted_expression(expression, field[2], spec))
            at = field.end()
        return make.formatted(tuple(parts), start, end) if self._plain_text(inner[at:], parts) else None

    @staticmethod
    def _plain_text(text: str, parts: list[cst.BaseFormattedStringContent]) -> bool:
        if text:
            parts.append(make.formatted_text(text))
        return "{" not in text and "}" not in text

    def _field(self, code: str) -> Any:
        """Return the expression of a field; None if Python takes it for none."""
        if _DOTTED.fullmatch(code) is not None:
            return dotted(code)
        lines, self._lines = self._lines, [f"({code})"]
        try:
            return self._any(ast.parse(self._lines[0], mode="eval").body)
        except SyntaxError:
            return None
        finally:
            self._lines = lines

    def _call(self, node: ast.Call) -> cst.Call:
        of = self._of
        args, keywords = node.args, node.keywords
        if not keywords:
            made = tuple(
                [
                    self._starred_arg(a)
                    if a.__class__ is ast.Starred
                    else make.positional(of[a.__class__](self, a))
                    for a in args
                ]
            )
        else:
            made = self._args(args, keywords)
        return make.call(of[node.func.__class__](self, node.func), made)

    def _starred_arg(self, node: Any) -> cst.Arg:
        return make.arg(self._any(node.value), None, "*")

    def _args(self, args: Sequence[ast.expr], keywords: Sequence[ast.keyword]) -> tuple[cst.Arg, ...]:
        """Return the arguments in the order in which they are written: a starred one may follow named ones."""
        of = self._of
        made: list[cst.Arg] = []
        mixed = False
        for one in args:
            if one.__class__ is ast.Starred:
                mixed = True
                made.append(self._starred_arg(one))
            else:
                made.append(make.positional(of[one.__class__](self, one)))
        for given in keywords:
            value = of[given.value.__class__](self, given.value)
            made.append(
                make.arg(value, None, "**")
                if given.arg is None
                else make.arg(value, make.name(given.arg), "")
            )
        if mixed and keywords:
            every: list[Any] = [*args, *keywords]
            places = [(one.lineno, one.col_offset) for one in every]
            return tuple([made[i] for i in sorted(range(len(made)), key=places.__getitem__)])
        return tuple(made)

    def _subscript(self, node: ast.Subscript) -> cst.Subscript:
        of = self._of
        key: Any = node.slice
        value = of[node.value.__class__](self, node.value)
        if key.__class__ is ast.Tuple and key.elts and not self._wrapped(key, key.elts):
            return make.subscript(
                value, tuple([make.subscript_element(self._index(one)) for one in key.elts])
            )
        return make.subscript(value, (make.subscript_element(self._index(key)),))

    def _index(self, node: Any) -> cst.BaseSlice:
        if node.__class__ is ast.Slice:
            return make.slice_(self._maybe(node.lower), self._maybe(node.upper), self._maybe(node.step))
        if node.__class__ is ast.Starred:
            return make.index(self._any(node.value), "*")
        return make.index(self._of[node.__class__](self, node), None)

    def _wrapped(self, node: Any, elements: Sequence[Any], opening: str = "(") -> bool:
        """Whether a tuple, or a pattern of several, stands in parentheses or brackets of its own."""
        first = elements[0]
        if (first.lineno, first.col_offset) == (node.lineno, node.col_offset):
            return False
        if opening == "[":
            return True
        before = self.between(node.lineno, node.col_offset, first.lineno, first.col_offset)
        if len(elements) > 1:
            end = elements[1].lineno, elements[1].col_offset
        else:
            end = node.end_lineno or 0, node.end_col_offset or 0
        after = _COMMENT.sub("", self.between(first.end_lineno or 0, first.end_col_offset or 0, *end))
        return _COMMENT.sub("", before).count("(") > after.partition(",")[0].count(")")

    def _elements(self, nodes: Sequence[ast.expr]) -> tuple[cst.BaseElement, ...]:
        of = self._of
        return tuple(
            [
                self._starred(one)
                if one.__class__ is ast.Starred
                else make.element(of[one.__class__](self, one))
                for one in nodes
            ]
        )

    def _starred(self, node: Any) -> cst.StarredElement:
        return make.starred(self._any(node.value))

    def _tuple(self, node: ast.Tuple) -> cst.Tuple:
        return make.tuple_(self._elements(node.elts))

    def _list(self, node: ast.List) -> cst.List:
        return make.list_(self._elements(node.elts))

    def _set(self, node: ast.Set) -> cst.Set:
        return make.set_(self._elements(node.elts))

    def _dict(self, node: ast.Dict) -> cst.Dict:
        of = self._of
        return make.dict_(
            tuple(
                [
                    make.starred_dict_element(of[value.__class__](self, value))
                    if key is None
                    else make.dict_element(of[key.__class__](self, key), of[value.__class__](self, value))
                    for key, value in zip(node.keys, node.values, strict=True)
                ]
            )
        )

    def _binop(self, node: ast.BinOp) -> cst.BinaryOperation:
        of = self._of
        left, right = node.left, node.right
        return make.binary(
            of[left.__class__](self, left),
            make.BINARY[node.op.__class__][0],
            of[right.__class__](self, right),
        )

    def _boolop(self, node: ast.BoolOp) -> cst.BooleanOperation:
        operator = make.BOOLEAN[node.op.__class__]
        values = [self._of[one.__class__](self, one) for one in node.values]
        made = values[0]
        for one in values[1:]:
            made = make.boolean(made, operator, one)
        return made  # type: ignore[no-any-return]

    def _unaryop(self, node: ast.UnaryOp) -> cst.UnaryOperation:
        return make.unary(make.UNARY[node.op.__class__], self._of[node.operand.__class__](self, node.operand))

    def _compare(self, node: ast.Compare) -> cst.Comparison:
        of = self._of
        left = of[node.left.__class__](self, node.left)
        return make.comparison(
            left,
            tuple(
                [
                    make.comparison_target(make.COMPARISON[operator.__class__], of[one.__class__](self, one))
                    for operator, one in zip(node.ops, node.comparators, strict=True)
                ]
            ),
        )

    def _ifexp(self, node: ast.IfExp) -> cst.IfExp:
        return make.if_exp(self._any(node.test), self._any(node.body), self._any(node.orelse))

    def _lambda(self, node: ast.Lambda) -> cst.Lambda:
        made = make.lambda_(self._parameters(node.args), self._any(node.body))
        self.functions[id(made)] = (
            node.lineno,
            node.col_offset,
            node.end_lineno or 0,
            node.end_col_offset or 0,
        )
        return made

    def _namedexpr(self, node: ast.NamedExpr) -> cst.NamedExpr:
        return make.named(self._any(node.target), self._any(node.value))

    def _await(self, node: ast.Await) -> cst.Await:
        return make.await_(self._any(node.value))

    def _yield(self, node: ast.Yield) -> cst.Yield:
        return make.yield_(self._maybe(node.value))

    def _yieldfrom(self, node: ast.YieldFrom) -> cst.Yield:
        return make.yield_(make.from_(self._any(node.value)))

    def _listcomp(self, node: ast.ListComp) -> cst.ListComp:
        return make.list_comp(self._any(node.elt), self._generators(node.generators))

    def _setcomp(self, node: ast.SetComp) -> cst.SetComp:
        return make.set_comp(self._any(node.elt), self._generators(node.generators))

    def _generatorexp(self, node: ast.GeneratorExp) -> cst.GeneratorExp:
        return make.generator(self._any(node.elt), self._generators(node.generators))

    def _dictcomp(self, node: ast.DictComp) -> cst.DictComp:
        return make.dict_comp(self._any(node.key), self._any(node.value), self._generators(node.generators))

    def _generators(self, nodes: Sequence[ast.comprehension]) -> cst.CompFor | None:
        made: cst.CompFor | None = None
        for one in reversed(nodes):
            ifs = tuple([make.comp_if(self._any(test)) for test in one.ifs])
            made = make.comp_for(
                self._any(one.target), self._any(one.iter), ifs, made, make.ASYNC if one.is_async else None
            )
        return made

    def _parameters(self, node: ast.arguments) -> cst.Parameters:
        plain = [*node.posonlyargs, *node.args]
        defaults: list[ast.expr | None] = [None] * (len(plain) - len(node.defaults))
        made = [self._param(*one) for one in zip(plain, [*defaults, *node.defaults], strict=True)]
        first = len(node.posonlyargs)
        star: object = make.SENTINEL
        if node.vararg is not None:
            star = self._param(node.vararg, None, "*")
        elif node.kwonlyargs:
            star = make.shared(cst.ParamStar)
        return make.parameters(
            tuple(made[first:]),
            star,
            tuple([self._param(*one) for one in zip(node.kwonlyargs, node.kw_defaults, strict=True)]),
            None if node.kwarg is None else self._param(node.kwarg, None, "**"),
            tuple(made[:first]),
            make.shared(cst.ParamSlash) if first else make.SENTINEL,
        )

    def _param(self, node: ast.arg, default: ast.expr | None, star: str = "") -> cst.Param:
        return make.param(
            make.name(node.arg),
            None if node.annotation is None else make.annotation(self._any(node.annotation)),
            self._maybe(default),
            star,
        )


def dotted(name: str) -> cst.Name | cst.Attribute:
    """Return the nodes of `a.b.c`."""
    first, *rest = name.split(".")
    made: cst.Name | cst.Attribute = make.name(first)
    for one in rest:
        made = make.attribute(made, make.name(one))
    return made


def _parsed(raw: str) -> cst.BaseExpression:
    """Let libcst's parser look at an expression, which may go over several lines."""
    try:
        made = cst.parse_expression(f"({raw})")
    except cst.ParserSyntaxError as problem:
        raise UnusualError from problem
    object.__setattr__(made, "lpar", ())
    object.__setattr__(made, "rpar", ())
    return made
