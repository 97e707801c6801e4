"""The standard library: built-in functions, lists, dicts, argparse, functools, threads, executors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import libcst as cst

from decoderonly_checker.flow.choices import MAX_ALTERNATIVES, each, join, join_all, text_of
from decoderonly_checker.flow.state import DictRec, ListRec, ObjRec
from decoderonly_checker.flow.values import (
    NAMED,
    UNKNOWN,
    Args,
    Below,
    Bound,
    ClassObj,
    Const,
    External,
    Generated,
    Hole,
    Ids,
    ImportRef,
    Length,
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
    Zip,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.registry import first_of

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
APPENDED = "#appended"  # an attribute of a buffer of ids: how many tokens were appended to it


def new_list(interp: Interpreter, items: tuple[Value, ...] | None, element: Value, site: Site) -> Ref:
    """Put a list on the heap."""
    return Ref(interp.store.new(ListRec(items, element)), "list", origin=site)


def new_lib(interp: Interpreter, name: str, attrs: dict[str, Value], site: Site) -> Lib:
    """Put a library's object on the heap."""
    return Lib(interp.store.new(ObjRec(None, attrs)), name, origin=site)


def _words(element: Value) -> bool:
    """Whether a list holds the words of a text, as `split` leaves them."""
    return isinstance(element, Str) and any(
        isinstance(part, Hole) and getattr(part.value, "hint", "") == "piece" for part in element.parts
    )


def with_appended(interp: Interpreter, ids: Ids) -> Ids:
    """Return ids with the tokens counted that were appended to their buffer one by one."""
    record = interp.store.get(ids.id) if ids.id else None
    more = literal(record.attrs.get(APPENDED)) if isinstance(record, ObjRec) else None
    return replace(ids, added=(ids.added[0], ids.added[1] + more)) if isinstance(more, int) else ids


