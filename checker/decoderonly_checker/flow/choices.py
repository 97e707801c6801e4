"""Values that are one of several: how they are joined, under which conditions each holds, and when too many become one.

Also texts in parts, which grow with every join.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from decoderonly_checker.flow.values import (
    UNKNOWN,
    Alt,
    Choice,
    Const,
    DecodedText,
    Generated,
    Guard,
    Hole,
    Kind,
    Model,
    Pieces,
    Rendered,
    Scattered,
    Str,
    Tokenizer,
    Tuple,
    Unknown,
    Value,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from decoderonly_checker.flow.facts import Completion, Decode, PipelineCall, Stream

MAX_ALTERNATIVES = 6
MAX_TEXT = 100_000  # characters of one literal part of a text that is put together
MAX_WEIGHT = 400  # a text built in a loop out of itself would double with each round
_ASKS_KIND = late_pattern(r"is_encoder_decoder(?:['\"], \w+\))?$")


@lru_cache(maxsize=4096)
def _asks_kind(text: str) -> bool:
    """Whether a condition asks what kind of model one is."""
    return _ASKS_KIND.search(text) is not None


def _alts(value: Value, guard: Guard | None) -> tuple[Alt, ...]:
    alts = value.alts if isinstance(value, Choice) else (Alt(value),)
    if guard is None:
        return alts
    return tuple([alt if guard in alt.guards else Alt(alt.value, alt.guards | {guard}) for alt in alts])


def possible(alt: Alt) -> bool:
    """Whether an alternative can hold: not under both truths of a switch, nor a decoder-only one where `is_encoder_decoder`."""
    guards = alt.guards
    for owner, text, truth in guards:
        if owner == "switch" and (owner, text, not truth) in guards:
            return False
    model = alt.value.call.model if isinstance(alt.value, Generated) else alt.value
    if not isinstance(model, Model) or model.kind not in (Kind.DECODER, Kind.ENCODER_DECODER):
        return True
    return all(truth == (model.kind is Kind.ENCODER_DECODER) for _, text, truth in guards if _asks_kind(text))


def join(a: Value, b: Value, guard_a: Guard | None = None, guard_b: Guard | None = None) -> Value:
    """Return the value that is `a` or `b`, remembering under which condition each holds."""
    if a is b or (type(a) is type(b) and a == b):
        return a
    merged: dict[Value, Alt] = {}
    alts = _alts(a, guard_a) + _alts(b, guard_b)
    for alt in [alt for alt in alts if not alt.guards or possible(alt)] or alts:
        value = alt.value
        seen = merged.get(value)
        merged[value] = alt if seen is None else Alt(seen.value, seen.guards & alt.guards)
    if len(merged) == 1:
        return next(iter(merged)).at(a.origin)
    if len(merged) > MAX_ALTERNATIVES:
        # Alternatives of one kind from one source differ in details; the first stands for all.
        sources: dict[object, Alt] = {}
        for alt in merged.values():
            sources.setdefault(_source(alt.value), alt)
        if len(sources) > MAX_ALTERNATIVES:
            sources = {}
            for alt in merged.values():
                coarse = _coarse(alt.value)
                sources[coarse] = Alt(coarse)
            if len(sources) == 1 or len(sources) > MAX_ALTERNATIVES:
                return next(iter(sources.values())).value if len(sources) == 1 else Unknown(origin=a.origin)
        merged = {alt.value: alt for alt in sources.values()}
    made = Choice(tuple(merged.values()), origin=a.origin)
    if weight(made) <= MAX_WEIGHT:
        return made
    light = {lightened(alt.value): alt.guards for alt in made.alts}
    return Choice(tuple(Alt(value, guards) for value, guards in light.items()), origin=a.origin)


# Those that are made of other values.
_COMPOUND = frozenset({Str, Hole, Scattered, Rendered, Choice, Tuple, Pieces})


def weight(value: Value) -> int:
    """Return how many values a value is made of, shared ones counted each time."""
    if type(value) not in _COMPOUND:
        return 1
    known: int | None = value.__dict__.get("_weight")
    if known is None:
        if isinstance(value, Str):
            inner = [weight(part) for part in value.parts if isinstance(part, Hole)]
        elif isinstance(value, Hole):
            inner = [weight(value.value)]
        elif isinstance(value, Choice):
            inner = [weight(alt.value) if type(alt.value) in _COMPOUND else 1 for alt in value.alts]
        elif isinstance(value, Tuple):
            inner = [weight(item) for item in value.items]
        elif isinstance(value, Pieces):
            inner = [weight(value.text)]
        else:
            inner = []
        known = 1 + sum(inner)
        object.__setattr__(value, "_weight", known)
    return known


def lightened(value: Value) -> Value:
    """Return a text or tuple whose heavy parts say no more than which decoded texts they hold."""
    if weight(value) <= MAX_WEIGHT // (2 * MAX_ALTERNATIVES):
        return value
    if isinstance(value, Str):
        return Str(
            tuple(part if isinstance(part, str) else _light_hole(part) for part in value.parts),
            origin=value.origin,
        )
    if isinstance(value, Hole):
        return _light_hole(value)
    if isinstance(value, Tuple):
        return Tuple(tuple(map(lightened, value.items)), origin=value.origin)
    return _decoded_alone(value)


def bounded(value: Tuple) -> Tuple:
    """Return a tuple that has just been made, without what its parts hold where that is much: `t = (t, t)` would double."""
    if weight(value) <= MAX_WEIGHT:
        return value
    room = max(1, MAX_WEIGHT // (2 * len(value.items)))
    items = (item if weight(item) <= room else _decoded_alone(item) for item in value.items)
    return Tuple(tuple(items), origin=value.origin)


def _light_hole(hole: Hole) -> Hole:
    if weight(hole) <= MAX_WEIGHT // 32:
        return hole
    return replace(hole, value=_decoded_alone(hole.value))


def _decoded_alone(value: Value) -> Value:
    texts = {text.key: text for text in decoded_in(value)}
    alts = [Alt(text) for text in list(texts.values())[: MAX_ALTERNATIVES - 1]]
    return Choice((*alts, Alt(Unknown())), origin=value.origin) if alts else Unknown(origin=value.origin)


def _coarse(value: Value) -> Value:
    """Return what stays true of a value that is one of many: which kind of model or tokenizer it is, part by part."""
    if isinstance(value, Model):
        return Model(
            kind=value.kind, named=value.named, custom_generate=value.custom_generate, origin=value.origin
        )
    if isinstance(value, Tokenizer):
        return Tokenizer(named=value.named, outside=True, origin=value.origin)
    if isinstance(value, Tuple):
        return Tuple(tuple(_coarse(item) for item in value.items), origin=value.origin)
    return Unknown()


def _source(value: Value) -> object:
    """Return what alternatives share that come from one source: where their decoded texts were decoded, else kind and place."""
    texts = frozenset(_decoded_from(text.decode) for text in decoded_in(value))
    return texts or (type(value), value.origin)


def _decoded_from(decode: Decode | PipelineCall | Stream | Completion) -> tuple[int, Kind | None]:
    """Return where a text was decoded, and the kind of the model that made it."""
    generated: Generated | None = getattr(decode, "generated", None)
    return decode.site.key, None if generated is None else generated.call.model.kind


def join_all(values: list[Value]) -> Value:
    """Join any number of values; `Unknown` for none."""
    if not values:
        return UNKNOWN
    result = values[0]
    for value in values[1:]:
        result = join(result, value)
    return result


def under(value: Value, guards: frozenset[Guard]) -> Value:
    """Return `value` as holding under further conditions."""
    if not guards:
        return value
    return Choice(
        tuple([Alt(alt.value, alt.guards | guards) for alt in _alts(value, None)]), origin=value.origin
    )


def each(value: Value, function: Callable[[Value], Value]) -> Value:
    """Apply `function` to every alternative, keeping the conditions."""
    if not isinstance(value, Choice):
        return function(value)
    images = [function(alt.value) for alt in value.alts]
    if len(images) > 1:
        first = images[0]
        kind = type(first)
        if kind is not Choice and all(type(one) is kind and one == first for one in images):
            return first
    result: Value | None = None
    for alt, made in zip(value.alts, images, strict=True):
        image = under(made, alt.guards)
        result = image if result is None else join(result, image)
    return UNKNOWN if result is None else result


def text_of(value: Value, name: str = "") -> tuple[str | Hole, ...]:
    """Return `value` as the parts of a string."""
    if isinstance(value, Str):
        return value.parts
    if isinstance(value, Const) and isinstance(value.value, str):
        return (value.value,)
    return (Hole(value, name, origin=value.origin),)


def concat(*pieces: tuple[str | Hole, ...]) -> Str:
    """Join strings' parts, merging neighbouring literals."""
    parts: list[str | Hole] = []
    for part in (p for piece in pieces for p in piece):
        if isinstance(part, str) and parts and isinstance(parts[-1], str):
            if len(parts[-1]) <= MAX_TEXT:
                parts[-1] += part
            else:  # what is added to itself doubles each time
                parts.append(Hole(UNKNOWN))
        elif part != "":
            parts.append(part)
    made = Str(tuple(parts[:64]))
    if weight(made) <= MAX_WEIGHT:
        return made
    return Str(tuple(part if isinstance(part, str) else _light_hole(part) for part in made.parts))


def decoded_in(value: Value) -> Iterator[DecodedText]:
    """Yield the decoded texts that stand in `value` itself (not in containers on the heap)."""
    if isinstance(value, DecodedText):
        yield value
    elif isinstance(value, Str):
        for part in value.parts:
            if isinstance(part, Hole):
                yield from decoded_in(part.value)
    elif isinstance(value, Hole):
        yield from decoded_in(value.value)
    elif isinstance(value, Choice):
        for alt in value.alts:
            yield from decoded_in(alt.value)
    elif isinstance(value, Tuple):
        for item in value.items:
            yield from decoded_in(item)
    elif isinstance(value, Pieces):
        yield from decoded_in(value.text)
