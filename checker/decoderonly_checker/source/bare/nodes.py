"""Functions that make libcst's nodes without checking what they are given, which takes most of the constructors' time.

Whatever is not given is what the constructor would have put there.
"""

from __future__ import annotations

import ast
from dataclasses import MISSING, fields
from functools import cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

import libcst as cst

if TYPE_CHECKING:
    from collections.abc import Callable

Node = TypeVar("Node", bound=cst.CSTNode)

# What nodes hold that is not their own: operators and default whitespace, one of each for all trees.
_shared: dict[type[cst.CSTNode], cst.CSTNode] = {}
# The fields that hold what the code means, by class.
MEANING: dict[type[cst.CSTNode], tuple[str, ...]] = {}


def shared(kind: type[Node]) -> Node:
    """Return the one node of a class that all trees made here have in common."""
    if kind not in _shared:
        _shared[kind] = kind()
    return _shared[kind]  # type: ignore[return-value]


def is_shared(node: object) -> bool:
    """Whether a node belongs to all trees: nothing may be changed in it."""
    return _shared.get(type(node)) is node  # type: ignore[arg-type]


def _default(default: object, factory: Any) -> object:
    if factory is MISSING:
        return default
    made = factory()
    if type(made) is cst.SimpleWhitespace or isinstance(made, tuple):
        return made
    return shared(type(made)) if isinstance(made, cst.CSTNode) else made


@cache
def _code(given: int, rest: int) -> CodeType:
    """Return the code of a function that sets so many fields to what it is given, and so many to what it knows."""
    args = [f"given{number}" for number in range(given)]
    values = [*args, *(f"default{number}" for number in range(rest))]
    lines = [f" set{number}(node, {value})\n" for number, value in enumerate(values)]
    source = f"def make({', '.join(args)}):\n node = new(kind)\n{''.join(lines)} return node\n"
    names: dict[str, FunctionType] = {}
    exec(source, names)  # noqa: S102 - as dataclasses do it
    return names["make"].__code__


def _maker(kind: type[Node], *given: str, **default: type[cst.CSTNode]) -> Callable[..., Node]:
    """Return a function that makes a node of the values of the fields `given`, in this order; others have their defaults.

    The dataclasses' own constructors check what they are given, and take four times as long.
    """
    MEANING[kind] = given
    rest = [one for one in fields(kind) if one.name not in given]
    names: dict[str, object] = {"new": object.__new__, "kind": kind}
    for number, name in enumerate([*given, *(one.name for one in rest)]):
        names[f"set{number}"] = getattr(kind, name).__set__
    for number, one in enumerate(rest):
        own = default.get(one.name)
        names[f"default{number}"] = _default(one.default, own or one.default_factory)
    return FunctionType(_code(len(given), len(rest)), names)


name = _maker(cst.Name, "value")
integer = _maker(cst.Integer, "value")
float_ = _maker(cst.Float, "value")
imaginary = _maker(cst.Imaginary, "value")
ellipsis = _maker(cst.Ellipsis)
simple_string = _maker(cst.SimpleString, "value")
concatenated = _maker(cst.ConcatenatedString, "left", "right")
formatted = _maker(cst.FormattedString, "parts", "start", "end")
formatted_text = _maker(cst.FormattedStringText, "value")
formatted_expression = _maker(cst.FormattedStringExpression, "expression", "conversion", "format_spec")
attribute = _maker(cst.Attribute, "value", "attr")
call = _maker(cst.Call, "func", "args")
arg = _maker(cst.Arg, "value", "keyword", "star")
positional = _maker(cst.Arg, "value")
MEANING[cst.Arg] = ("value", "keyword", "star")
subscript = _maker(cst.Subscript, "value", "slice")
subscript_element = _maker(cst.SubscriptElement, "slice")
index = _maker(cst.Index, "value", "star")
slice_ = _maker(cst.Slice, "lower", "upper", "step")
tuple_ = _maker(cst.Tuple, "elements")
list_ = _maker(cst.List, "elements")
set_ = _maker(cst.Set, "elements")
element = _maker(cst.Element, "value")
starred = _maker(cst.StarredElement, "value")
dict_ = _maker(cst.Dict, "elements")
dict_element = _maker(cst.DictElement, "key", "value")
starred_dict_element = _maker(cst.StarredDictElement, "value")
binary = _maker(cst.BinaryOperation, "left", "operator", "right")
boolean = _maker(cst.BooleanOperation, "left", "operator", "right")
unary = _maker(cst.UnaryOperation, "operator", "expression")
comparison = _maker(cst.Comparison, "left", "comparisons")
comparison_target = _maker(cst.ComparisonTarget, "operator", "comparator")
if_exp = _maker(cst.IfExp, "test", "body", "orelse")
lambda_ = _maker(cst.Lambda, "params", "body")
named = _maker(cst.NamedExpr, "target", "value")
await_ = _maker(cst.Await, "expression")
yield_ = _maker(cst.Yield, "value")
from_ = _maker(cst.From, "item")
list_comp = _maker(cst.ListComp, "elt", "for_in")
set_comp = _maker(cst.SetComp, "elt", "for_in")
generator = _maker(cst.GeneratorExp, "elt", "for_in")
dict_comp = _maker(cst.DictComp, "key", "value", "for_in")
comp_for = _maker(cst.CompFor, "target", "iter", "ifs", "inner_for_in", "asynchronous")
comp_if = _maker(cst.CompIf, "test")
parameters = _maker(
    cst.Parameters, "params", "star_arg", "kwonly_params", "star_kwarg", "posonly_params", "posonly_ind"
)
param = _maker(cst.Param, "name", "annotation", "default", "star")
annotation = _maker(cst.Annotation, "annotation")

