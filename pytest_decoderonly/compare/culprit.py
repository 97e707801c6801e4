"""Name the culprit from the pattern of relations that fail.

Each fault leaves its own signature: padding that is visible moves what stands under it (pad-content),
positions counted over the padding do not, rows that are mixed move with their neighbours, a kernel wrong at
one alignment fails at some widths only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.verdict import Culprit, Relation, RelationResult, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

ROPE = "rope scaling"
_CAPACITY = (
    "expert_capacity",
    "capacity_factor",
    "moe_capacity_factor",
    "router_capacity",
    "moe_expert_capacity_factor",
)


def name_culprit(results: Mapping[Relation, RelationResult], model: Any) -> Culprit | None:
    """Return what the failing relations point at, None if all are clean."""
    failed = {relation for relation, result in results.items() if result.verdict is Verdict.DIFFERENT}
    if not failed:
        return None
    design = _by_design(failed, results, model)
    if design is not None:
        return design
    if any(not results[relation].finite for relation in failed):
        return _not_finite()
    content, neighbour = Relation.PAD_CONTENT in failed, Relation.NEIGHBOUR_CONTENT in failed
    if neighbour:
        return Culprit(
            "rows mixed",
            "a row changes with the text of its neighbours: rows are mixed, or a value is computed "
            "over the whole batch",
            "look for a cache that is not reordered with its rows, a reshape that folds the batch "
            "into another axis, "
            "or a statistic (scale, capacity, position) taken over all rows",
        )
    if content:
        return _padding_visible(results)
    if Relation.ROW_ORDER in failed:
        return Culprit(
            "row index",
            f"a row's result depends on its place in the batch{_phase(results, Relation.ROW_ORDER)}: "
            "some rows are computed with another row's positions or state",
            "look for code that reads row 0 (positions[0], mask[0], a batch stride of 0) and applies "
            "it to all rows",
        )
    if Relation.PAD_AMOUNT in failed:
        return _padding_amount(results)
    if Relation.BATCH_VS_SOLO in failed:
        return _batch_only(results, model)
    return Culprit(
        "cache",
        "cached steps differ from one forward pass over the same text, without any padding or batch: "
        "the cache holds the wrong content, or the position of a cached step is off",
        "look at the position (and, with a window, the mask) that a step of length 1 gets once the "
        "cache is filled",
    )


def _padding_visible(results: Mapping[Relation, RelationResult]) -> Culprit:
    phase = _phase(results, Relation.PAD_CONTENT)
    return Culprit(
        "padding visible",
        f"what stands under the padding moves the logits of real tokens{phase}: the attention mask is "
        "not applied, "
        "or not everywhere",
        "hand the 2-D attention_mask on to every layer, at the prompt and at every cached step "
        "(state-space layers must zero padded inputs)",
    )


def _padding_amount(results: Mapping[Relation, RelationResult]) -> Culprit:
    result = results[Relation.PAD_AMOUNT]
    failing = {error.width for error in result.failing}
    passing = {error.width for error in result.decisive if error.pads} - failing
    if failing and passing:
        widths = ", ".join(str(width) for width in sorted(failing))
        right = ", ".join(str(width) for width in sorted(passing))
        return Culprit(
            "alignment",
            f"only some total lengths are wrong ({widths} columns at the prompt; {right} are right): a "
            "kernel or a chunked loop fails at one alignment",
            "look for block sizes (32, 64, a chunk length) and what happens to the last, partly filled block",
        )
    if all((error.first(result.limit) or 0) >= error.prefill for error in result.failing):
        return Culprit(
            "decode position",
            "the padded prompt itself is right and the first wrong logits are those of a cached step: "
            "the position of a new token is "
            "counted over the padding (cache length instead of the number of real tokens)",
            "compute the position of a step from the attention mask (mask.sum(-1) - 1), not from the "
            "cache length or the padded width",
        )
    return Culprit(
        "positions",
        "padding is masked (what stands under it changes nothing), yet its amount moves the logits "
        "already at the prompt: "
        "positions are counted over the padding",
        "compute position_ids from the attention mask (mask.cumsum(-1) - 1), in "
        "prepare_inputs_for_generation or in the model",
    )


def _batch_only(results: Mapping[Relation, RelationResult], model: Any) -> Culprit:
    rows = sorted({error.row for error in results[Relation.BATCH_VS_SOLO].failing})
    padded = all(error.pads for error in results[Relation.BATCH_VS_SOLO].failing)
    window = getattr(getattr(model, "config", None), "sliding_window", None)
    which = "padded rows" if padded else f"rows {rows}"
    guess = (
        f", or a sliding window ({window}) counted over the padding"
        if isinstance(window, int) and padded
        else ""
    )
    return Culprit(
        "batch only",
        f"{which} are wrong in a batch{_phase(results, Relation.BATCH_VS_SOLO)}, though the same rows "
        "alone are right with any padding: "
        f"an offset that is computed for the whole batch instead of for each row{guess}",
        "look for a query offset, a window or a position that takes one value for all rows (max(), "
        "[0], the padded width)",
    )


def _not_finite() -> Culprit:
    return Culprit(
        "dead rows",
        "the logits of real tokens are NaN or infinite as soon as there is padding: a padded position "
        "may attend to nothing, "
        "its softmax is NaN, and 0 * NaN carries it to the real tokens",
        "let fully masked positions attend to themselves, or use the dtype's minimum instead of -inf "
        "in the mask, "
        "and zero what padded positions give",
    )


def _phase(results: Mapping[Relation, RelationResult], relation: Relation) -> str:
    result = results[relation]
    if result.failing and all((error.first(result.limit) or 0) >= error.prefill for error in result.failing):
        return " at the cached steps only"
    return ""


def _by_design(
    failed: set[Relation], results: Mapping[Relation, RelationResult], model: Any
) -> Culprit | None:
    config = getattr(model, "config", None)
    if config is None:
        return None
    widths = [
        error.width + error.errors.size - error.prefill
        for result in results.values()
        for error in result.decisive
    ]
    kind, original = rope_reach(config)
    if kind in ("dynamic", "longrope") and original is not None and max(widths, default=0) > original:
        return Culprit(
            ROPE,
            f"rope_type {kind!r} rescales all rows once the padded width passes {original}: a long "
            "neighbour changes the others by design",
            "keep batches within the original context, or run long prompts on their own",
            by_design=True,
        )
    capacity = next((name for name in _CAPACITY if getattr(config, name, None)), None)
    if capacity is not None and failed & {Relation.PAD_CONTENT, Relation.NEIGHBOUR_CONTENT}:
        return Culprit(
            "expert capacity",
            f"experts have a limited capacity ({capacity}={getattr(config, capacity)}) that all tokens "
            "of a batch share, padding included, by design",
            "raise the capacity for evaluation, or compare with batches of one",
            by_design=True,
        )
    if getattr(model, "is_quantized", False) and failed == {Relation.NEIGHBOUR_CONTENT}:
        return Culprit(
            "activation scale",
            "the activations are quantised with one scale for the whole tensor, so that a neighbour "
            "changes every row's rounding, by design",
            "use per-token activation scales where batches must not matter",
            by_design=True,
        )
    return None


def rope_reach(config: Any) -> tuple[str | None, int | None]:
    """Return the kind of rope scaling, if any, and the length from which it may change."""
    for name in ("rope_parameters", "rope_scaling"):
        values = getattr(config, name, None)
        if isinstance(values, dict):
            kind = values.get("rope_type") or values.get("type")
            original = values.get("original_max_position_embeddings") or getattr(
                config, "original_max_position_embeddings", None
            )
            original = original or getattr(config, "max_position_embeddings", None)
            if kind is not None:
                return str(kind), original if isinstance(original, int) else None
    return None, None
