"""What the rules on `forward` share: left-padded batches whose output is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence
from decoderonly_checker.flow.values import Const, Ids, Tokenizer, Tri, alternatives
from decoderonly_checker.immutable import immutable
from decoderonly_checker.knowledge.checkpoints import lookup
from decoderonly_checker.knowledge.model_classes import model_type_of_class, positions_of
from decoderonly_checker.rules.evidence import model_confidence
from decoderonly_checker.rules.prompts import absent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, ForwardCall
    from decoderonly_checker.flow.values import Encoding, Model

_COUNTED = frozenset({"learned", "sinusoidal"})
_USED = frozenset({"logits", "loss", "hidden_states", "last_hidden_state"})


@immutable
class LeftPadded:
    """A left-padded batch that a decoder-only model is called with, and how sure that is."""

    call: ForwardCall
    encoding: Encoding
    sure: Confidence


def left_padded(facts: Facts) -> Iterator[LeftPadded]:
    """Yield the calls of decoder-only models with a left-padded batch whose scores or states are used."""
    for call in facts.forward_calls:
        if call.args.open is not None or len(call.args.positional) > 1:
            continue  # positions and mask may be among what is not known
        if not (call.reads & _USED) and absent(call.args.get(None, "labels")):
            continue
        for encoding in from_the_start(call):
            sides = alternatives(encoding.padding_side)
            left = bool(sides) and all(isinstance(side, Const) and side.value == "left" for side in sides)
            padded = encoding.batched is Tri.YES and encoding.padded is Tri.YES
            known = any(isinstance(one, Tokenizer) for one in alternatives(encoding.tokenizer))
            sure = model_confidence(call.model, encoding, call.module)
            if left and padded and known and sure is not None:
                yield LeftPadded(call, encoding, sure)
                break


def from_the_start(call: ForwardCall) -> Iterator[Encoding]:
    """Yield the encodings that a model is called with, from the first column of their rows on."""
    for value in (call.ids, call.args.get(None, "inputs_embeds")):
        for one in alternatives(value):
            if isinstance(one, Ids) and one.encoding is not None and one.part in {"", "end"}:
                yield one.encoding


def masked(call: ForwardCall) -> bool:
    """Whether a call may be given a mask that tells padding from text."""
    return not absent(call.mask) and not all(
        isinstance(one, Ids) and one.field == "ones" for one in alternatives(call.mask)
    )


def counts_columns(model: Model) -> Confidence | None:
    """Return how sure it is that a model counts positions over the columns; None where it does not."""
    by_class = positions_of(model_type_of_class(model.class_name) or "?")
    if by_class is not None:
        return Confidence.CERTAIN if by_class in _COUNTED else None
    found = set()
    sure = Confidence.CERTAIN
    for name in alternatives(model.checkpoint):
        entry = lookup(name.value) if isinstance(name, Const) and isinstance(name.value, str) else None
        found.add(entry.positions if entry is not None else None)
        if isinstance(name, Const) and name.default:
            sure = Confidence.LIKELY
    return sure if found and found <= _COUNTED else None


__all__ = ["LeftPadded", "counts_columns", "left_padded", "masked"]
