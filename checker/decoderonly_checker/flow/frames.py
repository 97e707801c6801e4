"""What runs at a time, and how much of it: frames, and the limits of the work for one entry point."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from decoderonly_checker.immutable import record

if TYPE_CHECKING:
    from collections.abc import Callable

    import libcst as cst

    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.flow.state import Delta
    from decoderonly_checker.flow.values import Function, Value

MAX_DEPTH = 10  # calls that are followed within calls
MODULE_BUDGET = 400_000  # steps of work
STEPS_BETWEEN_LOOKS = 1024  # at the clock; a power of two


class BudgetExhausted(Exception):  # noqa: N818 - no error: the entry is cut short
    """The work allowed for one entry point is used up."""


@record
class Frame:
    """One running function or module."""

    module: Module
    cell: int | None
    scopes: tuple[int, ...]  # innermost first
    function: Function | None = None
    entry: bool = False
    returns: list[Value] = field(default_factory=list)
    yields: list[Value] = field(default_factory=list)
    exits: list[Delta] = field(default_factory=list)
    loop_exits: list[list[Delta]] = field(default_factory=list)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    loop_depth: int = 0
    shown: cst.Expr | None = None  # the expression whose value a notebook shows below the cell
    resume: Callable[[Value], None] | None = None  # what runs in the place of a `yield`
