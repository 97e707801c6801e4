"""Name the culprit where one change makes a difference: from what was changed, and from what fails."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly import changes as kinds
from pytest_decoderonly.compare.culprit import ROPE, STATE_SPACE, rope_reach, window_of
from pytest_decoderonly.compare.precision import first_generator
from pytest_decoderonly.compare.verdict import Culprit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.compare.verdict import RowError


# How much more than rows without padding the others may be off with a quantised cache: with FP8, on tiny models of
# six types, cold and hot, they were off by 0.5 to 1.2 times as much.
_BEYOND_ROUNDING = 8.0


@dataclass(frozen=True)
class _Pattern:
    """What fails and what does not."""

    late: bool  # the prompt is right, cached steps are wrong
    padded: bool  # only rows with padding fail, and others do not
    beyond: int | None  # only texts longer than this window fail, and others do not
    finite: bool


def accuse(
    change: kinds.Change, model: Any, errors: Sequence[RowError], *, limit: float, faults: Sequence[str] = ()
) -> Culprit:
    """Return what the difference points at, with what to do."""
    pattern = _read(model, errors, limit)
    design = _by_design(change, model, errors)
    if design is not None:
        return design
    if not pattern.finite:
        return Culprit(
            "dead rows",
            f"with {change.label} logits of real tokens are NaN or infinite: a position may attend to nothing",
            "let fully masked positions attend to themselves, or use the dtype's minimum instead of -inf in the mask",
        )
    if pattern.beyond is not None and isinstance(
        change, (kinds.Cache, kinds.Attention, kinds.WarmCache, kinds.ChunkedPrefill, kinds.Assisted)
    ):
        return Culprit(
            "window",
            f"with {change.label} only texts longer than the sliding window of {pattern.beyond} are read differently: "
            "the wrong keys are kept, cut or seen at the window's edge",
            "look at where the window's keys stand in the cache (a ring is not in the order of the text) and at the "
            "mask of sliding layers",
        )
    if isinstance(change, kinds.RightPadded) and pattern.late and not _told_positions(model):
        return Culprit(
            "position after padding",
            "rows padded on the right go wrong at the cached steps only: no argument of the model says at which "
            "position a step stands, so it is counted over the padding, as the cache's length is",
            "pad on the left for generation, or let the model's forward take position_ids",
        )
    return _of_change(change, pattern, faults)


def _told_positions(model: Any) -> bool:
    """Whether a step can be told its position, or has no use for one because a state is what it goes on from."""
    if any(STATE_SPACE.search(type(module).__name__) for module in model.modules()):
        return True
    accepted = inspect.signature(model.forward).parameters
    return "position_ids" in accepted or ("kwargs" in accepted and "position_ids" in _inner(model))


def _inner(model: Any) -> set[str]:
    """The arguments of what a wrapper hands everything on to."""
    inner = first_generator(model)
    return set() if inner is None else set(inspect.signature(inner.forward).parameters)


def _read(model: Any, errors: Sequence[RowError], limit: float) -> _Pattern:
    failing = [error for error in errors if not error.worst <= limit]
    passing = [error for error in errors if error.worst <= limit]
    window = window_of(model)
    sizes, fine = [e.errors.size for e in failing], [e.errors.size for e in passing]
    beyond = window is not None and sizes and fine and min(sizes) > window >= max(fine)
    return _Pattern(
        late=bool(failing) and all((error.first(limit) or 0) >= error.prefill for error in failing),
        padded=bool(failing)
        and all(error.pads for error in failing)
        and not any(error.pads for error in passing),
        beyond=window if beyond else None,
        finite=all(error.finite for error in errors),
    )


def _of_change(change: kinds.Change, pattern: _Pattern, faults: Sequence[str]) -> Culprit:
    phase = " at the cached steps only" if pattern.late else ""
    if isinstance(change, kinds.Cache):
        return Culprit(
            "cache",
            f"with {change.label} other logits come out{phase}: it holds other content, or slots that are not in use "
            "yet are visible",
            "look at the mask over the cache's columns (unused slots must be masked) and at the position of a step",
        )
    if isinstance(change, kinds.ReusedCache):
        return Culprit(
            "cache not emptied",
            f"a {change.kind} cache that held another text is read differently{phase} than a new one: something of the "
            "first text is still there (keys, a state, a count of tokens, positions)",
            "empty every part of every layer, its count of tokens too, or make a new cache for each text",
        )
    if isinstance(change, kinds.Attention):
        where = "rows with padding" if pattern.padded else "rows"
        return Culprit(
            "attention backend",
            f"{where} get other logits{phase} with {change.label}: the backends are not given, or do not "
            "understand, the same mask, scale, window or cap",
            "compare what the model hands to both: attention mask, softmax scale, sliding window, soft cap, sinks",
        )
    if isinstance(change, kinds.Packed):
        return Culprit(
            "packed rows visible",
            "rows of a packed sequence are read differently than alone: they attend to (or carry on a state of) the "
            "rows packed before them",
            "give the borders: position_ids that restart, without attention_mask and with use_cache=False, or a "
            "block-diagonal mask; state-space layers need them too (seq_idx)",
        )
    if isinstance(change, kinds.Compiled):
        return Culprit(
            "compiled graph",
            "the compiled forward pass gives other logits than the same weights run plainly",
            "try backend='eager' and 'aot_eager' to find the stage; look for values that were constant while tracing "
            "(lengths, positions, masks)",
        )
    if isinstance(change, kinds.InputsEmbeds):
        return Culprit(
            "inputs_embeds",
            f"the same prompt given as embeddings is continued differently{phase}: the embeddings are dropped, "
            "scaled twice, or taken for a prompt that the cache already holds",
            "look at prepare_inputs_for_generation: embeddings go into the first call whole, whatever their length",
        )
    if isinstance(change, kinds.ChunkedPrefill):
        if pattern.padded and not change.position_ids:
            return _POSITIONS
        return Culprit(
            "chunked prefill",
            "a prompt in several calls is read differently than in one: a later call begins with the wrong state, "
            "position or mask",
            "carry the state on where a call of several tokens finds a filled cache, and count positions and mask from "
            "all tokens before",
        )
    if isinstance(change, kinds.WarmCache):
        return Culprit(
            "warm cache",
            "a text continued on a cache is read differently than the same text run cold: the cache holds something "
            "else than the text before",
            "check how many tokens the cache holds, how it is cut back, and that the state stored is that of the cut",
        )
    if isinstance(change, kinds.RightPadded):
        return Culprit(
            "state after padding",
            f"rows padded on the right go wrong{phase}: what decoding goes on from was taken after the padding (a "
            "recurrent state, or a window over the last columns)",
            "pad on the left for generation, or take each row's state (and its window) at its last real token",
        )
    if isinstance(change, kinds.ExplicitMask):
        return Culprit(
            "packing inferred",
            "without a mask the positions are read as borders of packed rows: tokens before a position that does not "
            "go on by one are hidden",
            "hand over an explicit attention_mask wherever positions may restart or jump for another reason",
        )
    if isinstance(change, kinds.BareForward):
        return _POSITIONS
    if isinstance(change, kinds.Beams):
        return _of_beams(faults)
    if isinstance(change, kinds.Assisted):
        return Culprit(
            "assisted decoding",
            "greedy decoding with assistance writes other tokens than without: rejected candidates stay in the cache, "
            "or the mask and the cache disagree on their number",
            "look at how the cache is cut back after a rejection, in sliding layers most of all",
        )
    if pattern.padded:
        return Culprit(
            "padded rows",
            f"with {change.label} only the rows that are shorter than the longest are wrong: padding is visible to "
            "them, is counted into their positions, or stands where their last token is looked for",
            "hand on the 2-D attention_mask, count position_ids from it, and read each row at its own last real token",
        )
    return Culprit(
        "procedure",
        f"{change.label} gives other numbers than the reference, for rows with padding and without",
        "look at the first wrong position below: what the model was given there (ids, positions, mask, cache)",
    )


_POSITIONS = Culprit(
    "positions",
    "rows with padding are wrong: their positions are counted over the padding",
    "hand over position_ids counted from the mask: (attention_mask.cumsum(-1) - 1).clamp(min=0)",
)


def _of_beams(faults: Sequence[str]) -> Culprit:
    if "rows" in faults:
        return Culprit(
            "rows reordered",
            "sequences do not stand at the place of the prompt that they belong to (i // num_return_sequences)",
            "keep the rows of a prompt together where beams are expanded and returned",
        )
    if "score" in faults:
        return Culprit(
            "beam cache",
            "a beam's score is not that of its text: at a cached step a beam went on from another beam's cache",
            "reorder every layer and every kind of cache with the beams (reorder_cache), states of state-space "
            "layers too",
        )
    return Culprit(
        "beams of a batch",
        "a row has other beams in the batch than alone, though each score is that of its text: candidates are "
        "compared over row borders, or padding changes what is kept",
        "look at where candidates are ranked: within the beams of one row, with the row's own lengths",
    )


def _by_design(change: kinds.Change, model: Any, errors: Sequence[RowError]) -> Culprit | None:
    config = getattr(model, "config", None)
    kind, original = rope_reach(config) if config is not None else (None, None)
    longest = max((error.width + error.errors.size - error.prefill for error in errors), default=0)
    if kind in ("dynamic", "longrope") and original is not None and longest > original:
        return Culprit(
            ROPE,
            f"rope_type {kind!r} rescales all positions once the text passes {original} tokens: what is in the cache, "
            "or in a row beside it, was scaled otherwise, by design",
            "compare within the original context",
            by_design=True,
        )
    if isinstance(change, kinds.BareForward) and not change.position_ids and learned_positions(model):
        return Culprit(
            "learned positions",
            "without position_ids, a bare forward pass of a model with learned positions counts them from column 0, "
            "padding included: so it is documented; `generate` counts them from the mask   [DLM109]",
            "hand over position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0) where a left-padded batch goes to "
            "forward",
            by_design=True,
        )
    if isinstance(change, kinds.Cache) and change.kind == "quantized" and not _padding_alone(errors):
        return Culprit(
            "quantised cache",
            "a quantised cache holds rounded keys and values, by design",
            "measure what it costs in quality; bits cannot agree",
            by_design=True,
        )
    return None


def _padding_alone(errors: Sequence[RowError]) -> bool:
    """Whether rows with padding are off by far more than what rounding keys and values costs rows without."""
    padded = [error.worst for error in errors if error.pads]
    others = [error.worst for error in errors if not error.pads]
    return bool(padded and others) and max(padded) > _BEYOND_ROUNDING * max(others)


def learned_positions(model: Any) -> bool:
    """Whether a model has a table of positions that its forward takes `position_ids` for."""
    import torch

    from pytest_decoderonly.compare.drive import Driver
    from pytest_decoderonly.compare.shapes import reach_of

    reach = reach_of(model)
    if reach is None or "position_ids" not in Driver(model, 0).accepts:
        return False
    # OPT and its kin keep a few rows more than they have positions.
    sizes = [m.num_embeddings for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    return any(reach <= size <= reach + 4 for size in sizes)
