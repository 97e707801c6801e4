"""The abstract interpreter: runs modules, functions and classes on values instead of data.

The work is split over mix-ins: `entries` (what to run), `statements`, `expressions`, `access` (attributes, subscripts, slices),
`calls`, `labels` and so on. This file holds what they share: records, variables, and running a function or a module.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import libcst as cst

from decoderonly_checker.flow.access import Access
from decoderonly_checker.flow.calls import Calls
from decoderonly_checker.flow.choices import decoded_in, each, join_all
from decoderonly_checker.flow.clock import Clock
from decoderonly_checker.flow.conditions import Conditions
from decoderonly_checker.flow.contexts import Contexts
from decoderonly_checker.flow.entries import Entries
from decoderonly_checker.flow.expressions import Expressions
from decoderonly_checker.flow.facts import Facts, Record, Use
from decoderonly_checker.flow.frames import (
    MAX_DEPTH,
    MODULE_BUDGET,
    STEPS_BETWEEN_LOOKS,
    BudgetExhausted,
    Frame,
)
from decoderonly_checker.flow.labels import Labels
from decoderonly_checker.flow.paths import Paths
from decoderonly_checker.flow.patterns import Patterns
from decoderonly_checker.flow.scores import scores_in
from decoderonly_checker.flow.state import DictRec, ListRec, Store
from decoderonly_checker.flow.statements import Statements, shown_by_cell
from decoderonly_checker.flow.values import (
    Alt,
    Args,
    Choice,
    ClassObj,
    Const,
    External,
    Function,
    Generated,
    Ids,
    ImportRef,
    Lib,
    Model,
    Opaque,
    Pipeline,
    PipelineOutput,
    Ref,
    Site,
    Tokenizer,
    Tuple,
    Unknown,
    Value,
    alternatives,
)
from decoderonly_checker.flow.worth import Worth

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Container, Hashable, Iterator, Mapping

    from decoderonly_checker.flow.project import Module, Project
    from decoderonly_checker.flow.relevance import Relevance
    from decoderonly_checker.knowledge.declared import Declared

MAX_CONTEXTS = 24


_ON_HEAP = (Ref, Model, Tokenizer, Pipeline, Lib)
_BARE = frozenset(
    {Unknown, Const, External, Opaque, Function, ClassObj, Model, Tokenizer, Ids}
)  # hold no text


class _Same:
    """Compares by identity, and keeps what it holds alive so that the identity is not given away."""

    __slots__ = ("held",)

    def __init__(self, held: object) -> None:
        self.held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.held is self.held

    def __hash__(self) -> int:
        return id(self.held)


class Interpreter(
    Entries, Statements, Patterns, Contexts, Paths, Expressions, Conditions, Access, Calls, Labels, Worth
):
    """Runs a project and fills `facts`."""

    def __init__(
        self,
        store: Store,
        project: Project,
        clock: Clock | None = None,
        declared: Declared | None = None,
    ) -> None:
        from decoderonly_checker import knowledge

        self.knowledge = knowledge.loaded()
        self.declared = declared
        self.store = store
        self.project = project
        self.facts = Facts()
        self.frames: list[Frame] = []
        self.calls: list[Site] = []
        self.active: list[Hashable] = []
        self.recording = True
        self.beside: cst.CSTNode | None = None  # a call that may as well be of a function of the project
        self.entered: cst.CSTNode | None = None  # the last expression that a `with` entered
        self.discarded: cst.CSTNode | None = (
            None  # the expression whose value the statement that runs throws away
        )
        self.nesting = 0
        self.budget = MODULE_BUDGET
        self.clock = clock or Clock()
        self.exhausted: list[Module] = []
        self.failures: dict[Module, str] = {}
        self.reached: set[int] = set()
        self.tried: set[int] = set()  # those that ran on trial
        self.contexts: dict[Hashable, int] = {}
        self.assumed: dict[str, set[tuple[Any, str]]] = {}
        self.asked_about: dict[re.Pattern[str], tuple[int, list[tuple[tuple[Any, str], str]]]] = {}
        self.text_keys: dict[int, tuple[cst.CSTNode, str | None]] = {}
        self.asked: dict[tuple[Any, str], str] = {}  # each condition as it is written where it was first met
        self.instances: dict[int, list[Ref]] = {}
        self.canonical: dict[int, Ref] = {}
        self.subclasses: dict[int, list[ClassObj]] = {}
        self.bodies: dict[int, dict[str, Function]] = {}
        self.fields: dict[int, dict[str, tuple[cst.BaseExpression, Value | None]]] = {}
        self.wrappers: set[int] = set()  # functions that a decorator put in the place of others
        self.decorating = 0
        self.setters: set[str] = set()  # properties of the project that can be assigned to
        self.literals: dict[int, Const] = {}
        self.sites: dict[int, Site] = {}
        self.decorated_by: dict[int, list[str]] = {}
        self.seen: dict[Hashable, Value] = {}
        self.relevance: Relevance | None = None
        self.idle: Mapping[Path, Container[str]] = {}
        self.stated: set[int] = set()  # comparisons that a test states to be true or false
        self.paths: dict[str, tuple[str, int, str]] = {}
        self.path_ends: set[str] = set()  # the last parts of all paths that something was kept under
        self.path_roots: dict[str, set[tuple[str, int, str]]] = {}
        self.operands: dict[int, tuple[Value, Value]] = {}
        self.identifiers: dict[int, frozenset[str]] = {}  # of nested functions
        self.captured: set[int] = set()  # scopes that functions close over
        self.lent: set[int] = set()  # functions that were handed to a call, which may call them
        self.answering: set[int] = set()  # those whose results a library shows to a person or sends
        self.trying = False  # whether what runs is only run for what it sets
        self.without_gradients = 0  # how many `torch.no_grad()` are open

    # -- places and records --------------------------------------------------------------------------------------

    @property
    def frame(self) -> Frame:
        """The running frame."""
        return self.frames[-1]

    def site(self, node: cst.CSTNode) -> Site:
        """Return the place of `node` in the running module."""
        found = self.sites.get(id(node))
        if found is None:
            # It holds the node, so that its number is not given away.
            frame = self.frames[-1]
            found = self.sites[id(node)] = Site.of(frame.module.source, frame.cell, node)
        return found

    def where(self, node: cst.CSTNode) -> tuple[Site, Module, tuple[Site, ...]]:
        """Return the first three fields of a record made at `node`."""
        return self.site(node), self.frame.module, tuple(self.calls)

    def record(self, kind: str, record: Record) -> None:
        """Add a record to the facts, unless this is a trial run."""
        if self.recording:
            getattr(self.facts, kind).append(record)

    def use(self, value: Value, kind: str, node: cst.CSTNode, depth: int = 0) -> None:
        """Note what happens to decoded text, or to a score, that stands in `value`, through containers."""
        if not self.recording:
            return
        if type(value) in _BARE:
            return
        for text in decoded_in(value):
            text.decode.uses.append(Use(kind, self.site(node)))
        for score in scores_in(value):
            score.reduction.uses.append(Use(kind, self.site(node)))
        if depth > 3:
            return
        for alt in alternatives(value):
            if isinstance(alt, Ref):
                record = self.store.get(alt.id)
                if isinstance(record, DictRec):
                    for entry in (*record.entries.values(), record.open):
                        if entry is not None:
                            self.use(entry, kind, node, depth + 1)
                elif isinstance(record, ListRec):
                    for item in (record.element, *(record.items or ())):
                        self.use(item, kind, node, depth + 1)
            elif isinstance(alt, Tuple):
                for item in alt.items:
                    if isinstance(item, Ref):
                        self.use(item, kind, node, depth + 1)
            elif isinstance(alt, PipelineOutput) and alt.call is not None:
                alt.call.uses.append(Use(kind, self.site(node)))

    def spend(self) -> None:
        """Count one step of work."""
        self.budget -= 1
        if self.budget <= 0 or not self.budget % STEPS_BETWEEN_LOOKS:
            self.look()

    def look(self) -> None:
        """Stop where the work or the time allowed is used up."""
        if self.budget <= 0 or self.clock.is_over():
            raise BudgetExhausted

    @contextmanager
    def on_time_of(self, module: Module) -> Iterator[None]:
        """Run code that is entered from outside on the time of its module; at once cut short if that is used up."""
        self.clock.enter(module)
        try:
            if self.clock.is_over():
                raise BudgetExhausted
            yield
        finally:
            self.clock.leave()

    def fail(self, module: Module, problem: Exception) -> None:
        """Keep the first internal error of a module, in one line."""
        import traceback

        last = traceback.extract_tb(problem.__traceback__)[-1]
        text = f"internal error: {type(problem).__name__}: {problem} ({Path(last.filename).name}:{last.lineno}); please report it"
        self.failures.setdefault(module, text)

    @contextmanager
    def unrecorded(self) -> Iterator[None]:
        """Run something without keeping what is seen there."""
        recording, self.recording = self.recording, False
        try:
            yield
        finally:
            self.recording = recording

    @contextmanager
    def beside_own(self, node: cst.CSTNode | None) -> Iterator[None]:
        """Call one of several callees, of which some are functions of the project."""
        outer, self.beside = self.beside, node
        try:
            yield
        finally:
            self.beside = outer

    # -- variables -----------------------------------------------------------------------------------------------

    def lookup(self, name: str) -> Value | None:
        """Return the value of a variable, None where it is not bound in the project's code."""
        frame = self.frames[-1]
        stored = self.store.get
        for scope in frame.scopes:
            value = stored((scope, name))
            if value is not None:
                if isinstance(value, ImportRef):
                    value = self._settled(value, frozenset())
                return self.restricted(value) if isinstance(value, Choice) else value
        value = self.starred(name, frame.module)
        return None if value is None else self.settle(value)

    def starred(self, name: str, importer: Module) -> Value | None:
        """Return what `from … import *` gives a name, from modules that import so themselves too."""
        queue = [importer]
        for module in queue:  # grows
            self.run_module(module)
            value: Value | None = self.store.get((module.scope, name))
            if value is not None and module is not importer:
                return value
            queue += [star for star in module.star_imports if star not in queue]
        return None

    def settle(self, value: Value) -> Value:
        """Resolve a name imported from a module of the project."""
        return self._settled(value, frozenset()) if isinstance(value, ImportRef) else value

    def _settled(self, value: ImportRef, passed: frozenset[tuple[Module, str]]) -> Value:
        """Resolve an imported name; what leads back to a name on the way (`passed`) adds nothing to it."""
        module = cast("Module", value.module)
        if value.name is None:
            return value
        passed |= {(module, value.name)}
        self.run_module(module)
        inner: Value | None = self.store.get((module.scope, value.name))
        if inner is None:
            inner = self.starred(value.name, module)
        if inner is None:
            sub = self.project.resolve(module, value.name, 1) if module.path.name == "__init__.py" else None
            if sub is None:
                return Unknown(hint=value.name, origin=value.origin)
            return ImportRef(sub, None, sub.name)
        alts = inner.alts if isinstance(inner, Choice) else (Alt(inner),)
        if not any(isinstance(alt.value, ImportRef) for alt in alts):
            return inner
        rest = tuple(
            alt
            for alt in alts
            if not (isinstance(alt.value, ImportRef) and (alt.value.module, alt.value.name) in passed)
        )
        return each(
            Choice(rest), lambda one: self._settled(one, passed) if isinstance(one, ImportRef) else one
        )

    def scope_for(self, name: str) -> int:
        """Return the scope in which an assignment to `name` lands."""
        frame = self.frame
        if name in frame.globals:
            return frame.module.scope
        if name in frame.nonlocals:
            for scope in frame.scopes[1:]:
                if self.store.get((scope, name)) is not None:
                    return scope
        return frame.scopes[0]

    def bind(self, name: str, value: Value) -> None:
        """Assign to a variable; conditions that mention it no longer hold."""
        scope = self.scope_for(name)
        self.store.set((scope, name), value)
        self.forget(name)
        if name in self.path_roots:
            self.drop_paths(name, scope)

    def forget(self, name: str) -> None:
        """Drop the assumptions that mention `name`."""
        for key in self.assumed.pop(name, ()):
            self.store.set(("?", *key), None)

    # -- functions -----------------------------------------------------------------------------------------------

    def follow(
        self, function: Function, args: Args, node: cst.CSTNode, receiver: Value | None = None
    ) -> Value:
        """Run a function of the project with the arguments of one call."""
        if not self.worthwhile(function, args):
            return self.or_annotated(Unknown(hint=function.name, origin=self.site(node)), function, node)
        key = self.call_key(function, args, receiver)
        known = self.seen.get(key)
        if known is not None:
            return known
        spent = self.contexts.get(function.identity, 0)
        turns = self.active.count(function.identity)
        again = turns > 1 or (turns == 1 and not any(isinstance(v, Ids | Generated) for v in args.all()))
        self.lent.update(
            v.key for value in args.all() for v in alternatives(value) if isinstance(v, Function)
        )
        if len(self.active) >= MAX_DEPTH or again or spent >= MAX_CONTEXTS:
            # What another call of it gave says nothing: that may have been of another model.
            for value in args.all():
                self.use(value, "passed", node)
            self.knowledge.handed_over(self, args, function.name, node)
            return self.or_annotated(Unknown(origin=self.site(node)), function, node)
        self.contexts[function.identity] = spent + 1
        self.calls.append(self.site(node))
        try:
            result = self.or_annotated(self.run_function(function, args, receiver), function, node)
        finally:
            self.calls.pop()
        if (
            isinstance(result, Unknown)
            and isinstance(receiver, ClassObj)
            and function.name.startswith("from_")
        ):
            # Made by a class of the project in ways that are not seen: no object of a library that its name suggests.
            result = Opaque(receiver.name, origin=self.site(node))
        self.seen[key] = result
        return result

    def call_key(self, function: Function, args: Args, receiver: Value | None) -> Hashable:
        """Return what makes two calls of a function the same: arguments, and the state of the objects they hold."""

        def state(value: Value) -> Hashable:
            if isinstance(value, _ON_HEAP):
                return (value.id, _Same(self.store.get(value.id)))
            return value

        return (
            function.identity,
            None if receiver is None else state(receiver),
            tuple(map(state, args.positional)),
            tuple((k, state(v)) for k, v in args.keywords.items()),
            args.open,
            args.star,
            self.recording,
            self.trying,
        )

    def run_function(
        self,
        function: Function,
        args: Args | None,
        receiver: Value | None,
        resume: Callable[[Value], None] | None = None,
    ) -> Value:
        """Run a function's body; `args` is None for an entry point, whose callers are not known."""
        scope = self.store.new_id()
        frame = Frame(function.module, function.cell, (scope, *function.scopes), function, entry=args is None)
        frame.resume = resume
        (self.reached if self.recording else self.tried).add(function.key)
        self.active.append(function.identity)
        caller_frames = len(self.frames)
        bindings = self.bind_parameters(function, args, receiver, frame)
        self.frames.append(frame)
        gradless = self.is_without_gradients(function.node)
        self.without_gradients += gradless
        try:
            for name, value in bindings.items():
                self.store.set((scope, name), value)
            if isinstance(function.node, cst.Lambda):
                return self.eval(function.node.body)
            self.loaded(function)
            self.run_block(function.node.body)
        finally:
            self.without_gradients -= gradless
            del self.frames[caller_frames:]
            self.active.pop()
            if scope not in self.captured:
                self.store.retire(scope)
        for delta in frame.exits:
            # What a branch did before it returned reaches the caller too.
            outer = {k: v for k, v in delta.items() if not (isinstance(k, tuple) and k[0] in (scope, "?"))}
            if outer:
                self.store.merge([({}, None), (outer, None)])
        if frame.yields:
            element = join_all(frame.yields)
            return Ref(self.store.new(ListRec(None, element)), "list", origin=element.origin)
        if not frame.returns:
            return Const(None)
        return join_all(frame.returns)

    def loaded(self, function: Function) -> cst.FunctionDef | cst.Lambda:
        """Return a function's node with its body parsed."""
        function.module.source.cell(function.cell).load(function.node)
        return function.node

    @staticmethod
    def code_of(function: Function) -> str:
        """Return the code of a function, as it is written."""
        return function.module.source.cell(function.cell).code_of(function.node)

    def run_module(self, module: Module) -> None:
        """Run a module's top level, once, outside any branch that happens to import it."""
        if module.started:
            return
        module.started = True
        if self.relevance is not None:
            self.relevance.add(module)
        saved = self.store.outside()
        frames, self.frames = self.frames, []
        calls, self.calls = self.calls, []
        active, self.active = self.active, []
        recording, self.recording = self.recording, True
        trying, self.trying = self.trying, False
        budget, self.budget = self.budget, MODULE_BUDGET
        try:
            with self.on_time_of(module):
                for cell in module.source.cells:
                    tree = cell.started
                    if tree is None:
                        continue
                    self.frames.append(Frame(module, cell.index, (module.scope,)))
                    self.frame.shown = None if cell.index is None else shown_by_cell(tree)
                    try:
                        self.run_statements(tree.body)
                    finally:
                        self.frames.pop()
        except BudgetExhausted:
            self.exhausted.append(module)
        except Exception as problem:
            self.fail(module, problem)
        finally:
            self.recording = recording
            self.trying = trying
            self.active = active
            self.calls = calls
            self.frames = frames
            self.budget = budget
            self.store.resume(saved)

    def external_bases(self, cls: ClassObj) -> list[str]:
        """Return the dotted names of the library classes that a class derives from."""
        return [base.name for owner in self.mro(cls) for base in owner.bases if isinstance(base, External)]

    def pipeline_handed(self, value: Value) -> list[Pipeline]:
        """Return the pipelines that `value` may be."""
        return [v for v in alternatives(value) if isinstance(v, Pipeline)]
