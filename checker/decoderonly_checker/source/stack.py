"""Work that recurses deeper than a thread's usual stack allows."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_STACK = 256 * 1024 * 1024
_lock = threading.Lock()


def on_deep_stack(work: Callable[[], T], *, recursion_limit: int | None = None) -> T:
    """Run `work` on a thread with a stack of 256 MiB (reserved, not used) and return its result.

    Args:
        work: Called once. What it raises is raised here.
        recursion_limit: Python's own limit while it runs; unchanged by default.
    """
    result: list[T] = []
    failure: list[BaseException] = []
    limit = sys.getrecursionlimit()

    def run() -> None:
        try:
            result.append(work())
        except BaseException as problem:  # handed to the caller below
            failure.append(problem)

    # The stack size is a setting of the whole process, so it is changed for the start of one thread only.
    with _lock:
        before = threading.stack_size(_STACK)
        try:
            thread = threading.Thread(target=run, name="decoderonly-deep", daemon=True)
            if recursion_limit is not None:
                sys.setrecursionlimit(max(recursion_limit, limit))
            thread.start()
        finally:
            threading.stack_size(before)
    try:
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
    if failure:
        raise failure[0]
    return result[0]
