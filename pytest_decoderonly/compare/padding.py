"""Where the padding is, and whether the mask says the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in one row. `position` counts columns from 0."""

    code: str
    row: int
    position: int
    what: str
    effect: str
    advice: str


@dataclass(frozen=True)
class PaddingAudit:
    """`real[i][j]` says whether a position holds a real token, as far as mask and ids tell."""

    real: tuple[tuple[bool, ...], ...]
    problems: tuple[Problem, ...]
    padded_rows: int


def real_positions(ids: Sequence[int], mask: Sequence[int] | None, pad_id: int | None) -> tuple[bool, ...]:
    """Say for one row which positions are real.

    The mask says it; without one, all are but the runs of padding ids at both ends.
    """
    if mask is not None:
        return tuple(bool(value) for value in mask)
    real = [True] * len(ids)
    for order in (range(len(ids)), range(len(ids) - 1, -1, -1)):
        for i in order:
            if ids[i] != pad_id:
                break
            real[i] = False
    return tuple(real)


def audit_padding(
    input_ids: Sequence[Sequence[int]],
    attention_mask: Sequence[Sequence[int]] | None,
    *,
    side: Side,
    pad_id: int | None = None,
    bos_id: int | None = None,
    eos_id: int | None = None,
) -> PaddingAudit:
    """Check that each row is padded on `side` alone and that mask and padding ids agree.

    Where padding and EOS share an id, the mask decides which of them are real: an EOS inside the row, or one
    at its end, is.

    Args:
        input_ids: Rows of equal length.
        attention_mask: The mask of the same shape, or None: then the runs of `pad_id` at both ends count as
            padding.
        side: Where the padding must be.
        pad_id: The padding id, where it is known.
        bos_id: The BOS id: one of them may start a row even where it is also the padding id.
        eos_id: The EOS id: where it is also the padding id, one of them may end a row.
    """
    problems: list[Problem] = []
    reals: list[tuple[bool, ...]] = []
    padded = 0
    for row, ids in enumerate(input_ids):
        mask = attention_mask[row] if attention_mask is not None else None
        real = real_positions(ids, mask, pad_id)
        reals.append(real)
        padded += not all(real)
        problem = (
            _mask_values(row, mask)
            or _side(row, real, side)
            or _agreement(row, ids, mask, side, (pad_id, bos_id, eos_id))
        )
        if problem is not None:
            problems.append(problem)
    return PaddingAudit(tuple(reals), tuple(problems), padded)


def _mask_values(row: int, mask: Sequence[int] | None) -> Problem | None:
    for position, value in enumerate(mask or ()):
        if value not in (0, 1):
            return Problem(
                "DLM101",
                row,
                position,
                f"the mask holds {value}, expected 0 or 1",
                "the model reads it as something else than hidden or visible",
                "hand on the tokenizer's attention_mask as it is",
            )
    return None


def _side(row: int, real: tuple[bool, ...], side: Side) -> Problem | None:
    if not any(real):
        return Problem(
            "DLM102",
            row,
            0,
            "the row has no real token: all of it is padding",
            "the model continues nothing, and its logits may be NaN",
            "drop empty prompts before batching",
        )
    first, last = real.index(True), len(real) - 1 - real[::-1].index(True)
    for position in range(first, last + 1):
        if not real[position]:
            return Problem(
                "DLM104",
                row,
                position,
                "a masked position lies between real tokens",
                "real tokens (an EOS that is also the padding token, say) are hidden from the model",
                "take the tokenizer's attention_mask instead of comparing ids with pad_token_id",
            )
    if side == "left" and last < len(real) - 1:
        count = len(real) - 1 - last
        return Problem(
            "DLM102",
            row,
            last + 1,
            f"{count} padding token{'s' * (count > 1)} on the right",
            "generate continues after the padding, not after the prompt: shorter rows get other, "
            "worse answers",
            'set tokenizer.padding_side = "left" before the batch is made',
        )
    if side == "right" and first > 0:
        return Problem(
            "DLM102",
            row,
            0,
            f"{first} padding token{'s' * (first > 1)} on the left",
            "code that takes the real tokens from column 0 on reads padding",
            'set tokenizer.padding_side = "right" before the batch is made',
        )
    return None


def _agreement(
    row: int,
    ids: Sequence[int],
    mask: Sequence[int] | None,
    side: Side,
    special: tuple[int | None, int | None, int | None],
) -> Problem | None:
    pad_id, bos_id, eos_id = special
    if mask is None or pad_id is None:
        return None
    for position, (token, value) in enumerate(zip(ids, mask, strict=True)):
        if not value and token != pad_id:
            return Problem(
                "DLM104",
                row,
                position,
                f"a token that is not padding (id {token}, padding is {pad_id}) is masked",
                "the model does not see a real token",
                "build the mask from the same call that padded the ids",
            )
    # Padding ids that the mask leaves visible, at the side where padding belongs.
    order = range(len(ids)) if side == "left" else range(len(ids) - 1, -1, -1)
    inner = [i for i in order if mask[i]]
    run = next((n for n, i in enumerate(inner) if ids[i] != pad_id), len(inner))
    innocent = 1 if pad_id == (bos_id if side == "left" else eos_id) else 0
    if run > innocent:
        return Problem(
            "DLM101",
            row,
            min(inner[:run]) if side == "left" else min(inner[: run - innocent]),
            f"{run - innocent} padding token{'s' * (run - innocent > 1)} (id {pad_id}) that the mask "
            "leaves visible",
            "the model reads the padding as text",
            "pass the attention_mask that the tokenizer returned with these ids",
        )
    return None
