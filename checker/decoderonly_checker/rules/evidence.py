"""Judgements that several rules share: is this model decoder-only, is this batch padded, what is the story so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import (
    Const,
    Ids,
    Kind,
    Model,
    Tokenizer,
    Value,
    alternatives,
)
from decoderonly_checker.knowledge.checkpoints import lookup
from decoderonly_checker.knowledge.model_classes import tokenizer_class
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from decoderonly_checker.flow.facts import Decode, Facts, GenerateCall
    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.flow.values import Encoding, Site

_EOS = late_pattern(r"\s*(?:</s>|<\|(?:endoftext|im_end|eot_id|end_of_text|end)\|>|<eos>|<end_of_turn>)\s*")

Chain = list[tuple["Site", str]]


def checkpoint_kind(value: Value) -> Kind | None:
    """Return what a checkpoint's name says about its model."""
    for one in alternatives(value):
        if isinstance(one, Const) and isinstance(one.value, str):
            known = lookup(one.value)
            if known is not None and known.kind is not None:
                return Kind(known.kind)
    return None


def tokenizer_kind(value: Value) -> Kind | None:
    """Return what a tokenizer's class or checkpoint says about its model."""
    for one in alternatives(value):
        if isinstance(one, Tokenizer):
            known = checkpoint_kind(one.checkpoint)
            if known is not None:
                return known
            kind = tokenizer_class(one.class_name) if one.class_name else None
            if kind is not None:
                return Kind(kind)
    return None


def decoder_only(call: GenerateCall) -> Confidence | None:
    """Return how sure it is that a `generate` call is of a decoder-only transformers model; None for silence."""
    if call.args.get(None, "decoder_input_ids", "decoder_start_token_id", "forced_bos_token_id") is not None:
        return None  # only an encoder-decoder takes these
    if call.beside_own:
        return Confidence.POSSIBLE  # the class that overrides it is likely the one that is meant
    sure = model_confidence(call.model, call.encoding, call.module)
    # Who takes the prompt off the output knows that it is there.
    return Confidence.LIKELY if sure is Confidence.POSSIBLE and call.prompt_expected else sure


def runs_by_place(facts: Facts) -> dict[int, list[Decode]]:
    """Return the decodes by the keys of their places: one line is run with every model that comes by."""
    found: dict[int, list[Decode]] = {}
    for decode in facts.decodes:
        found.setdefault(decode.site.key, []).append(decode)
    return found


def always_behind_a_prompt(runs: Iterable[Decode]) -> bool:
    """Whether a place may be cut by the prompt's width: what another kind of model returns has no prompt in front."""
    return all(decoder_only(run.generated.call) for run in runs)


def model_confidence(model: Model, encoding: Encoding | None, module: Module) -> Confidence | None:
    """Judge a model by its class, its checkpoint, its tokenizer, and last by what the module speaks of."""
    if model.kind in (Kind.ENCODER_DECODER, Kind.OTHER):
        return None
    if model.kind is Kind.DECODER:
        if checkpoint_kind(model.checkpoint) is Kind.ENCODER_DECODER:
            return None  # remote code behind `AutoModelForCausalLM` (Florence-2), or the decoder of a pair
        return Confidence.LIKELY if model.named else Confidence.CERTAIN
    known = checkpoint_kind(model.checkpoint) or (
        tokenizer_kind(encoding.tokenizer) if encoding is not None else None
    )
    if known is Kind.ENCODER_DECODER:
        return None
    if known is Kind.DECODER:
        return Confidence.LIKELY
    if module.says_encoder_decoder:
        return None
    return Confidence.LIKELY if module.says_decoder_only else Confidence.POSSIBLE


def encodings(value: Value | None) -> Iterator[Encoding]:
    """Yield the encodings whose ids a value may be."""
    for one in alternatives(value):
        if isinstance(one, Ids) and one.encoding is not None:
            yield one.encoding


def tokenizer_story(encoding: Encoding) -> Chain:
    """Return where the tokenizer of an encoding was made, and where the encoding was."""
    chain: Chain = []
    for one in alternatives(encoding.tokenizer):
        if isinstance(one, Tokenizer) and one.origin is not None:
            what = "tokenizer comes in here" if one.named or one.outside else "tokenizer made here"
            chain.append((one.origin, what))
            break
    return chain


def model_story(model: Model) -> Chain:
    """Return where a model was made."""
    if model.origin is None:
        return []
    if model.named:
        return [(model.origin, "model comes in here")]
    return [
        (
            model.origin,
            f"decoder-only model made here ({model.class_name})" if model.class_name else "model made here",
        )
    ]


def weakest(*confidences: Confidence) -> Confidence:
    """Return the weakest of several confidences."""
    return min(confidences, key=lambda c: c.rank)


def pad_tokens(tokenizer: Value, facts: Facts) -> Iterator[Value]:
    """Yield what the pad token of a tokenizer was set to, at the end of the run."""
    for one in alternatives(tokenizer):
        record = facts.objects.get(one.id) if isinstance(one, Tokenizer) else None
        if isinstance(record, ObjRec):
            for name in ("pad_token", "pad_token_id"):
                yield from alternatives(record.attrs.get(name))


def has_own_pad_token(tokenizer: Value, facts: Facts) -> bool:
    """Whether the code gives a tokenizer a pad token that is not its EOS token."""
    given = list(pad_tokens(tokenizer, facts))
    own = [
        (isinstance(one, Const) and isinstance(one.value, int | str) and not is_eos_text(str(one.value)))
        or getattr(one, "hint", "").startswith("unk_token")
        for one in given
    ]
    return any(own) and not any(getattr(one, "hint", "").startswith("eos_token") for one in given)


def is_eos_text(text: str) -> bool:
    """Whether a text is the end token of some well-known tokenizer."""
    return _EOS.fullmatch(text) is not None
