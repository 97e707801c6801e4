"""Distances between logits, in units of their own spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.compare.verdict import RowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from pytest_decoderonly.compare.drive import Batch, Trace


def row_error(row: int, reference: tuple[Trace, int], other: tuple[Trace, int], batch: Batch) -> RowError:
    """Measure one row of `other` against the same row of `reference`, at real positions only.

    `batch` is the run behind `other`; where one side kept fewer prompt positions, the common tail is
    compared.
    """
    import numpy as np
    import torch

    (first, mine), (second, theirs) = reference, other
    keep = min(first.prefill[mine].shape[0], second.prefill[theirs].shape[0])
    expected = torch.cat([first.prefill[mine][-keep:], first.steps[mine]])
    actual = torch.cat([second.prefill[theirs][-keep:], second.steps[theirs]])
    spread = expected[expected.isfinite()]
    scale = float(spread.std()) if spread.numel() > 1 else 1.0
    scale = scale if scale > 0 else 1.0
    # Entries that are -inf on both sides (vocabulary that the model forbids) agree.
    agreed = (expected == actual) & ~expected.isnan()
    difference = torch.where(agreed, torch.zeros_like(expected), (actual - expected).abs())
    errors = (difference.amax(-1) / scale).double().cpu()
    errors[~errors.isfinite()] = float("nan")
    pads = len(batch.fills[theirs])
    return RowError(
        row=row,
        errors=np.array(errors.tolist()),
        prefill=keep,
        scale=scale,
        width=batch.width,
        pads=pads,
        rows=len(batch.rows),
    )


def argmaxes(solo: torch.Tensor, batched: torch.Tensor) -> Iterator[tuple[int, int, int, float]]:
    """Yield (position, solo token, batched token, solo margin) where greedy choices differ.

    Both arguments have the shape (positions, vocabulary).
    """
    import torch

    top = torch.topk(solo, 2, dim=-1)
    choice = batched.argmax(-1)
    for i in range(solo.shape[0]):
        if int(choice[i]) != int(top.indices[i, 0]):
            yield i, int(top.indices[i, 0]), int(choice[i]), float(top.values[i, 0] - top.values[i, 1])
