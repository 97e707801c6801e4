"""From steps in the tree to edits of the text: only what is meant to change is touched."""

from __future__ import annotations

import re
from functools import lru_cache
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
    if site.cell is None and cell.text != cell.original and not cell.embedded:
        return None  # form feeds move columns
    lines = cell.lines
    content = _quoted(step.content, cell.commented)
    span = place(site)
    if step.how == "replace":
        return Edit(span, content)
    if step.how == "behind":
        if not isinstance(node, _SUFFIXED) or node.lpar:
            return None
        return Edit(_behind(span), content)
    if step.how == "end":
        return Edit(_behind(span), content)
    if step.how == "tail":
        return _tail(step, place)
    if step.how in {"line", "remove"}:
        return _line(step, place, lines)
    if step.how == "without":
        return _without(step, place, lines)
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


def _tail(step: Step, place: Callable[[Site], Place]) -> Edit | None:
    """Return the change of what follows a node within another one that begins with it."""
    if step.inner is None or getattr(step.inner.node, "rpar", None):
        return None
    start, end = place(step.inner), place(step.site)
    return Edit(_between(start.end_line, start.end_column, end), step.content)


def _line(step: Step, place: Callable[[Site], Place], lines: Sequence[str]) -> Edit | None:
    """Return the change of the lines of the statement that a node stands in, which has them for itself."""
    around = step.site.around()
    statement = next((one for one in reversed(around) if isinstance(one, cst.SimpleStatementLine)), None)
    if statement is None or len(statement.body) != 1:
        return None
    owner = around[around.index(statement) - 1]
    if not isinstance(owner, cst.Module | cst.IndentedBlock):
        return None
    span = place(_site_of(step.site, statement.body[0]))
    first, last = lines[span.line - 1], lines[span.end_line - 1]
    indent = first[: span.column - 1]
    if indent.strip() or last[span.end_column - 1 :].lstrip()[:1] not in {"", "#"}:
        return None
    if step.how == "remove":
        alone = len(owner.body) == 1 or last[span.end_column - 1 :].strip()
        return None if alone else Edit(Place(span.path, span.line, 1, span.end_line + 1, 1, span.cell), "")
    column = len(last) + 1
    return Edit(
        Place(span.path, span.end_line, column, span.end_line, column, span.cell), f"\n{indent}{step.content}"
    )


def _without(step: Step, place: Callable[[Site], Place], lines: Sequence[str]) -> Edit | None:
    """Return the change that takes an argument and one comma away; None where a comment stands between."""
    call = step.inner.node if step.inner is not None else None
    if not isinstance(call, cst.Call):
        return None
    number = next(index for index, argument in enumerate(call.args) if argument is step.site.node)
    span = place(step.site)
    if len(call.args) == 1 and isinstance(call.args[0].comma, cst.Comma):
        return None
    if number + 1 < len(call.args):
        follower = place(_site_of(step.site, call.args[number + 1]))
        gone = Place(span.path, span.line, span.column, follower.line, follower.column, span.cell)
    elif number:
        before = place(_site_of(step.site, call.args[number - 1]))
        gone = _between(before.end_line, before.end_column, span)
    else:
        gone = span
    between = list(lines[gone.line - 1 : gone.end_line])
    between[-1] = between[-1][: gone.end_column - 1]
    between[0] = between[0][gone.column - 1 :]
    return Edit(gone, "") if "#" not in "".join(between) else None


def _between(line: int, column: int, end: Place) -> Place:
    return Place(end.path, line, column, end.end_line, end.end_column, end.cell)


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
    if '"' not in content or "'" in content or not _prefers_single(text):
        return content
    return content.replace('"', "'")


@lru_cache(maxsize=8)
def _prefers_single(text: str) -> bool:
    single = len(re.findall(r"(?<![\w'\"])'(?!'')", text))
    double = len(re.findall(r'(?<![\w\'"])"(?!"")', text))
    return single > double
