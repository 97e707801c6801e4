"""The tables that the interpreter asks: functions by dotted name, methods, attributes and items by kind of value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from decoderonly_checker.flow.choices import each
from decoderonly_checker.flow.values import (
    Args,
    Const,
    Function,
    Lib,
    Opaque,
    Site,
    Unknown,
    Value,
    alternatives,
)
from decoderonly_checker.knowledge.interfaces import answers_a_person

if TYPE_CHECKING:
    import libcst as cst

    from decoderonly_checker.flow.interpreter import Interpreter

FunctionHandler = Callable[["Interpreter", str, Args, "cst.CSTNode"], "Value | None"]
MethodHandler = Callable[["Interpreter", Any, str, Args, "cst.CSTNode"], "Value | None"]
AttributeHandler = Callable[["Interpreter", Any, str, Site], "Value | None"]
ItemHandler = Callable[["Interpreter", Any, list[Any], Site, "cst.CSTNode"], "Value | None"]
ValueHandler = Callable[["Interpreter", Any], "Value | None"]

# What is asked about a value and not about what it says.
_ASKING = frozenset({"type", "isinstance", "callable", "hasattr"})
_SHOWING = frozenset(
    {
        "print",
        "pprint",
        "info",
        "debug",
        "warning",
        "log",
        "display",
        "echo",
        "secho",
        "markdown",
        "Markdown",
        "rule",
        "write_text_stream",
        "Panel",
        "HTML",
        "cprint",
        "rprint",
    }
)


_ARITHMETIC = frozenset({"Add", "Subtract", "Multiply", "Divide", "FloorDivide", "Power"})


class Registry:
    """All that is known of libraries, by the shape of the question."""

    def __init__(self) -> None:
        self.functions: dict[str, FunctionHandler] = {}
        self.packages: dict[str, FunctionHandler] = {}
        self.methods: dict[tuple[type, str], MethodHandler] = {}
        self.any_method: dict[type, list[MethodHandler]] = {}
        self.attributes: dict[type, list[AttributeHandler]] = {}
        self.items: dict[type, list[ItemHandler]] = {}
        self.iterators: dict[type, ValueHandler] = {}
        self.objects: dict[type, MethodHandler] = {}
        self.names: list[Callable[[Interpreter, str, Site], Value | None]] = []
        self.annotations: list[Callable[[Interpreter, str, Site], Value | None]] = []
        self.bases: list[Callable[[Interpreter, list[str], Value, str, Site], Value | None]] = []
        self.constructors: list[Callable[[Interpreter, list[str], Any, Args, cst.CSTNode], bool]] = []
        self.checks: dict[type, list[Callable[[Interpreter, Any, str], None]]] = {}
        self.listeners: list[Callable[[Interpreter, Args, str, cst.CSTNode], None]] = []
        self.joins: list[Callable[[Interpreter, list[Value], Site], Value | None]] = []
        self.comparisons: list[Callable[[Interpreter, Value, Value, bool, Site], Value | None]] = []
        self.operators: dict[type, Callable[[Interpreter, Value, Value, str, Site], Value | None]] = {}
        self.defaults: list[Callable[[Interpreter, Function, str], Value | None]] = []
        self.field_default: Callable[[Interpreter, Value, cst.CSTNode], Value | None] = lambda *_: None
        self.awaited: ValueHandler = lambda _interp, value: value
        self.star_names: dict[str, Callable[[str], bool]] = {}

    # -- registration --------------------------------------------------------------------------------------------

    def function(self, *names: str) -> Callable[[FunctionHandler], FunctionHandler]:
        """Register a handler for functions by dotted name."""

        def add(handler: FunctionHandler) -> FunctionHandler:
            self.functions.update(dict.fromkeys(names, handler))
            return handler

        return add

    def method(self, kinds: type | Iterable[type], *names: str) -> Callable[[MethodHandler], MethodHandler]:
        """Register a handler for methods of kinds of values."""

        def add(handler: MethodHandler) -> MethodHandler:
            for kind in (kinds,) if isinstance(kinds, type) else kinds:
                for name in names:
                    self.methods[kind, name] = handler
            return handler

        return add

    def called(self, kind: type, handler: MethodHandler) -> None:
        """Register what calling an object of a kind gives, before those that are registered already."""
        before = self.objects.get(kind)

        def either(
            interp: Interpreter, callee: Any, name: str, args: Args, node: cst.CSTNode
        ) -> Value | None:
            made = handler(interp, callee, name, args, node)
            return before(interp, callee, name, args, node) if made is None and before is not None else made

        self.objects[kind] = either

    # -- questions -----------------------------------------------------------------------------------------------

    def call(self, interp: Interpreter, name: str, args: Args, node: cst.CSTNode) -> Value | None:
        """Return what calling the external `name` gives; None where nothing is known."""
        handler = self.functions.get(name)
        if handler is not None:
            made = handler(interp, name, args, node)
            if made is not None:
                return made
        package = self.packages.get(name.partition(".")[0])
        return package(interp, name, args, node) if package is not None else None

    def call_method(
        self, interp: Interpreter, receiver: Value, name: str, args: Args, node: cst.CSTNode
    ) -> Value | None:
        """Return what `receiver.name(…)` gives."""
        handler = self.methods.get((type(receiver), name))
        if handler is not None:
            made = handler(interp, receiver, name, args, node)
            if made is not None:
                return made
        for general in self.any_method.get(type(receiver), ()):
            made = general(interp, receiver, name, args, node)
            if made is not None:
                return made
        return None

    def call_object(self, interp: Interpreter, callee: Value, args: Args, node: cst.CSTNode) -> Value | None:
        """Return what calling a library's object gives (a tokenizer, a model, a pipeline)."""
        handler = self.objects.get(type(callee))
        return handler(interp, callee, "__call__", args, node) if handler is not None else None

    def attribute(self, interp: Interpreter, owner: Value, name: str, site: Site) -> Value | None:
        """Return a library object's attribute."""
        for handler in self.attributes.get(type(owner), ()):
            made = handler(interp, owner, name, site)
            if made is not None:
                return made
        return None

    def item(
        self, interp: Interpreter, owner: Value, index: list[Any], site: Site, node: cst.CSTNode
    ) -> Value | None:
        """Return `owner[index]` of a library's object."""
        for handler in self.items.get(type(owner), ()):
            made = handler(interp, owner, index, site, node)
            if made is not None:
                return made
        return None

    def iterated(self, interp: Interpreter, value: Value) -> Value | None:
        """Return what a loop over a library's object sees."""
        handler = self.iterators.get(type(value))
        return handler(interp, value) if handler is not None else None

    def unpacked(self, interp: Interpreter, value: Value, position: int) -> Value | None:
        """Return what unpacking gives at `position`."""
        made = self.item(interp, value, [Const(position)], value.origin or Site(None, None, None, 0), None)  # type: ignore[arg-type]
        return made if made is not None else self.iterated(interp, value)

    def unpacked_keywords(self, interp: Interpreter, value: Value) -> Mapping[str, Value] | None:
        """Return the entries of a library's mapping given as `**value`; None where they are not known."""
        for handler in self.attributes.get(type(value), ()):
            made = handler(interp, value, "**", value.origin or Site(None, None, None, 0))  # type: ignore[arg-type]
            if isinstance(made, Lib):
                record = interp.store.get(made.id)
                return dict(record.attrs) if record is not None else None
        return None

    def by_name(self, interp: Interpreter, name: str, site: Site) -> Value | None:
        """Return what a parameter's name alone suggests."""
        for handler in self.names:
            made = handler(interp, name, site)
            if made is not None:
                return made
        return None

    def annotated(self, interp: Interpreter, name: str, site: Site) -> Value | None:
        """Return what an annotation with the external class `name` says."""
        for handler in self.annotations:
            made = handler(interp, name, site)
            if made is not None:
                return made
        return None

    def inherited(
        self, interp: Interpreter, bases: list[str], owner: Value, name: str, site: Site
    ) -> Value | None:
        """Return an attribute that an object of the project inherits from library classes."""
        for handler in self.bases:
            made = handler(interp, bases, owner, name, site)
            if made is not None:
                return made
        return None

    def constructed(
        self, interp: Interpreter, bases: list[str], owner: Value, args: Args, node: cst.CSTNode
    ) -> bool:
        """Make an object of the project whose `__init__` is a library's; whether one of `bases` is known."""
        return any(handler(interp, bases, owner, args, node) for handler in self.constructors)

    def handed_over(self, interp: Interpreter, args: Args, to: str, node: cst.CSTNode) -> None:
        """Tell the knowledge files that values were passed to something unknown."""
        for listener in self.listeners:
            listener(interp, args, to, node)

    def found_set(self, interp: Interpreter, owner: Value, name: str) -> None:
        """Tell the knowledge files that an attribute was found to be there, not None."""
        for listener in self.checks.get(type(owner), ()):
            listener(interp, owner, name)

    def join_ids(self, interp: Interpreter, values: list[Value], site: Site) -> Value:
        """Return the concatenation of ids."""
        for handler in self.joins:
            made = handler(interp, values, site)
            if made is not None:
                return made
        return Opaque("ids", origin=site)

    def compare(
        self, interp: Interpreter, left: Value, right: Value, equal: bool, site: Site
    ) -> Value | None:
        """Return what `left == right` (or `!=`) gives on tensors."""
        for handler in self.comparisons:
            made = handler(interp, left, right, equal, site)
            if made is not None:
                return made
        return None

    def operate(
        self, interp: Interpreter, left: Value, right: Value, operator: str, site: Site
    ) -> Value | None:
        """Return what arithmetic on library objects gives; None where neither side is one that is known."""
        kinds = self.operators.keys()
        if operator not in _ARITHMETIC or not any(
            type(one) in kinds for side in (left, right) for one in alternatives(side)
        ):
            return None

        def pair(one: Value, two: Value) -> Value:
            handler = self.operators.get(type(one)) or self.operators.get(type(two))
            made = handler(interp, one, two, operator, site) if handler is not None else None
            return Unknown(origin=site) if made is None else made

        return each(left, lambda one: each(right, lambda two: pair(one, two)))

    def default_of(self, interp: Interpreter, function: Function, name: str) -> Value | None:
        """Return what a function's decorators say that a parameter is where nothing is passed."""
        for handler in self.defaults:
            made = handler(interp, function, name)
            if made is not None:
                return made
        return None

    def exported(self, dotted: str, names: Iterable[str]) -> list[str]:
        """Return those of `names` that `from dotted import *` may bring."""
        test = self.star_names.get(dotted)
        return [name for name in names if test(name)] if test is not None else []

    def opaque(self, name: str, site: Site) -> Value:
        """Return the result of an external call that nothing is known of."""
        return Opaque(name, origin=site)

    def done_by(self, name: str) -> str:
        """Return what a function by this name does with a text that it is given, as a kind of `Use`."""
        return _done_by(name)

    def answers_a_person(self, to: str, library: str) -> bool:
        """Whether what a function returns is final where it is handed to `to` of `library`."""
        return answers_a_person(to, library)


@lru_cache(maxsize=4096)
def _done_by(name: str) -> str:
    last = name.rpartition(".")[2]
    if last in _SHOWING or name.startswith(("logging.", "loguru.", "rich.", "IPython.")):
        return "printed"
    # unittest's `assertEqual`, numpy's `assert_array_equal`: a test states what comes out.
    if last in _ASKING or last.startswith("assert"):
        return "stated"
    return "passed"


def is_none(value: Value | None) -> bool:
    """Whether an argument is absent or surely None."""
    return value is None or (isinstance(value, Const) and value.value is None)


def first_of(value: Value | None, kind: type) -> Any:
    """Return the first alternative of a kind, or None."""
    return next((v for v in alternatives(value) if isinstance(v, kind)), None)
