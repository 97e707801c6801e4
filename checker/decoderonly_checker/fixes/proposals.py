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
    """One change: `content` instead of a node, right `"behind"` it, or as a further `"argument"` of it, a call.

    Quotes in `content` are double; where a file prefers single ones, they are turned.
    """

    site: Site
    how: str  # "replace", "behind" or "argument"
    content: str


@immutable
class Proposal:
    """A change that cures a finding, if all of its steps are made."""

    message: str
    steps: tuple[Step, ...]
    applicability: Applicability = Applicability.SAFE


def add_argument(
    site: Site | None, name: str, value: str, *, safe: bool = True, message: str = ""
) -> Proposal | None:
    """Propose `name=value` as a further argument of a call; None where the place is no call that can take it.

    A literal that is given already is replaced.
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
        if argument.star == "**" or isinstance(argument.value, cst.GeneratorExp):
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
