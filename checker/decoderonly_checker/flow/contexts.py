"""`with` statements: what they bind, and what is done when they are entered and left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.choices import join_all
from decoderonly_checker.flow.frames import MAX_DEPTH
from decoderonly_checker.flow.project import dotted_name
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import UNKNOWN, Args, Context, Function, Ref, Value, alternatives

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.flow.statements import Exit

MAX_RUNS = 2  # how often the body of one `with` is run, where its context manager yields in several places

# Context managers and decorators under which torch records no gradients.
_NO_GRADIENTS = frozenset({"no_grad", "inference_mode"})
_EXPECT_FAILURE = frozenset({"raises", "assertRaises", "assertRaisesRegex"})


def no_gradients(node: cst.BaseExpression) -> bool:
    """Whether an expression is `torch.no_grad()`, `torch.inference_mode()` or one of them uncalled."""
    called = node.func if isinstance(node, cst.Call) else node
    return dotted_name(called).rpartition(".")[2] in _NO_GRADIENTS


def expects_failure(node: cst.BaseExpression) -> bool:
    """Whether an expression is `pytest.raises(…)`, `self.assertRaises(…)` or the like."""
    return isinstance(node, cst.Call) and dotted_name(node.func).rpartition(".")[2] in _EXPECT_FAILURE


class Contexts:
    """The part of the interpreter that runs `with`."""

    entered: cst.CSTNode | None
    without_gradients: int

    def with_statement(self: Interpreter, node: cst.With) -> Exit:
        return self.run_with(node.items, node.body)

    def run_with(self: Interpreter, items: Sequence[cst.WithItem], body: cst.BaseSuite) -> Exit:
        """Enter the first of `items`, run what remains, and leave it again."""
        if not items:
            return self.run_block(body)
        target = items[0].asname.name if items[0].asname is not None else None

        def inside(value: Value) -> Exit:
            if target is not None:
                self.assign(target, value)
            return self.run_with(items[1:], body)

        if expects_failure(items[0].item):
            # What the body does is expected to fail: it is right that it is wrong.
            with self.unrecorded():
                return self.run_with(items[1:], body)
        gradless = no_gradients(items[0].item)
        self.entered = items[0].item
        manager = self.eval(items[0].item)
        self.without_gradients += gradless
        try:
            return self.run_inside(manager, inside)
        finally:
            self.without_gradients -= gradless

    def run_inside(self: Interpreter, manager: Value, inside: Callable[[Value], Exit]) -> Exit:
        """Enter a context manager, run `inside`, and leave it again."""
        if isinstance(manager, Context):
            return self.run_context(manager, inside)
        exit_ = inside(self.enter(manager))
        for one in alternatives(manager):
            method = self.method_of(one, "__exit__", "__aexit__")
            if method is not None:
                self.follow(method, Args((UNKNOWN, UNKNOWN, UNKNOWN)), method.node, one)
        return exit_

    def is_without_gradients(self: Interpreter, node: cst.CSTNode) -> bool:
        """Whether a function is decorated so that torch records no gradients in it."""
        return any(no_gradients(d.decorator) for d in getattr(node, "decorators", ()))

    def is_context(self: Interpreter, function: Function) -> bool:
        """Whether a function is a generator made into a context manager."""
        return any(
            dotted_name(d.decorator).rpartition(".")[2] in {"contextmanager", "asynccontextmanager"}
            for d in getattr(function.node, "decorators", ())
        )

    def run_context(self: Interpreter, manager: Context, inside: Callable[[Value], Exit]) -> Exit:
        """Run a generator made into a context manager, and the body of the `with` in the place of its `yield`."""
        from decoderonly_checker.flow.statements import Exit

        function = manager.function
        if len(self.active) >= MAX_DEPTH or function.identity in self.active:
            return inside(UNKNOWN)
        callers = self.frames
        exits: list[Exit] = []

        def resume(value: Value) -> None:
            if len(exits) >= MAX_RUNS:
                return
            frames, self.frames = self.frames, callers
            active, self.active = self.active, self.active[:-1]
            try:
                exits.append(inside(value))
            finally:
                self.frames, self.active = frames, active

        self.frames = [*callers]
        try:
            self.run_function(function, manager.args, manager.receiver, resume)
        finally:
            self.frames = callers
        if not exits:
            return inside(UNKNOWN)
        return exits[0] if len(set(exits)) == 1 else Exit.FALL

    def enter(self: Interpreter, value: Value) -> Value:
        """Return what `with value as …` binds."""
        results = [self.enter_one(one) for one in alternatives(value)]
        return join_all(results) if results else value

    def enter_one(self: Interpreter, value: Value) -> Value:
        if isinstance(value, Context):
            found: list[Value] = []

            def inside(given: Value) -> Exit:
                from decoderonly_checker.flow.statements import Exit

                found.append(given)
                return Exit.FALL

            self.run_context(value, inside)
            return join_all(found)
        method = self.method_of(value, "__enter__", "__aenter__")
        return value if method is None else self.follow(method, Args(), method.node, value)

    def method_of(self: Interpreter, value: Value, *names: str) -> Function | None:
        """Return the first of several methods that an object of the project has."""
        record = self.store.get(value.id) if isinstance(value, Ref) else None
        if not isinstance(record, ObjRec) or record.cls is None:
            return None
        found = (self.class_attribute(record.cls, name) for name in names)
        return next((method for method in found if isinstance(method, Function)), None)
