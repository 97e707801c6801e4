"""The shapes at which kernels and masks go wrong: around block borders, and beyond a sliding window."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.culprit import rope_reach, text_config, window_of

__all__ = ["beyond_window", "default_rows", "inside_window", "reach_of", "sweep_widths", "window_of"]

if TYPE_CHECKING:
    from collections.abc import Sequence

# Published kernel bugs live where the last block holds one key, or lacks one (length = 1 mod 32).
_BLOCKS = (32, 64)
_VECTOR = 8  # what a vectorised loop takes at once
_LONGEST_WINDOW = 512


def sweep_widths(model: Any, shortest: int, steps: int) -> list[int]:
    """Return padded widths for one row of `shortest` tokens: one column more, and all around block borders.

    7 to 9, 31 to 34 and 63 to 66 for a short row, the next two borders of 32 for a longer one, and one just past
    a sliding window; none that the model's positions cannot hold.
    """
    borders = [b for b in _BLOCKS if b > shortest]
    while len(borders) < len(_BLOCKS):
        borders.append(32 * ((borders[-1] if borders else shortest) // 32 + 1))
    widths = [shortest + 1, *(w for w in range(_VECTOR - 1, _VECTOR + 2) if w > shortest)]
    for border in borders:
        widths += range(border - 1, border + 3)
    window = window_of(model)
    if window is not None and shortest < window + 2 <= _LONGEST_WINDOW:
        widths.append(window + 2)
    kind, original = rope_reach(getattr(model, "config", None))
    # Wider than its original context a model is rescaled by design: that would only blur the rest.
    reach = original if kind in ("dynamic", "longrope") and original is not None else reach_of(model)
    return [width for width in dict.fromkeys(widths) if reach is None or width + steps < reach]


def default_rows(model: Any) -> list[list[int]]:
    """Return three prompts of unequal length, of ordinary tokens: 6, 19 and 33, less where positions run out."""
    from pytest_decoderonly.compare.drive import ordinary_ids

    reach = reach_of(model)
    longest = 33 if reach is None else min(33, max(3, reach - 8))
    draw = random.Random(0)  # noqa: S311 - test data
    words = ordinary_ids(model, ())
    if not words:
        raise ValueError("prompts: give some; no ordinary tokens of the model are known to make them of")
    lengths = [max(1, longest * share // 33) for share in (6, 19, 33)]
    return [[draw.choice(words) for _ in range(length)] for length in lengths]


def reach_of(model: Any) -> int | None:
    """Return how many positions a model has, as its configuration says; None where it does not."""
    config = text_config(model)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
        value = getattr(config, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def beyond_window(model: Any, row: Sequence[int], steps: int) -> tuple[int, ...] | None:
    """Return `row`, repeated until it is longer than the model's sliding window; None where it already is.

    Also None without a window, and for windows that are too long to be passed at a bounded cost.
    """
    window, reach = window_of(model), reach_of(model)
    if window is None or len(row) > window:
        return None
    length = window + 5
    if length > _LONGEST_WINDOW or (reach is not None and length + steps >= reach):
        return None
    return tuple(row[i % len(row)] for i in range(length))


def inside_window(model: Any, row: Sequence[int], steps: int) -> tuple[int, ...] | None:
    """Return the beginning of `row` that stays inside the sliding window, None where all of it does."""
    window = window_of(model)
    if window is None or len(row) + steps < window or window - steps - 1 < 2:
        return None
    return tuple(row[: window - steps - 1])
