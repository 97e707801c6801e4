"""transformers' `Seq2SeqTrainer`, which generates inside: what its predictions are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.facts import GenerateCall
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Generated,
    Lib,
    Model,
    Tuple,
    Unknown,
    Value,
    alternatives,
    join_all,
)
from decoderonly_checker.knowledge.python import lib_attrs, new_lib

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_TRAINERS = ("transformers.Seq2SeqTrainer", "transformers.trainer_seq2seq.Seq2SeqTrainer")


def register(registry: Registry) -> None:
    """Register the handlers of this file."""

    @registry.function(*_TRAINERS)
    def trainer(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        attrs = dict(args.keywords)
        model = args.get(0, "model")
        if model is not None:
            attrs["model"] = model
        registry.handed_over(interp, args, "transformers.Seq2SeqTrainer", node)
        return new_lib(interp, "Seq2SeqTrainer", attrs, interp.site(node))

    @registry.method(Lib, "predict")
    def predict(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value | None:
        """What `predict` returns; decoding its predictions proves that they were generated."""
        if receiver.name != "Seq2SeqTrainer":
            return None
        site = interp.site(node)
        made: list[Value] = []
        for model in alternatives(lib_attrs(interp, receiver).get("model")):
            if isinstance(model, Model):
                # The ids come from the data collator: no call of `generate` that a rule could judge.
                call = GenerateCall(*interp.where(node), model, None, None, Args(), UNKNOWN, None)
                made.append(Generated(call, id(call), origin=site))
        predictions = join_all(made) if made else Unknown(hint="predictions", origin=site)
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

    def part(interp: Interpreter, owner: Lib, index: list[object], site: object, node: Node) -> Value | None:
        """`predictions, labels, metrics = trainer.predict(…)` and `trainer.predict(…)[0]`."""
        whole = lib_attrs(interp, owner).get("#tuple") if owner.name == "PredictionOutput" else None
        return interp.get_item(whole, index, node) if whole is not None else None  # type: ignore[arg-type]

    registry.items.setdefault(Lib, []).append(part)
