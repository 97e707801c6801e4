"""Statements: assignments, branches, loops, imports, definitions."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import libcst as cst

from decoderonly_checker.flow.calls import is_nested
from decoderonly_checker.flow.choices import each, join, join_all
from decoderonly_checker.flow.conditions import comparisons_in
from decoderonly_checker.flow.contexts import Contexts
from decoderonly_checker.flow.frames import Frame
from decoderonly_checker.flow.patterns import Patterns
from decoderonly_checker.flow.project import dotted_name
from decoderonly_checker.flow.state import Delta, ListRec
from decoderonly_checker.flow.values import (
    Args,
    Bound,
    ClassObj,
    Const,
    External,
    Function,
    Guard,
    ImportRef,
    Ref,
    Unknown,
    Value,
    alternatives,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from decoderonly_checker.flow.interpreter import Interpreter


Arm = tuple[Callable[[], "Guard | None"], Callable[[], "Exit"]]


class Exit(enum.Enum):
    """How a block of statements ended."""

    FALL = 0
    LOOP = 1  # break or continue
    LEAVE = 2  # return or raise


def shown_by_cell(tree: cst.Module) -> cst.Expr | None:
    """Return the expression whose value a notebook shows below a cell: its last statement, without a semicolon."""
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, cst.SimpleStatementLine):
        return None
    small = last.body[-1]
    return small if isinstance(small, cst.Expr) and not isinstance(small.semicolon, cst.Semicolon) else None


class Statements:
    """The statement half of the interpreter."""

    discarded: cst.CSTNode | None

    def run_block(self: Interpreter, block: cst.BaseSuite) -> Exit:
        """Run an indented block or a one-line suite."""
        if isinstance(block, cst.IndentedBlock):
            return self.run_statements(block.body)
        return self.run_small(cast("cst.SimpleStatementSuite", block).body)

    def run_statements(self: Interpreter, body: Sequence[cst.BaseStatement]) -> Exit:
        """Run statements in order until one leaves the block."""
        for statement in body:
            self.spend()
            if type(statement) is cst.SimpleStatementLine:
                exit_ = self.run_small(statement.body)
            else:
                handler = _COMPOUND.get(type(statement))
                exit_ = (handler(self, statement) if handler is not None else None) or Exit.FALL
            if exit_ is not Exit.FALL:
                return exit_
        return Exit.FALL

    def run_small(self: Interpreter, body: Sequence[cst.BaseSmallStatement]) -> Exit:
        """Run the small statements of one line."""
        for statement in body:
            handler = _SMALL.get(type(statement))
            if handler is None:
                continue
            exit_ = handler(self, statement)
            if exit_ is not None and exit_ is not Exit.FALL:
                return exit_
        return Exit.FALL

    # -- small statements ----------------------------------------------------------------------------------------

    def expression_statement(self: Interpreter, node: cst.Expr) -> None:
        shown = node is self.frame.shown
        outer = self.discarded
        self.discarded = None if shown else node.value
        try:
            value = self.eval(node.value)
        finally:
            self.discarded = outer
        if shown:
            self.use(value, "printed", node.value)

    def assign_statement(self: Interpreter, node: cst.Assign) -> None:
        first = node.targets[0].target
        outer = self.discarded
        self.discarded = node.value if type(first) is cst.Name and first.value == "_" else None
        try:
            value = self.eval(node.value)
        finally:
            self.discarded = outer
        for target in node.targets:
            self.assign(target.target, value)

    def annotated_assignment(self: Interpreter, node: cst.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.annotated_value(self.eval(node.value), node.annotation.annotation))
        elif isinstance(node.target, cst.Attribute):
            owner = self.eval(node.target.value)
            known = self.from_annotation(node.annotation.annotation)
            if known is not None and isinstance(owner, Ref):
                self.set_attribute(owner, node.target.attr.value, known, node)

    def annotated_value(self: Interpreter, value: Value, annotation: cst.BaseExpression) -> Value:
        """Return `value`, or what its annotation says where it is unknown or an empty list."""
        record = self.store.get(value.id) if isinstance(value, Ref) else None
        empty = isinstance(record, ListRec) and not record.items and isinstance(record.element, Unknown)
        if not isinstance(value, Unknown) and not empty:
            return value
        known = self.from_annotation(annotation)
        return value if known is None else known.at(value.origin)

    def augmented_assignment(self: Interpreter, node: cst.AugAssign) -> None:
        old = self.eval(node.target)
        value = self.eval(node.value)
        operator = type(node.operator)
        if operator is cst.BitOrAssign and isinstance(old, Ref) and (both := self.united(old, value)):
            self.store.set(old.id, both)  # whoever holds the dict sees it
            return
        made = self.knowledge.operate(
            self, old, value, operator.__name__.removesuffix("Assign"), self.site(node.value)
        )
        if made is None and operator is cst.AddAssign:
            made = self.add(old, value, node.value)
        if made is None and operator is cst.SubtractAssign:
            made = each(old, lambda one: self.minus(one, value, node.value))
        self.assign(node.target, Unknown(origin=self.site(node)) if made is None else made)

    def return_statement(self: Interpreter, node: cst.Return) -> Exit:
        value: Value = Const(None) if node.value is None else self.eval(node.value)
        frame = self.frame
        frame.returns.append(value)
        self.labels_returned(value, node)
        if frame.entry and node.value is not None:
            self.returned(value, node.value)
        return Exit.LEAVE

    def returned(self: Interpreter, value: Value, node: cst.BaseExpression) -> None:
        """Note that an entry point hands `value` to callers that are not known, or to who was given the function."""
        function = self.frame.function
        lent = (
            function is not None
            and is_nested(function)
            and function.key in self.lent
            and function.key not in self.answering
        )
        self.use(value, "handed" if lent else "returned", node)

    def raise_statement(self: Interpreter, node: cst.Raise) -> Exit:
        if node.exc is not None:
            self.eval(node.exc)
        return Exit.LEAVE

    def leave_loop(self: Interpreter, _node: cst.Break | cst.Continue) -> Exit:
        return Exit.LOOP

    def assert_statement(self: Interpreter, node: cst.Assert) -> None:
        # What is stated to be equal is known to whoever wrote it; `in` may be true of the wrong part of a text.
        self.stated.update(
            id(one)
            for one in comparisons_in(node.test)
            if all(isinstance(part.operator, cst.Equal | cst.NotEqual) for part in one.comparisons)
        )
        self.eval(node.test)
        self.assume(node.test, truth=True)

    def global_statement(self: Interpreter, node: cst.Global) -> None:
        self.frame.globals.update(item.name.value for item in node.names)

    def nonlocal_statement(self: Interpreter, node: cst.Nonlocal) -> None:
        self.frame.nonlocals.update(item.name.value for item in node.names)

    def delete_statement(self: Interpreter, node: cst.Del) -> None:
        targets = (
            [e.value for e in node.target.elements] if isinstance(node.target, cst.Tuple) else [node.target]
        )
        for target in targets:
            if isinstance(target, cst.Subscript):
                self.delete_item(target)

    def import_statement(self: Interpreter, node: cst.Import) -> None:
        module = self.frame.module
        for alias in node.names:
            dotted = dotted_name(alias.name)
            found = self.project.resolve(module, dotted, 0)
            if alias.asname is not None and isinstance(alias.asname.name, cst.Name):
                value: Value = External(dotted) if found is None else ImportRef(found, None, found.name)
                self.bind(alias.asname.name.value, value.at(self.site(node)))
                continue
            first = dotted.partition(".")[0]
            root = self.project.resolve(module, first, 0) if found is not None else None
            if found is not None and root is None:
                root = found if "." not in dotted else None
            self.bind(first, External(first) if root is None else ImportRef(root, None, root.name))
            if found is not None and "." in dotted:
                self.frame.module.imports[dotted] = found

    def import_from(self: Interpreter, node: cst.ImportFrom) -> None:
        module = self.frame.module
        dotted = dotted_name(node.module)
        level = len(node.relative)
        found = self.project.resolve(module, dotted, level)
        library = self.project.library_name(module, dotted, level)
        if library:
            dotted, level, found = library, 0, None
        if isinstance(node.names, cst.ImportStar):
            if found is not None:
                module.star_imports.append(found)
            else:
                self.bind_star(dotted)
            return
        for alias in node.names:
            name = dotted_name(alias.name)
            bound = (
                alias.asname.name.value if alias.asname and isinstance(alias.asname.name, cst.Name) else name
            )
            if found is not None:
                value: Value = ImportRef(found, name, f"{found.name}:{name}")
            elif level and not dotted:
                sub = self.project.resolve(module, name, level)
                value = ImportRef(sub, None, sub.name) if sub else Unknown(hint=name)
            elif level:
                value = Unknown(hint=name)
            else:
                package = self.project.resolve(module, f"{dotted}.{name}", 0)
                value = ImportRef(package, None, package.name) if package else External(f"{dotted}.{name}")
            self.bind(bound, value)

    def bind_star(self: Interpreter, dotted: str) -> None:
        """Bind what `from library import *` brings, as far as the knowledge tables name it."""
        for name in self.knowledge.exported(dotted, self.frame.module.names):
            self.bind(name, External(f"{dotted}.{name}"))

    # -- targets -------------------------------------------------------------------------------------------------

    def assign(self: Interpreter, target: cst.BaseExpression, value: Value) -> None:
        """Assign a value to any target."""
        if type(target) is cst.Name:
            self.bind(target.value, value)
        elif isinstance(target, (cst.Tuple, cst.List)):
            self.unpack(
                [element.value for element in target.elements],
                [isinstance(element, cst.StarredElement) for element in target.elements],
                value,
            )
        elif isinstance(target, cst.Attribute):
            owner = self.eval(target.value)
            for alt in alternatives(owner):
                self.set_attribute(alt, target.attr.value, value, target)
            self.set_path(owner, target, value)
            self.forget(target.attr.value)
        elif isinstance(target, cst.Subscript):
            self.set_item(target, value)
        elif isinstance(target, cst.StarredElement):
            self.assign(target.value, value)

    def unpack(
        self: Interpreter, targets: Sequence[cst.BaseExpression], starred: Sequence[bool], value: Value
    ) -> None:
        """Assign the elements of `value` to several targets."""
        star = next((position for position, is_star in enumerate(starred) if is_star), None)
        for target, item in zip(targets, self.spread(value, len(targets), star), strict=True):
            unnamed = isinstance(item, Unknown) and not item.hint and isinstance(target, cst.Name)
            self.assign(target, Unknown(hint=cast("cst.Name", target).value) if unnamed else item)

    def spread(self: Interpreter, value: Value, count: int, star: int | None) -> list[Value]:
        """Return what unpacking `value` gives to each of `count` targets, the one at `star` taking what is left."""
        items = self.elements(value, None if star is not None else count)
        if items is not None and (star is None or len(items) >= count - 1):
            if star is None:
                return list(items)
            after = count - 1 - star
            end = len(items) - after
            middle = items[star:end]
            rest = Ref(self.store.new(ListRec(middle, join_all(list(middle)))), "list", origin=value.origin)
            return [*items[:star], rest, *items[end:]]
        found = [self.element_at(value, position) for position in range(count)]
        if star is not None:
            # How many items there are is not known: those behind the star are any of them.
            any_item = self.iterate(value)
            found[star:] = [any_item] * (count - star)
            found[star] = Ref(self.store.new(ListRec(None, any_item)), "list", origin=value.origin)
        return found

    # -- branches ------------------------------------------------------------------------------------------------

    def if_statement(self: Interpreter, node: cst.If) -> Exit:
        self.eval(node.test)
        truth = self.truth(node.test)
        if truth is True:
            self.assume(node.test, truth=True)
            return self.run_block(node.body)

        def otherwise() -> Exit:
            if node.orelse is None:
                return Exit.FALL
            if isinstance(node.orelse, cst.If):
                return self.if_statement(node.orelse)
            return self.run_block(node.orelse.body)

        if truth is False:
            self.assume(node.test, truth=False)
            return otherwise()
        return self.branch(
            [
                (lambda: self.assume(node.test, truth=True), lambda: self.run_block(node.body)),
                (lambda: self.assume(node.test, truth=False), otherwise),
            ]
        )

    def branch(self: Interpreter, arms: Sequence[Arm]) -> Exit:
        """Run several arms apart and join those that fall through."""
        live: list[tuple[Delta, Guard | None]] = []
        exits: list[Exit] = []
        for prepare, run in arms:
            self.store.fork()
            guard = prepare()
            exit_ = run()
            delta = self.store.rollback()
            exits.append(exit_)
            if exit_ is Exit.FALL:
                live.append((delta, guard))
            else:
                self.leave(exit_, delta)
        if live:
            self.store.merge(live)
            return Exit.FALL
        return Exit.LOOP if all(e is Exit.LOOP for e in exits) else Exit.LEAVE

    def leave(self: Interpreter, exit_: Exit, delta: Delta) -> None:
        """Keep what a branch wrote before it left the loop or the function."""
        frame = self.frame
        if exit_ is Exit.LOOP and frame.loop_exits:
            frame.loop_exits[-1].append(delta)
        else:
            frame.exits.append(delta)

    def try_statement(self: Interpreter, node: cst.Try | cst.TryStar) -> Exit:
        def body() -> Exit:
            exit_ = self.run_block(node.body)
            if exit_ is Exit.FALL and node.orelse is not None:
                exit_ = self.run_block(node.orelse.body)
            return exit_

        arms: list[Arm] = [(lambda: None, body)]
        for handler in node.handlers:

            def prepare(handler: cst.ExceptHandler | cst.ExceptStarHandler = handler) -> None:
                if handler.name is not None and isinstance(handler.name.name, cst.Name):
                    self.bind(handler.name.name.value, Unknown(hint="exception"))

            arms.append((prepare, lambda handler=handler: self.run_block(handler.body)))
        exit_ = self.branch(arms) if node.handlers else body()
        if node.finalbody is not None:
            last = self.run_block(node.finalbody.body)
            exit_ = last if last is not Exit.FALL else exit_
        return exit_

    # -- loops ---------------------------------------------------------------------------------------------------

    def for_statement(self: Interpreter, node: cst.For) -> Exit:
        iterable = self.eval(node.iter)
        element = self.iterate(iterable)
        return self.loop(lambda: self.assign(node.target, element), node.body, node.orelse)

    def while_statement(self: Interpreter, node: cst.While) -> Exit:
        self.eval(node.test)
        if self.truth(node.test) is False:
            return Exit.FALL
        endless = isinstance(node.test, cst.Name) and node.test.value == "True"
        return self.loop(lambda: None, node.body, node.orelse, endless=endless)

    def loop(
        self: Interpreter,
        begin: Callable[[], object],
        body: cst.BaseSuite,
        orelse: cst.Else | None,
        *,
        endless: bool = False,
    ) -> Exit:
        """Run a loop's body, twice in an outermost loop so that what one turn leaves reaches the next. Once on trial."""
        frame = self.frame
        frame.loop_depth += 1
        left = False
        try:
            for _ in range(2 if frame.loop_depth == 1 and not self.trying else 1):
                frame.loop_exits.append([])
                self.store.fork()
                begin()
                exit_ = self.run_block(body)
                delta = self.store.rollback()
                outcomes: list[tuple[Delta, Guard | None]] = [(d, None) for d in frame.loop_exits.pop()]
                if exit_ is Exit.LEAVE:
                    frame.exits.append(delta)
                    left = True
                else:
                    outcomes.append((delta, None))
                if not outcomes:
                    break
                self.store.merge([*([] if endless else [({}, None)]), *outcomes])
        finally:
            frame.loop_depth -= 1
        if orelse is not None:
            return self.run_block(orelse.body)
        return Exit.LEAVE if left and endless else Exit.FALL

    # -- definitions ---------------------------------------------------------------------------------------------

    def function_definition(self: Interpreter, node: cst.FunctionDef) -> None:
        function = self.make_function(node, None)
        self.frame.module.functions.append(function)
        self.bind(node.name.value, self.decorated(function, node))

    def decorated(
        self: Interpreter, value: Function | ClassObj, node: cst.FunctionDef | cst.ClassDef
    ) -> Value:
        """Run the decorators of the project and return what the name is bound to; others leave the value as it is."""
        result: Value = value
        for decorator in reversed(node.decorators):
            self.decorating += 1
            try:
                how = self.settle(self.eval(decorator.decorator))
                own = isinstance(how, Function | Bound) and not self.is_context(
                    how.function if isinstance(how, Bound) else how
                )
                made = self.call_value(how, Args((result,)), decorator) if own else None
            finally:
                self.decorating -= 1
            if isinstance(made, Function) and isinstance(value, Function):
                if made.key != value.key:
                    self.wrappers.add(made.key)
                result = made
        return result

    def make_function(
        self: Interpreter,
        node: cst.FunctionDef | cst.Lambda,
        owner: ClassObj | None,
        scopes: tuple[int, ...] | None = None,
    ) -> Function:
        """Return the function value of a definition in the running scope; a method does not see its class's names."""
        frame = self.frame
        seen = frame.scopes if scopes is None else scopes
        self.captured.update(seen)
        return Function(node, frame.module, frame.cell, seen, owner, id(node), origin=self.site(node))

    def class_definition(self: Interpreter, node: cst.ClassDef) -> None:
        bases = tuple(self.eval(base.value) for base in node.bases if not base.star)
        decorators = tuple(
            dotted_name(d.decorator.func if isinstance(d.decorator, cst.Call) else d.decorator)
            for d in node.decorators
        )
        frame = self.frame
        scope = self.store.new_id()
        cls = ClassObj(
            node, frame.module, frame.cell, scope, bases, decorators, id(node), origin=self.site(node)
        )
        for base in bases:
            if isinstance(base, ClassObj):
                self.subclasses.setdefault(base.key, []).append(cls)
        frame.module.classes.append(cls)
        self.bind(node.name.value, cls)
        self.run_class_body(cls)
        if node.decorators:
            self.decorated(cls, node)

    def run_class_body(self: Interpreter, cls: ClassObj) -> None:
        """Run a class's body: methods are bound, not run."""
        frame = self.frame
        self.frames.append(Frame(frame.module, frame.cell, (cls.scope, *frame.scopes)))
        try:
            body = cls.node.body.body
            for statement in body:
                if isinstance(statement, cst.FunctionDef):
                    self.method_definition(cls, statement)
                elif isinstance(statement, cst.SimpleStatementLine):
                    self.class_fields(cls, statement)
                elif isinstance(statement, cst.BaseStatement):
                    self.run_statements([statement])
        finally:
            self.frames.pop()

    def method_definition(self: Interpreter, cls: ClassObj, node: cst.FunctionDef) -> None:
        """Bind a method, and a property's setter beside its getter."""
        method = self.make_function(node, cls, self.frame.scopes[1:])
        name = node.name.value
        accessor = next((d for d in self.decorators(method) if d.startswith(f"{name}.")), "")
        if accessor:
            name = accessor
            if accessor.endswith(".setter"):
                self.setters.add(node.name.value)
        self.store.set((cls.scope, name), method)
        self.bodies.setdefault(cls.key, {})[name] = method

    def class_fields(self: Interpreter, cls: ClassObj, line: cst.SimpleStatementLine) -> None:
        """Keep the annotated fields of a class (dataclass, pydantic, NamedTuple) with their defaults."""
        for small in line.body:
            if isinstance(small, cst.AnnAssign) and isinstance(small.target, cst.Name):
                value = self.eval(small.value) if small.value is not None else None
                self.fields.setdefault(cls.key, {})[small.target.value] = (small.annotation.annotation, value)
                if value is not None:
                    self.store.set((cls.scope, small.target.value), value)
            else:
                self.run_small([small])

    # -- lists -----------------------------------------------------------------------------------------------------------

    def widen_list(self: Interpreter, ref: Ref, item: Value) -> None:
        """Let the list `ref` also hold `item`."""
        record = self.store.get(ref.id)
        if isinstance(record, ListRec):
            known = record.items is not None and self.frame.loop_depth == 0 and len(record.items) < 32
            items = (*cast("tuple[Value, ...]", record.items), item) if known else None
            empty = record.items == () or (isinstance(record.element, Unknown) and not record.element.hint)
            element = item if empty else join(record.element, item)
            self.store.set(ref.id, ListRec(items, element))


_SMALL: dict[type, Callable[..., Exit | None]] = {
    cst.Expr: Statements.expression_statement,
    cst.Assign: Statements.assign_statement,
    cst.AnnAssign: Statements.annotated_assignment,
    cst.AugAssign: Statements.augmented_assignment,
    cst.Return: Statements.return_statement,
    cst.Raise: Statements.raise_statement,
    cst.Break: Statements.leave_loop,
    cst.Continue: Statements.leave_loop,
    cst.Assert: Statements.assert_statement,
    cst.Global: Statements.global_statement,
    cst.Nonlocal: Statements.nonlocal_statement,
    cst.Del: Statements.delete_statement,
    cst.Import: Statements.import_statement,
    cst.ImportFrom: Statements.import_from,
}

_COMPOUND: dict[type, Callable[..., Exit | None]] = {
    cst.If: Statements.if_statement,
    cst.Match: Patterns.match_statement,
    cst.Try: Statements.try_statement,
    cst.TryStar: Statements.try_statement,
    cst.With: Contexts.with_statement,
    cst.For: Statements.for_statement,
    cst.While: Statements.while_statement,
    cst.FunctionDef: Statements.function_definition,
    cst.ClassDef: Statements.class_definition,
}
