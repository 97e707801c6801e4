"""Settings and their defaults: argparse, dataclasses, click, typer, absl, omegaconf, the environment.

A default that a user of the program may override is a `Const` with `default` set.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.frames import Frame
from decoderonly_checker.flow.project import dotted_name
from decoderonly_checker.flow.state import DictRec, ListRec, ObjRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Choice,
    ClassObj,
    Const,
    External,
    Function,
    Lib,
    Partial,
    Ref,
    Site,
    Tuple,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.python import lib_attrs, new_lib

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_NAMED_TUPLE = "named tuple"
FACTORY = "factory"  # a field's default that is made anew for each object
_FLAGS = "absl.flags.FLAGS"
_DOTTED = (
    "omegaconf.OmegaConf.create",
    "omegaconf.DictConfig",
    "easydict.EasyDict",
    "munch.Munch",
    "munch.munchify",
    "addict.Dict",
    "box.Box",
    "ml_collections.ConfigDict",
    "ml_collections.FrozenConfigDict",
    "ml_collections.config_dict.ConfigDict",
)


def overridable(value: Value, site: Site | None = None) -> Value:
    """Return a literal as one that a user of the program may override; anything else as it is."""
    if not isinstance(value, Const) or value.value is None:
        return value
    return Const(value.value, default=True, origin=site or value.origin)


def option(interp: Interpreter, names: list[str], args: Args, node: Node) -> tuple[str, Value]:
    """Return the variable that an option of a command line sets, and its default."""
    given = literal(args.get(None, "dest"))
    long = next((n for n in names if n.startswith("--")), names[0] if names else "")
    dest = given if isinstance(given, str) else long.lstrip("-").partition("/")[0].replace("-", "_")
    default = args.get(None, "default")
    action = literal(args.get(None, "action"))
    if default is None and (action in {"store_true", "store_false"} or literal(args.get(None, "is_flag"))):
        default = Const(action == "store_false")
    if isinstance(default, Const) and default.value is not None:
        return dest, overridable(default, interp.site(node))
    return dest, Unknown(hint=dest, origin=interp.site(node))


def fields_of(interp: Interpreter, value: Value) -> Mapping[str, Value] | None:
    """Return the attributes of a settings object by name; None where they are not known."""
    if isinstance(value, Lib) and value.name == "namespace":
        return lib_attrs(interp, value)
    record = interp.store.get(value.id) if isinstance(value, Ref) else None
    return record.attrs if isinstance(record, ObjRec) else None


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    function, method = registry.function, registry.method

    # -- argparse ------------------------------------------------------------------------------------------------

    @function(
        "argparse.ArgumentParser",
        "HfArgumentParser",
        "transformers.HfArgumentParser",
        "transformers.hf_argparser.HfArgumentParser",
    )
    def parser(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return new_lib(
            interp,
            "parser",
            {"#classes": args.positional[0] if args.positional else UNKNOWN},
            interp.site(node),
        )

    @method(Lib, "add_argument")
    def add_argument(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value:
        names = [text for v in args.positional if isinstance(text := literal(v), str)]
        dest, value = option(interp, names, args, node)
        record = interp.store.get(receiver.id)
        if isinstance(record, ObjRec) and dest:
            interp.store.set(receiver.id, record.with_attr(f"={dest}", value))
        return UNKNOWN

    @method(Lib, "set_defaults")
    def set_defaults(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value | None:
        for dest, value in args.keywords.items() if receiver.name == "parser" else ():
            record = interp.store.get(receiver.id)
            if isinstance(record, ObjRec):
                default = overridable(value, interp.site(node))
                interp.store.set(receiver.id, record.with_attr(f"={dest}", default))
        return UNKNOWN if receiver.name == "parser" else None

    @method(Lib, "add_argument_group", "add_mutually_exclusive_group", "add_parser", "add_subparsers")
    def group(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value | None:
        return receiver if receiver.name == "parser" else None

    @method(Lib, "parse_args", "parse_known_args")
    def parse_args(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value:
        record = interp.store.get(receiver.id)
        attrs = (
            {k[1:]: v for k, v in record.attrs.items() if k.startswith("=")}
            if isinstance(record, ObjRec)
            else {}
        )
        space = new_lib(interp, "namespace", attrs, interp.site(node))
        return space if name == "parse_args" else Tuple((space, UNKNOWN))

    @method(Lib, "parse_args_into_dataclasses", "parse_dict", "parse_json_file", "parse_yaml_file")
    def parse_dataclasses(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value:
        record = interp.store.get(receiver.id)
        classes = record.attrs.get("#classes", UNKNOWN) if isinstance(record, ObjRec) else UNKNOWN
        items = interp.elements(classes, None)
        return Tuple(
            tuple(
                interp.instance_of(c) if isinstance(c, ClassObj) else UNKNOWN for c in (items or (classes,))
            )
        )

    @function("types.SimpleNamespace", "argparse.Namespace")
    def namespace(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        record = interp.dict_record(args.positional[0]) if args.positional else None
        attrs = {k: v for k, v in (record.entries if record else {}).items() if isinstance(k, str)}
        return new_lib(interp, "namespace", {**attrs, **args.keywords}, interp.site(node))

    @function("collections.namedtuple", "namedtuple")
    def namedtuple(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """Return a class of named tuples; one of them is made where it is called."""
        given = args.get(1, "field_names")
        text = literal(given)
        items = interp.elements(given, None) if given is not None and not isinstance(text, str) else None
        fields = (
            text.replace(",", " ").split() if isinstance(text, str) else [literal(one) for one in items or ()]
        )
        if not fields or not all(isinstance(field, str) for field in fields):
            return None
        site = interp.site(node)
        return Partial(External(_NAMED_TUPLE), Args((Const(tuple(fields)),)), origin=site)

    @function(_NAMED_TUPLE)
    def named_tuple(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        fields = literal(args.positional[0])
        attrs = {field: args.get(place, field) for place, field in enumerate(fields, 1)}
        known = {field: value for field, value in attrs.items() if value is not None}
        return new_lib(interp, _NAMED_TUPLE, {**known, "#fields": args.positional[0]}, interp.site(node))

    def field_at(interp: Interpreter, owner: Lib, index: list[Any], site: Site, node: Node) -> Value | None:
        place = literal(index[0]) if owner.name == _NAMED_TUPLE and isinstance(index[0], Value) else None
        fields = literal(lib_attrs(interp, owner).get("#fields"))
        if not isinstance(place, int) or not -len(fields) <= place < len(fields):
            return None
        return lib_attrs(interp, owner).get(fields[place], Unknown(hint=fields[place], origin=site))

    registry.items.setdefault(Lib, []).append(field_at)

    def namespace_attribute(interp: Interpreter, owner: Lib, name: str, site: Site) -> Value | None:
        if name == "**":
            return owner if owner.name == "kwargs" else None
        return Unknown(hint=name, origin=site) if owner.name in {"namespace", _NAMED_TUPLE} else None

    registry.attributes.setdefault(Lib, []).append(namespace_attribute)

    # -- dataclasses, pydantic, enum -----------------------------------------------------------------------------

    @function(
        "dataclasses.field",
        "pydantic.Field",
        "pydantic.fields.Field",
        "attr.ib",
        "attrs.field",
        "attr.field",
        "sqlmodel.Field",
    )
    def field_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        default = args.get(0 if "Field" in name or name == "attr.ib" else None, "default")
        if default is not None:
            return default
        factory = args.get(None, "default_factory", "factory")
        if isinstance(factory, Function | ClassObj | Partial | External):
            return new_lib(interp, FACTORY, {"#factory": factory}, interp.site(node))
        return Unknown()

    def made_by(interp: Interpreter, value: Value, node: Node) -> Value | None:
        """Make a field's value anew, where its default says how."""
        if not isinstance(value, Lib) or value.name != FACTORY:
            return None
        return interp.call_value(lib_attrs(interp, value)["#factory"], Args(), node)

    registry.field_default = made_by

    @function("builtins.vars", "dataclasses.asdict", "attr.asdict", "attrs.asdict")
    def as_dict(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        fields = fields_of(interp, args.positional[0]) if args.positional else None
        if fields is None:
            return None
        return Ref(interp.store.new(DictRec(dict(fields))), "dict", origin=interp.site(node))

    @method(Ref, "model_dump", "dict", "_asdict", "to_dict", "asdict")
    def dumped(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value | None:
        fields = fields_of(interp, receiver)
        if not fields:
            return None
        some = any(args.get(None, chosen) is not None for chosen in ("include", "exclude"))
        # What is left out is not followed: any of the fields may be absent.
        record = DictRec({}, Unknown(hint="settings")) if some else DictRec(dict(fields))
        return Ref(interp.store.new(record), "dict", origin=interp.site(node))

    def plain_value(interp: Interpreter, owner: Const, name: str, site: Site) -> Value | None:
        """The value of an enumeration's member is what the class says."""
        return owner if name == "value" else None

    registry.attributes.setdefault(Const, []).append(plain_value)

    # -- command lines -------------------------------------------------------------------------------------------

    @function("fastapi.Depends", "fastapi.params.Depends")
    def depends(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        """What a dependency returns is what the parameter holds."""
        how = args.get(0, "dependency")
        return interp.call_value(how, Args(), node) if isinstance(how, Function | ClassObj) else UNKNOWN

    @function("typer.Option", "typer.Argument")
    def typer_option(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        default = args.get(0, "default")
        return Unknown() if default is None else overridable(default, interp.site(node))

    def decorated(interp: Interpreter, target: Function, name: str) -> Value | None:
        """The default that `@click.option("--name", default=…)` gives to a parameter."""
        for decorator in getattr(target.node, "decorators", ()):
            call = decorator.decorator
            if not isinstance(call, cst.Call) or dotted_name(call.func).rpartition(".")[2] not in {
                "option",
                "argument",
            }:
                continue
            # The caller may stand in another cell or module.
            interp.frames.append(
                Frame(target.module, target.cell, target.scopes or (target.module.scope,), target)
            )
            try:
                args = interp.arguments(call)
                names = [text for v in args.positional if isinstance(text := literal(v), str)]
                bare = next((n for n in names if n.isidentifier()), None)
                dest, value = option(interp, [bare] if bare is not None else names, args, call)
            finally:
                interp.frames.pop()
            if dest == name:
                return value if isinstance(value, Const) else None
        return None

    registry.defaults.append(decorated)

    @function("tyro.cli", "simple_parsing.parse", "draccus.parse", "pyrallis.parse", "jsonargparse.CLI")
    def settings_from_cli(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        made = args.get(0, "f", "config_class", "components")
        if isinstance(made, ClassObj):
            return interp.instance_of(made)
        return interp.call_value(made, Args(), node) if isinstance(made, Function) else UNKNOWN

    def flag(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        """`flags.DEFINE_string("name", "default", "help")`: read again as `FLAGS.name`, or as the result's `value`."""
        dest = literal(args.get(0, "name"))
        if not name.startswith("absl.flags.DEFINE_") or not isinstance(dest, str):
            return None
        default = args.get(1, "default") or UNKNOWN
        value = overridable(default, interp.site(node))
        if not isinstance(value, Const) or value.value is None:
            value = Unknown(hint=dest, origin=interp.site(node))
        interp.keep_path(("path", 0, f"{_FLAGS}.{dest}"), value)
        return new_lib(interp, "flag", {"value": value}, interp.site(node))

    registry.packages["absl"] = flag

    @function("os.getenv", "os.environ.get")
    def environment(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        default = args.get(1, "default")
        if isinstance(default, Const) and default.value is not None:
            return overridable(default, interp.site(node))
        return Unknown(origin=interp.site(node))

    # -- dicts whose entries are attributes ----------------------------------------------------------------------

    def dotted(interp: Interpreter, value: Value) -> Value:
        """Return a copy of a dict whose entries, and those of the dicts in it, are attributes too."""
        record = interp.store.get(value.id) if isinstance(value, Ref) else None
        if isinstance(record, ListRec):
            items = None if record.items is None else tuple(dotted(interp, item) for item in record.items)
            inner = ListRec(items, dotted(interp, record.element))
            return Ref(interp.store.new(inner), "list", origin=value.origin)
        if not isinstance(record, DictRec) or record.dotted:
            return value
        entries = {key: dotted(interp, entry) for key, entry in record.entries.items()}
        made = replace(record, entries=entries, dotted=True)
        return Ref(interp.store.new(made), "dict", origin=value.origin)

    @function(*_DOTTED)
    def dotted_(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        source = args.get(0, "obj", "content", "initial_dictionary")
        record = DictRec(dict(args.keywords)) if source is None else interp.dict_record(source)
        if record is None or isinstance(source, Choice):
            return None
        merged = {**record.entries, **({} if "OmegaConf" in name else args.keywords)}
        made = Ref(
            interp.store.new(replace(record, entries=merged, dotted=False)), "dict", origin=interp.site(node)
        )
        return dotted(interp, made)

    @function("omegaconf.OmegaConf.structured")
    def structured(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        obj = args.get(0, "obj")
        return interp.instance_of(obj) if isinstance(obj, ClassObj) else obj or UNKNOWN

    @function("omegaconf.OmegaConf.merge", "omegaconf.OmegaConf.unsafe_merge")
    def merge(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        entries: dict[object, Value] = {}
        known = args.star is None
        for config in args.positional:
            record = interp.store.get(config.id) if isinstance(config, Ref) else None
            if isinstance(record, DictRec):
                entries.update(record.entries)
            elif isinstance(record, ObjRec):
                entries.update(record.attrs)
            else:
                known = False
                entries = {key: overridable(value) for key, value in entries.items()}
        if not entries:
            return None
        made = DictRec(entries, None if known else Unknown(hint="config"), dotted=True)
        return Ref(interp.store.new(made), "dict", origin=interp.site(node))

    @function("omegaconf.OmegaConf.to_container", "omegaconf.OmegaConf.to_object")
    def container(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        held = [v for v in alternatives(args.get(0, "cfg")) if isinstance(v, Ref)]
        return held[0] if len(held) == 1 else None
