"""What a rule proposes to change, in terms of the tree. Nothing here knows text or files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Applicability
from decoderonly_checker.immutable import immutable

if TYPE_CHECKING:
    from decoderonly_checker.flow.values import Site


@immutable
class Step:
    """One change, by `how`.

    "replace": `content` instead of a node. "behind": right behind it, a name, a call or the like. "end": right behind it,
    whatever it is. "argument": as a further argument of it, a call. "tail": instead of all that follows `inner`, with which
    the node begins. "line": on a line of its own behind the statement that the node stands in. "remove": that statement
    goes, and its lines with it. "without": the node, an argument of the call `inner`, goes, and its comma with it.

    Quotes in `content` are double; where a file prefers single ones, they are turned.
    """

    site: Site
    how: str
    content: str
    inner: Site | None = None


@immutable
class Proposal:
    """A change that cures a finding, if all of its steps are made."""

    message: str
    steps: tuple[Step, ...]
    applicability: Applicability = Applicability.SAFE


def add_argument(
    site: Site | None,
    name: str,
    value: str,
    *,
    safe: bool = True,
    message: str = "",
    unpacked: bool = False,
) -> Proposal | None:
    """Propose `name=value` as a further argument of a call; None where the place is no call that can take it.

    A literal that is given already is replaced.

    Args:
        site: The call.
        name: Of the argument.
        value: Its code.
        safe: Nothing else is affected.
        message: What the proposal says; by default that the argument is passed.
        unpacked: What a `**` of the call unpacks is known not to hold the argument.
    """
    node = site.node if site is not None else None
    if site is None or not isinstance(node, cst.Call) or not can_change(site):
        return None
    applicability = Applicability.SAFE if safe else Applicability.UNSAFE
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value == name:
            if not isinstance(argument.value, cst.SimpleString | cst.Name):
                return None
            step = Step(site.of(site.source, site.cell, argument.value), "replace", value)
            return Proposal(message or f"set `{name}={value}`", (step,), applicability)
        if (argument.star == "**" and not unpacked) or isinstance(argument.value, cst.GeneratorExp):
            return None  # it may hold the argument; without its own parentheses nothing may follow it
    return Proposal(
        message or f"pass `{name}={value}`", (Step(site, "argument", f"{name}={value}"),), applicability
    )


def rename_argument(site: Site | None, old: str, new: str) -> Proposal | None:
    """Propose to give what a call gives as `old` as `new`, which means something else: for people to look at."""
    node = site.node if site is not None else None
    if site is None or not isinstance(node, cst.Call) or not can_change(site):
        return None
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value == old:
            step = Step(site.of(site.source, site.cell, argument.keyword), "replace", new)
            return Proposal(f"pass it as `{new}`", (step,), Applicability.UNSAFE)
    return None


def leave_out_argument(site: Site, name: str) -> Proposal | None:
    """Propose a call without one of its arguments."""
    node = site.node
    if not isinstance(node, cst.Call) or not can_change(site):
        return None
    for argument in node.args:
        if argument.keyword is not None and argument.keyword.value == name:
            step = Step(site.of(site.source, site.cell, argument), "without", "", site)
            return Proposal(f"leave `{name}` out", (step,))
    return None


def can_change(site: Site) -> bool:
    """Whether code stands where quotes and line breaks may be written: not so within an f-string, before Python 3.12."""
    return not any(isinstance(node, cst.FormattedString) for node in site.around())


def argument_of(call: cst.Call, index: int, *names: str) -> cst.BaseExpression | None:
    """Return what a call's code gives at a position or under one of some names; None where that is not to be seen."""
    for number, argument in enumerate(call.args):
        if argument.star:
            break
        if argument.keyword is None and number == index:
            return argument.value
    for argument in call.args:
        if argument.keyword is not None and argument.keyword.value in names:
            return argument.value
    return None
