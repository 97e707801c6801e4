"""Makes a failing input small: pieces are left out as long as the same mistake stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from workers import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from inputs import Files
    from workers import Outcome, Pool


def shrink(outcome: Outcome, pool: Pool, seconds: float) -> Files:
    """The smallest input found within `seconds` that fails with the signature of `outcome`."""
    deadline = time.monotonic() + seconds
    best = dict(outcome.files)

    def fails(files: Files) -> bool:
        if time.monotonic() > deadline:
            return False
        return pool.one(Job("shrink", "shrink", files=files)).signature == outcome.signature

    for name in sorted(best):
        without = {other: data for other, data in best.items() if other != name}
        if without and fails(without):
            best = without
    for name in sorted(best):
        for split in (lambda data: data.splitlines(keepends=True), lambda data: [bytes([b]) for b in data]):
            # What is joined from many bytes is shrunk in pieces, not byte by byte, unless it is small already.
            if split(b"ab") == [b"a", b"b"] and len(best[name]) > 2000:
                continue

            def still(pieces: list[bytes], name: str = name) -> bool:
                return fails({**best, name: b"".join(pieces)})

            best[name] = b"".join(minimal(split(best[name]), still))
    return best


def minimal(pieces: list[bytes], fails: Callable[[list[bytes]], bool]) -> list[bytes]:
    """Delta debugging: leave out ever smaller runs of pieces until each that is left is needed."""
    size = max(1, len(pieces) // 2)
    while pieces:
        start, changed = 0, False
        while start < len(pieces):
            rest = pieces[:start] + pieces[start + size :]
            if fails(rest):
                pieces, changed = rest, True
            else:
                start += size
        if size == 1 and not changed:
            return pieces
        size = max(1, size // 2) if not changed or size > len(pieces) else size
    return pieces