def lib_attrs(interp: Interpreter, value: Value | None) -> dict[str, Value]:
    """Return the attributes of a library's object; empty for anything else."""
    lib = first_of(value, Lib)
    record = interp.store.get(lib.id) if lib is not None else None
    return dict(record.attrs) if isinstance(record, ObjRec) else {}


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    function, method = registry.function, registry.method

    @function("builtins.len")
    def length(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)

        def measure(one: Value) -> Value:
            if isinstance(one, Ids):
                one = with_appended(interp, one)
            if isinstance(one, Ids | Generated):
                return Length(one, "rows" if one.rank == "batch" else "width", origin=site)
            if isinstance(one, Str | Hole) or isinstance(literal(one), str):
                return Length(one, "chars", origin=site)
            if isinstance(one, Ref):
                record = interp.store.get(one.id)
                if (
                    isinstance(record, ListRec)
                    and isinstance(record.element, Ids)
                    and record.element.rank == "token"
                ):
                    return Length(record.element, "width", origin=site)
                if isinstance(record, ListRec) and record.items is not None:
                    return Length(one, "rows", origin=site)
                if isinstance(record, ListRec) and _words(record.element):
                    return Length(one, "words", origin=site)
                if isinstance(record, DictRec) and record.encoding is not None:
                    return Length(record.entries.get("input_ids", one), "entries", origin=site)
            if isinstance(one, Unknown | Opaque):
                return Length(one, "chars", origin=site)
            return Unknown(hint="length", origin=site)

        return each(args.positional[0], measure) if args.positional else UNKNOWN

    @function("builtins.range")
    def range_(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """The positions before a count, or from one on."""
        site = interp.site(node)
        if not args.positional or not any(
            isinstance(one, Length) for one in alternatives(args.positional[0])
        ):
            return None
        within = Below(args.positional[0], len(args.positional) > 1, "index", origin=site)
        return new_list(interp, None, within, site)

    def first_apart(interp: Interpreter, source: Value | None, node: Node) -> None:
        """Note that the first text of a streamer can be told from the others: there the prompt may be left out."""
        for one in alternatives(source):
            if isinstance(one, Lib):
                interp.use(interp.iterate(one), "searched", node)

    @function("builtins.enumerate")
    def enumerate_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        first_apart(interp, args.get(0), node)
        index = new_list(interp, None, Unknown(hint="index"), interp.site(node))
        return Zip((index, args.positional[0] if args.positional else UNKNOWN), origin=interp.site(node))

    @function(
        "builtins.list",
        "builtins.tuple",
        "builtins.sorted",
        "builtins.reversed",
        "builtins.iter",
        "builtins.set",
        "tqdm.tqdm",
        "tqdm.auto.tqdm",
        "tqdm.notebook.tqdm",
        "tqdm.trange",
        "tqdm.rich.tqdm",
    )
    def same(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        source = args.get(0, "iterable")
        if source is None:
            return new_list(interp, (), UNKNOWN, site)

        def copy(one: Value) -> Value:
            if isinstance(one, Ids) and name == "builtins.list":
                from decoderonly_checker.knowledge.ids import copied

                return copied(interp, one, site)
            if isinstance(one, Generated | Zip | Ids):
                return one
            if name == "builtins.iter":
                first_apart(interp, one, node)
            items = interp.elements(one, None)
            if "sorted" in name or "reversed" in name or "set" in name:
                items = None
            return new_list(interp, items, interp.iterate(one), site)

        return each(source, copy)

    @function("builtins.dict", "collections.OrderedDict")
    def dict_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        source = args.positional[0] if args.positional else None
        record = DictRec() if source is None else interp.dict_record(source) or interp.dict_of_pairs(source)
        entries = dict(record.entries) if record is not None else {}
        entries.update(args.keywords)
        open_ = (
            args.open if record is not None and record.open is None else (record.open if record else UNKNOWN)
        )
        ref = Ref(
            interp.store.new(DictRec(entries, open_, record.encoding if record else None)),
            "dict",
            origin=interp.site(node),
        )
        if "labels" in entries:
            interp.labels_in_dict(entries, node)
        return ref

    @function("collections.ChainMap")
    def chained(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        """The first dict that has a key gives its entry."""
        record: DictRec | None = DictRec()
        for one in reversed(args.positional):
            made = Ref(interp.store.new(record), "dict") if record is not None else UNKNOWN
            record = interp.united(made, one)
        known = record if record is not None and args.star is None else DictRec({}, UNKNOWN)
        return Ref(interp.store.new(known), "dict", origin=interp.site(node))

    @function("importlib.import_module", "builtins.__import__")
    def import_module(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        dotted = literal(args.get(0, "name"))
        if not isinstance(dotted, str) or not dotted:
            return None
        plain = dotted.lstrip(".")
        found = interp.project.resolve(interp.frame.module, plain, len(dotted) - len(plain))
        if found is not None:
            return ImportRef(found, None, str(found.path), origin=interp.site(node))
        return External(plain, origin=interp.site(node)) if plain == dotted else None

    @function("collections.defaultdict")
    def defaultdict_(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """A dict whose missing entries are made on first use: all of them are kept as one."""
        factory = args.get(0, "default_factory")
        if factory is None:
            return None
        entry = interp.call_value(factory, Args(), node)
        if isinstance(entry, Ref) and isinstance(interp.store.get(entry.id), ListRec):
            entry = new_list(interp, None, UNKNOWN, interp.site(node))
        return Ref(interp.store.new(DictRec({}, entry)), "dict", origin=interp.site(node))

    @function(
        "builtins.str",
        "builtins.format",
        "builtins.repr",
        "html.escape",
        "json.dumps",
        "ujson.dumps",
        "pprint.pformat",
    )
    def str_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if not args.positional:
            return Const("")
        value = args.positional[0]
        if name == "json.dumps":
            interp.use(value, "stored", node)
        return value if isinstance(value, Str | Const) else Str(text_of(value), origin=interp.site(node))

    @function("builtins.getattr")
    def getattr_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if len(args.positional) < 2:
            return UNKNOWN
        attr = literal(args.positional[1])
        if not isinstance(attr, str):
            return each(args.positional[0], lambda one: one_class_of(interp, one))
        return each(args.positional[0], lambda one: interp.get_attribute(one, attr, node))

    def one_class_of(interp: Interpreter, owner: Value) -> Value:
        """`getattr(module, name)` with a name from elsewhere: one of the classes that the module defines."""
        if not isinstance(owner, ImportRef) or owner.module is None or owner.name is not None:
            return UNKNOWN
        interp.run_module(owner.module)
        classes: list[Value] = [cls for cls in owner.module.classes if isinstance(cls, ClassObj)]
        return join_all(classes) if 0 < len(classes) <= MAX_ALTERNATIVES else UNKNOWN

    @function("builtins.setattr")
    def setattr_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if len(args.positional) == 3 and isinstance(attr := literal(args.positional[1]), str):
            for one in alternatives(args.positional[0]):
                interp.set_attribute(one, attr, args.positional[2], node)
        return Const(None)

    @function("builtins.super")
    def super_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        frame = interp.frame
        owner = frame.function.owner if frame.function is not None else None
        if owner is None or frame.function is None:
            return UNKNOWN
        params = frame.function.node.params
        names = [*params.posonly_params, *params.params]
        receiver = interp.lookup(names[0].name.value) if names else None
        return Method(Tuple((receiver or UNKNOWN, owner)), "super()", origin=interp.site(node))

    def super_attribute(interp: Interpreter, owner: Method, name: str, site: Site) -> Value | None:
        if owner.name != "super()" or not isinstance(owner.receiver, Tuple):
            return None
        receiver, cls = owner.receiver.items
        for base in interp.mro(cast("object", cls))[1:]:  # type: ignore[arg-type]
            found = interp.class_body(base).get(name)
            if found is not None:
                return Bound(receiver, found, origin=site)
        return interp.knowledge.inherited(interp, interp.external_bases(cls), receiver, name, site)  # type: ignore[arg-type]

    registry.attributes.setdefault(Method, []).append(super_attribute)

    @function("builtins.map")
    def map_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if len(args.positional) < 2:
            return UNKNOWN
        inputs = tuple(interp.iterate(source) for source in args.positional[1:])
        return new_list(
            interp, None, interp.call_value(args.positional[0], Args(inputs), node), interp.site(node)
        )

    @function("builtins.next", "builtins.min", "builtins.max", "builtins.filter")
    def one_of(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if name == "builtins.filter" and len(args.positional) == 2:
            return new_list(interp, None, interp.iterate(args.positional[1]), interp.site(node))
        if name == "builtins.next" and args.positional:
            first_apart(interp, args.positional[0], node)
            return interp.iterate(args.positional[0])
        if name == "builtins.min" and len(args.positional) == 2:
            # `min(count, limit)`: the count, but where it is cut short. Of two counts it may be either.
            counts = [
                one for value in args.positional for one in alternatives(value) if isinstance(one, Length)
            ]
            if counts:
                return join_all([*counts])
        return Unknown(origin=interp.site(node))

    @function("random.sample", "random.choices")
    def drawn(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """Draw from a population: as many items as a literal count says."""
        count = literal(args.get(1 if name == "random.sample" else None, "k"))
        if not args.positional or not isinstance(count, int):
            return None
        element = interp.iterate(args.positional[0])
        return new_list(interp, (element,) * count if 0 < count <= 16 else None, element, interp.site(node))

    @function("copy.copy", "copy.deepcopy")
    def copy_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        from decoderonly_checker.knowledge.ids import copied

        def copy(one: Value) -> Value:
            if isinstance(one, Ids):
                return copied(interp, one, interp.site(node))
            if isinstance(one, Ref):
                record = interp.store.get(one.id)
                return (
                    Ref(interp.store.new(record), one.kind, origin=interp.site(node))
                    if record is not None
                    else one
                )
            return one

        return each(args.positional[0], copy) if args.positional else UNKNOWN

    @function("functools.partial")
    def partial_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if not args.positional:
            return UNKNOWN
        return Partial(
            args.positional[0],
            Args(args.positional[1:], args.keywords, args.open, args.star),
            origin=interp.site(node),
        )

    @function("typing.cast")
    def cast_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return args.positional[1] if len(args.positional) > 1 else UNKNOWN

    def enter_context(
        interp: Interpreter, receiver: Value, name: str, args: Args, node: Node
    ) -> Value | None:
        """An exit stack enters what it is given."""
        known = name in {"enter_context", "enter_async_context"} and args.positional
        return interp.enter(args.positional[0]) if known else None

    registry.any_method.setdefault(Opaque, []).append(enter_context)

    @function("functools.wraps", "functools.update_wrapper", "functools.lru_cache", "functools.cache")
    def kept(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        """What a wrapper is called, and what is remembered, changes nothing."""
        return Opaque(name, origin=interp.site(node))

    @function("builtins.globals")
    def globals_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        module = interp.frame.module
        return ImportRef(module, None, str(module.path), origin=interp.site(node))

    @function("contextlib.contextmanager", "contextlib.nullcontext", "contextlib.closing")
    def neutral(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return args.positional[0] if args.positional else UNKNOWN

    # -- lists and dicts -----------------------------------------------------------------------------------------

    @method(Ref, "append", "add", "insert", "appendleft")
    def append(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value:
        value = args.positional[-1] if args.positional else UNKNOWN
        interp.use(value, "kept", node)
        interp.widen_list(receiver, value)
        return Const(None)

    @method(Ref, "extend")
    def extend(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value:
        source = args.positional[0] if args.positional else UNKNOWN
        interp.use(source, "kept", node)
        record = interp.store.get(receiver.id)
        items = interp.elements(source, None)
        if isinstance(record, ListRec):
            element = interp.iterate(source)
            known = (*record.items, *items) if record.items is not None and items is not None else None
            joined = element if record.items == () else join(record.element, element)
            interp.store.set(receiver.id, ListRec(known, joined))
        return Const(None)

    @method(Ref, "items", "values", "keys")
    def view(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value:
        return Method(receiver, f"{name}()", origin=interp.site(node))

    @method(Ref, "get", "pop", "setdefault")
    def get(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value | None:
        record = interp.store.get(receiver.id)
        if isinstance(record, ListRec):
            return record.items[-1] if record.items and not args.positional else record.element
        if not isinstance(record, DictRec) or not args.positional:
            return None
        key = literal(args.positional[0])
        default = args.get(1, "default")
        if isinstance(args.positional[0], Const):
            value = record.get(key)
            if value == NAMED:
                value = Unknown(hint=str(key), origin=interp.site(node))
        else:
            value = interp.any_entry(record)
            if default is not None and not isinstance(value, Unknown):
                value = join(value, default)
        if name == "pop" and key in record.entries:
            entries = {k: v for k, v in record.entries.items() if k != key}
            interp.store.set(receiver.id, replace(record, entries=entries))
        if name == "setdefault" and value is None and default is not None:
            interp.store.set(receiver.id, record.with_entry(key, default))
        if value is None:
            return default if default is not None else Const(None)
        return value

    @method(Ref, "update")
    def update(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value:
        record = interp.store.get(receiver.id)
        if isinstance(record, DictRec):
            other = interp.dict_record(args.positional[0]) if args.positional else DictRec()
            entries = {**record.entries, **(other.entries if other is not None else {}), **args.keywords}
            open_ = record.open
            if other is None:
                open_ = args.positional[0]
            elif other.open is not None:
                open_ = other.open
            open_ = open_ if args.open is None else args.open
            interp.store.set(receiver.id, replace(record, entries=entries, open=open_))
            if "labels" in entries and "labels" not in record.entries:
                interp.labels_in_dict(entries, node)
        return Const(None)

    @method(Ref, "copy")
    def copy_method(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value:
        record = interp.store.get(receiver.id)
        return (
            Ref(interp.store.new(record), receiver.kind, origin=interp.site(node))
            if record is not None
            else receiver
        )

    @method(Ref, "to", "cuda", "cpu", "convert_to_tensors")
    def moved(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value | None:
        record = interp.store.get(receiver.id)
        return (
            receiver
            if isinstance(record, DictRec) or (isinstance(record, ObjRec) and name != "convert_to_tensors")
            else None
        )

    @method(Ref, "eval", "train", "half", "float", "bfloat16", "requires_grad_", "start", "join_thread")
    def module_method(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value | None:
        record = interp.store.get(receiver.id)
        return receiver if isinstance(record, ObjRec) and record.cls is not None else None
