"""What `itertools` and its kin, and queues, do to what runs through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.choices import join_all
from decoderonly_checker.flow.state import ListRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Const,
    Ref,
    Tuple,
    Unknown,
    Value,
    Zip,
    alternatives,
)
from decoderonly_checker.knowledge.python import new_list

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_QUEUES = (
    *(f"queue.{kind}" for kind in ("Queue", "SimpleQueue", "LifoQueue", "PriorityQueue")),
    *(f"asyncio.{kind}" for kind in ("Queue", "LifoQueue", "PriorityQueue")),
    *(
        f"{home}.{kind}"
        for home in ("multiprocessing", "torch.multiprocessing")
        for kind in ("Queue", "SimpleQueue")
    ),
    "janus.Queue",
)


def flattened(interp: Interpreter, rows: Value, node: Node) -> Value:
    """Return the list of what the lists in `rows` hold."""
    return new_list(interp, None, interp.iterate(interp.iterate(rows)), interp.site(node))


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    function, method = registry.function, registry.method

    @function("builtins.zip", "itertools.zip_longest")
    def zip_(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        if args.star is None:
            return Zip(args.positional, origin=site)
        if args.positional:
            return UNKNOWN
        # `zip(*rows)`: rows turned into columns.
        rows = [one for one in alternatives(interp.iterate(args.star)) if isinstance(one, Tuple)]
        widths = {len(row.items) for row in rows}
        if len(widths) != 1:
            return new_list(interp, None, new_list(interp, None, UNKNOWN, site), site)
        columns = zip(*(row.items for row in rows), strict=True)
        return Tuple(
            tuple(new_list(interp, None, join_all(list(column)), site) for column in columns), origin=site
        )

    @function("itertools.chain")
    def chain(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        parts = [interp.iterate(part) for part in args.positional if not _empty(interp, part)]
        if args.star is not None:
            parts.append(interp.iterate(interp.iterate(args.star)))
        return new_list(interp, None, join_all(parts), interp.site(node))

    @function("itertools.chain.from_iterable", "more_itertools.flatten", "more_itertools.collapse")
    def flat(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return flattened(interp, args.get(0, "iterable") or UNKNOWN, node)

    @function(
        "itertools.islice",
        "itertools.cycle",
        "itertools.takewhile",
        "itertools.dropwhile",
        "more_itertools.take",
    )
    def some(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        last = name.rpartition(".")[2]
        source = args.get(1 if last in {"takewhile", "dropwhile", "take"} else 0, "iterable") or UNKNOWN
        return new_list(interp, None, interp.iterate(source), interp.site(node))

    @function("itertools.repeat")
    def repeated(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return new_list(interp, None, args.get(0, "object") or UNKNOWN, interp.site(node))

    @function(
        "itertools.batched",
        "more_itertools.chunked",
        "more_itertools.batched",
        "more_itertools.sliced",
        "more_itertools.ichunked",
        "toolz.partition_all",
        "cytoolz.partition_all",
    )
    def batches(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        source = args.get(1 if "partition" in name else 0, "iterable", "seq") or UNKNOWN
        return new_list(interp, None, new_list(interp, None, interp.iterate(source), site), site)

    @function("itertools.groupby")
    def groups(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        rows = new_list(interp, None, interp.iterate(args.get(0, "iterable") or UNKNOWN), site)
        return new_list(interp, None, Tuple((Unknown(hint="key"), rows)), site)

    @function("itertools.starmap")
    def starmap(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if len(args.positional) < 2:
            return UNKNOWN
        row = interp.elements(interp.iterate(args.positional[1]), None)
        made = interp.call_value(
            args.positional[0], Args(row or (), star=UNKNOWN if row is None else None), node
        )
        return new_list(interp, None, made, interp.site(node))

    @function("functools.reduce")
    def reduce(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if len(args.positional) < 2:
            return UNKNOWN
        element = interp.iterate(args.positional[1])
        first = args.get(2, "initial") or element
        return interp.call_value(args.positional[0], Args((first, element)), node)

    @function(*_QUEUES)
    def queue(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return new_list(interp, None, UNKNOWN, interp.site(node))

    @method(Ref, "put", "put_nowait")
    def put(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value | None:
        if receiver.kind != "list":
            return None
        value = args.get(0, "item", "obj") or UNKNOWN
        interp.use(value, "kept", node)
        interp.widen_list(receiver, value)
        return Const(None)

    @method(Ref, "get_nowait", "popleft")
    def taken(interp: Interpreter, receiver: Ref, name: str, args: Args, node: Node) -> Value | None:
        record = interp.store.get(receiver.id)
        return record.element if isinstance(record, ListRec) else None


def _empty(interp: Interpreter, value: Value) -> bool:
    """Whether a value is a list without items."""
    return interp.elements(value, None) == ()
