"""Fixes that bring in the mask beside ids: into a `forward`, as positions counted from it, instead of a comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Applicability
from decoderonly_checker.fixes.naming import named_encoding
from decoderonly_checker.fixes.prompts import (
    code_of,
    come_whole,
    entry_of,
    mask_beside,
    root_of,
    without_copies,
    without_moves,
)
from decoderonly_checker.fixes.proposals import Proposal, Step, add_argument, argument_of, can_change
from decoderonly_checker.fixes.scopes import Scope
from decoderonly_checker.flow.values import Site

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import Facts, ForwardCall, GenerateCall, PositionRead
    from decoderonly_checker.flow.values import Ids

_IDS = "input_ids"
_CACHES = ("past_key_values", "use_cache", "cache_position")


def pass_mask(call: GenerateCall, facts: Facts) -> Proposal | None:
    """Propose to pass the mask of the encoding whose ids a `generate` gets."""
    node = call.site.node
    if not isinstance(node, cst.Call) or call.open is not None:
        return None
    given = argument_of(node, 0, _IDS, "inputs")
    if given is None or not come_whole(call.ids, facts):
        return None
    scope = Scope(call.site)
    mask = mask_beside(given, scope, hops=1)
    named: tuple[Step, ...] = ()
    if mask is None and isinstance(given, cst.Name):
        mask, named = named_encoding(given.value, scope, call.site) or (None, ())
    passed = None if mask is None else add_argument(call.site, "attention_mask", code_of(mask))
    return None if passed is None else replace(passed, steps=(*named, *passed.steps))


def compare_mask(site: Site, ids: Ids, facts: Facts) -> Proposal | None:
    """Propose `mask != 0` instead of `ids != pad_token_id`, and `== 0` likewise: the same shape and type, by the real mask.

    Args:
        site: The comparison.
        ids: What is compared: ids of an encoding, or labels that are a copy of them. Tensors of PyTorch only.
        facts: Of the run.
    """
    node = site.node
    if not isinstance(node, cst.Comparison) or len(node.comparisons) != 1 or not can_change(site):
        return None
    target = node.comparisons[0]
    if not isinstance(target.operator, cst.Equal | cst.NotEqual):
        return None
    if not come_whole(ids, facts, return_tensors="pt"):
        return None
    scope = Scope(site)
    mask = _mask_of(node.left, scope)
    named: tuple[Step, ...] = ()
    root = root_of(mask)
    if mask is None and isinstance(node.left, cst.Name):
        mask, named = named_encoding(node.left.value, scope, site) or (None, ())
    elif root is None or scope.bound_once(root) is None:
        return None
    if mask is None:
        return None
    steps = (
        *named,
        Step(site.of(site.source, site.cell, node.left), "replace", code_of(mask)),
        Step(site.of(site.source, site.cell, target.comparator), "replace", "0"),
    )
    return Proposal(f"ask the mask: `{code_of(mask)}`", steps)


def _mask_of(given: cst.BaseExpression, scope: Scope) -> cst.BaseExpression | None:
    """Return the code for the mask beside ids, whose name may stand for a copy of them."""
    if isinstance(given, cst.Name):
        bound = scope.bound_once(given.value)
        if not isinstance(bound, cst.BaseExpression):
            return None
        given = without_copies(bound)
        if isinstance(given, cst.Name):
            return None
    return mask_beside(given, scope, hops=0)


def pass_mask_on(call: ForwardCall, facts: Facts, *, counts_columns: bool) -> Proposal | None:
    """Propose to give a `forward` the mask beside its ids.

    Args:
        call: The call.
        facts: Of the run.
        counts_columns: The model counts positions over the columns: with the mask it needs positions, too.
    """
    node = call.site.node
    if not isinstance(node, cst.Call) or call.mask is not None:
        return None
    given = argument_of(node, 0, _IDS)
    if given is None or not come_whole(call.ids, facts, return_tensors="pt"):
        return None
    mask = mask_beside(given, Scope(call.site), hops=1)
    passed = None if mask is None else add_argument(call.site, "attention_mask", code_of(mask))
    if mask is None or passed is None or not counts_columns:
        return passed
    if _cached(node):
        return None
    code = f"attention_mask={code_of(mask)}, position_ids={_positions(mask)}"
    return Proposal(f"pass `{code}`", (Step(call.site, "argument", code),))


def pass_positions(call: ForwardCall, facts: Facts) -> Proposal | None:
    """Propose to give a `forward` positions that its mask counts."""
    node = call.site.node
    if (
        not isinstance(node, cst.Call)
        or _cached(node)
        or not come_whole(call.ids, facts, return_tensors="pt")
    ):
        return None
    mask = _mask_given(node, Scope(call.site))
    if mask is None:
        return None
    return add_argument(call.site, "position_ids", _positions(mask), unpacked=True)


def read_last_tokens(read: PositionRead, facts: Facts) -> Proposal | None:
    """Propose to read each row's last token, told by the mask, instead of the last column. Unsafe: of rows padded right."""
    call, node = read.scores.call, read.site.node
    forward = call.site.node
    if (
        not isinstance(node, cst.Subscript)
        or not isinstance(forward, cst.Call)
        or not can_change(read.site)
        or read.site.source is not call.site.source
        or not come_whole(call.ids, facts, return_tensors="pt")
        or len(node.slice) < 2
    ):
        return None
    rows, last = node.slice[0].slice, node.slice[1].slice
    whole = isinstance(rows, cst.Slice) and not (rows.lower or rows.upper or rows.step)
    if not whole or not isinstance(last, cst.Index) or code_of(last.value) != "-1":
        return None
    scope = Scope(read.site)
    mask = _mask_given(forward, scope) if scope.node is Scope(call.site).node else None
    if mask is None:
        return None
    steps = (
        Step(Site.of(read.site.source, read.site.cell, rows), "replace", f"range(len({code_of(mask)}))"),
        Step(Site.of(read.site.source, read.site.cell, last), "replace", f"{code_of(mask)}.sum(dim=1) - 1"),
    )
    return Proposal("read each row's last token", steps, Applicability.UNSAFE)


def _mask_given(call: cst.Call, scope: Scope) -> cst.BaseExpression | None:
    """Return code for the mask that a `forward` is given, by its name or in an encoding that is unpacked."""
    mask = argument_of(call, 2, "attention_mask")
    unpacked = [argument.value for argument in call.args if argument.star == "**"]
    if mask is None and len(unpacked) == 1:
        encoding = without_moves(unpacked[0])
        if not isinstance(encoding, cst.Name):
            return None
        mask = entry_of(encoding, "attention_mask")
    elif unpacked:
        return None
    root = root_of(mask)
    return mask if root is not None and scope.bound_once(root) is not None else None


def _cached(call: cst.Call) -> bool:
    """Whether a call speaks of a cache: positions then go on from what it holds."""
    return any(argument.keyword is not None and argument.keyword.value in _CACHES for argument in call.args)


def _positions(mask: cst.BaseExpression) -> str:
    """Return code for positions from a mask, as transformers' own `generate` counts them."""
    return f"({code_of(mask)}.cumsum(dim=-1) - 1).clamp(min=0)"
