"""Work that is done elsewhere: threads, executors, pools, tasks of an event loop. What is handed over is run at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.flow.choices import each
from decoderonly_checker.flow.state import DictRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Bound,
    ClassObj,
    External,
    Function,
    Lib,
    Method,
    Opaque,
    Partial,
    Ref,
    Tuple,
    Unknown,
    Value,
)
from decoderonly_checker.knowledge.python import lib_attrs, new_lib, new_list

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_CALLABLE = (Function, Bound, Method, Partial)
_TARGETS = (*_CALLABLE, External, ClassObj)
_POOLS = ("concurrent.futures.", "multiprocessing.", "torch.multiprocessing.", "multiprocess.", "pathos.")
_SUBMIT = {"submit": 0, "run_in_executor": 1, "apply_async": 0, "apply": 0}
_MAPS = frozenset({"map", "imap", "imap_unordered", "map_async", "starmap", "starmap_async"})
FUTURE = "future"


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    function = registry.function

    @function("threading.Thread", "multiprocessing.Process", "torch.multiprocessing.Process", "Thread")
    def thread(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        target = args.get(1, "target")
        if target is None:
            return UNKNOWN
        given = args.get(3, "args")
        items = interp.elements(given, None) if given is not None else ()
        keywords = args.get(4, "kwargs")
        record = interp.dict_record(keywords) if keywords is not None else DictRec()
        entries = (
            {k: v for k, v in record.entries.items() if isinstance(k, str)} if record is not None else {}
        )
        open_ = record.open if record is not None else keywords
        interp.call_value(
            target,
            Args(
                items or (),
                entries,
                open_,
                given if items is None else None,
                record.encoding if record is not None else None,
            ),
            node,
        )
        return Opaque("threading.Thread()", origin=interp.site(node))

    @function(
        "multiprocessing.Pool",
        "multiprocessing.pool.Pool",
        "multiprocessing.pool.ThreadPool",
        "torch.multiprocessing.Pool",
        "concurrent.futures.ThreadPoolExecutor",
        "concurrent.futures.ProcessPoolExecutor",
    )
    def pool(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        """Make a pool; its workers begin with what the initializer sets."""
        executor = "Executor" in name
        begin = args.get(2 if executor else 1, "initializer")
        given = args.get(3 if executor else 2, "initargs")
        if isinstance(begin, _CALLABLE):
            interp.call_value(begin, Args(interp.elements(given or Tuple(), None) or ()), node)
        return Opaque(name, origin=interp.site(node))

    @function("threading.Timer")
    def timer(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        target, given = args.get(1, "function"), args.get(2, "args")
        items = interp.elements(given, None) if given is not None else ()
        record = interp.dict_record(args.get(3, "kwargs") or UNKNOWN) or DictRec()
        if target is not None:
            keywords = {k: v for k, v in record.entries.items() if isinstance(k, str)}
            interp.call_value(target, Args(items or (), keywords, record.open), node)
        return Opaque("threading.Timer()", origin=interp.site(node))

    @function(
        "asyncio.to_thread",
        "anyio.to_thread.run_sync",
        "asyncio.run",
        "anyio.run",
        "trio.to_thread.run_sync",
        "starlette.concurrency.run_in_threadpool",
        "fastapi.concurrency.run_in_threadpool",
    )
    def in_thread(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        if not args.positional:
            return UNKNOWN
        if name == "asyncio.run" or not isinstance(args.positional[0], _TARGETS):
            return args.positional[0]
        return interp.call_value(
            args.positional[0],
            Args(args.positional[1:], args.keywords, args.open, args.star, args.encoding),
            node,
        )

    @function(
        "asyncio.create_task",
        "asyncio.ensure_future",
        "asyncio.wait_for",
        "asyncio.shield",
        "asyncio.wrap_future",
        "asyncio.as_completed",
        "concurrent.futures.as_completed",
        "concurrent.futures.wait",
        "joblib.delayed",
    )
    def itself(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        """What a coroutine or a future gives is known at once."""
        return args.get(0, "coro", "fut", "fs", "function") or UNKNOWN

    @function("asyncio.run_coroutine_threadsafe")
    def threadsafe(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        return new_lib(interp, FUTURE, {"#result": args.get(0, "coro") or UNKNOWN}, interp.site(node))

    @function("asyncio.gather", "tqdm.asyncio.tqdm.gather", "tqdm.asyncio.tqdm_asyncio.gather")
    def gather(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        if args.star is None:
            return new_list(interp, args.positional, interp.iterate(Tuple(args.positional)), site)
        return new_list(interp, None, interp.iterate(args.star), site)

    def call_each(interp: Interpreter, name: str, args: Args, node: Node) -> Value:
        """Run `map` of an executor or a pool."""
        rows = [interp.iterate(source) for source in args.positional[1:]]
        if name.startswith("starmap"):
            rows = list(interp.elements(rows[0], None) or ()) if rows else []
        elif name != "map":
            rows = rows[:1]  # the next argument is the size of a chunk
        result = interp.call_value(args.positional[0], Args(tuple(rows)), node)
        made = new_list(interp, None, result, interp.site(node))
        return (
            new_lib(interp, FUTURE, {"#result": made}, interp.site(node)) if name.endswith("_async") else made
        )

    def executor(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        """Run what is submitted to an executor, a pool or an event loop."""
        if name in _MAPS and isinstance(receiver, Opaque) and receiver.name.startswith(_POOLS):
            return call_each(interp, name, args, node) if len(args.positional) > 1 else None
        if name == "run_until_complete" and args.positional:
            return args.positional[0]
        if name == "create_task" and args.positional and not isinstance(receiver, Ref):
            return args.positional[0]
        skip = _SUBMIT.get(name)
        if skip is None or len(args.positional) <= skip or not isinstance(args.positional[skip], _TARGETS):
            return None
        inner = Args(args.positional[skip + 1 :], args.keywords, args.open, args.star, args.encoding)
        if name.startswith("apply"):
            items = interp.elements(args.get(1, "args") or Tuple(), None)
            record = interp.dict_record(args.get(2, "kwds") or UNKNOWN) or DictRec()
            keywords = {k: v for k, v in record.entries.items() if isinstance(k, str)}
            inner = Args(items or (), keywords, record.open)
        result = interp.call_value(args.positional[skip], inner, node)
        if name in {"run_in_executor", "apply"}:
            return result
        return new_lib(interp, FUTURE, {"#result": result}, interp.site(node))

    for kind in (Unknown, Opaque, Lib, Ref):
        registry.any_method.setdefault(kind, []).append(executor)

    @registry.method(Lib, "result", "get")
    def result_of(interp: Interpreter, receiver: Lib, name: str, args: Args, node: Node) -> Value | None:
        return lib_attrs(interp, receiver).get("#result") if receiver.name == FUTURE else None

    def waited(interp: Interpreter, receiver: Value) -> Value:
        return each(
            receiver,
            lambda one: (
                lib_attrs(interp, one).get("#result", one)
                if isinstance(one, Lib) and one.name == FUTURE
                else one
            ),
        )

    registry.awaited = waited

    def parallel(interp: Interpreter, callee: Opaque, name: str, args: Args, node: Node) -> Value | None:
        """`joblib.Parallel(n)(delayed(f)(x) for x in rows)`: the list of results."""
        return args.positional[0] if callee.name == "joblib.Parallel" and args.positional else None

    registry.called(Opaque, parallel)
