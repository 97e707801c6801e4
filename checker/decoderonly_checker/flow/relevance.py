"""Which functions can matter at all: told from their identifiers, before anything is run.

A function matters if its text holds a word that some rule or knowledge entry needs, or the name of a function or class
that matters. Names stand for all functions of that name, so that the answer errs on the side of "it matters".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.source.words import LEADS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.flow.values import Function

# Names that every project uses for everything; following them would make all functions relevant.
_COMMON = frozenset(
    {
        "__init__",
        "forward",
        "__call__",
        "__getitem__",
        "__len__",
        "__iter__",
        "main",
        "run",
        "get",
        "update",
        "train",
        "load",
        "build",
        "setup",
        "process",
        "call",
        "__enter__",
        "__exit__",
        "self",
        "step",
        "reset",
    }
)


# Those that say nothing even where they are mentioned.
_EVERYWHERE = frozenset(
    {"__init__", "forward", "__call__", "__getitem__", "__len__", "__iter__", "get", "update", "self", "main"}
)


class Relevance:
    """Answers what can be told from the names of functions and classes, of the modules that were added.

    `mentioned` holds the names that stand in the bodies of functions.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.mentioned: set[str] = set()
        self._telling = _Closure()
        self._leading = _Closure()
        self._setters: set[str] = set()
        self._global_setters: set[str] = set()
        self._short: set[str] = set()
        self._mention_common: dict[str, set[str]] = {}
        self._added: set[Module] = set()
        self._named: set[str] = set()  # what matters whatever its text says
        for module in modules:
            self.add(module)

    def add(self, module: Module) -> None:
        """Take in the functions and classes of a module, and what they say about those that mention them."""
        if module in self._added:
            return
        self._added.add(module)
        outline = module.outline
        seeds = outline.unparsed | outline.row_functions
        self._setters |= outline.unparsed
        self._named |= seeds
        leads = seeds | {name for name, words in outline.bound if words & LEADS}
        for one in outline.definitions:
            if one.telling:
                seeds.add(one.name)
            if one.words & LEADS:
                leads.add(one.name)
            if one.is_class:
                self._leading.wait(one.name, one.names)
                continue
            if one.short:
                self._short.add(one.name)
            if one.sets_attributes:
                self._setters.add(one.name)
            if one.sets_globals:
                self._global_setters.add(one.name)
            self.mentioned |= one.names
            self._telling.wait(one.name, one.names)
            self._leading.wait(one.name, one.names)
            for common in one.names & _COMMON:
                self._mention_common.setdefault(common, set()).add(one.name)
        for name, names in outline.given:
            self._leading.wait(name, names)
        for alias, name in outline.aliases:
            self.mentioned.add(name)
            self._telling.wait(alias, (name,))
            self._leading.wait(alias, (name,))
        self._telling.reach(seeds)
        self._leading.reach(leads)

    def matters(self, name: str) -> bool:
        """Whether what a function or class of this name does can be part of a finding."""
        return name in self._telling.reached

    def leads(self, function: Function) -> bool:
        """Whether running a function by itself can lead to a finding: something is generated, read or learned."""
        name, reached = function.name, self._leading.reached
        # A common name stands for too much to be followed on, but for this one it may be just what leads.
        if any(
            name in mentioning and common in reached for common, mentioning in self._mention_common.items()
        ):
            return True
        if name not in reached:
            return False
        owner = function.owner.name if function.owner is not None else ""
        known = function.module.outline.of(owner, name)
        # Another function of that name may be the one that does.
        return (
            not known
            or name in self._named
            or any(one.words & LEADS or (one.names & reached) - _EVERYWHERE for one in known)
        )

    def sets_attributes(self, name: str) -> bool:
        """Whether a method of this name may assign to attributes of its object."""
        return name in self._setters

    def sets_globals(self, name: str) -> bool:
        """Whether a function of this name may assign to globals of its module."""
        return name in self._global_setters

    def is_short(self, name: str) -> bool:
        """Whether a function of this name is short enough to be followed for what it returns."""
        return name in self._short


class _Closure:
    """Names, and those that are reached because they mention one that is."""

    def __init__(self) -> None:
        self.reached: set[str] = set()
        self._waiting: dict[str, list[str]] = {}  # a name -> those that mention it

    def wait(self, name: str, mentioned: Iterable[str]) -> None:
        """Reach `name` as soon as one of the names that it mentions is reached."""
        if name in self.reached:
            return
        for one in mentioned:
            if one in self.reached and one not in _COMMON:
                self.reach((name,))
                return
        for one in mentioned:
            self._waiting.setdefault(one, []).append(name)

    def reach(self, names: Iterable[str]) -> None:
        """Reach names, and those that waited for them."""
        pending = [name for name in names if name not in self.reached]
        while pending:
            name = pending.pop()
            if name in self.reached:
                continue
            self.reached.add(name)
            if name not in _COMMON:
                pending += self._waiting.pop(name, ())
