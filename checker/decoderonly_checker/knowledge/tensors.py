"""torch and NumPy: functions that make, join and mask tensors of ids."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.boundaries import note_boundary
from decoderonly_checker.flow.facts import IdsWrite, TokenComparison
from decoderonly_checker.flow.labels import IGNORE_INDEX, ignores, is_other
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Below,
    Const,
    Generated,
    Ids,
    Length,
    Opaque,
    Ref,
    Shape,
    Site,
    Tri,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.ids import copied
from decoderonly_checker.knowledge.iterables import flattened
from decoderonly_checker.knowledge.python import new_lib

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_MODULES = ("torch", "numpy", "np")


def _names(*names: str) -> list[str]:
    return [f"{module}.{name}" for module in _MODULES for name in names]


COUNTED = (
    "positions",
    "numbers",
)  # tensors that `torch.arange`, `torch.randint`, `torch.ones` and their like give


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    function = registry.function

    @function(
        *_names(
            "tensor",
            "as_tensor",
            "LongTensor",
            "IntTensor",
            "array",
            "asarray",
            "from_numpy",
            "stack",
            "squeeze",
            "vstack",
            "unsqueeze",
            "flip",
            "atleast_2d",
        )
    )
    def tensor(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        source = args.get(0, "data", "tensors", "input")
        site = interp.site(node)
        if source is None:
            return Opaque("tensor", origin=site)
        if isinstance(literal(source), int | float):
            return source
        for one in alternatives(source):
            if isinstance(one, Generated | Ids):
                made: Value = one if isinstance(one, Generated) else copied(interp, one, site)
                return replace(made, rank="batch") if name.endswith(("unsqueeze", "atleast_2d")) else made  # type: ignore[call-arg]
            if isinstance(one, Ref):
                record = interp.store.get(one.id)
                if isinstance(record, ListRec):
                    inner = interp.iterate(one)
                    for item in alternatives(inner):
                        if isinstance(item, Generated):
                            return replace(item, rank="batch" if item.rank == "row" else item.rank)
                        if isinstance(item, Ids):
                            single = record.items is not None and len(record.items) == 1
                            encoding = item.encoding
                            if encoding is not None and not single and item.rank == "row":
                                encoding = replace(encoding, batched=Tri.YES)
                            rows = replace(
                                interp.derived(item, site),
                                encoding=encoding,
                                rank="batch" if item.rank == "row" else "row",
                                copied=item.copied,
                            )
                            if interp.holds_ignored(one):
                                interp.ignore_write(rows, None, "list", node)
                            return rows
                    if interp.fills_ignore(one):
                        return new_lib(interp, "filled", {}, site)
                    if lone_token(interp, record):
                        return Unknown(hint="bos", origin=site)
        return Opaque("tensor", origin=site)

    @function(*_names("cat", "concat", "concatenate", "hstack"))
    def cat(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        source = args.get(0, "tensors")
        items = interp.elements(source, None) if source is not None else None
        site = interp.site(node)
        if items is None:
            inner = interp.iterate(source) if source is not None else UNKNOWN
            found = next((v for v in alternatives(inner) if isinstance(v, Generated | Ids)), None)
            return found if found is not None else Opaque("tensor", origin=site)
        for hook in registry.joins:
            made = hook(interp, list(items), site)
            if made is not None:
                return made
        return Opaque("tensor", origin=site)

    @function(*_names("clone", "detach"))
    def clone(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        source = args.get(0, "input")
        one = next((v for v in alternatives(source) if isinstance(v, Ids)), None)
        return copied(interp, one, interp.site(node)) if one is not None else (source or UNKNOWN)

    @function(*_names("full", "full_like"))
    def full(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        filled = ignores(args.get(1, "fill_value"))
        return new_lib(interp, "filled" if filled else "tensor", {}, interp.site(node))

    @function(
        *_names("ones_like", "zeros_like", "ones", "zeros", "empty", "arange", "rand", "randint", "randn")
    )
    def made(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        like = next((v for v in alternatives(args.get(0, "input", "size")) if isinstance(v, Ids)), None)
        shape = next((v for v in alternatives(args.get(0, "size")) if isinstance(v, Shape)), None)
        if like is None and shape is not None and isinstance(shape.of, Ids) and name.endswith("ones"):
            like = shape.of  # `torch.ones(ids.shape)`
        if like is not None and name.endswith(("ones_like", "ones")):
            return Ids(like.encoding, "ones", like.rank, interp.store.new_id(), origin=interp.site(node))
        return Opaque("positions" if name.endswith("arange") else "numbers", origin=interp.site(node))

    @registry.method(
        Opaque, "unsqueeze", "expand", "expand_as", "to", "view", "repeat", "long", "int", "cuda", "cpu"
    )
    def reshaped(interp: Interpreter, receiver: Opaque, name: str, args: Args, node: Node) -> Value | None:
        return receiver if receiver.name in COUNTED else None

    @function(*_names("where"))
    def where(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if len(args.positional) < 3:
            return Opaque("tensor", origin=interp.site(node))
        site = interp.site(node)
        for value in args.positional[1:3]:
            for one in alternatives(value):
                if isinstance(one, Generated):
                    return value  # -100 back to padding, before the decode
        ids = next(
            (v for value in args.positional[1:3] for v in alternatives(value) if isinstance(v, Ids)), None
        )
        ignored = any(ignores(v) or interp.fills_ignore(v) for v in args.positional[1:3])
        if ids is None:
            if ignored:
                interp.ignore_write(UNKNOWN, args.positional[0], "mask", node)
            return Opaque("tensor", origin=site)
        result = copied(interp, ids, site)
        if ignored:
            interp.ignore_write(result, args.positional[0], "mask", node)
            below = args.positional[0]
            if isinstance(below, Below) and below.negated == (literal(args.positional[2]) == IGNORE_INDEX):
                note_boundary(interp, ids, below.count, below.how, node)
        else:
            for value in args.positional[1:3]:
                if is_other(value):
                    event = IdsWrite(*interp.where(node), result, args.positional[0], "mask", value)
                    interp.record("ids_writes", event)
                elif not any(interp.buffers(value)):
                    interp.ignore_write(result, value, "unknown", node)
        return result

    @function("numpy.putmask", "numpy.place", "numpy.copyto", "numpy.put")
    def put(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        interp.ignore_write(args.get(0) or UNKNOWN, None, "unknown", node)
        return Const(None)

    @function("torch.sum", "numpy.sum", "builtins.sum")
    def total(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        one = next((v for v in alternatives(args.get(0, "input", "a")) if isinstance(v, Ids)), None)
        if one is not None and one.field == "attention_mask":
            return Length(one, "real", origin=interp.site(node))
        begin = args.get(1, "start") if name == "builtins.sum" else None
        if isinstance(begin, Ref) and begin.kind == "list":
            return flattened(interp, args.positional[0], node)
        return None

    def compared(interp: Interpreter, left: Value, right: Value, equal: bool, site: Site) -> Value | None:
        """Record `ids != pad_token_id`, whatever is known of the ids."""
        operands = _operands(site.node)
        if not equal and operands is not None:
            for ids, token, node in ((left, right, operands[1]), (right, left, operands[0])):
                if any(getattr(one, "hint", "").startswith("eos_token") for one in alternatives(token)):
                    code = site.code(node)
                    where = interp.where(site.node)
                    interp.record("comparisons", TokenComparison(*where, ids, token, code))
                    break
        return None

    # Asked before the general answer, which ends the search.
    registry.comparisons.insert(0, compared)

    @registry.method((Unknown, Opaque), "ne", "not_equal")
    def differs(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        if len(args.positional) == 1:
            return registry.compare(interp, receiver, args.positional[0], False, interp.site(node))
        return None

    @function(*_names("ne", "not_equal"))
    def differ(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        if len(args.positional) == 2:
            return registry.compare(interp, *args.positional, False, interp.site(node))
        return None

    @function(
        "torch.compile",
        "torch.jit.script",
        "torch.nn.DataParallel",
        "torch.nn.parallel.DistributedDataParallel",
        "torch.quantization.quantize_dynamic",
        "torch.ao.quantization.quantize_dynamic",
    )
    def wrapped(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return args.get(0, "model", "module") or UNKNOWN


def _operands(node: cst.CSTNode) -> tuple[cst.CSTNode, cst.CSTNode] | None:
    """Return both sides of a comparison: `a != b`, `a.ne(b)`, `torch.ne(a, b)`."""
    if isinstance(node, cst.Comparison) and len(node.comparisons) == 1:
        return node.left, node.comparisons[0].comparator
    if isinstance(node, cst.Call) and len(node.args) == 2:
        return node.args[0].value, node.args[1].value
    if isinstance(node, cst.Call) and len(node.args) == 1 and isinstance(node.func, cst.Attribute):
        return node.func.value, node.args[0].value
    return None


def lone_token(interp: Interpreter, record: ListRec) -> bool:
    """Whether a list holds one special token and no prompt: `[[tokenizer.bos_token_id]]`."""
    if record.items is None or len(record.items) != 1:
        return False
    item = record.items[0]
    if isinstance(item, Ref):
        inner = interp.store.get(item.id)
        return isinstance(inner, ListRec) and lone_token(interp, inner)
    return isinstance(item, Unknown) and any(word in item.hint for word in ("bos", "eos", "start"))
