"""How much each supervised token weighs in the loss: in micro-batches, in the full batch, beside empty rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.attribution import UndecidedError, attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_decoderonly.compare.attribution import LossFn

IGNORE = -100


@dataclass(frozen=True)
class BatchWeights:
    """One micro-batch: its supervised tokens, and their least and greatest weight against the full batch.

    In units of the mean over all tokens, so that a common factor does not show.
    """

    number: int
    tokens: int
    least: float
    most: float


@dataclass(frozen=True)
class WeightAudit:
    """`error` is the distance of the gradients at the logits over the norm of the full batch's.

    `rounding` is the same for full batches in other orders; `scale` the common factor of the micro-batches.
    """

    parts: tuple[BatchWeights, ...]
    error: float
    rounding: float
    scale: float
    problem: str = ""
    effect: str = ""
    advice: str = ""


def audit_weights(
    loss_fn: LossFn,
    model: Any,
    batches: Sequence[dict[str, Any]],
    full: dict[str, Any] | None = None,
    *,
    head: Any = None,
) -> WeightAudit:
    """Compare the weights of tokens in micro-batches with those in the full batch.

    What is allowed is sixteen times the greatest distance between the full batch and the same rows in other
    orders, and at least the rounding of a sum of so many numbers in float32.

    Raises:
        UndecidedError: The weights cannot be read from the gradient.
        ValueError: The full batch supervises other tokens than the micro-batches.
    """
    whole = full if full is not None else join(batches)

    def weigh(batch: dict[str, Any]) -> list[list[float]]:
        return _weights(loss_fn, model, batch, head)

    reference = weigh(whole)
    parts = [weigh(batch) for batch in batches]
    together = [row for part in parts for row in part]
    if [len(row) for row in together] != [len(row) for row in reference]:
        raise ValueError(
            "full: its rows supervise other tokens than the micro-batches' rows in their order"
            if full is not None
            else "loss_fn: takes other positions into the loss when the micro-batches are one batch"
        )
    flat = [weight for row in reference for weight in row]
    if not flat:
        raise ValueError("batches: supervise no token")
    size = len(reference)
    orders = [list(reversed(range(size))), [*range(size // 2, size), *range(size // 2)]]
    rounding = max(_distance(reference, _undone(weigh(_picked(whole, order)), order))[0] for order in orders)
    allowed = max(16 * rounding, math.sqrt(len(flat)) * 2.0**-22)
    error, scale = _distance(reference, together)
    ratios = [
        [w / (r * scale) for w, r in zip(row, base, strict=True) if r and scale]
        for row, base in zip(together, reference, strict=True)
    ]
    shown, position = [], 0
    for number, part in enumerate(parts):
        mine = [ratio for row in ratios[position : position + len(part)] for ratio in row]
        position += len(part)
        shown.append(BatchWeights(number, len(mine), min(mine, default=0.0), max(mine, default=0.0)))
    result = WeightAudit(tuple(shown), error, rounding, scale)
    if error > allowed:
        return _named(result, batches)
    factors = (1.0, float(len(batches)))
    if min(abs(scale / factor - 1) for factor in factors) > allowed:
        return WeightAudit(
            result.parts,
            abs(scale - 1),
            rounding,
            scale,
            f"micro-batches weigh {scale:.4g} times what the full batch does (1 or {len(batches)} is expected)",
            "the step of the optimizer depends on how the batch is cut",
            "divide each micro-batch's sum by the number of supervised tokens of all of them",
        )
    return _beside_empty_rows(weigh, whole, reference, result, allowed)


def _named(result: WeightAudit, batches: Sequence[Any]) -> WeightAudit:
    even = all(part.most - part.least <= 1e-3 * abs(part.most) for part in result.parts if part.tokens)
    inverse = [part.tokens * part.most for part in result.parts if part.tokens]
    means = even and max(inverse) - min(inverse) <= 1e-3 * max(inverse)
    return WeightAudit(
        result.parts,
        result.error,
        result.rounding,
        result.scale,
        "each micro-batch is a mean over its own tokens, and these means are averaged"
        if means
        else f"{len(batches)} micro-batches give other weights than one batch of all their rows",
        "tokens of short micro-batches count more, and the result depends on how rows are batched",
        "sum the loss over tokens and divide by the number of supervised tokens in all micro-batches "
        "(num_items_in_batch)",
    )


def _beside_empty_rows(
    weigh: Callable[[dict[str, Any]], list[list[float]]],
    whole: dict[str, Any],
    reference: list[list[float]],
    result: WeightAudit,
    allowed: float,
) -> WeightAudit:
    """Rows that supervise nothing must not weigh on those that do."""
    filled = [i for i, row in enumerate(reference) if row]
    if len(filled) == len(reference):
        return result
    alone = weigh(_picked(whole, filled))
    error, scale = _distance([reference[i] for i in filled], alone)
    if error <= allowed and abs(scale - 1) <= allowed:
        return result
    empty = len(reference) - len(filled)
    return WeightAudit(
        result.parts,
        max(error, abs(scale - 1)),
        result.rounding,
        scale,
        f"without the {empty} row{'s' * (empty > 1)} that supervise nothing, the others weigh {scale:.4g} times "
        "as much",
        "rows without labels are counted in the mean, and shrink the gradient of the others",
        "divide by the number of supervised tokens (of all rows together), not by one that is at least 1 a row",
    )


def _weights(loss_fn: LossFn, model: Any, batch: dict[str, Any], head: Any) -> list[list[float]]:
    """Return the weights of the positions in the loss, row by row."""
    found = attribute(model, batch, loss_fn, head=head)
    if found.by == "labels":
        raise UndecidedError(
            "model: its loss does not go through the output of its head, so the weight of a token cannot be read; "
            "turn off the fused or chunked loss, or name the head (head=...)"
        )
    return [
        [weight for token, weight in zip(row, shares, strict=True) if token is not None]
        for row, shares in zip(found.taught, found.weights, strict=True)
    ]


def _distance(reference: list[list[float]], other: list[list[float]]) -> tuple[float, float]:
    """Return the relative distance after the best common factor, and that factor."""
    a = [weight for row in reference for weight in row]
    b = [weight for row in other for weight in row]
    norm = math.fsum(x * x for x in a)
    if not norm:
        return (0.0 if not any(b) else math.inf), 1.0
    # The factor of the sums: that of mean weights, which a few outliers do not decide.
    scale = math.fsum(b) / math.fsum(a) if math.fsum(a) else 1.0
    if not scale:
        return math.inf, 0.0
    off = math.fsum((y / scale - x) ** 2 for x, y in zip(a, b, strict=True))
    return math.sqrt(off / norm), scale


def _undone(rows: list[list[float]], order: Sequence[int]) -> list[list[float]]:
    back: list[list[float]] = [[] for _ in order]
    for place, row in zip(order, rows, strict=True):
        back[place] = row
    return back


def _picked(batch: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    rows = len(batch["input_ids"])
    return {
        name: value[list(order)] if getattr(value, "ndim", 0) and len(value) == rows else value
        for name, value in batch.items()
    }


def join(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return all rows in one batch, padded on the right; what is no tensor of rows is taken from the first.

    Raises:
        ValueError: Batches hold other names.
    """
    import torch

    width = max(batch["input_ids"].shape[1] for batch in batches)
    joined: dict[str, Any] = {}
    for name, first in batches[0].items():
        if any(name not in batch for batch in batches):
            raise ValueError(f"batches: {name} is not in all of them")
        values = [batch[name] for batch in batches]
        like = [
            isinstance(value, torch.Tensor) and value.shape[:2] == batch["input_ids"].shape
            for value, batch in zip(values, batches, strict=True)
        ]
        if all(like):
            fill = IGNORE if name == "labels" else 0
            joined[name] = torch.cat(
                [torch.nn.functional.pad(value, (0, width - value.shape[1]), value=fill) for value in values]
            )
        elif (
            isinstance(first, torch.Tensor)
            and first.dim()
            and all(
                len(value) == len(batch["input_ids"]) for value, batch in zip(values, batches, strict=True)
            )
        ):
            joined[name] = torch.cat(values)
        else:
            joined[name] = first
    return joined
