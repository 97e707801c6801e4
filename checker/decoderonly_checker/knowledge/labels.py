"""Padding and shifting of ids by hand, and what lists do that are joined with ids."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.facts import IdsWrite
from decoderonly_checker.flow.labels import ignores, is_other, name_of
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Const,
    Encoding,
    Ids,
    Method,
    Opaque,
    Ref,
    Site,
    Tri,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_FILLS = ("masked_fill", "masked_fill_")
# What turns rows around, so that padding ends on their other side: it is not followed.
_FLIPS = late_pattern(r"\bflip|\breversed\b|\[\s*::\s*-1|\.reverse\(")
_REST = late_pattern(r"pad|remain|rest|diff|missing|fill", re.IGNORECASE)


def is_rest(times: Value | None) -> bool:
    """Whether a count is that of the padding: what is left of a length."""
    return any(_REST.search(name_of(one)) is not None for one in alternatives(times))


def join_lists(interp: Interpreter, values: list[Value], made: Ids, site: Site) -> Ids:
    """Return `made`, joined from `values`, with what the lists among them do: mask, fill, or pad."""
    encoding = made.encoding
    front = True
    for value in values:
        if any(isinstance(one, Ids) for one in alternatives(value)):
            front = False
            continue
        record = interp.store.get(value.id) if isinstance(value, Ref) else None
        times = record.times if isinstance(record, ListRec) else None
        if interp.fills_ignore(value):
            interp.ignore_write(made, times, "list", site.node)
        elif isinstance(record, ListRec) and times is not None and encoding is not None:
            if is_rest(times) and is_other(record.element):
                encoding = padded(encoding, None)
            elif front and is_other(record.element):
                event = IdsWrite(*interp.where(site.node), made, times, "list", record.element)
                interp.record("ids_writes", event)
    return replace(made, encoding=encoding)


def padded(encoding: Encoding, side: str | None, site: Site | None = None) -> Encoding:
    """Return an encoding that was padded by hand: on `side`, None where that is not known."""
    return replace(
        encoding,
        batched=Tri.YES,
        padded=Tri.YES,
        by_hand=True,
        padding_side=Const(side, origin=site) if side is not None else None,
    )


def register(registry: Registry) -> None:
    """Register the handlers of this file."""

    @registry.function("torch.nn.utils.rnn.pad_sequence")
    def pad_sequence(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        source = args.get(0, "sequences")
        inner = interp.iterate(source) if source is not None else UNKNOWN
        fill = args.get(2, "padding_value") or Const(0.0)
        side = literal(args.get(3, "padding_side"))
        if side is None and _FLIPS.search(interp.frame.module.text) is None:
            side = "right"
        for one in alternatives(inner):
            if isinstance(one, Ids):
                encoding = one.encoding
                if encoding is not None:
                    encoding = padded(encoding, side if isinstance(side, str) else None, interp.site(node))
                made = interp.derived(one, interp.site(node))
                made = replace(made, encoding=encoding, rank="batch")
                if not is_other(fill):
                    interp.ignore_write(made, None, "padding", node)
                return made
        if ignores(fill):
            interp.ignore_write(UNKNOWN, None, "padding", node)
        return Opaque("tensor", origin=interp.site(node))

    @registry.function("torch.nn.functional.pad")
    def pad(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        fill = args.get(3, "value") or Const(0)
        one = next((v for v in alternatives(args.get(0, "input")) if isinstance(v, Ids)), None)
        if one is None or one.encoding is None:
            if ignores(fill):
                interp.ignore_write(UNKNOWN, None, "padding", node)
            return None
        made = replace(interp.derived(one, interp.site(node)), encoding=padded(one.encoding, None))
        if not is_other(fill):
            interp.ignore_write(made, None, "padding", node)
        return made

    @registry.function("torch.roll", "numpy.roll")
    def roll(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        one = next((v for v in alternatives(args.get(0, "input", "a")) if isinstance(v, Ids)), None)
        shift = literal(args.get(1, "shifts", "shift"))
        if one is None:
            return None
        base, count = one.offset
        offset = (base, count - shift) if isinstance(shift, int) else (f"{base}|roll", count)
        return replace(interp.derived(one, interp.site(node)), offset=offset)

    registry.attributes.setdefault(Unknown, []).append(
        lambda interp, owner, name, site: Method(owner, name, origin=site) if name in _FILLS else None
    )

    @registry.method((Unknown, Opaque), *_FILLS)
    def masked_fill(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        """Fill labels of which nothing is known."""
        if not ignores(args.get(1, "value")):
            return None
        interp.ignore_write(UNKNOWN, args.get(0, "mask"), "mask", node)
        return receiver


__all__ = ["is_rest", "join_lists", "padded", "register"]
