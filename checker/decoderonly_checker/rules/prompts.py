"""What the rules on prompts share: which encodings reach a decoder-only `generate`, and what their texts are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from decoderonly_checker.flow.choices import text_of
from decoderonly_checker.flow.state import ListRec, ObjRec
from decoderonly_checker.flow.values import (
    Const,
    Model,
    Ref,
    Tokenizer,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.immutable import immutable
from decoderonly_checker.knowledge.checkpoints import Checkpoint, lookup
from decoderonly_checker.rules.evidence import decoder_only, encodings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.diagnostics import Confidence
    from decoderonly_checker.flow.facts import Facts, GenerateCall, PipelineCall
    from decoderonly_checker.flow.values import Encoding, Hole


@immutable
class Prompt:
    """An encoding that a decoder-only `generate` continues, and how sure that is."""

    call: GenerateCall
    encoding: Encoding
    sure: Confidence


def prompts(facts: Facts) -> Iterator[Prompt]:
    """Yield the encodings that reach a decoder-only `generate`, each call's own."""
    for call in facts.generate_calls:
        sure = decoder_only(call)
        if sure is None:
            continue
        found = list(encodings(call.ids)) or ([call.encoding] if call.encoding is not None else [])
        if call.ids is None and not found:
            # Embeddings, and the mask beside them, still tell what was tokenized.
            found = list(encodings(call.args.get(None, "inputs_embeds"))) or list(encodings(call.mask))
        for encoding in found:
            yield Prompt(call, encoding, sure)


def texts(encoding: Encoding) -> Iterator[tuple[str | Hole, ...]]:
    """Yield what was tokenized, text by text, as literal parts and holes."""
    for row in encoding.texts or (encoding.text,):
        for one in alternatives(row):
            yield tuple(part for part in text_of(one) if part)


def pipeline_texts(facts: Facts, call: PipelineCall) -> Iterator[tuple[str | Hole, ...]]:
    """Yield the texts that a pipeline is given, as literal parts and holes."""
    for one in alternatives(call.inputs):
        record = facts.objects.get(one.id) if isinstance(one, Ref) else None
        rows = (*(record.items or ()), record.element) if isinstance(record, ListRec) else (one,)
        for row in rows:
            for text in alternatives(row):
                yield tuple(part for part in text_of(text) if part)


def pipeline_settings(facts: Facts, call: PipelineCall) -> dict[str, Value]:
    """Return what a pipeline was made with and what was set on it, under its arguments' names."""
    record = facts.objects.get(call.pipeline.id)
    return dict(record.attrs) if isinstance(record, ObjRec) else {}


def pipeline_tokenizer(facts: Facts, call: PipelineCall) -> Value:
    """Return a pipeline's tokenizer: the one it was given, or the one of its checkpoint."""
    held = pipeline_settings(facts, call)
    given = held.get("tokenizer")
    if given is not None and tokenizers(given):
        return given
    if not absent(given) and not isinstance(literal(given), str):
        return Unknown()
    checkpoint = held.get("model", Unknown()) if absent(given) else given
    for one in alternatives(checkpoint):
        if isinstance(one, Model):
            checkpoint = one.checkpoint
    return Tokenizer(
        class_name="AutoTokenizer", checkpoint=checkpoint or Unknown(), origin=call.pipeline.origin
    )


def absent(value: Value | None) -> bool:
    """Whether an argument was surely not given, or given as None."""
    return value is None or all(
        (isinstance(one, Const) and one.value is None) or (isinstance(one, Unknown) and one.hint == "absent")
        for one in alternatives(value)
    )


def tokenizers(value: Value) -> list[Tokenizer]:
    """Return the tokenizers that a value may be."""
    return [one for one in alternatives(value) if isinstance(one, Tokenizer)]


def checkpoints(value: Value) -> list[Checkpoint | None]:
    """Return what is known of the checkpoints of a tokenizer, one entry a name; None for a name that is not known."""
    found: list[Checkpoint | None] = []
    for tokenizer in tokenizers(value):
        for name in alternatives(tokenizer.checkpoint):
            text = literal(name)
            found.append(lookup(text) if isinstance(text, str) else None)
    return found


def standing_in(value: Value, model: Model) -> Value:
    """Return a tokenizer of the model's checkpoint, for one that is made from a name that tells nothing."""
    first = next(iter(tokenizers(value)), None)
    return value if first is None else replace(first, checkpoint=model.checkpoint)


def overridable(value: Value) -> bool:
    """Whether the user of the program may choose another checkpoint than the one that the code names."""
    return any(
        isinstance(name, Const) and name.default
        for tokenizer in tokenizers(value)
        for name in alternatives(tokenizer.checkpoint)
    )


__all__ = [
    "Prompt",
    "absent",
    "checkpoints",
    "overridable",
    "pipeline_settings",
    "pipeline_texts",
    "pipeline_tokenizer",
    "prompts",
    "standing_in",
    "texts",
    "tokenizers",
]
