"""What a right-padded prefill leaves in the cache: the prompt may be right, and every step after it wrong.

A convolution keeps its last columns and a recurrence runs on over the padding, so that the state that the
first new token meets is that of the padding. The logits of the prompt show nothing of it.
"""

from __future__ import annotations

import inspect
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.drive import Batch, CannotDriveError, Trace, ordinary_ids
from pytest_decoderonly.compare.judge import judge_rounding, limits_of
from pytest_decoderonly.compare.measure import row_error
from pytest_decoderonly.compare.precision import CannotCastError, device_of, dtype_of, precision, undisturbed
from pytest_decoderonly.compare.verdict import STATE_SPACE_LIMITS, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from pytest_decoderonly.compare.verdict import RowError

_CACHES = ("past_key_values", "cache_params", "state", "mems")


@dataclass(frozen=True)
class RightPadding:
    """The verdict on rows that were padded on the right, held against the rows alone.

    `prompt` and `steps` are the worst errors of real positions, relative to the spread of the logits; None
    where nothing could be measured. `culprit` is `"cache after right padding"` where the prompt is right and
    the steps are not, `"position after right padding"` where that may be because nobody can tell the model the
    position of a step, `"right padding visible"` where the prompt is wrong as well, else None.
    """

    verdict: Verdict
    reason: str
    prompt: float | None = None
    steps: float | None = None
    culprit: str | None = None


def judge_right_padding(
    model: Any, rows: Sequence[Sequence[int]], *, pad_id: int, steps: int = 2
) -> RightPadding:
    """Prefill rows padded on the right, go on from the cache, and compare with each row alone.

    Every step is told all that it can be told: the mask over padding and new tokens, and the position that
    follows the row's own tokens. Judged in float32 on the same weights.

    Args:
        model: A causal LM of transformers whose forward returns a cache.
        rows: Token ids of two or more prompts of different lengths, unpadded.
        pad_id: The id under the padding.
        steps: Cached steps after the prompt, teacher-forced.

    Returns:
        A `RightPadding`; undecided, with the reason, where the model returns no cache or cannot be run.

    Raises:
        ValueError: `rows` are fewer than two, of one length, or hold an empty row; `steps` is not positive.
    """
    import torch

    clean = tuple(tuple(int(i) for i in row) for row in rows)
    if len({len(row) for row in clean}) < 2 or not all(clean):
        raise ValueError("rows: must hold two or more prompts of different lengths, none of them empty")
    if steps < 1:
        raise ValueError(f"steps: must be at least 1, got {steps}")
    draw = random.Random(11)  # noqa: S311 - test data
    ordinary = ordinary_ids(model, clean)
    more = tuple(tuple(draw.choice(ordinary) for _ in range(steps)) for _ in clean)
    run = _Run(model, clean, more, pad_id)
    with undisturbed(model):
        try:
            if dtype_of(model) == torch.float32:
                return run.judge()
            with precision(model, torch.float32):
                return run.judge()
        except (CannotDriveError, CannotCastError) as error:
            return RightPadding(Verdict.UNDECIDED, str(error))


class _Run:
    def __init__(
        self, model: Any, rows: tuple[tuple[int, ...], ...], more: tuple[tuple[int, ...], ...], pad_id: int
    ) -> None:
        self.model = model
        self.rows = rows
        self.more = more
        self.pad_id = pad_id
        self.accepted = set(inspect.signature(model.forward).parameters)
        self.device = device_of(model)

    def judge(self) -> RightPadding:
        errors = self.errors()
        limits = limits_of(self.model)
        ruling = judge_rounding(errors, errors, model=self.model, limits=limits, again=self.errors)
        prompt = max(float(error.errors[: error.prefill].max()) for error in errors)
        later = max(float(error.errors[error.prefill :].max()) for error in errors)
        culprit = None
        if ruling.verdict is Verdict.DIFFERENT:
            culprit = "right padding visible"
            if prompt <= limits.suspicious:
                # A recurrence has no use for positions; what is wrong there is its state.
                told = "position_ids" in self.accepted or limits == STATE_SPACE_LIMITS
                culprit = "cache after right padding" if told else "position after right padding"
        return RightPadding(ruling.verdict, ruling.reason, prompt, later, culprit)

    def errors(self) -> tuple[RowError, ...]:
        whole = self._trace(range(len(self.rows)))
        found = []
        for i, row in enumerate(self.rows):
            alone = self._trace([i])
            pads = max(map(len, self.rows)) - len(row)
            batch = Batch((row,), ((self.pad_id,) * pads,), (self.more[i],))
            error = row_error(i, (alone, 0), (Trace([whole.prefill[i]], [whole.steps[i]]), 0), batch)
            found.append(error)
        return tuple(found)

    def _trace(self, chosen: Sequence[int]) -> Trace:
        import torch

        rows = [self.rows[i] for i in chosen]
        width = max(map(len, rows))
        ids = torch.tensor([[*row, *[self.pad_id] * (width - len(row))] for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=self.device)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        positions = torch.arange(width, device=self.device).expand_as(ids)
        logits, cache = self._forward(ids, mask, positions, {})
        trace = Trace([logits[i, : len(row)].clone() for i, row in enumerate(rows)])
        found = []
        for step in range(len(self.more[0])):
            token = torch.tensor([[self.more[i][step]] for i in chosen], device=self.device)
            mask = torch.cat([mask, torch.ones_like(token)], dim=1)
            logits, cache = self._forward(token, mask, (lengths + step)[:, None], cache)
            found.append(logits[:, -1])
        trace.steps = list(torch.stack(found, dim=1))
        return trace

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: dict[str, Any]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": True, **cache}
        if "position_ids" in self.accepted:
            given["position_ids"] = positions
        name = type(self.model).__name__
        try:
            output = self.model(**{key: value for key, value in given.items() if key in self.accepted})
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise CannotDriveError(f"{name} raised {type(error).__name__}: {text}") from error
        logits = getattr(output, "logits", None)
        if logits is None or logits.dim() != 3 or logits.shape[:2] != ids.shape:
            shape = None if logits is None else tuple(logits.shape)
            raise CannotDriveError(f"{name} gave logits {shape} for {tuple(ids.shape)} ids")
        kept = {
            key: value
            for key in _CACHES
            if key in self.accepted and (value := getattr(output, key, None)) is not None
        }
        if not kept:
            raise CannotDriveError(f"{name} returned no cache that its forward takes back")
        return logits.float() if logits.element_size() < 4 else logits, kept
