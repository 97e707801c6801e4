"""What the rules on prompts share: which encodings reach a decoder-only `generate`, and what their texts are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from decoderonly_checker.flow.values import Const, Tokenizer, Unknown, Value, alternatives, literal, text_of
from decoderonly_checker.knowledge.checkpoints import Checkpoint, lookup
from decoderonly_checker.rules.evidence import decoder_only, encodings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.diagnostics import Confidence
    from decoderonly_checker.flow.facts import Facts, GenerateCall
    from decoderonly_checker.flow.values import Encoding, Hole


@dataclass(frozen=True)
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
        # With `inputs_embeds`, the mask alone still tells what was tokenized.
        found = list(encodings(call.ids)) or (
            [call.encoding] if call.encoding is not None else list(encodings(call.mask))
        )
        for encoding in found:
            yield Prompt(call, encoding, sure)


def texts(encoding: Encoding) -> Iterator[tuple[str | Hole, ...]]:
    """Yield what was tokenized, text by text, as literal parts and holes."""
    for row in encoding.texts or (encoding.text,):
        for one in alternatives(row):
            yield tuple(part for part in text_of(one) if part)


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


def overridable(value: Value) -> bool:
    """Whether the user of the program may choose another checkpoint than the one that the code names."""
    return any(
        isinstance(name, Const) and name.default
        for tokenizer in tokenizers(value)
        for name in alternatives(tokenizer.checkpoint)
    )


__all__ = ["Prompt", "absent", "checkpoints", "overridable", "prompts", "texts", "tokenizers"]
