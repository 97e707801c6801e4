"""What the rules on training share: which part of a text is the prompt, which the response, and how a text ends."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence
from decoderonly_checker.flow.state import ListRec, ObjRec
from decoderonly_checker.flow.values import (
    Const,
    Hole,
    Kind,
    Ref,
    Rendered,
    Str,
    Tokenizer,
    Tri,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.evidence import checkpoint_kind, tokenizer_kind
from decoderonly_checker.rules.prompts import checkpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.project import Module

_RESPONSE = late_pattern(
    r"response|output|answer|completion|target|reply|label|chosen|solution|summary|assistant", re.IGNORECASE
)
_PROMPT = late_pattern(
    r"prompt|instruct|question|input|query|context|source|user|document|article|problem|dialog", re.IGNORECASE
)
# Names and texts of what ends a response: a special token, or a marker that the project made up.
_END_NAME = late_pattern(
    r"eos|eot|(?:^|[_.])(?:end|stop|sep|separator|terminator|suffix)(?:_|$)", re.IGNORECASE
)
_ENDED = late_pattern(r"(?:</s>|<[|｜]?[\w▁]+[|｜]?>|\[(?:EOS|SEP|END)\])\s*$")  # noqa: RUF001
_FIELD = late_pattern(r"\{\w*\}|%s|%\(\w+\)s")


def joined(text: Value, facts: Facts) -> tuple[Hole | None, Hole | None]:
    """Return the holes of a training text that hold the prompt and the response; None where there is none.

    A rendered chat holds both. Elsewhere the names of what is filled in tell, and the words in front of it ("Answer: ").
    """
    for one in texts_in(text, facts):
        named: list[tuple[Hole, str]] = []
        before = ""
        for part in flattened(one):
            if isinstance(part, str):
                before = part[-40:].strip().rpartition("\n")[2]
                continue
            if part.name == "template":
                return part, part
            named.append((part, f"{_label(part)} {before}"))
            before = ""
        response = next((hole for hole, name in reversed(named) if _RESPONSE.search(name)), None)
        prompt = next((hole for hole, name in named if hole is not response and _PROMPT.search(name)), None)
        if prompt is not None and response is not None:
            return prompt, response
    return None, None


def texts_in(text: Value, facts: Facts) -> Iterator[Str]:
    """Yield the texts that were tokenized, those of a list too."""
    for one in alternatives(text):
        if isinstance(one, Str):
            yield one
        elif isinstance(one, Ref):
            record = facts.objects.get(one.id)
            if isinstance(record, ListRec):
                for item in (record.element, *(record.items or ())):
                    yield from (v for v in alternatives(item) if isinstance(v, Str))


def flattened(text: Str, depth: int = 0) -> Iterator[str | Hole]:
    """Yield the parts of a text, with the texts in its holes taken apart."""
    for part in text.parts:
        if isinstance(part, Hole) and depth < 4:
            inner = [one for one in alternatives(part.value) if isinstance(one, Str)]
            if inner:
                yield from flattened(inner[0], depth + 1)
                continue
        yield part


def _label(hole: Hole) -> str:
    hints = [hole.name, *(getattr(one, "hint", "") for one in alternatives(hole.value))]
    return " ".join(str(h) for h in hints if h)


def says_prompt(code: str) -> bool:
    """Whether code speaks of a prompt, by its names."""
    return _PROMPT.search(code) is not None


def says_response(code: str) -> bool:
    """Whether code speaks of a response, by its names."""
    return _RESPONSE.search(code) is not None


def training_kind(tokenizer: Value | None, module: Module) -> Confidence | None:
    """Return how sure it is that rows train a decoder-only model; None for silence."""
    kind = None
    for one in alternatives(tokenizer):
        kind = kind or tokenizer_kind(one) or checkpoint_kind(getattr(one, "checkpoint", Unknown()))
    if kind is Kind.ENCODER_DECODER or (kind is None and module.says_encoder_decoder):
        return None
    return Confidence.CERTAIN if kind is Kind.DECODER or module.says_decoder_only else Confidence.LIKELY


class Ending(enum.Enum):
    """How a training text ends."""

    EOS = "with an end-of-sequence token"
    RESPONSE = "with the response and nothing behind it"
    TEMPLATE = "as a chat template ends it"
    UNKNOWN = "in a way that is not known"


def ending(text: Value, facts: Facts) -> Ending:
    """Return how a training text ends, all its alternatives taken together."""
    found = {_end_of(one) for one in texts_in(text, facts)}
    if len(found) == 1:
        return found.pop()
    # An EOS in some branch shows that one is thought of.
    return Ending.EOS if Ending.EOS in found else Ending.UNKNOWN


def _end_of(text: Str) -> Ending:
    parts = [part for part in flattened(text) if not (isinstance(part, str) and not part.strip())]
    if not parts:
        return Ending.UNKNOWN
    last = parts[-1]
    if isinstance(last, str):
        # Words behind the response end it: a token by its text, or a marker of the project's own.
        return Ending.UNKNOWN if _FIELD.search(last) else Ending.EOS
    if isinstance(last, Rendered) or last.name == "template":
        return Ending.TEMPLATE
    if any(_ENDED.search(str(literal(one))) for one in alternatives(last.value) if isinstance(one, Const)):
        return Ending.EOS
    names = [last.name, *(getattr(one, "hint", "") for one in alternatives(last.value))]
    if any(_END_NAME.search(str(name)) for name in names):
        return Ending.EOS
    return Ending.RESPONSE if any(_RESPONSE.search(str(name)) for name in names) else Ending.UNKNOWN


def adds_eos(tokenizer: Value, facts: Facts) -> Tri:
    """Return whether a tokenizer puts an EOS behind plain text, by its settings and the table."""
    found: set[Tri] = set()
    for one, known in zip(
        (t for t in alternatives(tokenizer) if isinstance(t, Tokenizer)), checkpoints(tokenizer), strict=False
    ):
        record = facts.objects.get(one.id)
        attrs = record.attrs if isinstance(record, ObjRec) else {}
        if literal(attrs.get("add_eos_token")) is True:
            return Tri.YES
        if (
            "add_eos_token" in attrs
            or "post_processor" in attrs
            or "_tokenizer" in attrs
            or known is None
            or known.adds_eos is None
        ):
            found.add(Tri.MAYBE)
        else:
            found.add(Tri.YES if known.adds_eos else Tri.NO)
    return found.pop() if len(found) == 1 else Tri.MAYBE
