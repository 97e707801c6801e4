"""Attributes, subscripts, slices and iteration: reading and writing parts of a value."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import libcst as cst

from decoderonly_checker.flow.choices import each, join, join_all
from decoderonly_checker.flow.project import dotted_name
from decoderonly_checker.flow.scores import Logits
from decoderonly_checker.flow.state import DictRec, ListRec, ObjRec
from decoderonly_checker.flow.values import (
    NAMED,
    UNKNOWN,
    Args,
    Bound,
    Choice,
    ClassObj,
    Const,
    External,
    Function,
    ImportRef,
    Length,
    Lib,
    Method,
    Model,
    Pipeline,
    Ref,
    Str,
    Tokenizer,
    Tuple,
    Unknown,
    Value,
    Zip,
    alternatives,
    literal,
)

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter

MAX_PAIRS = 16
_LIBRARY = (Model, Tokenizer, Pipeline, Lib)
_TOLD_NOTHING = (Unknown, Const)
# Class methods of transformers that give an object of the class.
MAKERS = frozenset({"from_pretrained", "from_config", "_from_config"})
# What torch gives to every module of a project, and what returns that module.
_MODULE_METHODS = frozenset(
    {"to", "cuda", "cpu", "eval", "train", "half", "float", "bfloat16", "requires_grad_"}
)
_PASS_THROUGH = frozenset({"Optional", "Union", "Annotated", "Final", "ClassVar", "Required"})
_SEQUENCES = frozenset({"List", "list", "Sequence", "Iterable", "tuple", "Tuple", "Iterator", "Collection"})


class Slice:
    """The bounds of one slice, as values; None where a bound is left out."""

    def __init__(self, lower: Value | None, upper: Value | None, step: Value | None) -> None:
        self.lower, self.upper, self.step = lower, upper, step


def is_front(index: Value | Slice) -> bool:
    """Whether an index takes all but the last: `[:-1]`."""
    if not isinstance(index, Slice) or index.step is not None or literal(index.lower) not in {None, 0}:
        return False
    return (index.lower is None or isinstance(index.lower, Const)) and literal(index.upper) == -1


class Access:
    """The part of the interpreter that reads and writes parts of values."""

    # -- attributes ----------------------------------------------------------------------------------------------

    def attribute(self: Interpreter, node: cst.Attribute) -> Value:
        owner = self.eval(node.value)
        imports = self.frames[-1].module.imports
        if imports and (dotted := dotted_name(node)):
            module = imports.get(dotted)
            if module is not None:
                return ImportRef(module, None, module.name)
        name = node.attr.value
        if isinstance(owner, Choice):
            found = each(owner, lambda one: self.get_attribute(one, name, node))
        else:
            found = self.get_attribute(owner, name, node)
        return self.get_path(node, self.restricted(found) if isinstance(found, Choice) else found)

    def get_attribute(self: Interpreter, owner: Value, name: str, node: cst.CSTNode) -> Value:
        """Return `owner.name` for one alternative of the owner."""
        site = self.site(node)
        if type(owner) is ImportRef:
            value = self.settle(ImportRef(owner.module, name, f"{owner.key}:{name}", origin=site))
            if all(isinstance(one, Unknown) or one == Const(None) for one in alternatives(value)):
                # A global that some function sets from too many sources: its name is all that is left.
                return self.named_value(name, site) or value
            return value
        if isinstance(owner, External):
            return External(f"{owner.name}.{name}", origin=site)
        if isinstance(owner, Ref):
            return self.object_attribute(owner, name, node)
        if isinstance(owner, ClassObj):
            found = self.class_attribute(owner, name)
            if isinstance(found, Function) and "classmethod" in self.decorators(found):
                return Bound(owner, found, origin=site)
            if found is not None:
                return found
            if name in MAKERS:
                return Method(owner, name, origin=site)
            bases = self.external_bases(owner)
            return External(f"{bases[0]}.{name}", origin=site) if bases else Unknown(hint=name, origin=site)
        if isinstance(owner, _LIBRARY):
            record = self.store.get(owner.id)
            # A pipeline is given names and holds what they stand for.
            if isinstance(record, ObjRec) and name in record.attrs and not isinstance(owner, Pipeline):
                return record.attrs[name]
        found = self.knowledge.attribute(self, owner, name, site)
        if found is not None:
            return found
        if isinstance(owner, Unknown):
            return self.named_value(name, site) or Unknown(hint=name, origin=site)
        return Method(owner, name, origin=site)

    def object_attribute(self: Interpreter, owner: Ref, name: str, node: cst.CSTNode) -> Value:
        record = self.store.get(owner.id)
        site = self.site(node)
        if isinstance(record, DictRec):
            # A BatchEncoding's entries are attributes too; a plain dict has only methods.
            if (record.encoding is not None or record.dotted) and name in record.entries:
                return record.entries[name]
            if record.dotted and (self.knowledge.methods.get((Ref, name))) is None:
                return self.named_value(name, site) or Unknown(hint=name, origin=site)
            return Method(owner, name, origin=site)
        if isinstance(record, ListRec):
            return Method(owner, name, origin=site)
        if not isinstance(record, ObjRec):
            return Unknown(hint=name, origin=site)
        if name in record.attrs:
            return record.attrs[name]
        if record.cls is None:
            return self.named_value(name, site) or Unknown(hint=name, origin=site)
        found = self.class_attribute(record.cls, name)
        if isinstance(found, Function):
            decorators = self.decorators(found)
            if any(d in {"property", "cached_property", "functools.cached_property"} for d in decorators):
                return self.follow(found, Args(), node, owner)
            if "staticmethod" in decorators:
                return found
            return Bound(owner, found, origin=site)
        if found is not None:
            return found
        if name == "__class__":
            return record.cls
        known = self.knowledge.inherited(self, self.external_bases(record.cls), owner, name, site)
        if known is not None:
            return known
        if name in _MODULE_METHODS and self.external_bases(record.cls):
            return Method(owner, name, origin=site)
        getter = self.class_attribute(record.cls, "__getattr__")
        if isinstance(getter, Function) and not name.startswith("__"):
            given = self.follow(getter, Args((Const(name),)), node, owner)
            passed_on = [one for one in alternatives(given) if not isinstance(one, _TOLD_NOTHING)]
            if passed_on:
                return join_all(passed_on)
        return self.named_value(name, site) or Unknown(hint=name, origin=site)

    def decorators(self: Interpreter, function: Function) -> list[str]:
        """Return the names of a function's decorators, as they are written."""
        found = self.decorated_by.get(function.key)
        if found is None:
            found = [dotted_name(d.decorator) for d in getattr(function.node, "decorators", ())]
            self.decorated_by[function.key] = found
        return found

    def mro(self: Interpreter, cls: ClassObj) -> list[ClassObj]:
        """Return a class and its bases in the project, nearest first."""
        order: list[ClassObj] = []
        queue = [cls]
        while queue and len(order) < 12:
            one = queue.pop(0)
            if one in order:
                continue
            order.append(one)
            for base in one.bases:
                queue.extend(alt for alt in alternatives(self.settle(base)) if isinstance(alt, ClassObj))
        return order

    def class_body(self: Interpreter, cls: ClassObj) -> dict[str, Function]:
        """Return the methods that a class's own body defines."""
        return self.bodies.get(cls.key, {})

    def class_attribute(self: Interpreter, cls: ClassObj, name: str) -> Value | None:
        for owner in self.mro(cls):
            value = self.store.get((owner.scope, name))
            if value is not None:
                return cast("Value", value)
        return None

    def set_attribute(self: Interpreter, owner: Value, name: str, value: Value, node: cst.CSTNode) -> None:
        """Assign to `owner.name`."""
        site = self.site(node)
        if isinstance(owner, (Ref, *_LIBRARY)):
            record = self.store.get(owner.id)
            if isinstance(owner, _LIBRARY):
                # The place of the assignment is what a report must show, not that of the literal.
                value = value.at(site)
            if isinstance(record, ObjRec):
                setter = (
                    self.class_attribute(record.cls, f"{name}.setter")
                    if record.cls is not None and name in self.setters
                    else None
                )
                if isinstance(setter, Function):
                    self.follow(setter, Args((value,)), node, owner)
                    return
                self.store.set(owner.id, record.with_attr(name, value))
            elif isinstance(record, DictRec):
                record = record.with_entry(name, value)
                self.store.set(owner.id, record)
                if name == "labels":
                    self.labels_in_dict(record.entries, node)
        elif isinstance(owner, ClassObj):
            self.store.set((owner.scope, name), value)
        elif isinstance(owner, ImportRef) and owner.name is None:
            # What the module itself binds comes first.
            self.run_module(cast("Any", owner.module))
            self.store.set((cast("Any", owner.module).scope, name), value)
        if isinstance(owner, Ref):
            self.use(value, "kept", node)

    # -- subscripts ----------------------------------------------------------------------------------------------

    def subscript(self: Interpreter, node: cst.Subscript) -> Value:
        owner = self.eval(node.value)
        index = [self.slice_element(element.slice) for element in node.slice]
        found = self.restricted(each(owner, lambda one: self.get_item(one, index, node)))
        return self.get_path(node, found)

    def slice_element(self: Interpreter, element: cst.BaseSlice) -> Value | Slice:
        if isinstance(element, cst.Index):
            return self.eval(element.value)
        bounds = cast("cst.Slice", element)
        return Slice(
            *(None if b is None else self.eval(b) for b in (bounds.lower, bounds.upper, bounds.step))
        )

    def get_item(self: Interpreter, owner: Value, index: list[Value | Slice], node: cst.CSTNode) -> Value:
        """Return `owner[index]` for one alternative of the owner."""
        first = index[0] if index else UNKNOWN
        site = self.site(node)
        if isinstance(owner, Ref):
            record = self.store.get(owner.id)
            if isinstance(record, DictRec) and isinstance(first, Value):
                shared = self.store.get(record.open.id) if isinstance(record.open, Ref) else None
                if isinstance(first, Const):
                    value = record.get(first.value)
                    if isinstance(shared, ListRec) and first.value not in record.entries:
                        # An entry that `defaultdict` makes, or a dataset's column: each key has a list of its own.
                        if shared.element == NAMED:
                            shared = ListRec(
                                None, Unknown(hint=str(first.value).removesuffix("s"), origin=site)
                            )
                        value = Ref(self.store.new(shared), "list", origin=site)
                        self.store.set(owner.id, record.with_entry(first.value, value))
                    if value is None or value == NAMED:
                        return Unknown(hint=str(first.value), origin=site)
                    return value
                if record.open == NAMED:
                    return Unknown(hint=getattr(first, "hint", ""), origin=site)
                if isinstance(shared, ListRec):
                    return join_all([*record.entries.values(), cast("Value", record.open)])
                return self.any_entry(record)
            if isinstance(record, ListRec):
                part = self.list_item(record, first, node)
                if is_front(first) and isinstance(part, Ref):
                    cut = self.store.get(part.id)
                    self.store.set(part.id, ListRec(cut.items, cut.element, owner.id))
                return part
            if isinstance(record, ObjRec) and record.cls is not None and isinstance(first, Value):
                getter = self.class_attribute(record.cls, "__getitem__")
                if isinstance(getter, Function):
                    return self.follow(getter, Args((first,)), node, owner)
        if isinstance(owner, Tuple):
            if isinstance(first, Slice):
                low, high = literal(first.lower), literal(first.upper)
                if first.step is None and all(b is None or isinstance(b, int) for b in (low, high)):
                    return Tuple(owner.items[low:high], origin=site)
                return Ref(self.store.new(ListRec(None, join_all(list(owner.items)))), "list")
            position = literal(first)
            if isinstance(position, int) and -len(owner.items) <= position < len(owner.items):
                return owner.items[position]
            if isinstance(position, str):
                return Unknown(hint=position, origin=site)  # no tuple, where this is reached
            return join_all(list(owner.items))
        if isinstance(owner, ImportRef) and isinstance(first, Const) and isinstance(first.value, str):
            return self.get_attribute(owner, first.value, node)  # `globals()["name"]`
        made = self.knowledge.item(self, owner, index, site, node)
        if made is not None:
            return made
        if isinstance(owner, External) and owner.name in {"typing.Union", "typing.Optional"}:
            return join_all([one for one in index if isinstance(one, Value)])
        key = literal(first) if isinstance(first, Value) else None
        hint = key if isinstance(key, str) else getattr(owner, "hint", "")
        return Unknown(hint=hint, front=is_front(first), origin=site)

    def any_entry(self: Interpreter, record: DictRec) -> Value:
        """Return what a key that is not known may give: any entry, if all are known."""
        if isinstance(record.open, Unknown):
            return UNKNOWN
        rest = [] if record.open is None else [record.open]
        return join_all([*record.entries.values(), *rest])

    def list_item(self: Interpreter, record: ListRec, first: Value | Slice, node: cst.CSTNode) -> Value:
        if isinstance(first, Slice):
            if any(isinstance(v, Length) and v.what in {"chars", "index"} for v in alternatives(first.lower)):
                # Cut at a length of text: where this is reached, the value is a text and not a list of them.
                return Unknown(origin=self.site(node))
            low, high = literal(first.lower), literal(first.upper)
            exact = record.items is not None and first.step is None
            items = None
            if exact and all(b is None or isinstance(b, int) for b in (low, high)):
                items = cast("tuple[Value, ...]", record.items)[low:high]
            elif self.takes_one(node):
                items = (record.element,)
            return Ref(self.store.new(ListRec(items, record.element)), "list", origin=self.site(node))
        position = literal(first)
        if (
            isinstance(position, int)
            and record.items is not None
            and -len(record.items) <= position < len(record.items)
        ):
            return record.items[position]
        return record.element

    def takes_one(self: Interpreter, node: cst.CSTNode) -> bool:
        """Whether a slice surely takes one item at most: `rows[i : i + size]` where `size` is 1."""
        bounds = node.slice[0].slice if isinstance(node, cst.Subscript) else None
        if not isinstance(bounds, cst.Slice) or bounds.lower is None:
            return False
        upper = bounds.upper
        if not isinstance(upper, cst.BinaryOperation) or not isinstance(upper.operator, cst.Add):
            return False
        for begin, size in ((upper.left, upper.right), (upper.right, upper.left)):
            if begin.deep_equals(bounds.lower):
                return all(literal(one) == 1 for one in alternatives(self.eval(size)))
        return False

    def set_item(self: Interpreter, target: cst.Subscript, value: Value) -> None:
        """Assign to `owner[index]`."""
        owner = self.eval(target.value)
        index = [self.slice_element(element.slice) for element in target.slice]
        first = index[0] if index else UNKNOWN
        for one in alternatives(owner):
            if isinstance(one, Ref):
                self.set_entry(one, first, value, target)
            elif isinstance(one, ImportRef) and isinstance(first, Const):
                self.set_attribute(one, str(first.value), value, target)
            elif isinstance(one, Logits) and self.recording:
                one.call.overwritten = True
        self.set_path(owner, target, value)
        self.written(owner, index, value, target)
        self.use(value, "kept", target)

    def set_entry(self: Interpreter, ref: Ref, key: Value | Slice, value: Value, node: cst.Subscript) -> None:
        record = self.store.get(ref.id)
        if isinstance(record, DictRec):
            if isinstance(key, Const):
                record = record.with_entry(key.value, value)
                self.store.set(ref.id, record)
                if key.value == "labels":
                    self.labels_in_dict(record.entries, node)
            else:
                open_ = value if record.open is None else join(record.open, value)
                keys = record.keys
                if isinstance(key, Value):
                    keys = key if keys is None else join(keys, key)
                self.store.set(ref.id, replace(record, open=open_, keys=keys))
        elif isinstance(record, ListRec):
            position = literal(key) if isinstance(key, Value) else None
            items = record.items
            if items is not None and isinstance(position, int) and -len(items) <= position < len(items):
                changed = list(items)
                changed[position] = value
                self.store.set(ref.id, ListRec(tuple(changed), join_all(changed)))
            elif isinstance(key, Value):
                self.store.set(ref.id, ListRec(None, join(record.element, value)))
        elif isinstance(record, ObjRec) and record.cls is not None:
            setter = self.class_attribute(record.cls, "__setitem__")
            if isinstance(setter, Function) and isinstance(key, Value):
                self.follow(setter, Args((key, value)), node, ref)

    def delete_item(self: Interpreter, target: cst.Subscript) -> None:
        """Run `del owner[key]`."""
        owner = self.eval(target.value)
        index = [self.slice_element(element.slice) for element in target.slice]
        key = literal(index[0]) if index and isinstance(index[0], Value) else None
        for one in alternatives(owner):
            record = self.store.get(one.id) if isinstance(one, Ref) else None
            if isinstance(one, Ref) and isinstance(record, DictRec) and key in record.entries:
                entries = {k: v for k, v in record.entries.items() if k != key}
                self.store.set(one.id, replace(record, entries=entries))

    def dict_record(self: Interpreter, value: Value) -> DictRec | None:
        """Return the entries of a value that is surely one dict."""
        for one in alternatives(value):
            if isinstance(one, Ref):
                record = self.store.get(one.id)
                if isinstance(record, DictRec):
                    return record if not isinstance(value, Choice) else self.joined_dicts(value)
                if isinstance(record, ObjRec) and record.cls is not None:
                    return None
        return None

    def dict_of_pairs(self: Interpreter, value: Value) -> DictRec | None:
        """Return the entries of `dict(pairs)`; None where the pairs are not known."""
        pairs = self.elements(value, None)
        rows = [row.items for row in pairs or () if isinstance(row, Tuple) and len(row.items) == 2]
        if pairs is None or len(rows) < len(pairs) or not all(isinstance(key, Const) for key, _ in rows):
            return None
        return DictRec({cast("Const", key).value: entry for key, entry in rows})

    def united(self: Interpreter, left: Value, right: Value) -> DictRec | None:
        """Return `left | right` of two dicts, as far as either is known; None where neither is."""
        first, second = self.dict_record(left), self.dict_record(right)
        if first is None or second is None:
            known = first or second
            return None if known is None else replace(known, open=right if second is None else left)
        open_ = first.open if second.open is None else second.open
        encoding = second.encoding or first.encoding
        return replace(first, entries={**first.entries, **second.entries}, open=open_, encoding=encoding)

    def joined_dicts(self: Interpreter, value: Choice) -> DictRec | None:
        """Return the join of several dicts; None where an alternative is something else."""
        from decoderonly_checker.flow.state import join_records

        result: DictRec | None = None
        for alt in value.alts:
            if isinstance(alt.value, Const) and alt.value.value is None:
                continue
            record = self.store.get(alt.value.id) if isinstance(alt.value, Ref) else None
            if not isinstance(record, DictRec):
                return None
            result = record if result is None else cast("DictRec", join_records(result, record, None, None))
        return result

    # -- iteration -----------------------------------------------------------------------------------------------

    def elements(self: Interpreter, value: Value, size: int | None) -> tuple[Value, ...] | None:
        """Return the items of a value where each is known (`size` of them, where given)."""
        items: tuple[Value, ...] | None = None
        if isinstance(value, Tuple):
            items = value.items
        elif isinstance(value, Ref):
            record = self.store.get(value.id)
            if isinstance(record, ListRec):
                items = record.items
            elif isinstance(record, DictRec) and record.open is None:
                items = tuple(Const(key) for key in record.entries)
            elif isinstance(record, ObjRec) and record.cls is not None:
                items = self.named_tuple(record, record.cls)
        elif isinstance(value, Method) and value.name in {"items()", "values()", "keys()"}:
            record = self.dict_record(value.receiver)
            if record is not None and record.open is None:
                items = self.entries_of(record, value.name)
        elif isinstance(value, Zip) and value.sources:
            columns = [self.elements(source, None) for source in value.sources]
            if all(column is not None and len(column) <= MAX_PAIRS for column in columns):
                items = tuple(map(Tuple, zip(*cast("list[tuple[Value, ...]]", columns), strict=False)))
        if items is None or (size is not None and len(items) != size):
            return None
        return items

    def named_tuple(self: Interpreter, record: ObjRec, cls: ClassObj) -> tuple[Value, ...] | None:
        """Return the items of an object whose class is a `NamedTuple`."""
        if not any(base.rpartition(".")[2] == "NamedTuple" for base in self.external_bases(cls)):
            return None
        return tuple(record.attrs.get(name, UNKNOWN) for name in self.fields.get(cls.key, {}))

    def entries_of(self: Interpreter, record: DictRec, view: str) -> tuple[Value, ...]:
        if view == "items()":
            return tuple(Tuple((Const(k), v)) for k, v in record.entries.items())
        if view == "values()":
            return tuple(record.entries.values())
        return tuple(Const(k) for k in record.entries)

    def element_at(self: Interpreter, value: Value, position: int) -> Value:
        """Return the element that unpacking puts at `position`."""
        if isinstance(value, Choice):
            return each(value, lambda one: self.element_at(one, position))
        items = self.elements(value, None)
        if items is not None and position < len(items):
            return items[position]
        if isinstance(value, Ref):
            return self.iterate(value)
        made = self.knowledge.unpacked(self, value, position)
        return UNKNOWN if made is None else made

    def iterate(self: Interpreter, value: Value) -> Value:
        """Return what one turn of a loop over `value` sees."""
        return each(value, self.iterate_one)

    def iterate_one(self: Interpreter, value: Value) -> Value:
        if isinstance(value, Tuple):
            return join_all(list(value.items))
        if isinstance(value, Zip):
            return Tuple(tuple(self.iterate(source) for source in value.sources))
        if isinstance(value, Method) and value.name in {"items()", "values()", "keys()"}:
            record = self.dict_record(value.receiver)
            if record is not None:
                pairs = self.entries_of(record, value.name)
                key = self.key_of(record)
                if value.name == "items()":
                    values = [record.open] if record.open is not None else []
                    values += list(record.entries.values())
                    return Tuple((key, join_all(values)))
                rest = [] if record.open is None else [record.open if value.name == "values()" else key]
                return join_all([*pairs, *rest])
            return Tuple((Unknown(hint="key"), UNKNOWN)) if value.name == "items()" else UNKNOWN
        if isinstance(value, Ref):
            record = self.store.get(value.id)
            if isinstance(record, ListRec):
                return (
                    record.element if record.items is None else join_all([record.element, *record.items[:8]])
                )
            if isinstance(record, DictRec):
                return self.key_of(record)
            if isinstance(record, ObjRec) and record.cls is not None:
                return self.iterate_object(value, record.cls)
        if isinstance(value, Str):
            return Unknown(hint="character")
        made = self.knowledge.iterated(self, value)
        if made is not None:
            return made
        hint = getattr(value, "hint", "")
        singular = hint.removesuffix("s")
        return Unknown(hint=singular if isinstance(value, Unknown) else "", origin=value.origin)

    def key_of(self: Interpreter, record: DictRec) -> Value:
        """Return what the keys of a dict are, where they are more than names."""
        if record.entries or record.keys is None or isinstance(record.keys, Const | Str):
            return Unknown(hint="key")
        return record.keys

    def iterate_object(self: Interpreter, value: Ref, cls: ClassObj) -> Value:
        """Return what a loop over an object of the project sees: `__iter__`, or a dataset's `__getitem__`."""
        method = self.class_attribute(cls, "__iter__")
        if isinstance(method, Function):
            result = self.follow(method, Args(), method.node, value)
            own = any(isinstance(one, Ref) and one.id == value.id for one in alternatives(result))
            if not own:
                return self.iterate(result)
        for name, args in (("__next__", Args()), ("__getitem__", Args((Unknown(hint="index"),)))):
            method = self.class_attribute(cls, name)
            if isinstance(method, Function):
                return self.follow(method, args, method.node, value)
        return UNKNOWN
