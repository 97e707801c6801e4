"""Conditions: what holds in a branch, which alternatives that leaves, and which truths are certain."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import libcst as cst

from decoderonly_checker.flow.choices import join_all
from decoderonly_checker.flow.project import dotted_name
from decoderonly_checker.flow.state import DictRec, ObjRec, restrict
from decoderonly_checker.flow.values import (
    Choice,
    ClassObj,
    Const,
    External,
    Function,
    Guard,
    Hole,
    Lib,
    Model,
    Opaque,
    Ref,
    Str,
    Tokenizer,
    Unknown,
    Value,
    alternatives,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.interpreter import Interpreter

_IDENTIFIER = late_pattern(r"[A-Za-z_]\w*")
_MAPPINGS = frozenset({"Mapping", "MutableMapping", "UserDict", "BatchEncoding", "BatchFeature"})
_HELD = (Ref, Lib)
_PLAIN_VALUES = (Unknown, Const)
_UNTOLD = (Unknown, Opaque)
_PLAIN = frozenset({"str", "int", "float", "bool", "bytes", "list", "tuple", "dict", "set"})
_COMPARE: dict[type, Any] = {
    cst.Equal: lambda a, b: a == b,
    cst.NotEqual: lambda a, b: a != b,
    cst.Is: lambda a, b: a is b,
    cst.IsNot: lambda a, b: a is not b,
    cst.LessThan: lambda a, b: a < b,
    cst.GreaterThan: lambda a, b: a > b,
    cst.LessThanEqual: lambda a, b: a <= b,
    cst.GreaterThanEqual: lambda a, b: a >= b,
    cst.In: lambda a, b: a in b,
    cst.NotIn: lambda a, b: a not in b,
}


@lru_cache(maxsize=4096)
def _first_name(text: str) -> str:
    """Return the name that a condition begins with."""
    found = _IDENTIFIER.match(text)
    return found.group() if found is not None else ""


@lru_cache(maxsize=4096)
def _names_in(text: str) -> frozenset[str]:
    """Return the names in a condition."""
    return frozenset(_IDENTIFIER.findall(text))


@lru_cache(maxsize=4096)
def _anonymous(text: str, name: str) -> str:
    """Return a condition without the name of the object that it asks about."""
    return re.sub(rf"\b{name}\b", "@", text)


_JUDGED = (cst.Name, cst.SimpleString, cst.Integer, cst.Attribute)


class Conditions:
    """The part of the interpreter that keeps track of conditions."""

    def condition(self: Interpreter, node: cst.BaseExpression) -> Guard | None:
        """Return `node` as a condition that can be remembered, with the truth it has when `node` is true."""
        truth = True
        while type(node) is cst.UnaryOperation and type(node.operator) is cst.Not:
            node, truth = node.expression, not truth
        text = self.text_key(node)
        if text is None:
            return None
        root = _first_name(text)
        if not root:
            return None
        path = node.left if type(node) is cst.Comparison else node
        known = self.anchor(path)
        if known is not None:
            owner, subject = known
            return (owner, f"{subject}{text[len(cast('str', self.text_key(path))) :]}", truth)
        scopes = self.frames[-1].scopes
        place: Any = scopes[0]
        for scope in scopes:
            value = self.store.get((scope, root))
            if value is not None:
                made = self.made(value) if text != root else None
                place = scope if made is None else made
                if made is not None:
                    text = _anonymous(text, root)
                break
        return (place, text, truth)

    @staticmethod
    def made(value: Value) -> Any:
        """Return what tells an object from others, whatever its names: settings are read in one function and used in others."""
        if isinstance(value, _HELD):
            return value.id
        origin = value.origin if isinstance(value, _UNTOLD) else None
        return ("made", origin.key) if origin is not None and isinstance(origin.node, cst.Call) else None

    def anchor(self: Interpreter, path: cst.BaseExpression) -> tuple[Any, str] | None:
        """Return the innermost known object that `self.config.mode` leads through, and the rest of the path from there.

        The same object is met under other names, `config.mode` in a function that is given `self.config`. A parameter
        that nothing is known of stays the same, too, where it was kept (`self.config = config`); as a whole, it is a switch.
        """
        root, *rest = dotted_name(path).split(".")
        value: Value | None = None
        stored = self.store.get
        for scope in self.frames[-1].scopes:
            value = stored((scope, root))
            if value is not None:
                break
        found: tuple[Any, str] | None = None
        while True:
            if isinstance(value, _HELD):
                found = (value.id, ".".join(("@", *rest)))
                record = self.store.get(value.id)
                value = record.attrs.get(rest[0]) if rest and isinstance(record, ObjRec) else None
                if value is None:
                    return found
                del rest[0]
                continue
            origin = value.origin if isinstance(value, _PLAIN_VALUES) else None
            if origin is None or not isinstance(origin.node, cst.Param):
                return found
            if not rest:
                return ("switch", f"#{origin.key}")
            return ("parameter", ".".join((f"#{origin.key}", *rest))) if isinstance(value, Unknown) else found

    def text_key(self: Interpreter, node: cst.CSTNode) -> str | None:
        """Return a short text for simple conditions; None for others."""
        if type(node) is cst.Name:
            return node.value
        known = self.text_keys.get(id(node))
        if known is None:
            # With the node, so that its number is not given away.
            known = self.text_keys[id(node)] = (node, self.text_of(node))
        return known[1]

    def text_of(self: Interpreter, node: cst.CSTNode) -> str | None:
        """Return what `text_key` keeps."""
        if isinstance(node, cst.Attribute):
            left = self.text_key(node.value)
            return None if left is None else f"{left}.{node.attr.value}"
        if isinstance(node, cst.SimpleString | cst.Integer | cst.Float):
            return node.value
        if isinstance(node, cst.Comparison) and len(node.comparisons) == 1:
            left, right = self.text_key(node.left), self.text_key(node.comparisons[0].comparator)
            if left is None or right is None:
                return None
            return f"{left} {type(node.comparisons[0].operator).__name__} {right}"
        if isinstance(node, cst.Call) and len(node.args) <= 3:
            keys = [self.text_key(node.func), *(self.text_key(arg.value) for arg in node.args)]
            return None if None in keys else f"{keys[0]}({', '.join(cast('list[str]', keys[1:]))})"
        if (
            isinstance(node, cst.Subscript)
            and len(node.slice) == 1
            and isinstance(node.slice[0].slice, cst.Index)
        ):
            left, index = self.text_key(node.value), self.text_key(node.slice[0].slice.value)
            return None if left is None or index is None else f"{left}[{index}]"
        if isinstance(node, cst.Subscript) and len(node.slice) == 1:
            bounds = cast("cst.Slice", node.slice[0].slice)
            ends = ["" if b is None else self.text_key(b) for b in (bounds.lower, bounds.upper)]
            left = self.text_key(node.value)
            return None if left is None or None in ends or bounds.step else f"{left}[{ends[0]}:{ends[1]}]"
        return None

    def assume(self: Interpreter, node: cst.BaseExpression, truth: bool) -> Guard | None:
        """Let `node` be `truth` from here on; return the condition for joins, where it can be named."""
        while type(node) is cst.UnaryOperation and type(node.operator) is cst.Not:
            node, truth = node.expression, not truth
        if type(node) is cst.BooleanOperation:
            both = isinstance(node.operator, cst.And)
            if both == truth:
                self.assume(node.left, truth)
                self.assume(node.right, truth)
            return None
        guard = self.condition(node)
        self.narrow(node, truth)
        if guard is None:
            return None
        owner, text, sign = guard
        key = (owner, text)
        written = self.text_key(node) or text
        for name in (_names_in(text) | _names_in(written)) or (text,):
            self.assumed.setdefault(name, set()).add(key)
        self.asked.setdefault(key, written)
        self.store.set(("?", *key), sign == truth)
        return (owner, text, sign == truth)

    def held(self: Interpreter, about: re.Pattern[str]) -> tuple[str, ...]:
        """Return the conditions that hold or fail here, as they are written, of those that `about` finds."""
        seen, found = self.asked_about.get(about, (0, []))
        found += [one for one in islice(self.asked.items(), seen, None) if about.search(one[1]) is not None]
        self.asked_about[about] = (len(self.asked), found)
        return tuple(text for key, text in found if isinstance(self.store.get(("?", *key)), bool))

    def narrow(self: Interpreter, node: cst.BaseExpression, truth: bool) -> None:
        """Narrow a variable by `x is None`, `isinstance(x, …)` or its truth."""
        subject: cst.BaseExpression = node
        keep_none: bool | None = False if truth else None
        if type(node) is cst.Comparison and len(node.comparisons) == 1:
            target = node.comparisons[0]
            if not (type(target.comparator) is cst.Name and target.comparator.value == "None"):
                return
            is_none = isinstance(target.operator, cst.Is | cst.Equal)
            if not is_none and not isinstance(target.operator, cst.IsNot | cst.NotEqual):
                return
            subject, keep_none = node.left, is_none == truth
        elif type(node) is cst.Call:
            self.narrow_isinstance(node, truth)
            return
        if keep_none is False and type(subject) is cst.Attribute:
            for owner in alternatives(self.eval(subject.value)):
                self.knowledge.found_set(self, owner, subject.attr.value)
        if keep_none is None or type(subject) is not cst.Name:
            return
        value = self.lookup(subject.value)
        if not isinstance(value, Choice):
            return
        kept = [
            alt.value
            for alt in value.alts
            if (isinstance(alt.value, Const) and alt.value.value is None) == keep_none
            or isinstance(alt.value, Unknown)
        ]
        if kept and len(kept) < len(value.alts):
            self.store.set((self.scope_for(subject.value), subject.value), join_all(kept))

    def restricted(self: Interpreter, value: Value) -> Value:
        """Drop alternatives of `value` that contradict the conditions that hold here."""
        if not isinstance(value, Choice) or not self.assumed:
            return value
        guards = {(g[0], g[1]) for alt in value.alts for g in alt.guards}
        holds = {key: held for key in guards if isinstance(held := self.store.get(("?", *key)), bool)}
        return restrict(value, holds) if holds else value

    def narrow_isinstance(self: Interpreter, node: cst.Call, truth: bool) -> None:
        """Narrow a variable by `isinstance(x, str)`."""
        asked = _isinstance_of(node)
        if asked is None or not isinstance(asked[0], cst.Name):
            return
        subject, wanted = asked[0], asked[1]
        value = self.lookup(subject.value)
        if value is None:
            return
        kept = [one for one in alternatives(value) if is_instance(one, wanted) in (None, truth)]
        if truth and wanted == {"str"}:
            kept = [Str((Hole(one, subject.value),)) if isinstance(one, Unknown) else one for one in kept]
        if kept and (len(kept) < len(alternatives(value)) or truth):
            self.store.set((self.scope_for(subject.value), subject.value), join_all(kept))

    def isinstance_truth(self: Interpreter, node: cst.Call) -> bool | None:
        """Return the truth of `isinstance(x, …)` where all that `x` may be agrees."""
        asked = _isinstance_of(node)
        if asked is None:
            return None
        verdicts = {is_instance(one, asked[1]) for one in alternatives(self.eval(asked[0]))}
        return verdicts.pop() if len(verdicts) == 1 else None

    # -- truth ---------------------------------------------------------------------------------------------------

    def truth(self: Interpreter, node: cst.BaseExpression) -> bool | None:
        """Return the truth of a condition where it is certain."""
        if type(node) is cst.UnaryOperation and type(node.operator) is cst.Not:
            inner = self.truth(node.expression)
            return None if inner is None else not inner
        if type(node) is cst.BooleanOperation:
            left, right = self.truth(node.left), self.truth(node.right)
            if isinstance(node.operator, cst.And):
                return False if False in (left, right) else (True if left and right else None)
            return True if True in (left, right) else (False if left is False and right is False else None)
        guard = self.condition(node)
        if guard is not None:
            held = self.store.get(("?", guard[0], guard[1]))
            if isinstance(held, bool):
                return held == guard[2]
        if type(node) is cst.Comparison and len(node.comparisons) == 1:
            return self.compare_truth(node)
        if type(node) is cst.Call:
            return self.isinstance_truth(node)
        if type(node) in _JUDGED:
            value = self.eval(node)
            if isinstance(value, Const) and not value.default:
                return bool(value.value)
            if isinstance(value, Model | Tokenizer | Function | ClassObj):
                return None if getattr(value, "named", False) else True
        return None

    def compare_truth(self: Interpreter, node: cst.Comparison) -> bool | None:
        operator = node.comparisons[0].operator
        # Operands were evaluated with the condition; a second evaluation would repeat the calls in them.
        known = self.operands.pop(id(node), None)
        left, right = known or (self.eval(node.left), self.eval(node.comparisons[0].comparator))
        if isinstance(left, Const) and isinstance(right, Const) and not left.default and not right.default:
            try:
                return bool(_COMPARE[type(operator)](left.value, right.value))
            except (KeyError, TypeError):
                return None
        if isinstance(operator, cst.In | cst.NotIn) and isinstance(left, Const) and isinstance(right, Ref):
            held = self.holds_key(right, left.value, node.comparisons[0].comparator)
            return None if held is None else held == isinstance(operator, cst.In)
        if (
            isinstance(operator, cst.Is | cst.IsNot | cst.Equal | cst.NotEqual)
            and isinstance(right, Const)
            and right.value is None
        ):
            positive = isinstance(operator, cst.Is | cst.Equal)
            if isinstance(left, Unknown | Choice | External) or (isinstance(left, Const) and left.default):
                return None
            if isinstance(left, Model | Tokenizer) and (left.named or getattr(left, "outside", False)):
                return None
            is_none = isinstance(left, Const) and left.value is None
            return is_none == positive
        return None

    def holds_key(self: Interpreter, ref: Ref, key: object, name: cst.BaseExpression) -> bool | None:
        """Return whether a dict surely holds a key, or surely does not, as one that a caller made and passed."""
        record = self.store.get(ref.id)
        if not isinstance(record, DictRec) or not isinstance(key, str):
            return None
        if key in record.entries:
            return None if record.open is not None else True
        # An encoding holds more than its ids and mask, by its tokenizer; what is no parameter others may fill.
        parameters = getattr(getattr(self.frame.function, "node", None), "params", None)
        passed = (
            isinstance(name, cst.Name)
            and parameters is not None
            and any(param.name.value == name.value for param in parameters.params)
        )
        return None if record.open is not None or record.encoding is not None or not passed else False


def _isinstance_of(node: cst.Call) -> tuple[cst.BaseExpression, set[str]] | None:
    """Return the subject and the bare class names of `isinstance(x, …)`; None for other calls."""
    if not (isinstance(node.func, cst.Name) and node.func.value == "isinstance" and len(node.args) == 2):
        return None
    kinds = node.args[1].value
    classes = [element.value for element in kinds.elements] if isinstance(kinds, cst.Tuple) else [kinds]
    return node.args[0].value, {dotted_name(one).rpartition(".")[2] for one in classes}


def comparisons_in(node: cst.BaseExpression) -> Iterator[cst.Comparison]:
    """Yield the comparisons that make an expression true or false, through `not`, `and`, `or`, `all` and `any`."""
    if isinstance(node, cst.Comparison):
        yield node
    elif isinstance(node, cst.UnaryOperation):
        yield from comparisons_in(node.expression)
    elif isinstance(node, cst.BooleanOperation):
        yield from comparisons_in(node.left)
        yield from comparisons_in(node.right)
    elif isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value in {"all", "any"}:
        for arg in node.args:
            yield from comparisons_in(arg.value)
    elif isinstance(node, cst.ListComp | cst.GeneratorExp | cst.SetComp):
        yield from comparisons_in(node.elt)
    elif isinstance(node, cst.List | cst.Tuple):
        for element in node.elements:
            yield from comparisons_in(element.value)


def is_instance(one: Value, wanted: set[str]) -> bool | None:
    """Whether a value is of one of the classes; None where that is not known."""
    if isinstance(one, Str | Hole) or (isinstance(one, Const) and isinstance(one.value, str)):
        return "str" in wanted
    if isinstance(one, Ref) and one.kind == "list":
        return bool(wanted & {"list", "tuple", "Sequence", "Iterable"})
    if isinstance(one, Ref) and one.kind == "dict":
        if wanted & _MAPPINGS:
            return True
        # An encoding is a mapping, but no `dict`.
        return None if wanted & {"dict", "OrderedDict", "defaultdict"} else False
    if isinstance(one, Const) and wanted <= _PLAIN:
        return type(one.value).__name__ in wanted or (isinstance(one.value, bool) and "int" in wanted)
    if isinstance(one, Tokenizer) and one.class_name:
        processor = one.class_name.endswith("Processor")
        if all("Processor" in name for name in wanted):
            return processor
        if all("Tokenizer" in name for name in wanted) and processor:
            return False
    return None
