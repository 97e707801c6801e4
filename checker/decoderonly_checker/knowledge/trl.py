"""trl's `SFTTrainer`, which tokenizes by itself: what it learns from, and what that depends on its version for.

Read in `trainer/sft_trainer.py` of trl 0.4.7, 0.7.11, 0.9.6, 0.12.2, 0.15.2, 0.16.1, 0.17.0, 0.18.2, 0.19.1, 0.20.0, 0.24.0
and 1.16.0:

=============================================  ==========================================================================
up to 0.15                                     the collator is transformers' `DataCollatorForLanguageModeling(mlm=False)`, also
                                               for rows that bring labels; a missing pad token becomes EOS
from 0.16 on                                   a collator of trl's own that keeps labels and masks padding by length
up to 0.16                                     a text is tokenized as it is
from 0.17 on                                   EOS is appended to a text or completion that does not end in it
from 0.17 on                                   rows of prompt and completion: the loss is taken over the completion alone,
                                               unless `completion_only_loss=False`
all                                            packing puts EOS between texts, or keeps them apart by position
=============================================  ==========================================================================

Arguments tell the version: those of `_OLD` were taken away by 0.16. Where nothing tells, only what all do may be said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.choices import each, join_all
from decoderonly_checker.flow.facts import TrainingRun
from decoderonly_checker.flow.state import DictRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Const,
    Encoding,
    Hole,
    Ids,
    Model,
    Ref,
    Rendered,
    Site,
    Str,
    Tokenizer,
    Tri,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.collators import LANGUAGE_MODELLING, collate
from decoderonly_checker.knowledge.datasets import fresh, row_of
from decoderonly_checker.knowledge.ids import new_ids
from decoderonly_checker.knowledge.python import new_lib
from decoderonly_checker.knowledge.registry import is_none
from decoderonly_checker.knowledge.tokenizers import new_tokenizer, padding_side
from decoderonly_checker.knowledge.trainers import keyword_names, own_loss, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_NAMES = ("trl.SFTTrainer", "trl.trainer.SFTTrainer", "trl.trainer.sft_trainer.SFTTrainer")
_PARAMETERS = ("model", "args", "data_collator", "train_dataset", "eval_dataset", "processing_class")
# Arguments of `SFTTrainer` that no version from 0.16 on takes.
_OLD = frozenset(
    {
        *("tokenizer", "dataset_text_field", "max_seq_length", "packing", "infinite", "num_of_sequences"),
        *("chars_per_token", "dataset_num_proc", "dataset_batch_size", "neftune_noise_alpha"),
        *("model_init_kwargs", "dataset_kwargs", "eval_packing"),
    }
)
_CHATS = ("messages", "conversations")


def is_old(interp: Interpreter, given: Mapping[str, Value]) -> bool:
    """Whether a call's arguments prove a version before 0.16. unsloth lets every version take the old ones."""
    text = interp.frame.module.text
    return bool(given.keys() & _OLD) and "unsloth" not in text


def made(interp: Interpreter, args: Args, node: Node, receiver: Ref | None = None) -> Value:
    """Make an `SFTTrainer`: find what it learns from, and let that pass its collator."""
    site = interp.site(node)
    given = keyword_names(args, _PARAMETERS)
    old = is_old(interp, given)
    settings = {**settings_of(interp, given.get("args")), **given}
    model = given.get("model") or UNKNOWN
    tokenizer = given.get("processing_class", given.get("tokenizer"))
    if is_none(tokenizer):
        tokenizer = tokenizer_of(interp, model, site)
    if old:
        pad_with_eos(interp, tokenizer, node)
    packing = settings.get("packing")
    packed = packing is not None and literal(packing) is not False
    row = row_of(interp, given.get("train_dataset"))
    text = text_of_row(interp, row, settings, tokenizer, node)
    collator = given.get("data_collator")
    if is_none(collator):
        # What the library then takes depends on its version.
        attrs = {"tokenizer": tokenizer or UNKNOWN, "mlm": Const(False)}
        collator = new_lib(interp, LANGUAGE_MODELLING, attrs, site) if old and not packed else None
    batch: Value = UNKNOWN
    if collator is not None and not packed:
        rows = row if text is None else tokenized(interp, text, tokenizer or UNKNOWN, site)
        batch = collate(interp, collator, rows, Tri.YES, node)
    where = interp.where(node)
    appends = Tri.NO if old else Tri.MAYBE
    run = TrainingRun(*where, "SFTTrainer", model, tokenizer, collator, row, batch, settings, text, appends)
    interp.record("training_runs", run)
    interp.knowledge.handed_over(interp, args, "trl.SFTTrainer", node)
    held = {**given, "processing_class": tokenizer or UNKNOWN, "tokenizer": tokenizer or UNKNOWN}
    if receiver is None:
        return new_lib(interp, "SFTTrainer", held, site)
    for name, value in held.items():
        interp.set_attribute(receiver, name, value, node)
    own_loss(interp, receiver, model, batch, node)
    return receiver


