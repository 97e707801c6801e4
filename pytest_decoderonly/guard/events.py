"""The calls that the checks judge, as the guard saw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.guard import ids
from pytest_decoderonly.guard.provenance import Padding

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_decoderonly.guard.frames import Caller, CallPlace
    from pytest_decoderonly.guard.provenance import Match, Tokenized


@dataclass
class GenerateCall:
    """A call of a decoder-only `generate` that got token ids.

    `padding` is what is known of each row's padding, and `known_by` how: the mask of the call, the
    tokenizer call that made the rows, or the pad ids at the rows' ends; None where nothing tells.
    `guessable` says that `generate` makes a mask of its own from the pad id, because the pad id is set, is
    no end-of-text id and occurs.
    """

    caller: Caller
    model: str
    rows: list[bytes]
    has_mask: bool
    takes_mask: bool
    padding: tuple[Padding, ...] | None
    known_by: str
    guessable: bool
    lone_start: bool
    pad_token_id: int | None
    tokenized: Tokenized | None
    text_of: Callable[[bytes], str]

    @property
    def place(self) -> CallPlace | None:
        """The user's own line; where a thread runs `generate` itself, the line that made its ids."""
        if self.caller.place is None and self.tokenized is not None:
            return self.tokenized.place
        return self.caller.place

    def padding_total(self) -> int:
        """Padding positions over all rows."""
        return sum(row.total for row in self.padding or ())


@dataclass
class DecodeCall:
    """A call of `decode` or `batch_decode`; `matches` holds the rows that still carry their prompt."""

    caller: Caller
    method: str
    rows: list[bytes]
    matches: list[tuple[int, Match]]
    text_of: Callable[[bytes], str]


def padding_by_mask(mask: Any, rows: list[bytes]) -> tuple[Padding, ...] | None:
    """Read each row's padding from a 2-D mask (1 real, 0 padding); None where it does not fit the rows.

    A mask may be wider than the ids (a cache came before them): then its last columns are theirs.
    """
    bits = ids.rows_of(_as_integers(mask))
    if bits is None or len(bits) != len(rows):
        return None
    zero = ids.token_bytes(0)
    found = []
    for bit, row in zip(bits, rows, strict=True):
        if len(bit) < len(row):
            return None
        own = bit[len(bit) - len(row) :]
        left = ids.run_length(own, zero, at_end=False)
        # A row of nothing but padding has no prompt whose side could be wrong.
        found.append(
            Padding() if left == ids.width(own) else Padding(left, ids.run_length(own, zero, at_end=True))
        )
    return tuple(found)


def padding_by_id(pad_token_id: int | None, ambiguous: bool, rows: list[bytes]) -> tuple[Padding, ...] | None:
    """Read each row's padding from the runs of the pad id at its ends.

    Where the pad id has a second meaning (end or beginning of text), a run that all rows share may be
    meant: only what a row has more of than the row with the shortest run counts.
    """
    if pad_token_id is None:
        return None
    pad = ids.token_bytes(pad_token_id)
    runs = [(ids.run_length(row, pad, at_end=False), ids.run_length(row, pad, at_end=True)) for row in rows]
    runs = [
        (0, 0) if left == ids.width(row) else (left, right)
        for (left, right), row in zip(runs, rows, strict=True)
    ]
    if ambiguous:
        shared_left, shared_right = min(left for left, _ in runs), min(right for _, right in runs)
        # One id at the end of some rows only may be an end-of-text that the user wrote.
        runs = [(left - shared_left, right - shared_right if right > 1 else 0) for left, right in runs]
    return tuple(Padding(left, right) for left, right in runs)


def _as_integers(mask: Any) -> Any:
    """A boolean or floating mask holds the same zeros; `rows_of` reads integers."""
    if ids.readable_tensor(mask) and mask.dim() in (1, 2):
        return [
            [int(bit != 0) for bit in row] for row in (mask.tolist() if mask.dim() == 2 else [mask.tolist()])
        ]
    return mask
