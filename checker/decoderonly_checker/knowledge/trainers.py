"""transformers' `Trainer` and `Seq2SeqTrainer`, and the project's subclasses: what the loss is taken over, what is generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.choices import join_all
from decoderonly_checker.flow.facts import GenerateCall, TrainingRun
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Const,
    Function,
    Generated,
    Ids,
    Kind,
    Lib,
    Method,
    Model,
    Ref,
    Site,
    Tuple,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.collators import batch_size, collate
from decoderonly_checker.knowledge.datasets import fresh, row_of
from decoderonly_checker.knowledge.python import lib_attrs, new_lib
from decoderonly_checker.knowledge.registry import first_of, is_none

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_NAMES = {
    "transformers.Trainer": "Trainer",
    "transformers.trainer.Trainer": "Trainer",
    "transformers.Seq2SeqTrainer": "Seq2SeqTrainer",
    "transformers.trainer_seq2seq.Seq2SeqTrainer": "Seq2SeqTrainer",
}
# The parameters of both, in order; the sixth was called `tokenizer` up to transformers 4.45.
_PARAMETERS = ("model", "args", "data_collator", "train_dataset", "eval_dataset", "processing_class")
_INIT = "#trainer"


def settings_of(interp: Interpreter, args: Value | None) -> dict[str, Value]:
    """Return the settings in a `TrainingArguments`, an `SFTConfig` or the project's dataclass that derives from one."""
    if is_none(args):
        return {}
    for one in alternatives(args):
        record = interp.store.get(one.id) if isinstance(one, Lib | Ref) else None
        if isinstance(record, ObjRec):
            found = dict(record.attrs)
            if isinstance(one, Ref):
                found["#open"] = one  # what its base class holds is set from outside
            return found
    return {"#open": args or UNKNOWN}


def keyword_names(args: Args, parameters: tuple[str, ...]) -> dict[str, Value]:
    """Return a call's arguments by name."""
    given = dict(zip(parameters, args.positional, strict=False))
    given.update(args.keywords)
    if args.open is not None or args.star is not None:
        given["#open"] = args.open or args.star or UNKNOWN
    return given


def default_collator(interp: Interpreter, tokenizer: Value | None, site: Site) -> Value:
    """Return what `Trainer` collates with where it is given no collator."""
    if tokenizer is None or is_none(tokenizer):
        return new_lib(interp, "DefaultDataCollator", {}, site)
    return new_lib(interp, "DataCollatorWithPadding", {"tokenizer": tokenizer}, site)


def made(interp: Interpreter, trainer: str, args: Args, node: Node, receiver: Ref | None = None) -> Value:
    """Make a trainer: let the rows of its dataset pass its collator, and record the run."""
    site = interp.site(node)
    attrs = keyword_names(args, _PARAMETERS)
    settings = settings_of(interp, attrs.get("args"))
    tokenizer = attrs.get("processing_class", attrs.get("tokenizer"))
    collator = attrs.get("data_collator")
    if is_none(collator):
        collator = default_collator(interp, tokenizer, site)
    if tokenizer is not None:
        attrs.update(processing_class=tokenizer, tokenizer=tokenizer)
    attrs["data_collator"] = collator or UNKNOWN
    owner: Value = receiver if receiver is not None else new_lib(interp, trainer, attrs, site)
    if receiver is not None:
        for name, value in attrs.items():
            interp.set_attribute(receiver, name, value, node)
    interp.knowledge.handed_over(interp, args, f"transformers.{trainer}", node)
    row = row_of(interp, attrs.get("train_dataset"))
    rows = batch_size(settings.get("per_device_train_batch_size"), 8)
    batch = collate(interp, collator, row, rows, node)
    model = attrs.get("model") or UNKNOWN
    run = TrainingRun(*interp.where(node), trainer, model, tokenizer, collator, row, batch, settings)
    interp.record("training_runs", run)
    if receiver is not None:
        own_loss(interp, receiver, model, batch, node)
    return owner


def own_loss(interp: Interpreter, receiver: Ref, model: Value, batch: Value, node: Node) -> None:
    """Run a subclass's own `compute_loss` on a batch."""
    record = interp.store.get(receiver.id)
    if not isinstance(record, ObjRec) or record.cls is None:
        return
    method = interp.class_attribute(record.cls, "compute_loss")
    if isinstance(method, Function):
        interp.follow(method, Args((model, fresh(interp, batch))), node, receiver)


def base_of(bases: list[str]) -> str | None:
    """Return which trainer of transformers a class derives from."""
    return next((_NAMES[base] for base in bases if base in _NAMES), None)


