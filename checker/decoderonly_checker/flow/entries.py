"""What to run: the top levels of modules, then the functions and methods that nothing has called, on objects that are made up."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from decoderonly_checker.flow.frames import MAX_DEPTH, MODULE_BUDGET, BudgetExhausted, Frame
from decoderonly_checker.flow.relevance import Relevance
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import ClassObj, Function, Ref, Value

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.flow.project import Module


class Entries:
    """The part of the interpreter that chooses where to begin."""

    relevance: Relevance | None
    trying: bool

    def run_entries(
        self: Interpreter, modules: Sequence[Module], idle: Mapping[Path, Container[str]] | None = None
    ) -> None:
        """Run the top level of every module, then whatever that did not reach, callers first.

        Args:
            modules: What is looked at together.
            idle: The names of a file's top level that are known to lead to no finding by themselves.
        """
        self.idle = idle or {}
        self.relevance = Relevance(modules)
        for module in modules:
            self.run_module(module)
        self.try_loaders(modules)
        called = frozenset().union(*(module.names for module in self.project.modules))
        # A function that only the top level names may be handed to a library there: it is run before those that it calls.
        for skipped in (called, self.relevance.mentioned, frozenset[str]()):
            for module in modules:
                for cls in sorted(module.classes, key=lambda c: bool(self.subclasses.get(c.key))):
                    self.run_class(cls, skipped)
                for function in module.functions:
                    fresh = function.owner is None and function.key not in self.reached
                    if fresh and function.name not in skipped and self.is_entry(function):
                        self.run_entry(function, None)

    def is_entry(self: Interpreter, function: Function, cls: ClassObj | None = None) -> bool:
        """Whether running a function by itself, on an object of `cls`, can lead to a finding."""
        outermost = cls if cls is not None else function
        within = len(function.scopes) > 1  # a definition within another one is not told apart
        if not within and outermost.name in self.idle.get(outermost.module.path, ()):
            return False
        if not within and cls is None:
            return True  # it was told from what it mentions, module by module
        return cast("Relevance", self.relevance).leads(function)

    def try_loaders(self: Interpreter, modules: Sequence[Module]) -> None:
        """Run, on trial, the functions that set globals and that nothing has called yet: others read what they set."""
        reaches = cast("Relevance", self.relevance)
        with self.on_trial():
            for function in [f for module in modules for f in module.functions]:
                name = function.name
                if reaches.sets_globals(name) and reaches.matters(name) and function.key not in self.reached:
                    self.run_entry(function, None)

    @contextmanager
    def on_trial(self: Interpreter) -> Iterator[None]:
        """Run functions without keeping what is seen there; they may all be followed again."""
        contexts = dict(self.contexts)
        tried, self.tried = self.tried, set()
        trying, self.trying = self.trying, True
        try:
            with self.unrecorded():
                yield
        finally:
            self.trying = trying
            self.tried = tried
            self.contexts = contexts

    def run_entry(self: Interpreter, function: Function, receiver: Value | None) -> None:
        """Run one function whose callers are not known. What it writes to the heap is joined, not imposed."""
        self.frames.append(Frame(function.module, function.cell, function.scopes or (function.module.scope,)))
        self.budget = MODULE_BUDGET
        self.store.fork()
        forks = self.store.depth
        try:
            with self.on_time_of(function.module):
                self.run_function(function, None, receiver)
        except BudgetExhausted:
            self.exhausted.append(function.module)
        except Exception as problem:
            self.fail(function.module, problem)
        finally:
            while self.store.depth > forks:
                self.store.commit()
            self.calls.clear()
            delta = self.store.rollback()
            self.store.merge([({}, None), (delta, None)])
            self.frames.pop()

    def methods_of(self: Interpreter, cls: ClassObj) -> dict[str, Function]:
        """Return the methods of a class and of its bases in the project, the nearest definition of each name."""
        methods: dict[str, Function] = {}
        for owner in self.mro(cls):
            for key, function in self.class_body(owner).items():
                if isinstance(function, Function):
                    methods.setdefault(key, function)
        return methods

    def run_class(self: Interpreter, cls: ClassObj, called: Iterable[str]) -> None:
        """Run the methods of a class that nothing has reached, on an object of it."""
        methods = {name: m for name, m in self.methods_of(cls).items() if name != "__init__"}
        waiting = [
            m
            for name, m in methods.items()
            if m.key not in self.reached and name not in called and self.is_entry(m, cls)
        ]
        if not waiting:
            return
        self.budget = MODULE_BUDGET
        try:
            with self.on_time_of(cls.module):
                receiver = self.instance_of(cls)
        except BudgetExhausted:
            self.exhausted.append(cls.module)
            return
        except Exception as problem:
            self.fail(cls.module, problem)
            return
        for method in waiting:
            if method.key not in self.reached:
                self.run_entry(method, receiver)

    def instance_of(self: Interpreter, cls: ClassObj) -> Ref:
        """Return an object of the class: one that the program makes, else one made with unknown arguments."""
        made = self.instances.get(cls.key)
        if made:
            return made[0]
        ref = self.canonical.get(cls.key)
        if ref is not None:
            return ref
        saved = self.store.outside()
        ref = Ref(self.store.new(ObjRec(cls)), "object")
        self.canonical[cls.key] = ref
        self.nesting += 1
        try:
            # An object whose fields are annotated with classes whose fields are annotated with classes …
            if self.nesting <= MAX_DEPTH:
                self.fill_instance(cls, ref)
        finally:
            self.nesting -= 1
            self.store.resume(saved)
        return ref

    def fill_instance(self: Interpreter, cls: ClassObj, ref: Ref) -> None:
        """Run `__init__` with unknown arguments, then, on trial, the methods that set further attributes."""
        frames, self.frames = self.frames, []
        calls, self.calls = self.calls, []
        active, self.active = self.active, []
        budget = self.budget
        trying, self.trying = self.trying, False
        try:
            self.set_dataclass_fields(cls, ref, None)
            methods = self.methods_of(cls)
            init = methods.pop("__init__", None)
            if init is not None:
                self.run_entry(init, ref)
            setters = [m for m in methods.values() if self.sets_attributes(m)]
            with self.on_trial():
                for method in setters[:20]:
                    if method.key not in self.tried:
                        self.run_entry(method, ref)
        finally:
            self.frames, self.calls, self.active, self.budget = frames, calls, active, budget
            self.trying = trying

    def sets_attributes(self: Interpreter, function: Function) -> bool:
        """Whether a method assigns something that may matter to attributes of `self`."""
        known = self.relevance
        return known is None or (
            known.sets_attributes(function.name)
            and (known.matters(function.name) or known.is_short(function.name))
        )
