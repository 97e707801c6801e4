"""Where rounding ends: the verdict on two runs whose shapes differ, from the numbers of both precisions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.culprit import STATE_SPACE
from pytest_decoderonly.compare.drive import CannotDriveError
from pytest_decoderonly.compare.precision import CannotCastError, dtype_name, dtype_of, precision
from pytest_decoderonly.compare.verdict import STATE_SPACE_LIMITS, Limits, RowError, Verdict, worst

if TYPE_CHECKING:
    from collections.abc import Callable

# Two runs of one fault differ by their rounding alone, which is a hundredth of what is judged here.
_ALIKE = 0.02
_EXPERTS = re.compile(r"experts|sparsemoe|moe", re.IGNORECASE)


@dataclass(frozen=True)
class Ruling:
    """A verdict and the sentence that gives its grounds."""

    verdict: Verdict
    reason: str


def limits_of(model: Any) -> Limits:
    """Return where rounding ends for a model: recurrences sum up more of it than attention does."""
    names = {type(module).__name__ for module in model.modules()}
    return STATE_SPACE_LIMITS if any(STATE_SPACE.search(name) for name in names) else Limits()


def has_experts(model: Any) -> bool:
    """Whether a model routes tokens to experts, so that its additions are ordered by the batch."""
    return any(_EXPERTS.search(type(module).__name__) for module in model.modules())


def judge_rounding(
    work: tuple[RowError, ...],
    single: tuple[RowError, ...],
    *,
    model: Any,
    limits: Limits,
    cannot_cast: str = "",
    again: Callable[[], tuple[RowError, ...]],
) -> Ruling:
    """Tell rounding from a bug where shapes differ, so that the bits may.

    Args:
        work: Errors in the model's own precision.
        single: The same in float32 on the same weights; empty where there is no such copy.
        model: The model, for a third run in float64 where the numbers leave a doubt.
        limits: Where rounding ends for this model.
        cannot_cast: Why there is no float32 run.
        again: Measures the same errors once more; called with the model in float64.

    Returns:
        The verdict with its grounds. Errors that are not finite are different: what that means is for the
        caller to find out.
    """
    if not single:
        value = worst(work)
        if value == 0:
            return Ruling(Verdict.EQUAL, f"bit for bit in {dtype_name(dtype_of(model))}")
        number = "" if value is None else f"; {value:.1e} in {dtype_name(dtype_of(model))}"
        return Ruling(Verdict.UNDECIDED, f"{cannot_cast}{number}")
    rel = worst(single)
    if rel is None or not rel >= 0:
        return Ruling(Verdict.DIFFERENT, "not finite")
    if rel == 0:
        return Ruling(Verdict.EQUAL, "bit for bit")
    if rel <= limits.suspicious:
        return Ruling(Verdict.ROUNDING, f"{rel:.1e} in float32")
    beyond = f"{rel:.1e} in float32, rounding stays below {limits.suspicious:.0e}"
    if rel > 10 * limits.bug:
        return Ruling(Verdict.DIFFERENT, beyond)
    rows = _in_double(model, again)
    double = worst(rows)
    if double is not None and double < rel * 1e-4:
        return Ruling(
            Verdict.ROUNDING,
            f"{rel:.1e} in float32 shrinks to {double:.1e} in float64: rounding of a sensitive model",
        )
    if rel > limits.bug:
        return Ruling(Verdict.DIFFERENT, beyond)
    if double is not None and _same_rows(single, rows, limits.suspicious):
        # Rounding of whatever is still done in float32 would not come out alike twice.
        return Ruling(
            Verdict.DIFFERENT, f"{rel:.1e} in float32 is {double:.1e} in float64, row by row: no rounding"
        )
    known = "float64 gives no answer" if double is None else f"{double:.1e} in float64"
    return Ruling(Verdict.UNDECIDED, f"{rel:.1e} in float32 lies between rounding and any known bug; {known}")


def _in_double(model: Any, again: Callable[[], tuple[RowError, ...]]) -> tuple[RowError, ...]:
    """Near the limit float64 has the casting vote; some models cannot run in it, or give NaN there: nothing, then."""
    import torch

    try:
        with precision(model, torch.float64):
            rows = again()
    except (CannotDriveError, CannotCastError):
        return ()
    value = worst(rows)
    return () if value is None or value != value else rows  # noqa: PLR0124 - NaN


def _same_rows(single: tuple[RowError, ...], double: tuple[RowError, ...], least: float) -> bool:
    """Whether each row that is far off in float32 is as far off in float64, position by position."""
    far = [(one, other) for one, other in zip(single, double, strict=False) if one.worst > least]
    return bool(far) and all(
        one.errors.shape == other.errors.shape and abs(one.errors - other.errors).max() <= _ALIKE * one.worst
        for one, other in far
    )
