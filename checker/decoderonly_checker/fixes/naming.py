"""Giving an encoding a name, where only its ids have one: what stands beside them can then be spoken of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.fixes.prompts import code_of, entry_of, mask_beside
from decoderonly_checker.fixes.proposals import Step

if TYPE_CHECKING:
    from decoderonly_checker.fixes.scopes import Scope
    from decoderonly_checker.flow.values import Site

_NAMES = ("encoding", "encoded", "inputs")


def named_encoding(name: str, scope: Scope, site: Site) -> tuple[cst.BaseExpression, tuple[Step, ...]] | None:
    """Return code for the mask beside ids that have a name, and the steps after which it means that.

    `ids = tokenizer(…).input_ids` becomes `encoding = tokenizer(…)` and, on a line of its own, `ids = encoding.input_ids`;
    `ids = tokenizer.encode(…)` likewise.

    Args:
        name: Of the ids.
        scope: Where the name stands for them all through.
        site: A place in the scope.
    """
    value = scope.bound_once(name)
    ancestors = site.source.cell(site.cell).ancestors
    if not isinstance(value, cst.BaseExpression) or ancestors is None or value.lpar:
        return None
    around = site.of(site.source, site.cell, value).around()
    statement = around[-1] if around else None
    if not isinstance(statement, cst.Assign) or len(statement.targets) != 1:
        return None
    made = _made(value)
    free = next((one for one in _NAMES if one not in ancestors.names), None)
    if made is None or free is None:
        return None
    stands: cst.BaseExpression = cst.Name(free)
    encodes = _encodes(made)
    if encodes is not None:
        stands = entry_of(stands, "input_ids")
    ids = _with(value, made, stands)
    mask = mask_beside(ids, scope, hops=0)
    if mask is None:
        return None

    def at(node: cst.CSTNode) -> Site:
        return site.of(site.source, site.cell, node)

    # What `tokenizer.encode(…)` gives is the `input_ids` of `tokenizer(…)`.
    called = () if encodes is None else (Step(at(encodes), "tail", "", at(encodes.value)),)
    return mask, (
        *called,
        Step(at(statement.targets[0].target), "replace", free),
        Step(at(value), "tail", "", at(made)),
        Step(at(value), "line", f"{name} = {code_of(ids)}"),
    )


def _made(value: cst.BaseExpression) -> cst.Call | None:
    """Return the call whose `input_ids` are taken, whatever is done with them behind."""
    current: cst.BaseExpression = value
    while isinstance(current, cst.Attribute | cst.Subscript | cst.Call):
        if isinstance(current, cst.Call):
            if _encodes(current) is not None and not current.lpar:
                return current
            if not isinstance(current.func, cst.Attribute):
                return None
            current = current.func.value
        elif isinstance(current, cst.Attribute) and current.attr.value != "input_ids":
            return None
        else:
            inner = current.value
            return inner if isinstance(inner, cst.Call) and not inner.lpar else None
    return None


def _encodes(call: cst.Call) -> cst.Attribute | None:
    """Return `tokenizer.encode` of a call of it."""
    return call.func if isinstance(call.func, cst.Attribute) and call.func.attr.value == "encode" else None


def _with(value: cst.BaseExpression, made: cst.Call, other: cst.BaseExpression) -> cst.BaseExpression:
    """Return code with something else in the place of what is made in it."""
    if value is made:
        return other
    if isinstance(value, cst.Call):
        return value.with_changes(func=_with(value.func, made, other))
    if isinstance(value, cst.Attribute | cst.Subscript):
        return value.with_changes(value=_with(value.value, made, other))
    return value
