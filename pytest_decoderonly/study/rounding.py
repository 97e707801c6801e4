"""Which answers differ by rounding alone: the way that gave them, run again in float32 up to where they part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.judge import judge_rounding, limits_of
from pytest_decoderonly.compare.measure import row_error
from pytest_decoderonly.compare.precision import CannotCastError, precision
from pytest_decoderonly.compare.verdict import Verdict, worst
from pytest_decoderonly.errors import one_line
from pytest_decoderonly.study.ways import ALONE, Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_decoderonly.compare.drive import Row
    from pytest_decoderonly.compare.verdict import RowError
    from pytest_decoderonly.study.asking import Answers, Asker

_ALONE = Cell(ALONE, 1, 0)


@dataclass(frozen=True)
class Difference:
    """Why an answer is not the one that the prompt gets alone.

    Attributes:
        step: The generated token, from 0, at which the two part.
        verdict: `ROUNDING`, `DIFFERENT` or `UNDECIDED`.
        deviation: Greatest difference of the logits up to that token, in float32 on the same weights, divided by
            the standard deviation of the logits; None where it could not be measured or is not finite.
        reason: The grounds in words.
    """

    step: int
    verdict: Verdict
    deviation: float | None
    reason: str


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Return where two answers part, None where they are the same."""
    if tuple(one) == tuple(other):
        return None
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def differences(
    asker: Asker,
    rows: Sequence[Row],
    cell: Cell,
    *,
    answers: Answers,
    alone: Answers,
    tell: Callable[[], None],
) -> dict[int, Difference]:
    """Judge each answer of a cell that differs from the prompt's own.

    Both sides are forced through the tokens that they share, so that only what padding and batch do is left; at the
    token where they part, logits that agree up to rounding mean a tie between two candidates.

    Args:
        asker: The model and its settings.
        rows: All prompts.
        cell: How the answers came about.
        answers: What the cell gave.
        alone: What each prompt gives alone.
        tell: Called after each batch that was run again.
    """
    parted = {
        i: step
        for i, (mine, own) in enumerate(zip(answers.tokens, alone.tokens, strict=True))
        if (step := first_difference(mine, own)) is not None
    }
    found: dict[int, Difference] = {}
    for start in range(0, len(rows), cell.batch_size):
        batch = range(start, min(start + cell.batch_size, len(rows)))
        mine = {i: parted[i] for i in batch if i in parted}
        if mine:
            found.update(_judged(asker, rows, cell, alone=alone, batch=batch, parted=mine))
            tell()
    return found


def _judged(
    asker: Asker, rows: Sequence[Row], cell: Cell, *, alone: Answers, batch: range, parted: dict[int, int]
) -> dict[int, Difference]:
    # Up to the token at which they part; rows that agree go along for as long as that takes.
    last = max(parted.values())
    forced = [alone.tokens[i][: parted.get(i, last) + 1] for i in batch]

    def measure() -> dict[int, RowError]:
        theirs, ran = asker.replay([rows[i] for i in batch], cell, forced)
        errors: dict[int, RowError] = {}
        for i in parted:
            place = i - batch.start
            mine, _ = asker.replay([rows[i]], _ALONE, [forced[place]])
            errors[i] = row_error(i, (mine, 0), (theirs, place), ran)
        return errors

    import torch

    try:
        with precision(asker.model, torch.float32):
            errors = measure()
            return {i: _ruled(asker.model, i, step, errors[i], measure) for i, step in parted.items()}
    except CannotCastError as error:
        reason = str(error)
    except Exception as error:  # of the model's own code, or of memory: the answer stays undecided
        reason = f"it could not be run again in float32: {one_line(error)}"
    return {i: Difference(step, Verdict.UNDECIDED, None, reason) for i, step in parted.items()}


def _ruled(
    model: Any, row: int, step: int, error: RowError, measure: Callable[[], dict[int, RowError]]
) -> Difference:
    ruling = judge_rounding(
        (), (error,), model=model, limits=limits_of(model), again=lambda: (measure()[row],)
    )
    # The same bits in float32: what parted the answers was the rounding of the model's own precision.
    verdict = Verdict.ROUNDING if ruling.verdict.clean else ruling.verdict
    value = worst((error,))
    finite = value is not None and value == value  # noqa: PLR0124 - NaN
    return Difference(step, verdict, value if finite else None, ruling.reason)
