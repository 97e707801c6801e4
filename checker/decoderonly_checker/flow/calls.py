"""Calls: arguments, parameters, following functions, making objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import libcst as cst

from decoderonly_checker.flow.access import MAKERS
from decoderonly_checker.flow.choices import join, join_all, under
from decoderonly_checker.flow.conditions import comparisons_in
from decoderonly_checker.flow.frames import Frame
from decoderonly_checker.flow.literals import plain_text
from decoderonly_checker.flow.project import dotted_name
from decoderonly_checker.flow.state import DictRec, ListRec, ObjRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Bound,
    Choice,
    ClassObj,
    Const,
    Context,
    External,
    Function,
    Hole,
    Lib,
    Method,
    Opaque,
    Partial,
    Ref,
    Site,
    Str,
    Tuple,
    Unknown,
    Value,
    alternatives,
)
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from decoderonly_checker.flow.interpreter import Interpreter

MAX_ANNOTATION = 500  # characters
_OWN = (Function, Bound)
_NAMED = (Opaque, Lib)
_YIELD = late_pattern(r"^\s*yield\b", re.MULTILINE)
_WRAPPING_ANNOTATIONS = frozenset({"Optional", "Union", "Annotated", "Final", "ClassVar", "Required", "Type"})
_SEQUENCE_ANNOTATIONS = frozenset(
    {"List", "list", "Sequence", "Iterable", "tuple", "Tuple", "Iterator", "Collection"}
)


def is_thunk(function: Function) -> bool:
    """Whether a function is a lambda or a nested function that can be called without arguments."""
    params = function.node.params
    needed = [p for p in (*params.posonly_params, *params.params, *params.kwonly_params) if p.default is None]
    return (
        not needed
        and function.owner is None
        and (is_nested(function) or isinstance(function.node, cst.Lambda))
    )


def is_nested(function: Function) -> bool:
    """Whether a function is defined within another one."""
    return len(function.scopes) > 1


def _last_name(callee: cst.BaseExpression) -> str:
    """Return the name by which something is called, without what it is taken from."""
    name = callee.attr if type(callee) is cst.Attribute else callee
    return name.value if type(name) is cst.Name else ""


class Calls:
    """The part of the interpreter that calls."""

    def call(self: Interpreter, node: cst.Call) -> Value:
        callee = self.eval(node.func)
        if self.knowledge.done_by(_last_name(node.func)) == "stated":
            self.stated.update(id(one) for arg in node.args for one in comparisons_in(arg.value))
        args = self.arguments(node)
        options = [v for v in alternatives(callee) if not (isinstance(v, Const) and v.value is None)]
        if len(options) <= 1:
            return self.call_value(options[0] if options else UNKNOWN, args, node)
        # Several callees: each runs on the state of before, and what they leave is joined.
        results: list[Value] = []
        branches: list[Any] = []
        own = any(isinstance(option, _OWN) for option in options)
        for option in options:
            self.store.fork()
            with self.beside_own(node if own else self.beside):
                results.append(self.call_value(option, args, node))
            branches.append((self.store.rollback(), None))
        self.store.merge(branches)
        guards = [alt.guards for alt in callee.alts] if isinstance(callee, Choice) else []
        if len(guards) != len(results):
            return join_all(results)
        return join_all([under(value, guard) for value, guard in zip(results, guards, strict=True)])

    def arguments(self: Interpreter, node: cst.Call) -> Args:
        """Evaluate the arguments of a call and unpack what can be unpacked."""
        positional: list[Value] = []
        keywords: dict[str, Value] = {}
        open_: Value | None = None
        star: Value | None = None
        encoding = None
        for arg in node.args:
            value = self.eval(arg.value)
            if arg.star == "*":
                items = self.elements(value, None)
                if items is None or star is not None:
                    star = value
                else:
                    positional.extend(items)
            elif arg.star == "**":
                record = self.dict_record(value)
                if record is None:
                    fields = self.knowledge.unpacked_keywords(self, value)
                    if fields is None:
                        open_ = value
                    else:
                        keywords.update(fields)
                else:
                    keywords.update({k: v for k, v in record.entries.items() if isinstance(k, str)})
                    encoding = record.encoding or encoding
                    open_ = record.open if record.open is not None else open_
            elif arg.keyword is not None:
                keywords[arg.keyword.value] = value
            else:
                positional.append(value)
        return Args(tuple(positional), keywords, open_, star, encoding)

    def call_value(self: Interpreter, callee: Value, args: Args, node: cst.CSTNode) -> Value:
        """Call one value."""
        callee = self.settle(callee)
        if type(callee) is Choice:
            return join_all([self.call_value(v, args, node) for v in alternatives(callee)])
        site = self.site(node)
        if self.declared is not None and (declared := self.declared.made_by(self, callee, site)) is not None:
            return declared
        if isinstance(callee, Function):
            if self.is_context(callee):
                return Context(callee, args, origin=site)
            return self.follow(callee, args, node)
        if isinstance(callee, Bound):
            if "classmethod" in self.decorators(callee.function):
                record = self.store.get(callee.receiver.id) if isinstance(callee.receiver, Ref) else None
                owner = (
                    record.cls if isinstance(record, ObjRec) and record.cls is not None else callee.receiver
                )
                return self.follow(callee.function, args, node, owner)
            if self.is_context(callee.function):
                return Context(callee.function, args, callee.receiver, origin=site)
            return self.follow(callee.function, args, node, callee.receiver)
        if isinstance(callee, ClassObj):
            return self.construct(callee, args, node)
        if isinstance(callee, Partial):
            return self.call_value(callee.function, self.merged(callee.args, args), node)
        if isinstance(callee, External):
            made = self.knowledge.call(self, callee.name, args, node)
            if made is not None:
                return made
            given = self.hand_over(args, callee.name, node)
            return self.knowledge.opaque(callee.name, site) if given is None else given
        if isinstance(callee, Method):
            return self.call_method(callee, args, node)
        if isinstance(callee, Ref):
            record = self.store.get(callee.id)
            if isinstance(record, ObjRec) and record.cls is not None:
                for name in ("__call__", "forward"):
                    method = self.class_attribute(record.cls, name)
                    if isinstance(method, Function):
                        return self.follow(method, args, node, callee)
                inherited = self.knowledge.inherited(
                    self, self.external_bases(record.cls), callee, "__call__", site
                )
                if inherited is not None:
                    return self.call_value(inherited, args, node)
        made = self.knowledge.call_object(self, callee, args, node)
        if made is not None:
            return made
        given = self.hand_over(args, getattr(callee, "hint", ""), node)
        return Unknown(hint=getattr(callee, "hint", ""), origin=site) if given is None else given

    def call_method(self: Interpreter, callee: Method, args: Args, node: cst.CSTNode) -> Value:
        if isinstance(callee.receiver, ClassObj) and callee.name in MAKERS:
            cls = callee.receiver
            if "generate" in self.methods_of(cls) or not self.external_bases(cls):
                return self.instance_of(cls)
            made = self.knowledge.call(self, f"{self.external_bases(cls)[0]}.{callee.name}", args, node)
            return UNKNOWN if made is None else made
        made = self.knowledge.call_method(self, callee.receiver, callee.name, args, node)
        if made is not None:
            return made
        library = callee.receiver.name if isinstance(callee.receiver, _NAMED) else ""
        given = self.hand_over(args, callee.name, node, library)
        return Unknown(origin=self.site(node)) if given is None else given

    def hand_over(
        self: Interpreter, args: Args, to: str, node: cst.CSTNode, library: str = ""
    ) -> Value | None:
        """Note that values leave the analysed code; return what the call gives if it gives what a callback does."""
        kind = self.knowledge.done_by(to)
        for value in args.all():
            self.use(value, kind, node)
            for one in alternatives(value):
                if isinstance(one, Function) and isinstance(one.node, cst.Lambda):
                    self.run_callback(one)
        self.knowledge.handed_over(self, args, to, node)
        return self.run_callbacks(args, node, final=self.knowledge.answers_a_person(to, library))

    def run_callbacks(self: Interpreter, args: Args, node: cst.CSTNode, *, final: bool) -> Value | None:
        """Run the functions without parameters that are handed to code that is not known (a cache, a timer, a retry).

        What they return need not be the last that becomes of it: such a call mostly gives it back, alone or as the first of
        a tuple. Where it is `final`, it is shown or sent, and the functions are run as those that nobody calls.
        """
        results: list[Value] = []
        for function in (one for value in args.all() for one in alternatives(value)):
            if not isinstance(function, Function):
                continue
            (self.answering if final else self.lent).add(function.key)
            if not final and is_thunk(function):
                results.append(self.follow(function, Args(), node))
        told = [result for result in results if self.tells(result)]
        if not told:
            return None
        result = join_all(told)
        self.use(result, "handed", node)
        return join(result, Tuple((result, UNKNOWN)))

    def run_callback(self: Interpreter, function: Function) -> None:
        """Run a lambda that something unknown will call, once; named functions are run by their names."""
        if function.key in self.reached or not self.recording:
            return
        self.store.fork()
        try:
            self.returned(self.run_function(function, None, None), cast("cst.Lambda", function.node).body)
        finally:
            self.store.merge([({}, None), (self.store.rollback(), None)])

    def merged(self: Interpreter, first: Args, second: Args) -> Args:
        """Return the arguments of a partial call followed by those of the call itself."""
        return Args(
            (*first.positional, *second.positional),
            {**first.keywords, **second.keywords},
            second.open if first.open is None else first.open,
            first.star or second.star,
            second.encoding or first.encoding,
        )

    # -- parameters ----------------------------------------------------------------------------------------------

    def bind_parameters(
        self: Interpreter, function: Function, args: Args | None, receiver: Value | None, frame: Frame
    ) -> dict[str, Value]:
        """Return what each parameter holds. `args` is None for an entry point."""
        params = function.node.params
        names = [*params.posonly_params, *params.params]
        bound: dict[str, Value] = {}
        decorators = self.decorators(function)
        is_method = function.owner is not None and "staticmethod" not in decorators
        if is_method and names:
            first = names.pop(0)
            if receiver is not None:
                bound[first.name.value] = receiver
            elif args is not None and args.positional:
                bound[first.name.value] = args.positional[0]
                args = Args(args.positional[1:], args.keywords, args.open, args.star, args.encoding)
            elif "classmethod" in decorators:
                bound[first.name.value] = cast("ClassObj", function.owner)
        used: set[str] = set()
        for position, param in enumerate(names):
            given = args.get(position, param.name.value) if args is not None else None
            used.add(param.name.value)
            bound[param.name.value] = self.parameter(param, given, args, function, frame)
        for param in params.kwonly_params:
            given = args.get(None, param.name.value) if args is not None else None
            used.add(param.name.value)
            bound[param.name.value] = self.parameter(param, given, args, function, frame)
        if isinstance(params.star_arg, cst.Param):
            rest = args.positional[len(names) :] if args is not None else ()
            exact = args is not None and args.star is None
            record = ListRec(tuple(rest) if exact else None, join_all(list(rest)))
            bound[params.star_arg.name.value] = Ref(self.store.new(record), "list")
        if params.star_kwarg is not None:
            extra: Mapping[str, Value] = {}
            open_: Value | None = Unknown(hint=params.star_kwarg.name.value)
            if args is not None:
                extra = {k: v for k, v in args.keywords.items() if k not in used}
                open_ = args.open
            encoding = args.encoding if args is not None else None
            bound[params.star_kwarg.name.value] = Ref(self.store.new(DictRec(extra, open_, encoding)), "dict")
        return bound

    def parameter(
        self: Interpreter,
        param: cst.Param,
        given: Value | None,
        args: Args | None,
        function: Function,
        frame: Frame,
    ) -> Value:
        """Return what one parameter holds: what is passed, its annotation, its default, or last its name."""
        name = param.name.value
        site = Site.of(function.module.source, function.cell, param)
        if given is not None and not isinstance(given, Unknown):
            return given
        known = None
        if param.annotation is not None:
            self.frames.append(frame)
            try:
                known = self.from_annotation(param.annotation.annotation)
            finally:
                self.frames.pop()
        if isinstance(known, Str) and given is None and param.default is not None:
            # A default says more than "a text".
            default = self.eval_in(frame, param.default)
            if isinstance(default, Const) and isinstance(default.value, str):
                return default if args is not None else Const(default.value, default=True, origin=site)
        if given is None and function.node is not None:
            chosen = self.knowledge.default_of(self, function, name)
            if chosen is not None:
                return chosen
        if known == Str((Hole(UNKNOWN),)):
            known = Str((Hole(UNKNOWN, name, origin=site),))
        if known is not None:
            return known.at(site)
        fixture = self.fixture(name, function) if args is None else None
        if fixture is not None:
            return fixture
        if given is not None:
            return self.named_value(name, site) or (
                given if getattr(given, "hint", "") else Unknown(hint=name, origin=site)
            )
        if param.default is not None and (args is None or (args.open is None and args.star is None)):
            value = self.eval_in(frame, param.default)
            if args is not None:
                # What this call leaves out another may give: a branch on `None` stays open.
                return Const(None, default=True, origin=site) if value == Const(None) else value
            named = self.named_value(name, site)
            if named is not None:
                return named
            if isinstance(value, Const):
                return (
                    Unknown(hint=name, origin=site)
                    if value.value is None
                    else Const(value.value, default=True, origin=site)
                )
            return value
        return self.named_value(name, site) or Unknown(hint=name, origin=site)

    def eval_in(self: Interpreter, frame: Frame, node: cst.BaseExpression) -> Value:
        """Evaluate an expression that stands outside the running function."""
        self.frames.append(frame)
        try:
            return self.eval(node)
        finally:
            self.frames.pop()

    def fixture(self: Interpreter, name: str, function: Function) -> Value | None:
        """Return what pytest passes a test or fixture for a parameter: what the module's fixture of that name gives."""
        made = self.store.get((function.module.scope, name))
        if (
            not isinstance(made, Function)
            or made.key == function.key
            or not isinstance(made.node, cst.FunctionDef)
        ):
            return None
        marks = [
            d.decorator.func if isinstance(d.decorator, cst.Call) else d.decorator
            for d in made.node.decorators
        ]
        if not any(dotted_name(mark).rpartition(".")[2] == "fixture" for mark in marks):
            return None
        given = self.follow(made, Args(), made.node)
        made_by_yield = self.store.get(given.id) if isinstance(given, Ref) else None
        return made_by_yield.element if isinstance(made_by_yield, ListRec) and self.yields(made) else given

    def yields(self: Interpreter, function: Function) -> bool:
        """Whether a function is a generator."""
        return _YIELD.search(self.code_of(function)) is not None

    def named_value(self: Interpreter, name: str, site: Site) -> Value | None:
        """Return what a name alone suggests: evidence of the weakest kind."""
        return self.knowledge.by_name(self, name, site)

    def from_annotation(
        self: Interpreter, node: cst.BaseExpression, written: cst.CSTNode | None = None
    ) -> Value | None:
        """Return what an annotation says, None where it says nothing useful.

        `written` is the string that the annotation stands in: what is parsed from it has no place in the file.
        """
        if isinstance(node, cst.SimpleString):
            text = plain_text(node)
            # What is longer names no type; the parser would recurse into it until the process dies.
            if not isinstance(text, str) or len(text) > MAX_ANNOTATION:
                return None
            try:
                return self.from_annotation(cst.parse_expression(text), written or node)
            except (cst.ParserSyntaxError, ValueError):
                return None
        if isinstance(node, cst.BinaryOperation) and isinstance(node.operator, cst.BitOr):
            return self.either([node.left, node.right], written)
        if isinstance(node, cst.Subscript):
            outer = dotted_name(node.value).rpartition(".")[2]
            inner = [e.slice.value for e in node.slice if isinstance(e.slice, cst.Index)]
            if outer in _WRAPPING_ANNOTATIONS:
                return self.either(inner if outer == "Union" else inner[:1], written)
            if outer in {"tuple", "Tuple"} and not any(isinstance(one, cst.Ellipsis) for one in inner):
                parts = [self.from_annotation(one, written) for one in inner]
                known = any(part is not None for part in parts)
                return Tuple(tuple(part or UNKNOWN for part in parts)) if known else None
            if outer in _SEQUENCE_ANNOTATIONS and inner:
                element = self.from_annotation(inner[0], written) or UNKNOWN
                return Ref(self.store.new(ListRec(None, element)), "list")
            return None
        if not isinstance(node, cst.Name | cst.Attribute):
            return None
        found: list[Value] = []
        for alt in alternatives(self.settle(self.eval(node))):
            one = self.settle(alt)
            said: Value | None = None
            if self.declared is not None:
                said = self.declared.made_by(self, one, self.site(written or node))
            if said is not None:
                pass
            elif isinstance(one, ClassObj):
                said = self.instance_of(one) if len(self.active) < 4 else None
            elif isinstance(one, External) and one.name == "builtins.str":
                said = Str((Hole(UNKNOWN),))
            elif isinstance(one, External):
                said = self.knowledge.annotated(self, one.name, self.site(written or node))
            if said is not None:
                found.append(said)
        return join_all(found) if found else None

    def or_annotated(self: Interpreter, value: Value, function: Function, node: cst.CSTNode) -> Value:
        """Return `value`, or what the function's return annotation says where its body does not tell."""
        returns = getattr(function.node, "returns", None)
        outside = type(value) is Opaque
        if returns is None or not (outside or isinstance(value, Unknown)):
            return value
        self.frames.append(Frame(function.module, function.cell, function.scopes or (function.module.scope,)))
        try:
            known = self.from_annotation(returns.annotation)
        finally:
            self.frames.pop()
        says_less = known is None or (outside and isinstance(known, Str))
        return value if says_less else cast("Value", known).at(self.site(node))

    def either(
        self: Interpreter, options: Sequence[cst.BaseExpression], written: cst.CSTNode | None
    ) -> Value | None:
        """Return what a union of annotations says: any of those that say something."""
        known = [value for one in options if (value := self.from_annotation(one, written)) is not None]
        return join_all(known) if known else None

    # -- objects -------------------------------------------------------------------------------------------------

    def construct(self: Interpreter, cls: ClassObj, args: Args, node: cst.CSTNode) -> Value:
        """Make an object of a class of the project."""
        ref = Ref(self.store.new(ObjRec(cls)), "object", origin=self.site(node))
        made = self.instances.setdefault(cls.key, [])
        self.set_dataclass_fields(cls, ref, args)
        init = self.class_attribute(cls, "__init__")
        if isinstance(init, Function):
            trying, self.trying = self.trying, False  # the first object stands for others
            try:
                self.follow(init, args, node, ref)
            finally:
                self.trying = trying
        elif not self.knowledge.constructed(self, self.external_bases(cls), ref, args, node):
            self.hand_over(args, cls.name, node)
        if len(made) < 4:
            made.append(ref)
        return ref

    def set_dataclass_fields(self: Interpreter, cls: ClassObj, ref: Ref, args: Args | None) -> None:
        """Set annotated fields from the arguments, or from their defaults."""
        if self.class_attribute(cls, "__init__") is not None:
            return
        fields: dict[str, tuple[ClassObj, cst.BaseExpression, Value | None]] = {}
        for owner in reversed(self.mro(cls)):
            declared = self.fields.get(owner.key, {}).items()
            fields.update((name, (owner, *field)) for name, field in declared)
        for position, (name, (owner, annotation, default)) in enumerate(fields.items()):
            value = args.get(position, name) if args is not None else None
            if value is None:
                # What an annotation means is told where it is written, perhaps in another module.
                self.frames.append(Frame(owner.module, owner.cell, (owner.module.scope,)))
                try:
                    made = (
                        None if default is None else self.knowledge.field_default(self, default, annotation)
                    )
                    value = made or default or self.from_annotation(annotation) or Unknown(hint=name)
                finally:
                    self.frames.pop()
                if isinstance(default, Const) and args is None:
                    value = Const(default.value, default=True, origin=default.origin)
            record = cast("ObjRec", self.store.get(ref.id))
            self.store.set(ref.id, record.with_attr(name, value))
