"""Labels: how ids become labels, and what is written into them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.boundaries import note_boundary, note_mask
from decoderonly_checker.flow.facts import IdsWrite, IgnoreWrite, LabelsMade
from decoderonly_checker.flow.state import DictRec, ListRec
from decoderonly_checker.flow.values import (
    Below,
    External,
    Ids,
    Lib,
    Model,
    Opaque,
    Ref,
    Site,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from decoderonly_checker.flow.access import Slice
    from decoderonly_checker.flow.interpreter import Interpreter

IGNORE_INDEX = -100
LABELS = frozenset({"input_ids", "masked labels"})  # the fields of ids that the loss may be taken over
_IGNORES = late_pattern(r"ignore|label_?pad", re.IGNORECASE)
# A pad token that was set to another token reads as that one.
_PAD = late_pattern(r"(?:^|_)(?:pad(?:ding)?|eos|unk)(?:_|$)", re.IGNORECASE)


def name_of(value: Value | None) -> str:
    """Return the name that an unknown value came through."""
    if isinstance(value, External | Opaque):
        return value.name.rpartition(".")[2]
    return value.hint if isinstance(value, Unknown) else ""


def ignores(value: Value | None) -> bool:
    """Whether a value is the ignore index, or comes through a name that says so."""
    return any(
        literal(one) == IGNORE_INDEX or _IGNORES.search(name_of(one)) is not None
        for one in alternatives(value)
    )


def is_pad(value: Value | None) -> bool:
    """Whether a value is the id of the pad token, by its name."""
    return any(_PAD.search(name_of(one)) is not None for one in alternatives(value))


def is_other(value: Value | None) -> bool:
    """Whether a value is surely a number or a token that the loss does not ignore."""
    known = alternatives(value)
    return bool(known) and all(
        not ignores(one) and (isinstance(literal(one), int | float) or is_pad(one)) for one in known
    )


class Labels:
    """The part of the interpreter that follows label buffers."""

    # -- labels --------------------------------------------------------------------------------------------------

    def labels_in_dict(self: Interpreter, entries: Mapping[Any, Value], node: cst.CSTNode) -> None:
        """Note that ids became labels, and what `input_ids` stand beside them."""
        self.labels_made(entries["labels"], "dict", node, inputs=entries.get("input_ids"))

    def labels_made(
        self: Interpreter,
        labels: Value,
        where: str,
        node: cst.CSTNode,
        inputs: Value | None = None,
        model: Model | None = None,
    ) -> None:
        """Note that `labels` are what the loss is taken over."""
        for one in self.buffers(labels):
            if one.encoding is not None and one.field in LABELS:
                if self.holds_ignored(labels):
                    self.ignore_write(one, None, "list", node)
                self.record("labels_made", LabelsMade(*self.where(node), one, where, inputs, model))

    def labels_returned(self: Interpreter, value: Value, node: cst.CSTNode) -> None:
        """Note labels that were put, row by row, into a list that stood in a dict before."""
        record = self.store.get(value.id) if isinstance(value, Ref) else None
        labels = record.entries.get("labels") if isinstance(record, DictRec) else None
        if isinstance(record, DictRec) and isinstance(labels, Ref):
            self.labels_in_dict(record.entries, node)

    def buffers(self: Interpreter, value: Value | None, depth: int = 0) -> Iterator[Ids]:
        """Yield the ids that a value holds, also those in lists of rows or of tokens."""
        for one in alternatives(value):
            if isinstance(one, Ids):
                yield one
            elif isinstance(one, Ref) and depth < 3:
                record = self.store.get(one.id)
                if isinstance(record, ListRec):
                    yield from self.buffers(record.element, depth + 1)

    def holds_ignored(self: Interpreter, value: Value | None, depth: int = 0) -> bool:
        """Whether a value is a list, or a list of lists, that holds the ignore index."""
        for one in alternatives(value):
            record = self.store.get(one.id) if isinstance(one, Ref) else None
            if isinstance(record, ListRec) and (
                ignores(record.element) or (depth < 3 and self.holds_ignored(record.element, depth + 1))
            ):
                return True
        return False

    def derived(self: Interpreter, ids: Ids, site: Site) -> Ids:
        """Return a buffer of its own that was made from `ids`."""
        return replace(ids, id=self.store.new_id(), copied=True, lineage=ids.lineage | {ids.id}, origin=site)

    # -- writes --------------------------------------------------------------------------------------------------

    def ignore_write(
        self: Interpreter, target: Value, selector: Value | None, kind: str, node: cst.CSTNode
    ) -> None:
        """Note that the ignore index was written into labels."""
        targets: list[Ids | None] = [*self.buffers(target)] or [None]
        for one in targets:
            self.record("ignore_writes", IgnoreWrite(*self.where(node), one, selector, kind))

    def written(
        self: Interpreter, owner: Value, index: list[Value | Slice], value: Value, target: cst.Subscript
    ) -> None:
        """Note what an assignment to `owner[index]` does to labels."""
        kind, selector = selected(index)
        filling = self.store.get(value.id) if isinstance(value, Ref) else None
        if isinstance(filling, ListRec) and filling.times is not None and is_other(filling.element):
            value = filling.element  # `labels[:n] = [0] * n`
        if self.fills_ignore(owner):
            for one in alternatives(value):
                if isinstance(one, Ids):
                    from_here = one.start
                    if isinstance(selector, Below) and selector.negated:
                        from_here = selector.count
                    note_boundary(self, one, from_here, "rest", target)
        if ignores(value) or self.fills_ignore(value):
            self.ignore_write(owner, selector, kind, target)
            if kind == "mask":
                note_mask(self, owner, selector, target)
            elif kind == "slice":
                note_boundary(self, owner, selector, "slice", target)
            return
        for one in self.buffers(owner):
            if not is_other(value):
                # Something that is not known was written into the buffer; it may be the ignore index.
                self.record("ignore_writes", IgnoreWrite(*self.where(target), one, value, "unknown"))
            part = self.get_item(one, index, target)
            if isinstance(part, Ids):
                event = IdsWrite(*self.where(target), replace(one, offset=part.offset), selector, kind, value)
                self.record("ids_writes", event)

    def fills_ignore(self: Interpreter, value: Value) -> bool:
        """Whether `value` is a list or tensor filled with the ignore index."""
        for one in alternatives(value):
            record = self.store.get(one.id) if isinstance(one, Ref) else None
            if isinstance(record, ListRec) and ignores(record.element) and not any(self.buffers(one)):
                return True
            if isinstance(one, Lib) and one.name == "filled":
                return True
        return False

    # -- token by token ------------------------------------------------------------------------------------------

    def chosen_token(
        self: Interpreter, test: Value, arms: tuple[Value, Value], node: cst.IfExp
    ) -> Value | None:
        """Return the ids of `-100 if test else token`; None where the expression is something else."""
        for value, other in (arms, arms[::-1]):
            token = next((one for one in alternatives(other) if isinstance(one, Ids)), None)
            if token is None:
                continue
            if ignores(value):
                made = self.derived(token, self.site(node))
                self.ignore_write(made, test, "mask", node)
                return made
            if is_other(value):
                made = self.derived(token, self.site(node))
                self.record("ids_writes", IdsWrite(*self.where(node), made, test, "mask", value))
                return made
        return None

    def chosen_unknown(self: Interpreter, element: cst.BaseExpression, result: Value) -> None:
        """Note that a comprehension over labels that are not known puts -100 among them."""
        if isinstance(element, cst.IfExp) and ignores(result) and not any(self.buffers(result)):
            self.ignore_write(Unknown(), Unknown(hint="condition"), "mask", element)


def selected(index: list[Value | Slice]) -> tuple[str, Value | None]:
    """Return the kind of a write to `owner[index]` and what it selects: see `IgnoreWrite`."""
    last = index[-1] if index else Unknown()
    if isinstance(last, Value):
        return "mask", last
    front = last.lower is None or literal(last.lower) == 0
    if last.upper is None:
        return ("slice", None) if front else ("tail", last.lower)
    return "slice" if front else "span", last.upper
