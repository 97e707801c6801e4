"""Fixes of what is written into labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.fixes.prompts import (
    COPIES,
    code_of,
    come_whole,
    mask_beside,
    root_of,
    without_copies,
)
from decoderonly_checker.fixes.proposals import Proposal, Step, argument_of, can_change
from decoderonly_checker.fixes.scopes import Scope

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import Facts, LabelsMade
    from decoderonly_checker.flow.values import Ids, Site

# What a model takes beside ids, a number for each.
_BESIDE = frozenset({"attention_mask", "position_ids", "token_type_ids", "inputs_embeds", "input_ids"})


def write_ignored(site: Site) -> Proposal | None:
    """Propose -100 in the place of another literal that an assignment writes."""
    node = site.node
    around = site.around()
    while around and not isinstance(node, cst.Assign | cst.BaseSmallStatement):
        node = around.pop()
    if not isinstance(node, cst.Assign) or not can_change(site):
        return None
    value = node.value
    plain = value.expression if isinstance(value, cst.UnaryOperation) else value
    if not isinstance(plain, cst.Integer) or value.lpar:
        return None
    return Proposal("write -100", (Step(site.of(site.source, site.cell, value), "replace", "-100"),))


def hide_padding(site: Site, labels: Ids, facts: Facts) -> Proposal | None:
    """Propose -100 where the mask beside the ids is 0, that labels are a copy of; tensors of PyTorch only.

    Args:
        site: Where the copy is made, or the ids are handed on as labels.
        labels: The labels.
        facts: Of the run.
    """
    ids = replace(labels, field="input_ids")
    value = _labels_in(site.node)
    if value is None or not can_change(site) or not come_whole(ids, facts, return_tensors="pt"):
        return None
    copied = without_copies(value)
    if isinstance(copied, cst.Name):
        return None  # where it was taken from the encoding, both may have been changed since
    mask = mask_beside(copied, Scope(site), hops=0)
    root = root_of(copied)
    if mask is None or root is None or Scope(site).bound_once(root) is None:
        return None
    hidden = f".masked_fill({code_of(mask)} == 0, -100)"
    step = Step(site.of(site.source, site.cell, value), "behind", hidden)
    return Proposal(f"hide the padding: `{hidden}`", (step,))


def unshift(made: LabelsMade) -> Proposal | None:
    """Propose to hand ids and labels to a model unshifted, where both are slices of one in the call itself."""
    site = made.site
    node = site.node
    if not isinstance(node, cst.Call) or not can_change(site):
        return None
    steps: list[Step] = []
    shifted: dict[str, list[str]] = {":-1": [], "1:": []}
    for argument in node.args:
        value = without_copies(argument.value)
        cut = _columns(value) if isinstance(value, cst.Subscript) else None
        if isinstance(value, cst.Subscript) and cut in shifted and not argument.star:
            shifted[cut].append(code_of(value.value))
            inner = site.of(site.source, site.cell, value.value)
            steps.append(Step(site.of(site.source, site.cell, value), "tail", "", inner))
        elif argument.star or (argument.keyword is None) or argument.keyword.value in _BESIDE:
            return None  # of another width than the ids, then
    if len(shifted["1:"]) != 1 or shifted["1:"][0] not in shifted[":-1"]:
        return None
    return Proposal("hand both over as they are", tuple(steps))


def _columns(value: cst.Subscript) -> str | None:
    """Return which columns are taken of all rows: ":-1", "1:"; None where something else is."""
    *rows, last = (one.slice for one in value.slice)
    if any(not isinstance(one, cst.Slice) or one.lower or one.upper or one.step for one in rows):
        return None
    if len(rows) != 1 or not isinstance(last, cst.Slice) or last.step:
        return None
    lower = "" if last.lower is None else code_of(last.lower)
    upper = "" if last.upper is None else code_of(last.upper)
    return f"{lower}:{upper}"


def _labels_in(node: cst.CSTNode) -> cst.BaseExpression | None:
    """Return the code of the labels in the statement or call that makes them."""
    if isinstance(node, cst.Assign):
        return node.value
    if isinstance(node, cst.Call):
        given = argument_of(node, -1, "labels")
        if given is not None or not isinstance(node.func, cst.Attribute):
            return given
        return node if node.func.attr.value in COPIES else None
    return node if isinstance(node, cst.Subscript | cst.Attribute) else None
