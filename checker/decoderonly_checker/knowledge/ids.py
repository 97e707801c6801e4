"""Token ids, masks and what `generate` returned: shapes, slices, copies, concatenation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.access import Slice
from decoderonly_checker.flow.boundaries import note_boundary, note_mask
from decoderonly_checker.flow.choices import concat, text_of
from decoderonly_checker.flow.facts import IdsCut, IdsWrite
from decoderonly_checker.flow.labels import ignores
from decoderonly_checker.flow.literals import literal_of
from decoderonly_checker.flow.state import DictRec, ListRec, ObjRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Below,
    Const,
    Encoding,
    Generated,
    Hole,
    Ids,
    Length,
    Opaque,
    Ref,
    Shape,
    Site,
    Str,
    Tri,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.labels import join_lists
from decoderonly_checker.knowledge.python import APPENDED, with_appended

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_SAME = frozenset(
    {
        "to",
        "cuda",
        "cpu",
        "long",
        "int",
        "detach",
        "contiguous",
        "type",
        "type_as",
        "numpy",
        "pin_memory",
        "mps",
        "half",
        "requires_grad_",
        "view",
        "reshape",
        "expand",
        "expand_as",
        "repeat",
        "repeat_interleave",
        "data",
        "float",
        "index_select",
        "narrow",
        "bool",
        "transpose",
        "chunk",
        "astype",
        "share_memory_",
        "xpu",
        "npu",
        "flip",
    }
)
MANY = 1000  # stands for a number of tokens that is not known
FEW = 4  # so many tokens taken off an end are special tokens, not a part of the text
_IN_PLACE = frozenset(
    {"scatter_", "masked_scatter_", "index_put_", "index_copy_", "put_", "copy_", "fill", "mul_"}
)
_COPIES = frozenset({"clone", "copy", "tolist", "new_tensor"})


def new_ids(interp: Interpreter, encoding: Encoding | None, field: str, rank: str, site: Site) -> Ids:
    """Make a buffer of ids."""
    return Ids(encoding, field, rank, interp.store.new_id(), origin=site)


def copied(interp: Interpreter, ids: Ids, site: Site) -> Ids:
    """Return a copy of ids: a buffer of its own."""
    return interp.derived(ids, site)


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    method = registry.method

    def ids_attribute(interp: Interpreter, owner: Ids | Generated, name: str, site: Site) -> Value | None:
        if name == "shape":
            return Shape(owner, origin=site)
        if name in {"T", "data", "mT"}:
            return owner
        if isinstance(owner, Generated) and name == "sequences":
            return replace(owner, rank="batch")
        if isinstance(owner, Generated) and name in {
            "scores",
            "logits",
            "hidden_states",
            "attentions",
            "past_key_values",
        }:
            return Opaque(name, origin=site)
        if isinstance(owner, Ids) and name in {"input_ids", "attention_mask"} and owner.rank == "batch":
            # `apply_chat_template(tokenize=True)` returns an encoding from transformers 5 on.
            return replace(owner, field=name, origin=site)
        if name in {"device", "dtype", "ndim"}:
            return Unknown(hint=name, origin=site)
        if name == "**" and isinstance(owner, Ids):
            from decoderonly_checker.knowledge.python import new_lib

            return new_lib(
                interp, "kwargs", {f: replace(owner, field=f) for f in ("input_ids", "attention_mask")}, site
            )
        return None

    registry.attributes.setdefault(Ids, []).append(ids_attribute)
    registry.attributes.setdefault(Generated, []).append(ids_attribute)

    @method((Ids, Generated), "size")
    def size(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value:
        axis = args.get(0, "dim")
        if axis is None:
            return Shape(receiver, origin=interp.site(node))
        return dimension(receiver, literal(axis), interp.site(node))

    def dimension(of: Value, axis: Any, site: Site) -> Value:
        rank = getattr(of, "rank", "batch")
        if axis in (-1, 1) or (axis == 0 and rank != "batch"):
            return Length(of, "width", origin=site)
        return Length(of, "rows", origin=site) if axis in (0, -2) else Unknown(hint="length", origin=site)

    def shape_item(
        interp: Interpreter, owner: Shape, index: list[Any], site: Site, node: Node
    ) -> Value | None:
        first = index[0] if index else UNKNOWN
        if isinstance(first, Slice):
            return owner
        return dimension(owner.of, literal(first), site)

    registry.items.setdefault(Shape, []).append(shape_item)

    # One count a row: an element of them is such a count again. The largest is the width that rows are padded to.
    registry.items.setdefault(Length, []).append(
        lambda interp, owner, index, site, node: owner if owner.what in {"real", "width"} else None
    )
    registry.iterators[Length] = lambda interp, value: value if value.what in {"real", "width"} else None

    def length_method(
        interp: Interpreter, receiver: Length, name: str, args: Args, node: Node
    ) -> Value | None:
        if name in {"item", "tolist", "cpu", "numpy", "long", "int", "to", "squeeze", "flatten"}:
            return receiver
        if name in {"max", "amax"} and receiver.what == "real":
            return Length(receiver.of, "width", receiver.offset, origin=interp.site(node))
        return None

    registry.any_method.setdefault(Length, []).append(length_method)
    registry.function("builtins.int")(
        lambda interp, name, args, node: args.get(0) if isinstance(args.get(0), Length) else None
    )

    def transform(
        interp: Interpreter, receiver: Ids | Generated, name: str, args: Args, node: Node
    ) -> Value | None:
        site = interp.site(node)
        flat = name in {"view", "reshape"} and [literal(v) for v in args.positional] == [-1]
        if name in {"flatten", "ravel"} or flat:
            return replace(receiver, rank="row")
        if name in _SAME:
            return receiver
        if name in _COPIES:
            return copied(interp, receiver, site) if isinstance(receiver, Ids) else receiver
        if name == "unsqueeze" and receiver.rank == "row":
            return replace(receiver, rank="batch")
        if name == "squeeze" and receiver.rank == "batch":
            return replace(receiver, rank="row")
        if name == "unsqueeze":
            return receiver
        if name in {"ne", "eq"} and args.positional:
            return registry.compare(interp, receiver, args.positional[0], name == "eq", site)
        if isinstance(receiver, Ids):
            if name == "sum" and receiver.field in {"attention_mask", "mask-by-comparison"}:
                return Length(receiver, "real", origin=site)
            if name in {"masked_fill", "masked_fill_", "index_fill_", "fill_"}:
                return fill(interp, receiver, name, args, node)
            if name in _IN_PLACE:
                interp.ignore_write(receiver, None, "unknown", node)
                return receiver
            if name in {"keys", "items", "values"}:
                return None
            if name == "pop":
                return replace(receiver, field=str(literal(args.get(0))))
        return None

    def fill(interp: Interpreter, receiver: Ids, name: str, args: Args, node: Node) -> Value:
        target = receiver if name.endswith("_") else copied(interp, receiver, interp.site(node))
        value = args.get({"fill_": 0, "index_fill_": 2}.get(name, 1), "value")
        if name == "fill_":
            interp.ignore_write(target, UNKNOWN, "mask", node)
        elif ignores(value):
            interp.ignore_write(target, args.get(0, "mask"), "mask", node)
            note_mask(interp, target, args.get(0, "mask"), node)
        elif value is not None:
            event = IdsWrite(*interp.where(node), target, args.get(0, "mask"), "mask", value)
            interp.record("ids_writes", event)
        return target

    for kind in (Ids, Generated):
        registry.any_method.setdefault(kind, []).append(transform)

    def ids_item(interp: Interpreter, owner: Ids, index: list[Any], site: Site, node: Node) -> Value | None:
        first = index[0] if index else UNKNOWN
        key = literal(first) if isinstance(first, Value) else None
        if isinstance(key, str):
            return replace(owner, field=key, origin=site)
        part = _left_out(owner, index)
        if part:
            owner = replace(owner, part=part if owner.part in {"", part} else "some")
        if len(index) == 2 and not isinstance(first, Slice) and owner.rank == "batch":
            if not isinstance(index[1], Slice):
                return replace(owner, rank="token")
            return cut_columns(interp, replace(owner, rank="row"), index[1], node)
        if len(index) == (2 if owner.rank == "batch" else 1) and isinstance(index[-1], Slice):
            return cut_columns(interp, owner, index[-1], node)
        if isinstance(first, Slice) or len(index) > 1:
            return owner
        if owner.rank == "batch":
            if isinstance(first, Below) and first.how != "index":
                return owner
            if isinstance(first, Unknown) and first.hint in {"None", "condition"}:
                return owner
            return replace(owner, rank="row")
        return replace(owner, rank="token")

    def cut_columns(interp: Interpreter, owner: Ids, bounds: Slice, node: Node) -> Ids:
        """Return ids without the columns that a slice leaves out; a few at an end are counted."""
        front, behind = owner.added
        start = owner.start
        lower, upper = literal(bounds.lower), literal(bounds.upper)
        if isinstance(lower, int) and 0 <= lower <= FEW:
            front -= lower
        elif bounds.lower is not None:
            start = bounds.lower if start is None else Unknown()
        if isinstance(upper, int) and -FEW <= upper < 0:
            behind += upper
        offset = _moved(owner.offset, bounds.lower, interp.site(node))
        origin = owner.origin if offset == owner.offset else interp.site(node)
        return replace(owner, start=start, added=(front, behind), offset=offset, origin=origin)

    registry.items.setdefault(Ids, []).append(ids_item)

    @method(Ids, "append")
    def append_token(interp: Interpreter, receiver: Ids, name: str, args: Args, node: Node) -> Value:
        """Count the tokens that are appended to a list of ids."""
        more = with_appended(interp, receiver).added[1] - receiver.added[1]
        interp.store.set(receiver.id, ObjRec(None, {APPENDED: Const(more + 1)}))
        return Const(None)

    @method(Ids, "numel")
    def numel(interp: Interpreter, receiver: Ids, name: str, args: Args, node: Node) -> Value:
        of = with_appended(interp, receiver)
        single = of.rank == "row" or (of.encoding is not None and of.encoding.batched is Tri.NO)
        return Length(of, "width" if single else "cells", origin=interp.site(node))

    registry.iterators[Ids] = lambda interp, v: replace(v, rank="row" if v.rank == "batch" else "token")

    def generated_item(
        interp: Interpreter, owner: Generated, index: list[Any], site: Site, node: Node
    ) -> Value | None:
        first = index[0] if index else UNKNOWN
        key = literal(first) if isinstance(first, Value) else None
        if key == "sequences" or (owner.rank == "dict" and key == 0):
            return replace(owner, rank="batch")
        if isinstance(key, str):
            return Opaque(key, origin=site)
        rank = owner.rank
        for position, one in enumerate(index):
            last_axis = rank == "row" or position == 1
            if isinstance(one, Slice):
                if last_axis:
                    return cut_ids(
                        interp, replace(owner, rank="row" if rank == "row" else "batch"), one, node
                    )
            elif rank == "batch" and position == 0:
                rank = "row"
                if len(index) > 1 and isinstance(index[1], Slice):
                    return cut_ids(interp, replace(owner, rank="row"), index[1], node)
            else:
                return replace(owner, rank="token")
        return replace(owner, rank=rank, origin=site)

    def cut_ids(interp: Interpreter, owner: Generated, bounds: Slice, node: Node) -> Value:
        lower = bounds.lower
        number = literal(lower)
        if lower is None or (isinstance(number, int) and number in (0, 1)) or owner.cut is not None:
            return owner
        interp.record("ids_cuts", IdsCut(*interp.where(node), owner, lower))
        if interp.recording and all(isinstance(v, Length) and v.what == "width" for v in alternatives(lower)):
            owner.call.prompt_expected = True
        return replace(owner, cut=lower, origin=interp.site(node))

    registry.items.setdefault(Generated, []).append(generated_item)
    registry.iterators[Generated] = lambda interp, v: replace(v, rank="row" if v.rank == "batch" else "token")

    def compare(interp: Interpreter, left: Value, right: Value, equal: bool, site: Site) -> Value | None:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Ids):
                return Ids(
                    one.encoding,
                    "comparison" if equal else "mask-by-comparison",
                    one.rank,
                    interp.store.new_id(),
                    compared=one.field,
                    token=other,
                    origin=site,
                )
        return None

    registry.comparisons.append(compare)

    def join_ids(interp: Interpreter, values: list[Value], site: Site) -> Value | None:
        """Join ids of a prompt and a response into one row, keeping what each was made of."""
        generated = [v for value in values for v in alternatives(value) if isinstance(v, Generated)]
        if generated:
            return generated[0]
        ids = [
            v
            for value in values
            for v in alternatives(value)
            if isinstance(v, Ids) and v.encoding is not None
        ]
        if not ids:
            return None
        first = ids[0]
        fields = {one.field for one in ids}
        field = first.field if len(fields) == 1 else "mixed"
        if any(interp.fills_ignore(v) for v in values):
            field = "masked labels"
        if interp.fills_ignore(values[0]):
            for one in ids:
                note_boundary(interp, one, one.start, "rest", site.node)
            field = "masked labels"
        text: Value = first.encoding.text if first.encoding is not None else UNKNOWN
        for one in ids[1:]:
            if one.encoding is not None and one.encoding.text is not text:
                text = concat(text_of(text), text_of(one.encoding.text))
        if first.encoding is None:
            return Ids(None, field, first.rank, interp.store.new_id(), origin=site)
        slots = [i for i, v in enumerate(values) if any(one in ids for one in alternatives(v))]
        sizes = {i: single_tokens(interp, v) for i, v in enumerate(values) if i not in slots}
        rows = len(slots) > 1
        joined = rows or first.start is not None or first.encoding.joined
        front, behind = first.added
        if rows:
            front, behind = front + behind, 0  # what is between the first row and the next
        before = [sizes[i] for i in range(slots[0])]
        front += sum(size or 0 for size in before)
        if rows or not first.encoding.joined:
            after = [sizes[i] for i in range(slots[0] + 1, slots[1] if rows else len(values))]
            behind += sum(MANY if size is None else size for size in after)
        if rows and separates(values[slots[1]]):
            behind += FEW
        lineage = frozenset().union(*({one.id, *one.lineage} for one in ids))
        begins = next((v for v in alternatives(values[0]) if isinstance(v, Ids)), None)
        made = Ids(
            replace(first.encoding, text=text, site=first.encoding.site, joined=joined),
            field,
            first.rank,
            interp.store.new_id(),
            start=Unknown() if None in before else first.start,
            added=(front, behind),
            offset=begins.offset if begins is not None else ("?", 0),
            copied=True,
            lineage=lineage,
            origin=site,
        )
        return join_lists(interp, values, made, site)

    def separates(value: Value) -> bool:
        """Whether ids are those of a literal: what stands between the prompt and the answer."""
        return any(
            isinstance(one, Ids) and one.encoding is not None and isinstance(literal(one.encoding.text), str)
            for one in alternatives(value)
        )

    def single_tokens(interp: Interpreter, value: Value) -> int | None:
        """Return how many tokens a literal list or a tensor of it holds, None where that is not known."""
        record = interp.store.get(value.id) if isinstance(value, Ref) else None
        return len(record.items) if isinstance(record, ListRec) and record.items is not None else None

    registry.joins.append(join_ids)

    def opaque_item(
        interp: Interpreter, owner: Opaque, index: list[Any], site: Site, node: Node
    ) -> Value | None:
        return Opaque(owner.name, origin=site)

    registry.items.setdefault(Opaque, []).append(opaque_item)
    registry.iterators[Opaque] = lambda interp, v: Opaque(v.name, origin=v.origin)


def _left_out(owner: Ids, index: list[Any]) -> str:
    """Return where a subscript leaves out columns: up to a bound that is only known when the program runs, or by a mask."""
    last = index[-1] if index else None
    if isinstance(last, Slice):
        if len(index) != 2 and owner.rank != "row":
            return ""
        start, end = (
            bound is not None and not isinstance(bound, Const) for bound in (last.lower, last.upper)
        )
        return "some" if start and end else "start" if start else "end" if end else ""
    # A mask, a `slice(…)` object, a list of columns.
    columns = owner.rank == "row" or (len(index) == 2 and isinstance(index[0], Slice))
    return "some" if columns and isinstance(last, Value) and not isinstance(last, Const) else ""


def batched(interp: Interpreter, text: Value | None) -> Tri:
    """Whether a tokenizer's input holds more than one text."""
    if text is None:
        return Tri.MAYBE
    found: Tri | None = None
    for one in alternatives(text):
        if isinstance(one, Str | Hole) or isinstance(literal(one), str):
            this = Tri.NO
        elif isinstance(one, Ref):
            this = _batched_ref(interp, one)
        elif isinstance(one, Const) and one.value is None:
            continue
        elif type(one).__name__ == "Tuple":
            this = Tri.YES
        else:
            this = Tri.MAYBE
        found = this if found is None else found | this
    return Tri.MAYBE if found is None else found


