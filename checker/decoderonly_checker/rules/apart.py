"""Labels that were tokenized apart from the ids beside them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.choices import text_of
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.values import (
    ClassObj,
    Const,
    Function,
    Ids,
    Ref,
    Rendered,
    Str,
    Tokenizer,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.labels import family, held, neighbours, touches
from decoderonly_checker.rules.training_texts import flattened

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import Facts, LabelsMade
    from decoderonly_checker.flow.values import Encoding

_RESPONSE = late_pattern(
    r"response|output|answer|completion|target|reply|label|chosen|solution|summary|assistant|gold",
    re.IGNORECASE,
)
_COLLATES = late_pattern(r"collat|batchify|^pad_batch", re.IGNORECASE)
# Writes that may put labels and ids together; a mask leaves them as they are.
_JOINS = frozenset({"unknown", "list", "slice", "span", "tail"})


def tokenized_apart(made: LabelsMade, facts: Facts) -> Encoding | None:
    """Return the encoding of the `input_ids` beside labels that come from another text; None where they may be one."""
    labels = made.labels
    inputs = list(held(made.inputs, facts))
    if labels.encoding is None or labels.field != "input_ids" or not inputs:
        return None
    told = sources(labels.encoding, facts)
    if told is None or not any(_RESPONSE.search(name) for name in told):
        return None
    for ids in inputs:
        if ids.encoding is None or ids.field != "input_ids" or family(ids) & family(labels):
            return None
        asked = sources(ids.encoding, facts)
        if asked is None or asked & told or not _one_tokenizer(ids.encoding, labels.encoding):
            return None
        if ids.encoding.joined or labels.encoding.joined:
            return None
    if _joined_later(made, [*inputs, labels], facts):
        return None
    return inputs[0].encoding


def sources(encoding: Encoding, facts: Facts) -> frozenset[str] | None:
    """Return the names of what a text was made of; None where that is not known."""
    found: set[str] = set()
    for text in _texts(encoding.text, facts):
        names = _names(text) or _argument(encoding)
        if not names:
            return None
        found |= names
    return frozenset(found) or None


def _texts(value: Value, facts: Facts, depth: int = 0) -> list[Value]:
    result: list[Value] = []
    for one in alternatives(value):
        record = facts.objects.get(one.id) if isinstance(one, Ref) else None
        if isinstance(record, ListRec) and depth < 3:
            items = record.items or (record.element,)
            result.extend(text for item in items for text in _texts(item, facts, depth + 1))
        else:
            result.append(one)
    return result


def _names(text: Value) -> set[str]:
    """Return the names of the holes of one text; none where a hole has no name, or holds a whole conversation."""
    if isinstance(text, Const | Ref):
        return set()
    names: set[str] = set()
    for part in flattened(Str(text_of(text))):
        if isinstance(part, str):
            continue
        if isinstance(part, Rendered):
            asks = part.encoding is not None and literal(part.encoding.generation_prompt) is True
            if not asks:
                return set()
            names.add("conversation")
            continue
        hints = {getattr(one, "hint", "") for one in alternatives(part.value)} - {""}
        if part.name == "template" or not (hints or part.name):
            return set()
        names |= hints or {part.name}
    return {name for name in names if not name.endswith(("_token", "_token_id"))}


def _argument(encoding: Encoding) -> set[str]:
    """Return the identifiers in what the tokenizer was given, where a literal text says nothing."""
    site = encoding.made or encoding.site
    node = site.node
    given = node.args[0].value if isinstance(node, cst.Call) and node.args else None
    if not isinstance(encoding.text, Const | Ref) or given is None:
        return set()
    return set(re.findall(r"[A-Za-z_]\w+", site.code(given)))


def _one_tokenizer(a: Encoding, b: Encoding) -> bool:
    """Whether both texts were tokenized with one tokenizer: an image model's two are no mistake."""
    known = [one for one in alternatives(a.tokenizer) if isinstance(one, Tokenizer)]
    return bool(known) and any(
        isinstance(one, Tokenizer) and one.id == known[0].id for one in alternatives(b.tokenizer)
    )


def _joined_later(made: LabelsMade, buffers: list[Ids], facts: Facts) -> bool:
    """Whether labels and ids may be put together after all: written into, or by a collator of the project."""
    for hidden in facts.ignore_writes:
        if hidden.kind in _JOINS and _meets(hidden.target, buffers):
            return True
    for write in facts.ids_writes:
        joins = write.kind in _JOINS or any(isinstance(one, Ids) for one in alternatives(write.value))
        if joins and _meets(write.target, buffers):
            return True
    within = made.site.around()
    defined = [
        (one.name, one.node)
        for module in neighbours(made.module)
        for one in (*module.functions, *module.classes)
        if isinstance(one, Function | ClassObj)
    ]
    return any(_COLLATES.search(name) and node not in within for name, node in defined)


def _meets(target: Ids | None, buffers: list[Ids]) -> bool:
    return target is not None and any(touches(target, one) for one in buffers)


__all__ = ["sources", "tokenized_apart"]
