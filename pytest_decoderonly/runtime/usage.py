"""What becomes of a call's result, read off the user's own source: cut as text, only printed, thrown away.

The guard sees values, and a text carries no trace of where it came from. Where a finding depends on what is done with one,
the lines that called are looked up, with nothing run: from the call outwards through the frames that are waiting for it.
Where the source does not show it, the answer is that nothing is known.
"""

from __future__ import annotations

import ast
import enum
import linecache
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from typing import TYPE_CHECKING

from pytest_decoderonly.runtime.frames import CallPlace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHOWS = frozenset({"print", "pprint", "info", "debug", "warning", "write", "echo", "display", "secho"})
_SAME = frozenset(
    {"strip", "lstrip", "rstrip", "lower", "upper", "cpu", "detach", "float", "to", "tolist", "numpy"}
)
_PASSES = frozenset({"list", "tuple", "str", "zip", "enumerate", "reversed", "sorted"})
_PARTS = frozenset({"split", "rsplit", "partition", "rpartition"})
_DEPTH = 12


class Fate(enum.Enum):
    """What becomes of a value."""

    UNKNOWN = "unknown"
    DISCARDED = "discarded"
    SHOWN = "shown"
    ECHO = "echo"  # asked whether it begins with something: who asks knows of the prompt
    STATED = "stated"  # a test states what it is equal to, or not: it would fail if the prompt were not meant
    CUT = "cut"


@dataclass(frozen=True)
class Use:
    """What becomes of a value, and where: the line that cuts or shows it."""

    fate: Fate
    place: CallPlace | None = None


_UNKNOWN = Use(Fate.UNKNOWN)


class _Source:
    """A file's syntax tree, with each node's parent."""

    def __init__(self, text: str) -> None:
        self.tree = ast.parse(text)
        self.parents: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield what a node stands in, from the inside out."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def scope(self, node: ast.AST) -> ast.AST:
        """Return the function or module that a node stands in."""
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        return next((around for around in self.above(node) if isinstance(around, functions)), self.tree)