def _batched_ref(interp: Interpreter, ref: Ref) -> Tri:
    record = interp.store.get(ref.id)
    if isinstance(record, ListRec):
        if record.items is not None:
            return Tri.NO if len(record.items) == 1 else Tri.YES if record.items else Tri.MAYBE
        return Tri.YES
    if isinstance(record, DictRec):
        return Tri.NO
    return Tri.MAYBE


def _moved(offset: tuple[str, int], lower: Value | None, site: Site) -> tuple[str, int]:
    """Return where ids begin after a slice that begins at `lower`."""
    if lower is None or literal(lower) == 0:
        return offset
    base, count = offset
    shift = literal(lower)
    if isinstance(shift, int) and shift > 0:
        return base, count + shift
    code, number = _sum(site)
    return f"{base}|{code}" if base else code, count + number


def _sum(site: Site) -> tuple[str, int]:
    """Return the lower bound of the last slice of a subscript as an expression and a number added to it: `i + 1`."""
    node = site.node
    if not isinstance(node, cst.Subscript) or not isinstance(node.slice[-1].slice, cst.Slice):
        return "?", 0
    bound = node.slice[-1].slice.lower
    number = 0
    if isinstance(bound, cst.BinaryOperation):
        sign = {cst.Add: 1, cst.Subtract: -1}.get(type(bound.operator))
        right = bound.right
        added = literal_of(right.value) if isinstance(right, cst.Integer) else None
        if sign is not None and isinstance(added, int):
            bound, number = bound.left, sign * added
    if bound is None:
        return "?", number
    code = bound.value if isinstance(bound, cst.Name) else site.code(bound)
    return "".join(code.split()), number
