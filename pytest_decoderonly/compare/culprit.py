"""Name the culprit from the pattern of relations that fail.

Each fault leaves its own signature: padding that is visible moves what stands under it (pad-content),
positions counted over the padding do not, rows that are mixed move with their neighbours, a kernel wrong at
one alignment fails at some widths only.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.lengths import Lengths
from pytest_decoderonly.compare.verdict import Culprit, Relation, RelationResult, RowError, Verdict, worst

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of the greatest error that was found: what is below it is right, and not wrong by less.
_CLEARLY = 0.05
ROPE = "rope scaling"
# What the library's documentation of these types says: "a model with absolute position embeddings so it's usually
# advised to pad the inputs on the right rather than the left".
_PAD_RIGHT = frozenset({"bart", "blenderbot", "blenderbot-small", "bigbird_pegasus"})
_REFUSES = re.compile(
    r"(left|right)[-_ ]?(side |sided )?padd|padding[-_ ]?side|padd\w* .*not support|not support.* padd",
    re.IGNORECASE,
)
_QUANTISED = re.compile(r"int8|8bit|fp8|float8|quant", re.IGNORECASE)
STATE_SPACE = re.compile(
    r"mamba|ssm|rwkv|xlstm|rglru|recurrent|deltanet|shortconv|linearattention", re.IGNORECASE
)
_EXPERTS = re.compile(r"experts|sparsemoe|moe", re.IGNORECASE)
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
    if Relation.REPEATED in failed:
        return Culprit(
            "state between calls",
            "the same row, run again, gives other logits: a call leaves something behind that the next one reads (a "
            "state, a cache, a table that grows), so that all other differences may come from it",
            "look for what a forward pass writes outside of its own cache: attributes of modules, buffers, globals",
        )
    design = _by_design(failed, results, model)
    if design is not None:
        return design
    if any(not results[relation].finite for relation in failed):
        return _not_finite()
    if Relation.NEIGHBOUR_CONTENT in failed:
        return _neighbours(results, model)
    if Relation.PAD_CONTENT in failed:
        # A lone row without padding that fails at its cached steps is wrong before padding has a part in it.
        if lone_failures(results) and _phase(results, Relation.PAD_CONTENT):
            return _cached(results, model)
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
        return _declared(_padding_amount(results, model), failed, model)
    if Relation.BATCH_VS_SOLO in failed:
        return _batch_only(results, model)
    if Relation.CACHED_VS_FULL in failed:
        return _cached(results, model)
    return Culprit(
        "last logits",
        "with logits_to_keep, which generate always asks for, forward gives the logits of other positions: the next "
        "token is chosen by them",
        "keep the last positions, hidden[:, -logits_to_keep:], all of them for 0",
    )


def lone_failures(results: Mapping[Relation, RelationResult]) -> list[RowError]:
    """The rows without padding that a cache changes: neither padding nor a batch has a part in them."""
    result = results.get(Relation.CACHED_VS_FULL)
    if result is None or result.verdict is not Verdict.DIFFERENT:
        return []
    return [error for error in result.failing if not error.pads]


def refusal(results: Mapping[Relation, RelationResult]) -> Culprit | None:
    """Return what a model says that refuses left padding, where it is right on rows without any."""
    said = [r.reason for r in results.values() if r.verdict is Verdict.UNDECIDED and r.applicable]
    if not said or not all(" raised " in reason and _REFUSES.search(reason) for reason in said):
        return None
    return Culprit(
        "no left padding",
        f"the model refuses it: {said[0]}",
        "generate from prompts of one length, or one at a time",
        by_design=True,
    )


def _cached(results: Mapping[Relation, RelationResult], model: Any) -> Culprit:
    result = results[Relation.CACHED_VS_FULL]
    if not lone_failures(results):
        return Culprit(
            "forward with padding",
            "generate reads padded rows rightly, one forward pass over the same batch does not, though it is given "
            "attention_mask and position_ids: training and scoring go that way",
            "look at what forward does otherwise without a cache: the mask that it builds, or hands on",
        )
    window = window_of(model)
    if window is not None:
        failing = {error.errors.size for error in result.failing}
        passing = {error.errors.size for error in result.decisive} - failing
        if failing and passing and min(failing) > window >= max(passing):
            return Culprit(
                "window",
                f"a text of {min(failing)} tokens is read differently with a cache and without, one of "
                f"{max(passing)} alike: what lies beyond the sliding window of {window} is visible to one of them",
                "look at the mask of sliding layers: each query sees its own last keys, at the prompt, in the "
                "cache and without one (not the batch's last columns, and not all of them)",
            )
    return Culprit(
        "cache",
        "cached steps differ from one forward pass over the same text, without any padding or batch: "
        "the cache holds the wrong content, or the position of a cached step is off",
        "look at the position (and, with a window, the mask) that a step of length 1 gets once the "
        "cache is filled",
    )


def _neighbours(results: Mapping[Relation, RelationResult], model: Any) -> Culprit:
    neighbour, order = results[Relation.NEIGHBOUR_CONTENT], results.get(Relation.ROW_ORDER)
    rows = {error.row for error in neighbour.failing}
    if 0 not in rows and 0 in {error.row for error in neighbour.decisive} and _has(model, _EXPERTS):
        return Culprit(
            "expert capacity",
            "the first row is right, later ones change with the text before them: the tokens of a batch compete "
            "for places at the experts, and those that find none pass by",
            "raise the capacity so that no token is dropped, and leave padding out of the count",
        )
    if order is not None and len(order.decisive) > 2 and _steady(order):
        return Culprit(
            "batch statistic",
            "a row changes with the text of its neighbours, whatever their order: a value (a scale, a mean, a "
            "maximum) is computed over the whole batch",
            "compute it for each row or token, from real tokens only",
        )
    return Culprit(
        "rows mixed",
        "a row changes with the text of its neighbours: rows are mixed, or a value is computed "
        "over the whole batch",
        "look for a cache that is not reordered with its rows, a reshape that folds the batch "
        "into another axis, "
        "or a statistic (scale, capacity, position) taken over all rows",
    )


def _steady(order: RelationResult) -> bool:
    rel = worst(order.decisive)
    return rel is not None and rel <= (order.limit or 1e-4)


def _has(model: Any, pattern: re.Pattern[str]) -> bool:
    return hasattr(model, "modules") and any(pattern.search(type(m).__name__) for m in model.modules())


def _declared(culprit: Culprit, failed: set[Relation], model: Any) -> Culprit:
    """Positions over the padding are by design where the type's documentation tells to pad on the right."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if (
        kind not in _PAD_RIGHT
        or culprit.name != "positions"
        or failed - {Relation.PAD_AMOUNT, Relation.BATCH_VS_SOLO}
    ):
        return culprit
    return Culprit(
        "no left padding",
        f"{kind} counts its positions over the padding, and its documentation says so: it is a model with absolute "
        "position embeddings, for which padding on the right is advised",
        "generate from prompts of one length, or one at a time; right padding is no way out for generation",
        by_design=True,
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


def _padding_amount(results: Mapping[Relation, RelationResult], model: Any) -> Culprit:
    result = results[Relation.PAD_AMOUNT]
    if any(error.pads and error.worst <= _clear(result) for error in result.decisive):
        return _some_widths(result, model)
    if all((error.first(_clear(result)) or 0) >= error.prefill for error in result.failing):
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


def _clear(result: RelationResult) -> float:
    """Return the error up to which a run is right beyond doubt: not one that stays below the limit by a little."""
    worst_error = max((error.worst for error in result.failing if error.finite), default=math.inf)
    return min(result.limit, _CLEARLY * worst_error)


def _some_widths(result: RelationResult, model: Any) -> Culprit:
    """Padding of some amounts does no harm: a border of blocks, of a window, or of something else that ends."""
    wrong, right = set(), set()
    for error in result.decisive:
        first = error.first(result.limit)
        if first is not None:
            wrong.add(error.width + max(0, first - error.prefill + 1))
        elif error.pads and error.worst <= _clear(result):
            right |= set(range(error.width, error.width + error.errors.size - error.prefill + 1))
    lengths = Lengths(tuple(sorted(wrong)), tuple(sorted(right - wrong)))
    window, since = window_of(model), lengths.since
    if window is not None and since is not None and since > window >= max(lengths.right):
        return Culprit(
            "window",
            f"padding does no harm up to {max(lengths.right)} columns, and does from {since} on: the sliding window of "
            f"{window} is counted over the padding",
            "look at the mask of sliding layers: each query sees its own last keys, not the batch's last columns",
        )
    if since is not None:
        return Culprit(
            "total length",
            f"padding does no harm below {since} columns, and does from there on: something is scaled, cut or ends at a "
            "number of columns, padding among them",
            "take it from each token's own position, or from the mask; padding must not count",
        )
    return Culprit(
        "alignment",
        f"only some total lengths are wrong ({lengths}), whatever stands in the columns: a kernel or a chunked loop "
        "fails at one alignment",
        "look for block sizes (8, 16, 32, 64, a chunk length) and what happens to the last, partly filled block",
    )


def _batch_only(results: Mapping[Relation, RelationResult], model: Any) -> Culprit:
    result = results[Relation.BATCH_VS_SOLO]
    rows = sorted({error.row for error in result.failing})
    padded = all(error.pads for error in result.failing)
    which = "padded rows" if padded else f"rows {rows}"
    alike = [error for error in result.decisive if error.pads or not padded]
    sizes = {error.rows for error in result.failing}
    fine = {error.rows for error in alike if error.worst <= result.limit}
    if fine and not sizes & fine:
        some, others = (" or ".join(map(str, sorted(found))) for found in (sizes, fine))
        which += f" (in batches of {some}, not of {others})"
    starts = {(error.first(result.limit) or 0) for error in result.failing}
    if len(starts) == 1 and 1 < min(starts) < min(error.prefill for error in result.failing):
        reach = min(starts)
        return Culprit(
            "window",
            f"in a batch, {which} see too little: their first {reach} tokens are right and all later ones are "
            "wrong, though the same rows alone are right with any padding",
            "look for a window (or a chunk) whose edge is counted over the padding, or by the batch's longest row",
        )
    window = window_of(model)
    guess = (
        f", or a sliding window ({window}) counted over the padding" if window is not None and padded else ""
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
    if virtual_tokens(model) and failed <= {Relation.BATCH_VS_SOLO, Relation.PAD_AMOUNT}:
        return Culprit(
            "virtual tokens",
            f"prompt tuning puts its {virtual_tokens(model)} learned tokens before the padding, so that the way from "
            "them to the text grows with the padding, by design of the tuning",
            "compare rows of one length, without padding",
            by_design=True,
        )
    if _scaled_by_batch(failed, results, model):
        return Culprit(
            "activation scale",
            "the activations are quantised with one scale for the whole tensor, so that a neighbour "
            "changes every row's rounding, by design",
            "use per-token activation scales where batches must not matter",
            by_design=True,
        )
    return None


def at_layer(culprit: Culprit, kind: str) -> Culprit:
    """Say more where the first layer that parts is known: recurrent layers have no positions to count."""
    if culprit.name != "positions" or not STATE_SPACE.search(kind):
        return culprit
    return Culprit(
        "padding in the state",
        "what stands under the padding changes nothing, yet its amount does, and a recurrent layer is the first to "
        "part: its state is updated at the padding too, or each row is taken to be as long as the batch",
        "hand the mask (or the rows' lengths) to the state update as well, not to the inputs alone",
    )


def virtual_tokens(model: Any) -> int:
    """Return how many learned tokens prompt tuning puts before each row: so many logits come before the row's."""
    config = getattr(model, "active_peft_config", None)
    if str(getattr(config, "peft_type", "")).endswith("PREFIX_TUNING"):
        return 0  # learned keys and values: no positions of their own
    count = getattr(config, "num_virtual_tokens", None)
    return count if isinstance(count, int) else 0


def _scaled_by_batch(failed: set[Relation], results: Mapping[Relation, RelationResult], model: Any) -> bool:
    """Whether one scale for the whole tensor explains it: neighbours count, their order does not.

    A leak of padding on top of it would move the logits by more than neighbours do.
    """
    quantised = getattr(model, "is_quantized", False) or _has(model, _QUANTISED)
    order, pads = results.get(Relation.ROW_ORDER), results.get(Relation.PAD_CONTENT)
    if not quantised or Relation.NEIGHBOUR_CONTENT not in failed or order is None or not _steady(order):
        return False
    if any(not result.finite for result in results.values()):
        return False
    leak = worst(pads.decisive) if pads is not None else 0.0
    return (leak or 0.0) <= 2 * (worst(results[Relation.NEIGHBOUR_CONTENT].decisive) or 0.0)


def window_of(model: Any) -> int | None:
    """Return the sliding window that a configuration names and its layers use, None without one."""
    config = text_config(model)
    kinds = getattr(config, "layer_types", None)
    if isinstance(kinds, (list, tuple)) and not any("sliding" in str(kind) for kind in kinds):
        return None
    if getattr(config, "use_sliding_window", True) is False:
        return None
    for name in ("sliding_window", "sliding_window_size", "window_size", "attention_window_size"):
        value = getattr(config, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def text_config(model: Any) -> Any:
    """Return the configuration of the part of a model that reads and writes text."""
    config = getattr(model, "config", None)
    get = getattr(config, "get_text_config", None)
    try:
        return get(decoder=True) if callable(get) else config
    except (TypeError, ValueError):
        return config


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
