"""Fixes that speak of the prompt's ids: the mask that belongs to them, and where the answer begins behind them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.fixes.proposals import (
    Proposal,
    Step,
    argument_of,
    can_change,
    leave_out_argument,
)
from decoderonly_checker.fixes.scopes import Scope
from decoderonly_checker.flow.values import Ids, Site, alternatives, literal

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import Decode, Facts, GenerateCall, IdsCut
    from decoderonly_checker.flow.values import Value

_MOVES = frozenset({"to", "cuda", "cpu", "npu", "xpu", "detach", "contiguous"})
_IDS = "input_ids"
_ROW, _BATCH = "row", "batch"
COPIES = frozenset({"clone", "detach", "contiguous"})


def come_whole(value: Value | None, facts: Facts, **wanted: str) -> bool:
    """Whether ids are surely those of one tokenizer call as it gave them, with a mask beside them.

    Args:
        value: The ids.
        facts: Of the run.
        **wanted: What the call must be given, as literals.
    """
    ids = alternatives(value)
    if not ids or not all(
        isinstance(one, Ids)
        and one.encoding is not None
        and one.field == _IDS
        and one.rank == "batch"
        and not one.part
        and one.start is None
        and one.added == (0, 0)
        and not one.encoding.joined
        and not one.encoding.by_hand
        for one in ids
    ):
        return False
    made = {one.encoding.site for one in ids if isinstance(one, Ids) and one.encoding is not None}
    told = [record for record in facts.tokenizer_calls if record.site in made]
    return all(
        record.args.get(None, "return_attention_mask") is None
        and record.args.open is None
        and all(literal(record.args.get(None, name)) == given for name, given in wanted.items())
        for record in told
    )


def mask_beside(given: cst.BaseExpression, scope: Scope, hops: int) -> cst.BaseExpression | None:
    """Return the code for the mask beside `encoding["input_ids"]`, moved to where these are moved."""
    if isinstance(given, cst.Subscript) and _is_key(given):
        if not is_plain(given.value):
            return None
        return given.with_changes(slice=entry_of(given.value, "attention_mask").slice)
    if isinstance(given, cst.Attribute) and given.attr.value == _IDS:
        return given.with_changes(attr=cst.Name("attention_mask")) if is_plain(given.value) else None
    moved = _moved(given)
    if moved is not None and isinstance(given, cst.Call):
        inner = mask_beside(moved, scope, hops)
        return None if inner is None else given.with_deep_changes(given.func, value=inner)
    if isinstance(given, cst.Name) and hops:
        # `input_ids = encoding["input_ids"]`, where neither name ever stands for anything else.
        bound = scope.bound_once(given.value)
        root = root_of(bound)
        if isinstance(bound, cst.BaseExpression) and root is not None and scope.bound_once(root) is not None:
            return mask_beside(bound, scope, hops - 1)
    return None


def cut_prompt(decode: Decode) -> Proposal | None:
    """Propose to cut the prompt off what is decoded, by the width of the prompt's ids."""
    node, call = decode.site.node, decode.generated.call
    generate = call.site.node
    if (
        not isinstance(node, cst.Call)
        or not isinstance(generate, cst.Call)
        or not can_change(decode.site)
        or decode.site.source is not call.site.source
        or call.args.get(None, "inputs_embeds") is not None
    ):
        return None
    scope = Scope(decode.site)
    if scope.node is not Scope(call.site).node:
        return None
    given = argument_of(node, 0, "token_ids", "sequences")
    width = _width(generate, call, scope)
    if given is None or width is None:
        return None
    rank = _rank(given, generate, scope)
    if rank != (_BATCH if decode.batch else _ROW) or decode.generated.rank not in (rank, "dict"):
        return None
    cut = f"[{width}:]" if rank == _ROW else f"[:, {width}:]"
    step = Step(Site.of(decode.site.source, decode.site.cell, given), "behind", cut)
    return Proposal(f"cut the prompt off: `{cut}`", (step,))


def cut_instead(decode: Decode) -> Proposal | None:
    """Propose to cut the prompt off what is decoded, in the place of an option that decoding ignores."""
    cut, left_out = cut_prompt(decode), leave_out_argument(decode.site, decode.ignored)
    if cut is None or left_out is None:
        return None
    return Proposal(cut.message, (*cut.steps, *left_out.steps))


def cut_at_width(cut: IdsCut) -> Proposal | None:
    """Propose to cut where the prompt ends, in the place of another bound."""
    node, call = cut.site.node, cut.generated.call
    generate = call.site.node
    if (
        not isinstance(node, cst.Subscript)
        or not isinstance(generate, cst.Call)
        or not can_change(cut.site)
        or cut.site.source is not call.site.source
    ):
        return None
    scope = Scope(cut.site)
    width = _width(generate, call, scope) if scope.node is Scope(call.site).node else None
    bound = node.slice[-1].slice
    if width is None or not isinstance(bound, cst.Slice) or bound.lower is None or bound.upper is not None:
        return None
    step = Step(Site.of(cut.site.source, cut.site.cell, bound.lower), "replace", width)
    return Proposal(f"cut at `{width}`", (step,))


