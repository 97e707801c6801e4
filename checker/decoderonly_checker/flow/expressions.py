"""Expressions: literals, names, operators, comprehensions, strings, conditions."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import libcst as cst

from decoderonly_checker.flow.boundaries import note_boundary, positions_below
from decoderonly_checker.flow.choices import (
    MAX_TEXT,
    bounded,
    concat,
    decoded_in,
    each,
    join,
    join_all,
    text_of,
)
from decoderonly_checker.flow.frames import STEPS_BETWEEN_LOOKS, Frame
from decoderonly_checker.flow.labels import IGNORE_INDEX
from decoderonly_checker.flow.literals import literal_of, plain_text
from decoderonly_checker.flow.state import MAX_ITEMS, DictRec, ListRec
from decoderonly_checker.flow.templates import percent
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Below,
    ClassObj,
    Const,
    External,
    Hole,
    Ids,
    Length,
    Ref,
    Str,
    Tuple,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

    from decoderonly_checker.flow.interpreter import Interpreter

_BUILTINS = frozenset(
    [
        "print",
        "len",
        "list",
        "tuple",
        "dict",
        "set",
        "str",
        "int",
        "float",
        "bool",
        "zip",
        "enumerate",
        "range",
        "map",
        "filter",
        "sorted",
        "reversed",
        "open",
        "isinstance",
        "getattr",
        "setattr",
        "hasattr",
        "min",
        "max",
        "sum",
        "any",
        "all",
        "next",
        "iter",
        "super",
        "type",
        "format",
        "repr",
        "abs",
        "round",
        "input",
        "vars",
        "globals",
        "__import__",
        "id",
        "hash",
    ]
)
MAX_LITERAL = 64
# Names under which a sum of two unknown values is a text, not a number or a list of ids.
_TEXTLIKE = late_pattern(
    r"(?!.*(?:ids|mask|label|len|num|count|index|loss|size|token_id))"
    r".*(?:prompt|question|answer|text|instruct|input|output|response|context|query|completion|title|content|message|story"
    r"|summary|document|article|target|source|eos_token|bos_token|sep_token|chosen|reject|user|system|template|dialog"
    r"|continuation|prefix|suffix|ending|sentence|passage|caption|premise|hypothesis|few_?shot|demonstration)",
    re.IGNORECASE,
)


class Expressions:
    """The expression half of the interpreter."""

    def eval(self: Interpreter, node: cst.BaseExpression) -> Value:
        """Return what an expression may be."""
        self.budget -= 1
        if self.budget <= 0 or not self.budget % STEPS_BETWEEN_LOOKS:
            self.look()
        handler = _EXPRESSIONS.get(type(node))
        return handler(self, node) if handler is not None else Unknown(origin=self.site(node))

    # -- atoms ---------------------------------------------------------------------------------------------------

    def name(self: Interpreter, node: cst.Name) -> Value:
        text = node.value
        value = self.lookup(text)
        if value is not None:
            return value
        if text in _CONSTANTS:
            return Const(_CONSTANTS[text], origin=self.site(node))
        if text in _BUILTINS:
            return External(f"builtins.{text}", origin=self.site(node))
        return Unknown(hint=text, origin=self.site(node))

    def string(self: Interpreter, node: cst.SimpleString) -> Value:
        known = self.literals.get(id(node))
        if known is None:
            text = plain_text(node)
            if text is None:
                return Unknown(origin=self.site(node))
            known = self.literals[id(node)] = Const(text, origin=self.site(node))
        return known

    def joined_string(self: Interpreter, node: cst.ConcatenatedString) -> Value:
        return self.add(self.eval(node.left), self.eval(node.right), node)

    def formatted_string(self: Interpreter, node: cst.FormattedString) -> Value:
        pieces: list[tuple[str | Hole, ...]] = []
        for part in node.parts:
            if isinstance(part, cst.FormattedStringText):
                pieces.append((part.value.replace("{{", "{").replace("}}", "}").replace("\\n", "\n"),))
            elif isinstance(part, cst.FormattedStringExpression):
                value = self.eval(part.expression)
                pieces.append(text_of(value, self.text_key(part.expression) or ""))
        text = concat(*pieces)
        if all(isinstance(p, str) for p in text.parts):
            return Const("".join(cast("tuple[str, ...]", text.parts)), origin=self.site(node))
        return text.at(self.site(node))

    def number(self: Interpreter, node: cst.Integer | cst.Float) -> Value:
        number = literal_of(node.value)
        return Unknown(origin=self.site(node)) if number is None else Const(number, origin=self.site(node))

    def tuple_(self: Interpreter, node: cst.Tuple) -> Value:
        items: list[Value] = []
        for element in node.elements[:MAX_LITERAL]:
            if isinstance(element, cst.StarredElement):
                inner = self.elements(self.eval(element.value), None)
                if inner is None:
                    return Ref(self.store.new(ListRec(None, UNKNOWN)), "list", origin=self.site(node))
                items.extend(inner)
            else:
                items.append(self.eval(element.value))
        if len(items) > MAX_ITEMS:
            return Ref(self.store.new(ListRec(None, join_all(items))), "list", origin=self.site(node))
        return bounded(Tuple(tuple(items), origin=self.site(node)))

    def list_(self: Interpreter, node: cst.List | cst.Set) -> Value:
        items: list[Value] | None = []
        holds: list[Value] = []
        begins: Value | None = None
        for element in node.elements[:MAX_LITERAL]:
            value = self.eval(element.value)
            if isinstance(element, cst.StarredElement):
                begins = value if element is node.elements[0] else begins
                inner = self.elements(value, None)
                holds.append(self.iterate(value))
                items = None if inner is None or items is None else [*items, *inner]
            else:
                holds.append(value)
                if items is not None:
                    items.append(value)
        if len(node.elements) > MAX_LITERAL:
            items = None
        record = ListRec(None if items is None else tuple(items), join_all(holds), begins=begins)
        return Ref(self.store.new(record), "list", origin=self.site(node))

    def dict_(self: Interpreter, node: cst.Dict) -> Value:
        entries: dict[Any, Value] = {}
        rest: Value | None = None
        encoding = None
        for element in node.elements[: 4 * MAX_LITERAL]:
            value = self.eval(element.value)
            if isinstance(element, cst.StarredDictElement):
                record = self.dict_record(value)
                if record is None:
                    rest = value if rest is None else join(rest, value)
                else:
                    entries.update(record.entries)
                    rest = record.open if rest is None else rest
                    encoding = record.encoding or encoding
                continue
            key = self.eval(cast("cst.DictElement", element).key)
            if isinstance(key, Const):
                entries[key.value] = value
            else:
                rest = value if rest is None else join(rest, value)
        ref = Ref(self.store.new(DictRec(entries, rest, encoding)), "dict", origin=self.site(node))
        if isinstance(entries.get("labels"), Value):
            self.labels_in_dict(entries, node)
        return ref

    # -- operators -----------------------------------------------------------------------------------------------

    def binary(self: Interpreter, node: cst.BinaryOperation) -> Value:
        left, right = self.eval(node.left), self.eval(node.right)
        operator = type(node.operator)
        made = self.knowledge.operate(self, left, right, operator.__name__, self.site(node))
        if made is not None:
            return made
        if operator is cst.Add:
            return self.add(left, right, node)
        if operator is cst.Subtract:
            return each(left, lambda one: self.minus(one, right, node))
        if operator is cst.Modulo and (isinstance(left, Str) or isinstance(literal(left), str)):
            return percent(left, right, self.site(node))
        if operator is cst.Multiply:
            return self.repeat(left, right, node)
        if operator in (cst.BitOr, cst.BitAnd) and isinstance(left, Ids) and isinstance(right, Ids):
            return join(left, right)  # two masks in one
        if operator is cst.BitOr:
            return self.either_of(left, right, node)
        return Unknown(origin=self.site(node))

    def either_of(self: Interpreter, left: Value, right: Value, node: cst.BaseExpression) -> Value:
        """Return `left | right`: the union of dicts, or one of two types."""
        if all(isinstance(v, External | ClassObj) for side in (left, right) for v in alternatives(side)):
            return join(left, right)
        record = self.united(left, right)
        if record is None:
            return Unknown(origin=self.site(node))
        return Ref(self.store.new(record), "dict", origin=self.site(node))

    def minus(self: Interpreter, left: Value, right: Value, node: cst.BaseExpression) -> Value:
        shift = literal(right)
        if isinstance(left, Length) and isinstance(shift, int):
            return replace(left, offset=left.offset - shift, origin=self.site(node))
        if isinstance(left, Below) and isinstance(left.count, Length) and isinstance(shift, int):
            return replace(left, count=replace(left.count, offset=left.count.offset - shift))
        a = literal(left)
        if isinstance(a, int | float) and isinstance(shift, int | float):
            try:
                return Const(a - shift, origin=self.site(node))
            except OverflowError:
                return Unknown(origin=self.site(node))
        rest = any(isinstance(one, Length) for one in alternatives(right))
        return Unknown(hint="remaining" if rest else "", origin=self.site(node))

    def repeat(self: Interpreter, left: Value, right: Value, node: cst.BaseExpression) -> Value:
        for one, times in ((left, right), (right, left)):
            if isinstance(one, Ref) and one.kind == "list":
                record = self.store.get(one.id)
                if isinstance(record, ListRec):
                    made = ListRec(None, record.element, times=times)
                    return Ref(self.store.new(made), "list", origin=self.site(node))
            if isinstance(one, Const) and isinstance(one.value, str):
                return Str((one.value,), origin=self.site(node)) if one.value else one
        return Unknown(origin=self.site(node))

    def add(self: Interpreter, left: Value, right: Value, node: cst.CSTNode) -> Value:
        """Return `left + right` for strings, lists, ids and counts."""
        return each(left, lambda one: each(right, lambda two: self.add_one(one, two, node)))

    def add_one(self: Interpreter, left: Value, right: Value, node: cst.CSTNode) -> Value:
        site = self.site(node)
        if isinstance(left, Const) and isinstance(right, Const):
            if isinstance(left.value, str | bytes) and len(left.value) > MAX_TEXT:
                return Unknown(origin=site)  # `x = x + x` over and over would fill the memory
            try:
                return Const(left.value + right.value, origin=site)
            except (TypeError, OverflowError):
                return Unknown(origin=site)
        shift, other = (literal(right), left) if isinstance(left, Length) else (literal(left), right)
        if isinstance(other, Length):
            known = isinstance(shift, int)
            return replace(
                other,
                offset=other.offset + (shift if known else 0),
                loose=other.loose or not known,
                origin=site,
            )
        if any(
            isinstance(v, Str) or isinstance(literal(v), str) or isinstance(v, Hole) for v in (left, right)
        ):
            return concat(text_of(left), text_of(right)).at(site)
        for one, two in ((left, right), (right, left)):
            if isinstance(one, Ref) and one.kind == "list":
                a = self.store.get(one.id)
                if isinstance(two, Ref):
                    b = self.store.get(two.id)
                    if isinstance(a, ListRec) and isinstance(b, ListRec):
                        first, second = (a, b) if one is left else (b, a)
                        items = None
                        if first.items is not None and second.items is not None:
                            items = (*first.items, *second.items)
                        begins = left if items is None else None
                        made = ListRec(items, join(a.element, b.element), begins=begins)
                        return Ref(self.store.new(made), "list", origin=site)
                if isinstance(two, Ids):
                    return self.knowledge.join_ids(self, [left, right], site)
                if isinstance(a, ListRec):
                    made = ListRec(None, join(a.element, self.iterate(two)), begins=left)
                    return Ref(self.store.new(made), "list", origin=site)
        if isinstance(left, Ids) or isinstance(right, Ids):
            return self.knowledge.join_ids(self, [left, right], site)
        if (
            isinstance(left, Unknown)
            and isinstance(right, Unknown)
            and all(len(v.hint) < 200 and _TEXTLIKE.search(v.hint) for v in (left, right))
        ):
            return concat(text_of(left, left.hint), text_of(right, right.hint)).at(site)
        if next(decoded_in(left), None) or next(decoded_in(right), None):
            return concat(text_of(left), text_of(right)).at(site)
        return Unknown(origin=site)

    def boolean(self: Interpreter, node: cst.BooleanOperation) -> Value:
        left, right = self.eval(node.left), self.eval(node.right)
        if type(node.operator) is cst.Or:
            kept = [v for v in alternatives(left) if not (isinstance(v, Const) and not v.value)]
            if not kept:
                return right
            if isinstance(left, Const) and left.value and not left.default:
                return left
            return join(join_all(kept), right)
        return right

    def unary(self: Interpreter, node: cst.UnaryOperation) -> Value:
        value = self.eval(node.expression)
        if isinstance(node.operator, cst.Minus):
            return each(value, lambda one: self.negative(one, node))
        if isinstance(node.operator, cst.BitInvert) and isinstance(value, Ids):
            return value  # a mask, turned round
        return Unknown(origin=self.site(node))

    def negative(self: Interpreter, value: Value, node: cst.UnaryOperation) -> Value:
        made = self.knowledge.operate(self, Const(-1), value, "Multiply", self.site(node))
        if made is not None:
            return made
        number = literal(value)
        if isinstance(number, int | float):
            return Const(-number, origin=self.site(node))
        if isinstance(value, Length):
            return Length(value.of, f"-{value.what}", value.offset, origin=self.site(node))
        if isinstance(value, Unknown) and value.hint:
            return Length(value, "-count", origin=self.site(node))
        return Unknown(hint="negative", origin=self.site(node))

    def comparison(self: Interpreter, node: cst.Comparison) -> Value:
        left = self.eval(node.left)
        rights = [self.eval(target.comparator) for target in node.comparisons]
        self.operands[id(node)] = (left, rights[0])
        operator = type(node.comparisons[0].operator)
        done = "stated" if id(node) in self.stated else "compared"
        self.use(left, done, node)
        for value in rights:
            # `key in table` looks at keys, not at what the table holds.
            keys_only = operator in (cst.In, cst.NotIn) and isinstance(value, Ref) and value.kind == "dict"
            if not keys_only:
                self.use(value, done, node)
        if len(rights) == 1 and operator in (cst.Equal, cst.NotEqual):
            made = self.knowledge.compare(self, left, rights[0], operator is cst.Equal, self.site(node))
            if made is not None:
                return made
        if len(rights) == 1 and operator in _ORDERS:
            below = positions_below(left, rights[0], _ORDERS[operator])
            if below is not None:
                return below.at(self.site(node))
        truth = self.truth(node)
        return Unknown(hint="condition", origin=self.site(node)) if truth is None else Const(truth)

    def conditional(self: Interpreter, node: cst.IfExp) -> Value:
        test = self.eval(node.test)
        truth = self.truth(node.test)
        if truth is not None:
            return self.eval(node.body if truth else node.orelse)
        self.store.fork()
        guard = self.assume(node.test, truth=True)
        yes = self.eval(node.body)
        one = self.store.rollback()
        self.store.fork()
        other = self.assume(node.test, truth=False)
        no = self.eval(node.orelse)
        self.store.merge([(one, guard), (self.store.rollback(), other)])
        if isinstance(test, Below):
            ignored, kept = (no, yes) if test.negated else (yes, no)
            if literal(ignored) == IGNORE_INDEX:
                note_boundary(self, kept, test.count, test.how, node)
        made = self.chosen_token(test, (yes, no), node)
        return join(yes, no, guard, other) if made is None else made

    def lambda_(self: Interpreter, node: cst.Lambda) -> Value:
        return self.make_function(node, None)

    def await_(self: Interpreter, node: cst.Await) -> Value:
        return self.knowledge.awaited(self, self.eval(node.expression)) or UNKNOWN

    def yield_(self: Interpreter, node: cst.Yield) -> Value:
        resume = self.frame.resume
        if resume is not None:
            inner = node.value
            resume(Const(None) if inner is None or isinstance(inner, cst.From) else self.eval(inner))
            return Unknown()
        if node.value is not None:
            from_ = isinstance(node.value, cst.From)
            value = self.eval(node.value.item if isinstance(node.value, cst.From) else node.value)
            if from_:
                value = self.iterate(value)
            self.frame.yields.append(value)
            if self.frame.entry:
                self.returned(value, node.value.item if isinstance(node.value, cst.From) else node.value)
        return Unknown()

    def named(self: Interpreter, node: cst.NamedExpr) -> Value:
        value = self.eval(node.value)
        self.assign(node.target, value)
        return value

    # -- comprehensions ------------------------------------------------------------------------------------------

    def comprehension(self: Interpreter, node: cst.ListComp | cst.GeneratorExp | cst.SetComp) -> Value:
        """Run the element once per known item, or once for all items."""
        results: list[Value] = []
        exact = self.comp_for(node.for_in, lambda: results.append(self.element_of(node)))
        record = ListRec(tuple(results) if exact else None, join_all(results))
        return Ref(self.store.new(record), "list", origin=self.site(node))

    def element_of(self: Interpreter, node: cst.ListComp | cst.GeneratorExp | cst.SetComp) -> Value:
        """Return one element of a comprehension. Tokens that are picked from ids make a buffer of their own."""
        result = self.eval(node.elt)
        self.chosen_unknown(node.elt, result)
        return each(
            result,
            lambda one: (
                replace(self.derived(one, self.site(node)), part="some" if node.for_in.ifs else one.part)
                if isinstance(one, Ids) and one.rank == "token"
                else one
            ),
        )

    def comp_for(self: Interpreter, clause: cst.CompFor, run: Any) -> bool:
        """Run `run` for the items of a comprehension; return whether each item was seen on its own."""
        iterable = self.eval(clause.iter)
        items = self.elements(iterable, None)
        exact = items is not None and clause.inner_for_in is None and len(items) <= 16
        frame = self.frame
        scope = self.store.new_id()
        self.frames.append(Frame(frame.module, frame.cell, (scope, *frame.scopes), frame.function))
        self.frame.loop_depth = frame.loop_depth + 1
        self.frame.yields = frame.yields
        try:
            if exact and clause.ifs:
                items = self.kept(clause, cast("tuple[Value, ...]", items))
                exact = items is not None
            for item in cast("tuple[Value, ...]", items) if exact else (self.iterate(iterable),):
                self.assign(clause.target, item)
                for condition in clause.ifs:
                    self.eval(condition.test)
                if clause.inner_for_in is not None:
                    self.comp_for(clause.inner_for_in, run)
                else:
                    run()
        finally:
            self.frames.pop()
            if scope not in self.captured:
                self.store.retire(scope)
        return exact

    def kept(self: Interpreter, clause: cst.CompFor, items: tuple[Value, ...]) -> tuple[Value, ...] | None:
        """Return the items that a comprehension's conditions let through; None where one is not decided."""
        found: list[Value] = []
        for item in items:
            self.assign(clause.target, item)
            for condition in clause.ifs:
                self.eval(condition.test)
            truths = [self.truth(condition.test) for condition in clause.ifs]
            if None in truths:
                return None
            if all(truths):
                found.append(item)
        return tuple(found)

    def dict_comprehension(self: Interpreter, node: cst.DictComp) -> Value:
        entries: dict[Any, Value] = {}
        rest: list[Value] = []
        keys: list[Value] = []
        source = self.items_source(node.for_in)

        def run() -> None:
            key, value = self.eval(node.key), self.eval(node.value)
            if isinstance(key, Const):
                entries[key.value] = value
            else:
                rest.append(value)
                keys.append(key)

        exact = self.comp_for(node.for_in, run)
        open_ = join_all(rest) if rest else (source.open if source is not None else None)
        if source is not None and node.for_in.ifs and not exact:
            open_ = join_all([*rest, Unknown()])
        encoding = source.encoding if source is not None else None
        record = DictRec(entries, open_, encoding, join_all(keys) if keys else None)
        return Ref(self.store.new(record), "dict", origin=self.site(node))

    def items_source(self: Interpreter, clause: cst.CompFor) -> DictRec | None:
        """Return the dict of `… for k, v in d.items()`."""
        iter_ = clause.iter
        if (
            isinstance(iter_, cst.Call)
            and isinstance(iter_.func, cst.Attribute)
            and iter_.func.attr.value == "items"
        ):
            return self.dict_record(self.eval(iter_.func.value))
        return None