def register(registry: Registry) -> None:
    """Register the handlers of this file."""

    @registry.function(*_NAMES)
    def trainer(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return made(interp, _NAMES[name], args, node)

    def constructed(interp: Interpreter, bases: list[str], owner: Ref, args: Args, node: Node) -> bool:
        """Make an object of a project's subclass that has no `__init__` of its own."""
        base = base_of(bases)
        if base is None:
            return False
        made(interp, base, args, node, owner)
        return True

    registry.constructors.append(constructed)

    def inherited(interp: Interpreter, bases: list[str], owner: Value, name: str, site: Site) -> Value | None:
        base = base_of(bases)
        if base is None or not isinstance(owner, Ref):
            return None
        if name == "__init__":
            return Method(owner, f"{_INIT} {base}", origin=site)
        if name == "predict":
            return Method(owner, name, origin=site)
        return None

    registry.bases.insert(0, inherited)

    def method(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value | None:
        if name.startswith(_INIT):
            made(interp, name.partition(" ")[2], args, node, receiver)
            return Const(None)
        return predict(interp, receiver, name, args, node) if name == "predict" else None

    registry.any_method.setdefault(Ref, []).insert(0, method)

    def held(interp: Interpreter, receiver: Lib | Ref) -> Mapping[str, Value] | None:
        """Return the attributes of a `Seq2SeqTrainer`; None for anything else."""
        record = interp.store.get(receiver.id)
        if not isinstance(record, ObjRec):
            return None
        if isinstance(receiver, Lib):
            return record.attrs if receiver.name == "Seq2SeqTrainer" else None
        if record.cls is None or interp.class_attribute(record.cls, "prediction_step") is not None:
            return None  # what it generates may be cut there
        return record.attrs if base_of(interp.external_bases(record.cls)) == "Seq2SeqTrainer" else None

    @registry.method(Lib, "predict")
    def predict(interp: Interpreter, receiver: Lib | Ref, name: str, args: Args, node: Node) -> Value | None:
        """What `predict` returns; decoding its predictions proves that they were generated."""
        attrs = held(interp, receiver)
        if attrs is None:
            return None
        site = interp.site(node)
        settings = settings_of(interp, attrs.get("args"))
        generates = settings.get("predict_with_generate")
        silent = literal(generates) is False and not (isinstance(generates, Const) and generates.default)
        options = alternatives(attrs.get("args"))
        left_out = generates is None and "#open" not in settings
        if silent or (left_out and options and all(isinstance(one, Lib) for one in options)):
            return None
        predictions = generated(interp, attrs, settings, args, node)
        rest = (Unknown(hint="label_ids", origin=site), Unknown(hint="metrics", origin=site))
        return new_lib(
            interp,
            "PredictionOutput",
            {
                "predictions": predictions,
                "label_ids": rest[0],
                "metrics": rest[1],
                "#tuple": Tuple((predictions, *rest), origin=site),
            },
            site,
        )

    def generated(
        interp: Interpreter, attrs: Mapping[str, Value], settings: Mapping[str, Value], args: Args, node: Node
    ) -> Value:
        """Record what `predict` generates from the batches that the collator makes of the test rows."""
        site = interp.site(node)
        row = row_of(interp, args.get(0, "test_dataset"))
        rows = batch_size(settings.get("per_device_eval_batch_size"), 8)
        collator = attrs.get("data_collator")
        batch = interp.dict_record(collate(interp, collator, row, rows, node, seen=False))
        ids = batch.entries.get("input_ids") if batch is not None else None
        known = first_of(ids, Ids)
        mask = batch.get("attention_mask") if batch is not None and known is not None else UNKNOWN
        found: list[Value] = []
        for model in alternatives(attrs.get("model")):
            if not isinstance(model, Model):
                continue
            encoding = known.encoding if known is not None else None
            given = Args(
                (),
                {"input_ids": known, "attention_mask": mask}
                if known is not None and mask is not None
                else {},
            )
            # Ids that come from elsewhere leave nothing that a rule on the input could judge.
            open_ = None if known is not None else UNKNOWN
            call = GenerateCall(
                *interp.where(node), model, known, mask, given, open_, encoding, by_trainer=True
            )
            if known is not None and model.kind is not Kind.ENCODER_DECODER:
                interp.record("generate_calls", call)
            found.append(Generated(call, id(call), origin=site))
        return join_all(found) if found else Unknown(hint="predictions", origin=site)

    def part(interp: Interpreter, owner: Lib, index: list[Any], site: object, node: Node) -> Value | None:
        """`predictions, labels, metrics = trainer.predict(…)` and `trainer.predict(…)[0]`."""
        whole = lib_attrs(interp, owner).get("#tuple") if owner.name == "PredictionOutput" else None
        return interp.get_item(whole, index, node) if whole is not None else None

    registry.items.setdefault(Lib, []).append(part)