def leave_whole(cut: IdsCut) -> Proposal | None:
    """Propose to leave generated ids whole, in the place of a cut at the prompt's length."""
    node = cut.site.node
    if not isinstance(node, cst.Subscript) or not can_change(cut.site) or len(node.slice) > 2:
        return None
    first, bounds = node.slice[0].slice, node.slice[-1].slice
    if not isinstance(bounds, cst.Slice) or bounds.upper is not None or bounds.step is not None:
        return None
    row = ""
    if len(node.slice) == 2:
        if isinstance(first, cst.Index):
            row = f"[{code_of(first.value)}]"
        elif not isinstance(first, cst.Slice) or first.lower or first.upper or first.step:
            return None
    whole = Site.of(cut.site.source, cut.site.cell, node.value)
    return Proposal("leave the output whole", (Step(cut.site, "tail", row, whole),))


def _width(generate: cst.Call, call: GenerateCall, scope: Scope) -> str | None:
    """Return code for the width of the prompt's ids that still means the same behind the call."""
    given: cst.BaseExpression | None = argument_of(generate, 0, _IDS, "inputs")
    unpacked = [argument.value for argument in generate.args if argument.star == "**"]
    if given is None:
        if len(unpacked) != 1 or call.encoding is None or call.open is not None:
            return None
        given = without_moves(unpacked[0])
        if not isinstance(given, cst.Name):
            return None
        code = f'{given.value}["{_IDS}"]'
    else:
        given = without_moves(given)
        plain = isinstance(given, cst.Name) or (
            (isinstance(given, cst.Subscript) and _is_key(given) and isinstance(given.value, cst.Name))
            or (
                isinstance(given, cst.Attribute)
                and given.attr.value == _IDS
                and isinstance(given.value, cst.Name)
            )
        )
        if not plain:
            return None
        code = code_of(given)
    root = root_of(given)
    return f"{code}.shape[1]" if root is not None and scope.bound_once(root) is not None else None


def _rank(given: cst.CSTNode | None, generate: cst.Call, scope: Scope, hops: int = 4) -> str | None:
    """Return whether code stands for all that a `generate` returned or for one row of it; None where that is not plain."""
    if given is generate:
        return _BATCH
    if hops == 0 or given is None:
        return None
    if isinstance(given, cst.Subscript) and len(given.slice) == 1:
        inner = given.slice[0].slice
        whole = _rank(given.value, generate, scope, hops - 1)
        one = isinstance(inner, cst.Index) and isinstance(inner.value, cst.Integer)
        return _ROW if whole == _BATCH and one else None
    if isinstance(given, cst.Attribute) and given.attr.value == "sequences":
        return _rank(given.value, generate, scope, hops - 1)
    moved = _moved(given)
    if moved is not None:
        return _rank(moved, generate, scope, hops - 1)
    if isinstance(given, cst.Name):
        bound = scope.bound_once(given.value)
        if isinstance(bound, cst.For | cst.CompFor):
            looped = isinstance(bound.target, cst.Name)
            return _ROW if looped and _rank(bound.iter, generate, scope, hops - 1) == _BATCH else None
        return _rank(bound, generate, scope, hops - 1)
    return None


def _moved(node: cst.CSTNode | None) -> cst.BaseExpression | None:
    """Return the `x` of `x.to(device)`, or of another call that changes no value; None for other code."""
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and node.func.attr.value in _MOVES:
        return node.func.value
    return None


def without_moves(node: cst.BaseExpression) -> cst.BaseExpression:
    """Return what is moved by `.to(device)` and the like."""
    while (inner := _moved(node)) is not None:
        node = inner
    return node


def without_copies(node: cst.BaseExpression) -> cst.BaseExpression:
    """Return `x` of `x.contiguous()`, `x.clone()` and the like."""
    while isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute) and not node.args:
        if node.func.attr.value not in COPIES:
            break
        node = node.func.value
    return node


def _is_key(node: cst.Subscript) -> bool:
    """Whether code is `x["input_ids"]`."""
    if len(node.slice) != 1 or not isinstance(node.slice[0].slice, cst.Index):
        return False
    key = node.slice[0].slice.value
    return isinstance(key, cst.SimpleString) and key.evaluated_value == _IDS


def is_plain(node: cst.BaseExpression) -> bool:
    """Whether code is a name, or attributes of one: asking twice gives the same."""
    while isinstance(node, cst.Attribute):
        node = node.value
    return isinstance(node, cst.Name)


def root_of(node: cst.CSTNode | None) -> str | None:
    """Return the name that code such as `encoding["input_ids"].to(device)` begins with."""
    while node is not None and not isinstance(node, cst.Name):
        node = node.value if isinstance(node, cst.Attribute | cst.Subscript) else _moved(node)
    return None if node is None else node.value


def entry_of(value: cst.BaseExpression, key: str) -> cst.Subscript:
    """Return `value["key"]`."""
    return cst.Subscript(value, [cst.SubscriptElement(cst.Index(cst.SimpleString(f'"{key}"')))])


def code_of(node: cst.CSTNode) -> str:
    """Return the code of a node, on one line where nothing speaks against it."""
    code = cst.Module([]).code_for_node(node)
    if "\n" not in code or "#" in code or '"""' in code or "'''" in code:
        return code
    code = re.sub(r"(?<=[(\[{])\s*\n\s*|,?\s*\n\s*(?=[)\]}])", "", code)
    return re.sub(r"\s*\n\s*", " ", code)
