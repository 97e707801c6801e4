"""Data collators: how rows become a batch, by the project's own function, by transformers' or trl's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.choices import each, join_all
from decoderonly_checker.flow.facts import Collation, IgnoreWrite, LabelsMade
from decoderonly_checker.flow.state import DictRec, ObjRec, restrict
from decoderonly_checker.flow.values import (
    NONE,
    UNKNOWN,
    Alt,
    Args,
    Bound,
    Choice,
    Encoding,
    External,
    Function,
    Ids,
    Lib,
    Method,
    Partial,
    Ref,
    Site,
    Tokenizer,
    Tri,
    Tuple,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.ids import copied
from decoderonly_checker.knowledge.python import lib_attrs, new_lib, new_list
from decoderonly_checker.knowledge.registry import is_none
from decoderonly_checker.knowledge.tokenizers import padding_side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
LANGUAGE_MODELLING = "DataCollatorForLanguageModeling"
COMPLETION_ONLY = "DataCollatorForCompletionOnlyLM"
# The parameters of transformers' collators, in order.
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    LANGUAGE_MODELLING: ("tokenizer", "mlm", "mlm_probability", "pad_to_multiple_of", "tf_experimental_compile"),
    COMPLETION_ONLY: ("response_template", "instruction_template", "tokenizer"),
    "DataCollatorForSeq2Seq": (
        *("tokenizer", "model", "padding", "max_length", "pad_to_multiple_of", "label_pad_token_id"),
    ),
    "DataCollatorWithPadding": ("tokenizer", "padding", "max_length", "pad_to_multiple_of"),
    "DataCollatorForTokenClassification": (
        *("tokenizer", "padding", "max_length", "pad_to_multiple_of", "label_pad_token_id"),
    ),
    "DataCollatorWithFlattening": ("return_position_ids", "separator_id"),
    "DefaultDataCollator": ("return_tensors",),
}  # fmt: skip
_PATHS = (
    "transformers.",
    "transformers.data.",
    "transformers.data.data_collator.",
    "trl.",
    "trl.trainer.",
    "trl.trainer.utils.",
)
_DEFAULT = frozenset({"default_data_collator", "torch_default_data_collator", "default_collate"})
_CALLABLE = (Function, Bound, Partial, Method)


def batch_size(size: Value | None, default: int) -> Tri:
    """Whether a batch of that size holds several rows."""
    if size is None:
        return Tri.YES if default > 1 else Tri.NO
    found: Tri | None = None
    for one in alternatives(size):
        number = literal(one)
        this = Tri.MAYBE
        if isinstance(number, int):
            this = Tri.YES if number > 1 else Tri.NO
        found = this if found is None else found | this
    return Tri.MAYBE if found is None else found


def collate(
    interp: Interpreter, collator: Value | None, row: Value, rows: Tri, node: Node, *, seen: bool = True
) -> Value:
    """Return the batch that a collator makes of rows; without one they are stacked. Record it if `seen`."""
    made: list[Value] = []
    for alt in collator.alts if isinstance(collator, Choice) else (Alt(collator or NONE),):
        # What was chosen together with this collator.
        own = restrict(row, {(owner, text): truth for owner, text, truth in alt.guards})
        batch = by_one(interp, alt.value, own, rows, node)
        if batch is None:
            continue
        batch = perhaps_single(interp, batch) if rows is Tri.MAYBE else batch
        made.append(batch)
        if seen:
            sure = not isinstance(collator, Choice) or own is not row
            interp.record("collations", Collation(*interp.where(node), alt.value, own, batch, sure))
    return join_all(made) if made else UNKNOWN


def by_one(interp: Interpreter, collator: Value, row: Value, rows: Tri, node: Node) -> Value | None:
    """Return the batch that one collator makes; None where that is not known."""
    if is_none(collator) or (isinstance(collator, External) and collator.name.rpartition(".")[2] in _DEFAULT):
        return stacked(interp, row, rows, interp.site(node))
    if isinstance(collator, Lib) and collator.name in _PARAMETERS:
        return by_library(interp, collator, row, rows, node)
    if isinstance(collator, _CALLABLE) or (isinstance(collator, Ref) and collator.kind == "object"):
        several = new_list(interp, (row,) if rows is Tri.NO else None, row, interp.site(node))
        return interp.call_value(collator, Args((several,)), node)
    return None


def perhaps_single(interp: Interpreter, batch: Value) -> Value:
    """Return a batch that may hold one row alone."""

    def lower(encoding: Encoding | None) -> Encoding | None:
        certain = encoding is not None and encoding.batched is Tri.YES
        return replace(encoding, batched=Tri.MAYBE) if encoding is not None and certain else encoding

    def part(one: Value) -> Value:
        return replace(one, encoding=lower(one.encoding)) if isinstance(one, Ids) else one

    def whole(one: Value) -> Value:
        record = interp.store.get(one.id) if isinstance(one, Ref) else None
        if not isinstance(record, DictRec):
            return part(one)
        entries = {key: each(value, part) for key, value in record.entries.items()}
        changed = DictRec(entries, record.open, lower(record.encoding))
        return Ref(interp.store.new(changed), "dict", origin=one.origin)

    return each(batch, whole)


def stacked(interp: Interpreter, row: Value, rows: Tri, site: Site) -> Value:
    """Return rows put together as they are: tensors of several rows, lists of texts."""

    def together(one: Value) -> Value:
        if isinstance(one, Ids):
            encoding = one.encoding
            if encoding is not None and encoding.batched is not Tri.YES:
                encoding = replace(encoding, batched=rows)
            elif encoding is not None and rows is Tri.NO:
                encoding = replace(encoding, batched=Tri.NO)
            return replace(one, encoding=encoding, rank="batch")
        if isinstance(one, Tuple):
            return Tuple(tuple(each(item, together) for item in one.items), origin=site)
        if isinstance(one, Ref) and isinstance(record := interp.store.get(one.id), DictRec):
            entries = {key: each(value, together) for key, value in record.entries.items()}
            encoding = None
            if record.encoding is not None:
                encoding = replace(
                    record.encoding,
                    batched=rows if record.encoding.batched is not Tri.YES or rows is Tri.NO else Tri.YES,
                )
            return Ref(interp.store.new(DictRec(entries, record.open, encoding)), "dict", origin=site)
        if isinstance(one, (Unknown, Ref)):
            return one
        return new_list(interp, None, one, site)

    return each(row, together)


def padded(
    interp: Interpreter, collator: Lib, row: Value, rows: Tri, node: Node
) -> tuple[dict[object, Value], Encoding | None, Value | None]:
    """Return the entries of rows that a collator pads, how they were encoded, and what else there may be."""
    site = collator.origin or interp.site(node)
    tokenizer = lib_attrs(interp, collator).get("tokenizer", UNKNOWN)
    record = interp.dict_record(row) or DictRec({}, UNKNOWN)
    entries: dict[object, Value] = {}
    shared: Encoding | None = None
    for key, value in record.entries.items():
        ids = [one for one in alternatives(value) if isinstance(one, Ids)]
        if not ids:
            entries[key] = value
            continue
        made: list[Value] = []
        for one in ids:
            encoding = one.encoding
            if encoding is not None:
                encoding = replace(encoding, batched=rows)
                if encoding.padded is not Tri.YES and key in {"input_ids", "attention_mask"}:
                    encoding = replace(
                        encoding,
                        site=site,
                        tokenizer=tokenizer if isinstance(tokenizer, Tokenizer) else encoding.tokenizer,
                        padded=Tri.NO if rows is Tri.NO else Tri.YES,
                        padding_side=padding_side(interp, tokenizer, None),
                        made=encoding.made or encoding.site,
                    )
                shared = encoding if key == "input_ids" else shared
            made.append(replace(one, encoding=encoding, rank="batch"))
        entries[key] = join_all(made)
    if "input_ids" in entries and "attention_mask" not in entries and shared is not None:
        # `tokenizer.pad` makes the mask where the rows bring none.
        entries["attention_mask"] = Ids(shared, "attention_mask", "batch", interp.store.new_id(), origin=site)
    return entries, shared, record.open


def by_library(interp: Interpreter, collator: Lib, row: Value, rows: Tri, node: Node) -> Value:
    """Return the batch of one of transformers' or trl's collators."""
    site = collator.origin or interp.site(node)
    if collator.name in {"DefaultDataCollator", "DataCollatorWithFlattening"}:
        return stacked(interp, row, rows, site)
    entries, encoding, open_ = padded(interp, collator, row, rows, node)
    attrs = lib_attrs(interp, collator)
    if collator.name in {LANGUAGE_MODELLING, COMPLETION_ONLY}:
        rebuilt = collator.name == COMPLETION_ONLY or literal(attrs.get("mlm")) is False
        entries["labels"] = (
            rebuilt_labels(interp, collator, entries.get("input_ids"), node) if rebuilt else UNKNOWN
        )
    return Ref(interp.store.new(DictRec(entries, open_, encoding)), "dict", origin=site)


def rebuilds_labels(collator: Lib, record: object) -> bool:
    """Whether a collator with these attributes surely makes labels anew from `input_ids`, all but padding."""
    given = record.attrs if isinstance(record, ObjRec) else {}
    return collator.name == LANGUAGE_MODELLING and literal(given.get("mlm")) is False


def rebuilt_labels(interp: Interpreter, collator: Lib, ids: Value | None, node: Node) -> Value:
    """Return the labels that the language-modelling collator makes: a copy of `input_ids`, every pad id set to -100."""
    site = collator.origin or interp.site(node)
    made: list[Value] = []
    for one in alternatives(ids):
        if not isinstance(one, Ids):
            continue
        labels = copied(interp, one, site)
        made.append(labels)
        _, module, calls = interp.where(node)
        interp.record("labels_made", LabelsMade(site, module, calls, labels, "collator"))
        tokenizer = lib_attrs(interp, collator).get("tokenizer", UNKNOWN)
        token = join_all(
            [
                interp.get_attribute(t, "pad_token_id", node) if isinstance(t, Tokenizer) else UNKNOWN
                for t in alternatives(tokenizer)
            ]
        )
        where = Ids(
            labels.encoding,
            "comparison",
            labels.rank,
            interp.store.new_id(),
            compared="input_ids",
            token=token,
            origin=site,
        )
        interp.record("ignore_writes", IgnoreWrite(site, module, calls, labels, where, "mask"))
        if collator.name == COMPLETION_ONLY:
            # Everything in front of the response's marker.
            interp.record("ignore_writes", IgnoreWrite(site, module, calls, labels, None, "mask"))
    return join_all(made) if made else UNKNOWN


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    names = [path + name for path in _PATHS for name in _PARAMETERS]

    @registry.function(*names)
    def collator(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        last = name.rpartition(".")[2]
        attrs = dict(zip(_PARAMETERS[last], args.positional, strict=False))
        attrs.update(args.keywords)
        if args.open is not None or args.star is not None:
            attrs["#open"] = args.open or UNKNOWN
        if name.startswith("trl.") and last == LANGUAGE_MODELLING:
            # Of the same name as transformers', and another thing: it is given a pad id and masks by length.
            last = "trl.DataCollatorForLanguageModeling"
        return new_lib(interp, last, attrs, interp.site(node))

    def call(interp: Interpreter, callee: Lib, name: str, args: Args, node: Node) -> Value | None:
        """Call a collator of the library on a list of rows."""
        if callee.name not in _PARAMETERS or not args.positional:
            return None
        source = args.positional[0]
        items = interp.elements(source, None)
        single = items is not None and len(items) == 1
        return collate(interp, callee, interp.iterate(source), Tri.NO if single else Tri.YES, node)

    registry.called(Lib, call)
    registry.any_method.setdefault(Lib, []).append(
        lambda interp, receiver, name, args, node: (
            call(interp, receiver, name, args, node) if name in {"torch_call", "__call__"} else None
        )
    )

    @registry.function(
        *(path + name for path in _PATHS for name in _DEFAULT), "torch.utils.data.default_collate"
    )
    def default(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        source = args.get(0, "features", "batch") or UNKNOWN
        items = interp.elements(source, None)
        single = items is not None and len(items) == 1
        return stacked(interp, interp.iterate(source), Tri.NO if single else Tri.YES, interp.site(node))


__all__ = ["COMPLETION_ONLY", "LANGUAGE_MODELLING", "batch_size", "collate", "register"]