@lru_cache(maxsize=32)
def _parsed(path: str, text: str) -> _Source | None:  # noqa: ARG001 - two files may hold one text
    try:
        return _Source(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _source(path: str) -> _Source | None:
    text = "".join(linecache.getlines(path))
    return _parsed(path, text) if text else None


def call_node(place: CallPlace) -> ast.Call | None:
    """Return the call that is being made at a place; None where the source does not tell."""
    found = _located(place)
    return found[1] if found is not None else None


@lru_cache(maxsize=256)
def _located(place: CallPlace) -> tuple[_Source, ast.Call] | None:
    source = _source(place.path)
    if source is None:
        return None
    calls = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and node.lineno <= place.line <= (node.end_lineno or node.lineno)
    ]
    positions = getattr(place.code, "co_positions", None)  # absent before Python 3.11
    if positions is not None and place.instruction >= 0:
        exact = next(islice(positions(), place.instruction // 2, None), None)
        calls = [
            node
            for node in calls
            if exact == (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset)
        ]
    return (source, calls[0]) if len(calls) == 1 else None


def use_of(places: Sequence[CallPlace]) -> Use:
    """Tell what becomes of the result of the innermost call.

    Args:
        places: The user's lines, from the call outwards; one that returns its result is followed into the next.
    """
    if not places:
        return _UNKNOWN
    found = _located(places[0])
    return _Follower(places, *found).use() if found is not None else _UNKNOWN


def cuts_from_the_end(place: CallPlace) -> bool | None:
    """Tell whether a call's argument is a slice from a negative index on: `ids[-8:]`; None where no slice is written there."""
    call = call_node(place)
    if call is None:
        return None
    values = [*call.args, *(keyword.value for keyword in call.keywords)]
    lower = [
        node.lower
        for value in values
        for node in ast.walk(value)
        if isinstance(node, ast.Slice) and node.lower is not None
    ]
    if not lower:
        return None
    return any(isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) for node in lower)


@lru_cache(maxsize=256)
def last_position_read(place: CallPlace) -> CallPlace | None:
    """Return where `[:, -1]` is read of what a forward returned: its logits or hidden states."""
    found = _located(place)
    if found is None:
        return None
    follower = _Follower([place], *found)
    for node, _ in follower.reads():
        index = node.slice
        if not isinstance(index, ast.Tuple) or len(index.elts) not in (2, 3) or not _is_whole(index.elts[0]):
            continue
        last = index.elts[1]
        if (
            isinstance(last, ast.UnaryOp)
            and isinstance(last.op, ast.USub)
            and isinstance(last.operand, ast.Constant)
            and last.operand.value == 1
        ):
            return follower.at(node)
    return None


@lru_cache(maxsize=256)
def cut_by_choice(place: CallPlace) -> bool:
    """Tell whether the function that makes a call cuts its result in a branch: `if only_new: output = output[:, width:]`."""
    found = _located(place)
    if found is None:
        return False
    follower = _Follower([place], *found)
    return any(_cuts_rows(node.slice) and follower.is_in_branch(node) for node, _ in follower.reads())


def key_read(places: Sequence[CallPlace], key: str) -> CallPlace | None:
    """Return where `[key]` is read of what a call returned, of its members, or of what its function returns with it.

    Args:
        places: The user's lines, from the call outwards.
        key: The key, written out as text.
    """
    found = _located(places[0]) if places else None
    if found is None:
        return None
    for node, follower in _Follower(places, *found).reads(members=True):
        if isinstance(node.slice, ast.Constant) and node.slice.value == key:
            return follower.at(node)
    return None


class _Follower:
    """Follows one value through the expressions and names that hold it."""

    def __init__(self, places: Sequence[CallPlace], source: _Source, call: ast.Call) -> None:
        self._places = _functions(places)
        self._source = source
        self._call = call

    def at(self, node: ast.AST) -> CallPlace:
        """Return the place of a node of this file."""
        here = self._places[0]
        return CallPlace(here.path, getattr(node, "lineno", here.line), here.function)

    def is_in_branch(self, node: ast.AST) -> bool:
        """Whether a node is run under a condition that the call itself is not under."""
        around = set(self._source.above(self._call))
        return any(
            isinstance(one, (ast.If, ast.IfExp)) for one in self._source.above(node) if one not in around
        )

    def use(self) -> Use:
        """Return the one fate of the value, where all its uses agree; a cut anywhere is a cut, a question an answer."""
        uses = list(self._uses(self._call, 0))
        for use in uses:
            if use.fate in (Fate.CUT, Fate.ECHO):
                return use
        fates = {use.fate for use in uses}
        return uses[0] if len(fates) == 1 else _UNKNOWN

    def reads(self, *, members: bool = False) -> Iterator[tuple[ast.Subscript, _Follower]]:
        """Yield the subscripts of the value, of its attributes, and of the names that hold these, each with who found it.

        With `members` also those of the members that loops and indices take, and in the callers that the value is
        returned to.
        """
        yield from self._subscripts(self._call, 0, members)

    def _subscripts(
        self, node: ast.AST, depth: int, members: bool
    ) -> Iterator[tuple[ast.Subscript, _Follower]]:
        parent = self._source.parents.get(node)
        if parent is None or depth > _DEPTH:
            return
        if isinstance(parent, ast.Subscript) and parent.value is node:
            yield parent, self
            # outputs[0], hidden_states[-1]; of members also outputs[i]
            if isinstance(parent.slice, (ast.Constant, ast.UnaryOp, *([ast.Name] if members else []))):
                yield from self._subscripts(parent, depth + 1, members)
        elif members and isinstance(parent, ast.Return):
            outer = self._outer()
            if outer is not None:
                yield from outer.reads(members=True)
        elif members and isinstance(parent, ast.Call) and getattr(parent.func, "id", "") in _PASSES:
            yield from self._subscripts(parent, depth + 1, members)
        elif isinstance(parent, ast.Attribute):
            call = self._source.parents.get(parent)
            if not (isinstance(call, ast.Call) and call.func is parent):
                yield from self._subscripts(parent, depth + 1, members)
            elif parent.attr in _SAME:
                yield from self._subscripts(call, depth + 1, members)
        else:
            for name in self._names(node, parent):
                for use in self._loads(name, parent):
                    yield from self._subscripts(use, depth + 1, members)

    def _uses(self, node: ast.AST, depth: int) -> Iterator[Use]:
        parent = self._source.parents.get(node)
        if parent is None or depth > _DEPTH:
            yield _UNKNOWN
        elif isinstance(parent, ast.Expr):
            yield Use(Fate.DISCARDED, self.at(parent))
        elif isinstance(parent, (ast.FormattedValue, ast.JoinedStr, ast.Await, ast.Starred)):
            yield from self._uses(parent, depth + 1)
        elif isinstance(parent, ast.Subscript) and parent.value is node:
            yield from self._subscripted(parent, depth)
        elif isinstance(parent, ast.Attribute):
            yield from self._method(parent, depth)
        elif isinstance(parent, ast.Call):
            yield from self._argument(parent, depth)
        elif isinstance(parent, ast.Return):
            yield self._returned()
        elif isinstance(parent, ast.Compare) and self._is_stated(parent):
            yield Use(Fate.STATED, self.at(parent))
        elif isinstance(parent, (ast.ListComp, ast.GeneratorExp)) and parent.elt is node:
            yield from self._uses(parent, depth + 1)
        else:
            yield from self._named(node, parent, depth)

    def _named(self, node: ast.AST, parent: ast.AST, depth: int) -> Iterator[Use]:
        loads = [load for name in self._names(node, parent) for load in self._loads(name, parent)]
        if not loads:
            yield _UNKNOWN
        for load in loads:
            yield from self._uses(load, depth + 1)

    def _subscripted(self, node: ast.Subscript, depth: int) -> Iterator[Use]:
        if isinstance(node.slice, ast.Slice):
            if node.slice.lower is not None and node.slice.upper is None:
                yield Use(Fate.CUT, self.at(node))
            else:
                yield from self._uses(node, depth + 1)
        elif isinstance(node.slice, (ast.Constant, ast.Name, ast.UnaryOp)):
            yield from self._uses(node, depth + 1)
        else:
            yield _UNKNOWN

    def _method(self, node: ast.Attribute, depth: int) -> Iterator[Use]:
        call = self._source.parents.get(node)
        if not (isinstance(call, ast.Call) and call.func is node):
            yield _UNKNOWN
        elif node.attr in _SAME:
            yield from self._uses(call, depth + 1)
        elif node.attr == "removeprefix" or (node.attr == "replace" and _replaces_by_nothing(call)):
            yield Use(Fate.CUT, self.at(call))
        elif node.attr == "startswith":
            yield Use(Fate.ECHO, self.at(call))
        elif node.attr == "replace":
            yield from self._uses(call, depth + 1)
        elif node.attr in _PARTS:
            index = self._source.parents.get(call)
            first = (
                isinstance(index, ast.Subscript)
                and isinstance(index.slice, ast.Constant)
                and index.slice.value == 0
            )
            if isinstance(index, ast.Subscript) and not first:
                yield Use(Fate.CUT, self.at(index))
            elif first and index is not None:
                yield from self._uses(index, depth + 1)
            else:
                yield _UNKNOWN
        else:
            yield _UNKNOWN

    def _argument(self, call: ast.Call, depth: int) -> Iterator[Use]:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in _SHOWS:
            yield Use(Fate.SHOWN, self.at(call))
        elif name.startswith("assert"):
            yield Use(Fate.STATED, self.at(call))
        elif name in _PASSES:
            yield from self._uses(call, depth + 1)
        else:
            yield _UNKNOWN

    def _is_stated(self, node: ast.Compare) -> bool:
        """Whether an `assert` says of a comparison that it holds; `in` may hold of the prompt."""
        whole: ast.AST = node
        for around in self._source.above(node):
            if not isinstance(around, (ast.BoolOp, ast.UnaryOp)):
                whole = around
                break
        return isinstance(whole, ast.Assert) and all(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops)

    def _returned(self) -> Use:
        outer = self._outer()
        return outer.use() if outer is not None else _UNKNOWN

    def _outer(self) -> _Follower | None:
        """Return who follows the value in the caller, where it is the result of the function; None where nothing tells."""
        outer = self._places[1:]
        found = _located(outer[0]) if outer else None
        scope = self._source.scope(self._call)
        if found is None or not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return None
        called = found[1].func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        # A decorator or a library may stand between: then the waiting call is another function's.
        return _Follower(outer, *found) if name == scope.name else None

    def _names(self, node: ast.AST, parent: ast.AST) -> list[str]:
        """Return the names that hold the value, or its members one after the other, by what is around it."""
        if isinstance(parent, ast.Assign) and len(parent.targets) == 1:
            return [parent.targets[0].id] if isinstance(parent.targets[0], ast.Name) else []
        if isinstance(parent, (ast.AnnAssign, ast.NamedExpr)):
            return [parent.target.id] if isinstance(parent.target, ast.Name) else []
        if isinstance(parent, (ast.For, ast.comprehension)) and parent.iter is node:
            return self._members(node, parent.target)
        return []

    def _members(self, node: ast.AST, target: ast.AST) -> list[str]:
        if isinstance(target, ast.Name):
            return [target.id]
        if not isinstance(target, ast.Tuple) or not isinstance(node, ast.Call):
            return []
        name = getattr(node.func, "id", "")
        if name == "enumerate" and len(target.elts) == 2:
            return self._members(node.args[0], target.elts[1]) if node.args else []
        if name == "zip" and len(target.elts) == len(node.args):
            inside = [
                number
                for number, part in enumerate(node.args)
                if self._call in ast.walk(part) or self._holds(part)
            ]
            elements = [target.elts[number] for number in inside]
            return [element.id for element in elements if isinstance(element, ast.Name)]
        return []

    def _holds(self, part: ast.AST) -> bool:
        """Whether an expression is a name that the value was given."""
        scope = self._source.scope(self._call)
        return isinstance(part, ast.Name) and any(
            part.id in self._names(self._call, parent)
            for parent in ast.walk(scope)
            if isinstance(parent, (ast.Assign, ast.AnnAssign)) and parent.value is self._call
        )

    def _loads(self, name: str, holder: ast.AST) -> list[ast.Name]:
        """Return where a name is read behind the statement that gave it its value."""
        scope: ast.AST | None = self._source.scope(self._call)
        if isinstance(holder, ast.comprehension):
            scope = self._source.parents.get(holder)
            start = 0
        else:
            start = getattr(holder, "end_lineno", 0) or 0
            if isinstance(holder, ast.For):
                start = holder.lineno
        return [
            node
            for node in ast.walk(scope or holder)
            if isinstance(node, ast.Name)
            and node.id == name
            and isinstance(node.ctx, ast.Load)
            and node.lineno > start - isinstance(holder, ast.NamedExpr)
        ]


def _functions(places: Sequence[CallPlace]) -> list[CallPlace]:
    """Leave out the frame around a comprehension, which is one of its own before Python 3.12."""
    kept = list(places[:1])
    for inner, outer in pairwise(places):
        if inner.code is None or not inner.code.co_name.startswith("<") or inner.code.co_name == "<module>":
            kept.append(outer)
    return kept


def _is_whole(node: ast.AST) -> bool:
    return isinstance(node, ast.Slice) and node.lower is None and node.upper is None and node.step is None


def _cuts_rows(index: ast.expr) -> bool:
    """Whether an index is `[:, start:]`."""
    if not isinstance(index, ast.Tuple) or len(index.elts) != 2 or not _is_whole(index.elts[0]):
        return False
    columns = index.elts[1]
    return isinstance(columns, ast.Slice) and columns.lower is not None and columns.upper is None


def _replaces_by_nothing(call: ast.Call) -> bool:
    """Whether `replace` takes something out that is no special token's text."""
    if len(call.args) < 2 or not (isinstance(call.args[1], ast.Constant) and call.args[1].value == ""):
        return False
    taken = call.args[0]
    if isinstance(taken, ast.Attribute):
        return not taken.attr.endswith("_token")
    return not (isinstance(taken, ast.Constant) and str(taken.value).startswith(("<", "[", "\n", " ")))
