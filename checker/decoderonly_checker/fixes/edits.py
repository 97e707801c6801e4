"""From steps in the tree to edits of the text: only what is meant to change is touched."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.cache import digest_of
from decoderonly_checker.diagnostics import Applicability, Confidence, Edit, Fix, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from decoderonly_checker.fixes.proposals import Proposal, Step
    from decoderonly_checker.flow.values import Site

_SUFFIXED = (cst.Name, cst.Attribute, cst.Subscript, cst.Call)


def fix_of(proposal: Proposal, sure: Confidence, place: Callable[[Site], Place]) -> Fix | None:
    """Return the edits that a proposal comes to; None where a finding is too unsure, or the text cannot take them.

    Args:
        proposal: What a rule proposes.
        sure: How sure it is of its finding: the fix of one that is not certain is for people to look at.
        place: Looks up the span of a node.
    """
    if sure is Confidence.POSSIBLE:
        return None
    edits = [_edit(step, place) for step in proposal.steps]
    if not edits or None in edits:
        return None
    applicability = proposal.applicability if sure is Confidence.CERTAIN else Applicability.UNSAFE
    data = proposal.steps[0].site.source.data
    return Fix(
        proposal.message,
        applicability,
        tuple(edit for edit in edits if edit is not None),
        digest_of(data).hex(),
    )


def _edit(step: Step, place: Callable[[Site], Place]) -> Edit | None:
    site, node = step.site, step.site.node
    cell = site.source.cell(site.cell)
    if site.cell is None and cell.text != cell.original:
        return None  # form feeds move columns
    lines = cell.lines
    content = _quoted(step.content, cell.original)
    span = place(site)
    if step.how == "replace":
        return Edit(span, content)
    if step.how == "behind":
        if not isinstance(node, _SUFFIXED) or node.lpar:
            return None
        return Edit(_behind(span), content)
    if not isinstance(node, cst.Call):
        return None
    if not node.args:
        inside = Place(
            span.path, span.end_line, span.end_column - 1, span.end_line, span.end_column - 1, span.cell
        )
        return (
            Edit(inside, content)
            if lines[span.end_line - 1][: span.end_column - 1].rstrip().endswith("(")
            else None
        )
    last = place(_site_of(site, node.args[-1]))
    return Edit(_behind(last), _separator(node.args, site, place, lines) + content)


def _separator(
    arguments: Sequence[cst.Arg], site: Site, place: Callable[[Site], Place], lines: Sequence[str]
) -> str:
    """Return what stands between two arguments: a line break where each has a line of its own."""
    starts = [place(_site_of(site, argument)) for argument in arguments]
    line = lines[starts[-1].line - 1]
    indent = line[: starts[-1].column - 1]
    own = {start.line for start in starts}
    if indent.strip() or len(own) < len(starts) or starts[-1].line != starts[-1].end_line:
        return ", "
    return ",\n" + indent


def _site_of(site: Site, node: cst.CSTNode) -> Site:
    return site.of(site.source, site.cell, node)


def _behind(span: Place) -> Place:
    return Place(span.path, span.end_line, span.end_column, span.end_line, span.end_column, span.cell)


def _quoted(content: str, text: str) -> str:
    """Write quotes as the file does."""
    single = len(re.findall(r"(?<![\w'\"])'(?!'')", text))
    double = len(re.findall(r'(?<![\w\'"])"(?!"")', text))
    return content.replace('"', "'") if single > double and "'" not in content else content
