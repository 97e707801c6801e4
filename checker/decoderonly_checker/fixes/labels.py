"""Fixes of what is written into labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.fixes.proposals import Proposal, Step, can_change

if TYPE_CHECKING:
    from decoderonly_checker.flow.values import Site


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
