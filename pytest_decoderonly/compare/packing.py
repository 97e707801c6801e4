"""Where the examples of packed rows begin, by position_ids, by their lengths, or by cumulative lengths."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_decoderonly.compare.padding import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Example:
    """One example of a packed row: columns `start` to `end`, end excluded."""

    row: int
    number: int
    start: int
    end: int


@dataclass(frozen=True)
class PackedRows:
    """The examples of all rows in order, and what contradicts them."""

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]


def find_examples(
    real: Sequence[Sequence[bool]],
    *,
    position_ids: Sequence[Sequence[int]] | None = None,
    lengths: Sequence[Sequence[int]] | None = None,
) -> PackedRows:
    """Find the examples of each row.

    A new one begins where `position_ids` do not go on by one; there they must begin again at the row's first
    value. This is how transformers' `DataCollatorWithFlattening` and TRL's padding-free collator mark
    examples.

    Args:
        real: For each row which positions hold real tokens; padding may stand at either end.
        position_ids: One number a position.
        lengths: The tokens of each example of each row (TRL's `seq_lengths`). Given both, they must agree.
    """
    examples: list[Example] = []
    problems: list[Problem] = []
    for row, flags in enumerate(real):
        inside = [i for i, flag in enumerate(flags) if flag]
        if not inside:
            continue
        first, last = inside[0], inside[-1] + 1
        by_positions: list[int] | None = None
        if position_ids is not None:
            by_positions, problem = _restarts(row, position_ids[row], first, last)
            if problem is not None:
                problems.append(problem)
                continue
        starts = by_positions or [first]
        if lengths is not None:
            starts, problem = _by_lengths(row, lengths[row], first, last)
            problem = problem or _disagree(row, starts, by_positions)
            if problem is not None:
                problems.append(problem)
                continue
        borders = [*starts, last]
        examples += [Example(row, k, a, b) for k, (a, b) in enumerate(pairwise(borders))]
    return PackedRows(tuple(examples), tuple(problems))


def lengths_from_cumulative(bounds: Sequence[int]) -> list[int]:
    """Return lengths from cumulative ones, `[0, 3, 8] -> [3, 5]` (flash attention's `cu_seqlens`).

    Raises:
        ValueError: They do not begin at 0, or do not grow.
    """
    if len(bounds) < 2 or bounds[0] != 0:
        raise ValueError(f"cu_seqlens: must begin at 0 and hold two numbers or more, got {list(bounds)[:6]}")
    lengths = [b - a for a, b in pairwise(bounds)]
    if min(lengths) < 1:
        raise ValueError("cu_seqlens: must grow from number to number")
    return lengths


def _restarts(row: int, positions: Sequence[int], first: int, last: int) -> tuple[list[int], Problem | None]:
    starts = [first]
    zero = positions[first]
    for i in range(first + 1, last):
        if positions[i] == positions[i - 1] + 1:
            continue
        if positions[i] != zero:
            return starts, Problem(
                "DLM310",
                row,
                i,
                f"position_ids go from {positions[i - 1]} to {positions[i]}: neither on by one nor back to {zero}",
                "the model is told another distance between tokens than the text has",
                "count positions from 0 in each example, without a gap",
            )
        starts.append(i)
    return starts, None


def _by_lengths(row: int, lengths: Sequence[int], first: int, last: int) -> tuple[list[int], Problem | None]:
    starts, position = [], first
    for length in lengths:
        starts.append(position)
        position += length
    if position != last:
        return starts, Problem(
            "DLM310",
            row,
            min(position, last - 1),
            f"the lengths of the examples sum to {position - first}, the row has {last - first} real tokens",
            "borders between examples stand at the wrong tokens",
            "make the lengths from the same ids, after truncation",
        )
    return starts, None


def _disagree(row: int, starts: Sequence[int], by_positions: Sequence[int] | None) -> Problem | None:
    if by_positions is None or list(starts) == list(by_positions):
        return None
    wrong = min(set(starts) ^ set(by_positions))
    says, silent = (
        ("an example begins", "position_ids go on")
        if wrong in starts
        else ("no example begins", "position_ids restart")
    )
    return Problem(
        "DLM310",
        row,
        wrong,
        f"by the lengths {says} here, but {silent}",
        "tokens of one example count as the continuation of another",
        "restart position_ids at 0 with the first token of each example, and nowhere else",
    )