module = _maker(cst.Module, "body")
line = _maker(cst.SimpleStatementLine, "body")
suite = _maker(cst.SimpleStatementSuite, "body")
block = _maker(cst.IndentedBlock, "body")
expr = _maker(cst.Expr, "value")
assign = _maker(cst.Assign, "targets", "value")
assign_target = _maker(cst.AssignTarget, "target")
ann_assign = _maker(cst.AnnAssign, "target", "annotation", "value")
aug_assign = _maker(cst.AugAssign, "target", "operator", "value")
return_ = _maker(cst.Return, "value")
raise_ = _maker(cst.Raise, "exc", "cause")
asserted = _maker(cst.Assert, "test", "msg")
del_ = _maker(cst.Del, "target")
pass_ = _maker(cst.Pass)
break_ = _maker(cst.Break)
continue_ = _maker(cst.Continue)
import_ = _maker(cst.Import, "names")
import_from = _maker(cst.ImportFrom, "module", "names", "relative")
import_alias = _maker(cst.ImportAlias, "name", "asname")
import_star = _maker(cst.ImportStar)
as_name = _maker(cst.AsName, "name")
global_ = _maker(cst.Global, "names")
nonlocal_ = _maker(cst.Nonlocal, "names")
name_item = _maker(cst.NameItem, "name")
if_ = _maker(cst.If, "test", "body", "orelse")
else_ = _maker(cst.Else, "body")
for_ = _maker(cst.For, "target", "iter", "body", "orelse", "asynchronous")
while_ = _maker(cst.While, "test", "body", "orelse")
with_ = _maker(cst.With, "items", "body", "asynchronous")
with_item = _maker(cst.WithItem, "item", "asname")
try_ = _maker(cst.Try, "body", "handlers", "orelse", "finalbody")
try_star = _maker(cst.TryStar, "body", "handlers", "orelse", "finalbody")
except_ = _maker(cst.ExceptHandler, "body", "type", "name")
except_star = _maker(cst.ExceptStarHandler, "body", "type", "name")
finally_ = _maker(cst.Finally, "body")
decorator = _maker(cst.Decorator, "decorator")
function = _maker(
    cst.FunctionDef, "name", "params", "body", "decorators", "returns", "asynchronous", "type_parameters"
)
class_ = _maker(cst.ClassDef, "name", "body", "bases", "keywords", "decorators", "type_parameters")
match = _maker(cst.Match, "subject", "cases")
match_case = _maker(cst.MatchCase, "pattern", "body", "guard")
match_value = _maker(cst.MatchValue, "value")
match_singleton = _maker(cst.MatchSingleton, "value")
open_match_list = _maker(cst.MatchList, "patterns")
match_list = _maker(
    cst.MatchList, "patterns", lbracket=cst.LeftSquareBracket, rbracket=cst.RightSquareBracket
)
match_tuple = _maker(cst.MatchTuple, "patterns")
match_element = _maker(cst.MatchSequenceElement, "value")
match_star = _maker(cst.MatchStar, "name")
match_mapping = _maker(cst.MatchMapping, "elements", "rest")
match_mapping_element = _maker(cst.MatchMappingElement, "key", "pattern")
match_class = _maker(cst.MatchClass, "cls", "patterns", "kwds")
match_keyword = _maker(cst.MatchKeywordElement, "key", "pattern")
match_as = _maker(cst.MatchAs, "pattern", "name")
match_or = _maker(cst.MatchOr, "patterns")
match_or_element = _maker(cst.MatchOrElement, "pattern")

SENTINEL = cst.MaybeSentinel.DEFAULT
CONSTANTS: dict[object, str] = {True: "True", False: "False", None: "None"}
BINARY: dict[type[ast.operator], tuple[cst.BaseBinaryOp, cst.BaseAugOp]] = {
    getattr(ast, theirs): (shared(getattr(cst, ours)), shared(getattr(cst, ours + "Assign")))
    for theirs, ours in {
        "Add": "Add",
        "Sub": "Subtract",
        "Mult": "Multiply",
        "Div": "Divide",
        "FloorDiv": "FloorDivide",
        "Mod": "Modulo",
        "Pow": "Power",
        "MatMult": "MatrixMultiply",
        "LShift": "LeftShift",
        "RShift": "RightShift",
        "BitOr": "BitOr",
        "BitAnd": "BitAnd",
        "BitXor": "BitXor",
    }.items()
}
UNARY: dict[type[ast.unaryop], cst.BaseUnaryOp] = {
    ast.Not: shared(cst.Not),
    ast.USub: shared(cst.Minus),
    ast.UAdd: shared(cst.Plus),
    ast.Invert: shared(cst.BitInvert),
}
BOOLEAN: dict[type[ast.boolop], cst.BaseBooleanOp] = {ast.And: shared(cst.And), ast.Or: shared(cst.Or)}
COMPARISON: dict[type[ast.cmpop], cst.BaseCompOp] = {
    ast.Eq: shared(cst.Equal),
    ast.NotEq: shared(cst.NotEqual),
    ast.Lt: shared(cst.LessThan),
    ast.LtE: shared(cst.LessThanEqual),
    ast.Gt: shared(cst.GreaterThan),
    ast.GtE: shared(cst.GreaterThanEqual),
    ast.Is: shared(cst.Is),
    ast.IsNot: shared(cst.IsNot),
    ast.In: shared(cst.In),
    ast.NotIn: shared(cst.NotIn),
}
ASYNC = shared(cst.Asynchronous)

# What stands for the body of a function until it is read.
UNREAD_LINE = line((expr(name("__not_read__")),))
UNREAD = block((UNREAD_LINE,))