def tokenizer_of(interp: Interpreter, model: Value, site: Site) -> Value | None:
    """Return the tokenizer that is loaded for a model where none is given: that of its checkpoint."""
    for one in alternatives(model):
        checkpoint = one.checkpoint if isinstance(one, Model) else one
        if isinstance(one, Model) or isinstance(literal(one), str):
            return new_tokenizer(interp, "AutoTokenizer", checkpoint, site)
    return None


def pad_with_eos(interp: Interpreter, tokenizer: Value | None, node: Node) -> None:
    """Let a tokenizer without a pad token pad with EOS."""
    site = interp.site(node)
    for one in alternatives(tokenizer):
        if isinstance(one, Tokenizer) and is_none(interp.get_attribute(one, "pad_token", node)):
            interp.set_attribute(one, "pad_token", Unknown(hint="eos_token", origin=site), node)


def text_of_row(
    interp: Interpreter, row: Value, settings: Mapping[str, Value], tokenizer: Value | None, node: Node
) -> Value | None:
    """Return the text that is made of a row; None where the row is tokenized already, or nothing is known."""
    site = interp.site(node)
    record = interp.dict_record(row)
    if record is None or "input_ids" in record.entries:
        return None
    formatting = settings.get("formatting_func")
    if not is_none(formatting) and formatting is not None:
        given = interp.call_value(formatting, Args((fresh(interp, row),)), node)

        def one_text(one: Value) -> Value:
            return interp.iterate(one) if isinstance(one, Ref) else one

        return each(given, one_text)
    chat = next((record.entries[name] for name in _CHATS if name in record.entries), None)
    if chat is not None:
        how = Encoding(site, tokenizer or UNKNOWN, chat, Tri.NO, Tri.NO, template=True)
        return Str((Rendered(chat, "template", how, origin=site),), origin=site)
    if {"prompt", "completion"} <= record.entries.keys():
        parts = [Hole(record.entries[name], name) for name in ("prompt", "completion")]
        return Str(tuple(parts), origin=site)
    column = settings.get("dataset_text_field")
    key = literal(column) if isinstance(column, Const) else "text" if column is None else None
    return record.entries.get(key) if isinstance(key, str) else None


def tokenized(interp: Interpreter, text: Value, tokenizer: Value, site: Site) -> Value:
    """Return the row that the trainer makes of a text."""
    known = join_all([one for one in alternatives(tokenizer) if isinstance(one, Tokenizer)] or [UNKNOWN])
    encoding = Encoding(site, known, text, Tri.NO, Tri.NO, padding_side(interp, known, None))
    ids: Ids = new_ids(interp, encoding, "input_ids", "row", site)
    return Ref(interp.store.new(DictRec({"input_ids": ids}, None, encoding)), "dict", origin=site)


def register(registry: Registry) -> None:
    """Register the handlers of this file."""

    @registry.function(*_NAMES)
    def trainer(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return made(interp, args, node)

    def constructed(interp: Interpreter, bases: list[str], owner: Ref, args: Args, node: Node) -> bool:
        if not any(base in _NAMES for base in bases):
            return False
        made(interp, args, node, owner)
        return True

    registry.constructors.append(constructed)


__all__ = ["is_old", "made", "register"]
