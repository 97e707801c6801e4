"""`match` statements: which cases a value may take, and what their patterns bind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.choices import each, join_all
from decoderonly_checker.flow.conditions import is_instance
from decoderonly_checker.flow.project import dotted_name
from decoderonly_checker.flow.state import DictRec, ObjRec
from decoderonly_checker.flow.values import (
    ClassObj,
    Const,
    Guard,
    Hole,
    Model,
    Ref,
    Str,
    Tokenizer,
    Tuple,
    Unknown,
    Value,
    alternatives,
)

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.flow.statements import Arm, Exit

_BUILTIN = frozenset({"str", "int", "float", "bool", "bytes", "list", "tuple", "dict", "set"})


class Patterns:
    """The part of the interpreter that matches."""

    def match_statement(self: Interpreter, node: cst.Match) -> Exit:
        from decoderonly_checker.flow.statements import Exit

        subject = self.eval(node.subject)
        key = self.text_key(node.subject)
        arms: list[Arm] = []
        rest = list(alternatives(subject))
        for case in node.cases:
            verdicts = [self.matches(case.pattern, one) for one in rest]
            taken = [one for one, verdict in zip(rest, verdicts, strict=True) if verdict is not False]
            if not taken:
                continue

            def prepare(case: cst.MatchCase = case, taken: list[Value] = taken) -> Guard | None:
                value = join_all(taken)
                if isinstance(node.subject, cst.Name) and len(taken) < len(alternatives(subject)):
                    self.store.set((self.scope_for(node.subject.value), node.subject.value), value)
                self.bind_pattern(case.pattern, value)
                if case.guard is not None:
                    self.eval(case.guard)
                    self.assume(case.guard, truth=True)
                if key is not None and isinstance(case.pattern, cst.MatchValue):
                    label = self.text_key(case.pattern.value)
                    if label is not None:
                        return (self.frame.scopes[0], f"{key} Equal {label}", True)
                return None

            arms.append((prepare, lambda case=case: self.run_block(case.body)))
            if case.guard is None:
                rest = [one for one, verdict in zip(rest, verdicts, strict=True) if verdict is not True]
                if not rest:
                    break
        if rest:
            arms.append((lambda: None, lambda: Exit.FALL))
        return self.branch(arms)

    def matches(self: Interpreter, pattern: cst.MatchPattern, value: Value) -> bool | None:
        """Whether one value takes a pattern; None where that is not known."""
        if isinstance(pattern, cst.MatchAs):
            return True if pattern.pattern is None else self.matches(pattern.pattern, value)
        if isinstance(pattern, cst.MatchOr):
            verdicts = {self.matches(element.pattern, value) for element in pattern.patterns}
            return True if True in verdicts else None if None in verdicts else False
        if isinstance(pattern, cst.MatchValue | cst.MatchSingleton):
            return _equal(self.eval(pattern.value), value)
        if isinstance(pattern, cst.MatchSequence):
            return self.matches_sequence(pattern, value)
        if isinstance(pattern, cst.MatchMapping):
            return None if isinstance(value, Unknown) or self.dict_record(value) is not None else False
        if isinstance(pattern, cst.MatchClass):
            return self.matches_class(pattern, value)
        return None

    def matches_sequence(self: Interpreter, pattern: cst.MatchSequence, value: Value) -> bool | None:
        if isinstance(value, Str | Hole | Model | Tokenizer | Const):
            return False
        items = self.elements(value, None) if isinstance(value, Tuple | Ref) else None
        if items is None or (isinstance(value, Ref) and value.kind != "list"):
            return None
        starred = any(isinstance(part, cst.MatchStar) for part in pattern.patterns)
        fixed = len(pattern.patterns) - starred
        if len(items) < fixed or (len(items) > fixed and not starred):
            return False
        if starred:
            return None
        verdicts = {
            self.matches(part.value, item)
            for part, item in zip(pattern.patterns, items, strict=True)
            if isinstance(part, cst.MatchSequenceElement)
        }
        return False if False in verdicts else None if None in verdicts else True

    def matches_class(self: Interpreter, pattern: cst.MatchClass, value: Value) -> bool | None:
        wanted = dotted_name(pattern.cls).rpartition(".")[2]
        verdict = is_instance(value, {wanted})
        record = self.store.get(value.id) if isinstance(value, Ref) else None
        if isinstance(record, ObjRec) and record.cls is not None:
            cls = self.settle(self.eval(pattern.cls))
            verdict = cls in self.mro(record.cls) if isinstance(cls, ClassObj) else None
        elif isinstance(value, Const) and wanted in _BUILTIN:
            verdict = type(value.value).__name__ == wanted
        return None if verdict and (pattern.patterns or pattern.kwds) else verdict

    def bind_pattern(self: Interpreter, pattern: cst.MatchPattern, value: Value) -> None:
        """Bind the names of a pattern to the parts of `value` that they stand for."""
        if isinstance(pattern, cst.MatchAs):
            if pattern.pattern is not None:
                self.bind_pattern(pattern.pattern, value)
                if isinstance(pattern.pattern, cst.MatchClass):
                    value = self.seen_as(pattern.pattern, value, pattern.name)
            if pattern.name is not None:
                self.bind(pattern.name.value, value)
        elif isinstance(pattern, cst.MatchOr):
            for element in pattern.patterns:
                self.bind_pattern(element.pattern, value)
        elif isinstance(pattern, cst.MatchSequence):
            self.bind_sequence(pattern, value)
        elif isinstance(pattern, cst.MatchMapping):
            for entry in pattern.elements:
                self.bind_pattern(entry.pattern, self.entry(value, self.eval(entry.key), entry))
            if pattern.rest is not None:
                self.bind(pattern.rest.value, Unknown(hint=pattern.rest.value))
        elif isinstance(pattern, cst.MatchClass):
            self.bind_class(pattern, value)

    def entry(self: Interpreter, value: Value, key: Value, node: cst.CSTNode) -> Value:
        """Return the entry of a mapping that a pattern looks up."""
        name = key.value if isinstance(key, Const) else None

        def look(owner: Value) -> Value:
            record = self.store.get(owner.id) if isinstance(owner, Ref) else None
            found = record.get(name) if isinstance(record, DictRec) else None
            hint = name if isinstance(name, str) else ""
            return Unknown(hint=hint, origin=self.site(node)) if found is None else found

        return each(value, look)

    def bind_sequence(self: Interpreter, pattern: cst.MatchSequence, value: Value) -> None:
        parts = pattern.patterns
        star = next((i for i, part in enumerate(parts) if isinstance(part, cst.MatchStar)), None)
        items = self.spread(value, len(parts), star)
        for part, item in zip(parts, items, strict=True):
            if isinstance(part, cst.MatchSequenceElement):
                self.bind_pattern(part.value, item)
            elif isinstance(part, cst.MatchStar) and part.name is not None:
                self.bind(part.name.value, item)

    def bind_class(self: Interpreter, pattern: cst.MatchClass, value: Value) -> None:
        if len(pattern.patterns) == 1 and dotted_name(pattern.cls) in _BUILTIN:
            # `str(prompt)` binds the subject itself.
            inner = pattern.patterns[0].value
            name = inner.name if isinstance(inner, cst.MatchAs) else None
            self.bind_pattern(inner, self.seen_as(pattern, value, name))
            return
        cls = self.settle(self.eval(pattern.cls))
        fields = (
            [name for owner in reversed(self.mro(cls)) for name in self.fields.get(owner.key, {})]
            if isinstance(cls, ClassObj)
            else []
        )
        for element, field in zip(pattern.patterns, fields, strict=False):
            self.bind_pattern(element.value, self.part(value, field, pattern))
        for keyword in pattern.kwds:
            self.bind_pattern(keyword.pattern, self.part(value, keyword.key.value, pattern))

    def part(self: Interpreter, value: Value, name: str, node: cst.CSTNode) -> Value:
        """Return the attribute that a class pattern looks at."""
        return each(value, lambda one: self.get_attribute(one, name, node))

    def seen_as(self: Interpreter, pattern: cst.MatchClass, value: Value, name: cst.Name | None) -> Value:
        """Return a value that a pattern says is a text as one, where nothing else is known of it."""
        if dotted_name(pattern.cls) != "str" or name is None:
            return value
        return each(value, lambda one: Str((Hole(one, name.value),)) if isinstance(one, Unknown) else one)


def _equal(label: Value, value: Value) -> bool | None:
    """Whether a value equals a literal of a pattern; None where that is not known."""
    if not isinstance(label, Const):
        return None
    if isinstance(value, Const):
        return None if value.default else value.value == label.value
    known = isinstance(value, Model | Tokenizer | Tuple | Ref)
    return False if known and not getattr(value, "named", False) else None