_ORDERS = {cst.LessThan: "<", cst.LessThanEqual: "<=", cst.GreaterThan: ">", cst.GreaterThanEqual: ">="}
_CONSTANTS = {"True": True, "False": False, "None": None}


def _starred(self: Interpreter, node: cst.StarredElement) -> Value:
    return self.eval(node.value)


_EXPRESSIONS: dict[type, Callable[..., Value]] = {
    cst.Name: Expressions.name,
    cst.SimpleString: Expressions.string,
    cst.ConcatenatedString: Expressions.joined_string,
    cst.FormattedString: Expressions.formatted_string,
    cst.Integer: Expressions.number,
    cst.Float: Expressions.number,
    cst.Tuple: Expressions.tuple_,
    cst.List: Expressions.list_,
    cst.Set: Expressions.list_,
    cst.Dict: Expressions.dict_,
    cst.BinaryOperation: Expressions.binary,
    cst.BooleanOperation: Expressions.boolean,
    cst.UnaryOperation: Expressions.unary,
    cst.Comparison: Expressions.comparison,
    cst.IfExp: Expressions.conditional,
    cst.Lambda: Expressions.lambda_,
    cst.Await: Expressions.await_,
    cst.Yield: Expressions.yield_,
    cst.NamedExpr: Expressions.named,
    cst.ListComp: Expressions.comprehension,
    cst.SetComp: Expressions.comprehension,
    cst.GeneratorExp: Expressions.comprehension,
    cst.DictComp: Expressions.dict_comprehension,
    cst.StarredElement: _starred,
    cst.Attribute: lambda self, node: self.attribute(node),
    cst.Subscript: lambda self, node: self.subscript(node),
    cst.Call: lambda self, node: self.call(node),
}
