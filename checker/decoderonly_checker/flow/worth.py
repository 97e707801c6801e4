"""Which calls are worth following: told from names, and from what the arguments and closures hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from decoderonly_checker.flow.choices import decoded_in
from decoderonly_checker.flow.state import DictRec, ListRec, ObjRec
from decoderonly_checker.flow.values import (
    Args,
    Bound,
    Const,
    External,
    Function,
    Opaque,
    Ref,
    Str,
    Unknown,
    Value,
    alternatives,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.flow.relevance import Relevance

_IDENTIFIER = late_pattern(r"[A-Za-z_]\w*")
_GIVES_ROWS = frozenset({"__getitem__", "__iter__", "__next__"})
MAX_NESTING = 8  # how deep containers are looked into
_ALWAYS = frozenset({"<lambda>", "__getattr__"})


class Worth:
    """The part of the interpreter that decides what to follow."""

    def worthwhile(self: Interpreter, function: Function, args: Args) -> bool:
        """Whether following a call can lead to a finding."""
        if self.relevance is None or self.decorating or self.relevance.matters(function.name):
            return True
        if self.relevance.is_short(function.name):
            return True  # it may give what matters, or hand it on
        # What the rows of an object that matters hold, the text of the method that hands them out need not say.
        owner = function.owner
        rows = owner is not None and function.name in _GIVES_ROWS and self.relevance.matters(owner.name)
        return (
            rows
            or function.name in _ALWAYS
            or function.key in self.wrappers
            or any(self.tells(value) for value in args.all())
            or self.closes_over_facts(function)
        )

    def tells(self: Interpreter, value: Value, depth: int = 0) -> bool:
        """Whether a value carries facts that a function without telling words could still act on."""
        if depth > MAX_NESTING:
            return False  # a list may hold itself
        for one in alternatives(value):
            if isinstance(one, Unknown | Const | External | Opaque):
                continue
            if isinstance(one, Str):
                if next(decoded_in(one), None) is not None:
                    return True
                continue
            if isinstance(one, Ref):
                record = self.store.get(one.id)
                if isinstance(record, ListRec) and not self.tells(record.element, depth + 1):
                    continue
                if isinstance(record, ObjRec) and record.cls is not None:
                    continue
                if isinstance(record, DictRec) and not any(
                    self.tells(v, depth + 1) for v in record.entries.values()
                ):
                    continue
            return True
        return False

    def closes_over_facts(self: Interpreter, function: Function) -> bool:
        """Whether a nested function without telling words uses a function that has some: a wrapper that calls it."""
        own = function.scopes[:-1]
        if not own:
            return False
        names = self.identifiers.get(function.key)
        if names is None:
            names = frozenset(_IDENTIFIER.findall(self.code_of(function)))
            self.identifiers[function.key] = names
        matters = cast("Relevance", self.relevance).matters
        return any(
            matters(inner.name)
            for scope in own
            for name in names
            for one in alternatives(self.store.get((scope, name)))
            if isinstance(inner := one.function if isinstance(one, Bound) else one, Function)
        )
