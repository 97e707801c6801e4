"""Each fault leaves its signature in every kind of architecture that it can live in: found, and the culprit named."""

from __future__ import annotations

import random

import mutants
import pytest

from pytest_decoderonly.compare.battery import run_battery
from pytest_decoderonly.compare.verdict import Relation, Verdict
from pytest_decoderonly.tiny import tiny_decoder

_draw = random.Random(0)  # noqa: S311 - test data
ROWS = [[_draw.randrange(5, 300) for _ in range(n)] for n in (6, 19, 33)]


def judged(model):
    return run_battery(model, ROWS, pad_id=0, steps=1, widths=(8, 33))


ARCHS = {
    "dense": ("llama", {}),
    "dense, learned positions": ("gpt2", {}),
    "experts": ("mixtral", {}),
    "sliding window": ("mistral", {}),
    "state space": ("mamba2", {}),
    "hybrid": ("bamba", {"num_hidden_layers": 3, "attn_layer_indices": [1]}),
}
ATTENTION = tuple(kind for kind in ARCHS if kind != "state space")
STATES = ("state space", "hybrid")

# (what is wrong, where it is put) -> the culprit that the pattern must name. The same fault takes another form where
# the architecture has other parts: a padding leak of a mixer, positions as a learned table.
FAULTS = {
    "padding visible": {
        mutants.mask_dropped: ATTENTION,
        mutants.mask_dropped_in_one_layer: ("dense", "dense, learned positions", "experts", "sliding window"),
        mutants.mask_dropped_in_one_head: ATTENTION,
        mutants.mask_at_prefill_only: ATTENTION,
        mutants.soft_mask: ATTENTION,
        mutants.boolean_mask_added: ATTENTION,
        mutants.mask_dropped_for_one_row: ATTENTION,
        mutants.state_sees_padding: STATES,
    },
    "positions": {
        mutants.positions_over_padding: ("dense, learned positions",),
        mutants.learned_positions_over_padding: ("dense", "experts", "sliding window", *STATES),
    },
    "decode position": {
        mutants.decode_position_is_cache_length: ATTENTION,
        mutants.learned_decode_position_is_cache_length: ("state space",),
    },
    "batch only": {
        mutants.decode_position_in_batches: ATTENTION,
        mutants.learned_decode_position_in_batches: ("state space",),
    },
    "row index": {
        mutants.position_of_row_zero: ATTENTION,
        mutants.learned_position_of_row_zero: ("state space",),
    },
    "alignment": {
        mutants.wrong_at_one_alignment: ATTENTION,
        mutants.state_kernel_wrong_at_one_alignment: STATES,
    },
    "window": {mutants.window_short_for_padded_rows: ATTENTION},
    "rows mixed": {mutants.rows_mixed: ATTENTION, mutants.state_rows_mixed: STATES},
    "cache": {
        mutants.cached_position_off_by_one: ATTENTION,
        mutants.state_stale_at_cached_steps: STATES,
    },
    "dead rows": {mutants.dead_rows: ATTENTION, mutants.state_dead_rows: STATES},
    "expert capacity": {mutants.experts_with_capacity: ("experts",)},
    "activation scale": {mutants.int8_activations: tuple(ARCHS)},
}

# What cannot live where, and why.
CANNOT = {
    ("window", "state space"): "no attention, so no keys to see too few of",
    **{("expert capacity", kind): "no experts to run out of places" for kind in ARCHS if kind != "experts"},
}

CASES = [
    pytest.param(fault, kind, culprit, id=f"{fault.__name__}-{kind}")
    for culprit, faults in FAULTS.items()
    for fault, kinds in faults.items()
    for kind in kinds
]


@pytest.mark.parametrize(("fault", "kind", "culprit"), CASES)
def test_a_fault_is_found_and_named(fault, kind, culprit):
    arch, overrides = ARCHS[kind]
    result = judged(fault(tiny_decoder(arch, **overrides)))
    expected = Verdict.BY_DESIGN if culprit == "activation scale" else Verdict.DIFFERENT
    assert result.verdict is expected
    assert result.culprit is not None
    assert result.culprit.name == culprit
    if expected is Verdict.DIFFERENT and culprit != "cache":
        assert result.layer is not None, "where the runs part is said too"


def test_every_fault_is_tried_in_every_kind_or_cannot_live_there():
    tried = {
        (culprit, kind) for culprit, faults in FAULTS.items() for kinds in faults.values() for kind in kinds
    }
    everything = {(culprit, kind) for culprit in FAULTS for kind in ARCHS}
    assert everything - tried == set(CANNOT)


@pytest.mark.parametrize("kind", ARCHS)
@pytest.mark.parametrize("harness", [mutants.sound, mutants.learned_positions])
def test_the_harness_of_the_faults_is_sound_itself(kind, harness):
    arch, overrides = ARCHS[kind]
    if harness is mutants.sound and kind == "state space":
        harness = mutants.state_untouched
    if harness is mutants.learned_positions and arch == "gpt2":
        harness = mutants.own_positions
    assert judged(harness(tiny_decoder(arch, **overrides))).verdict.clean


@pytest.mark.parametrize(
    ("fault", "culprit"),
    [
        (mutants.mask_dropped_in_one_head, "padding visible"),
        (mutants.rows_mixed, "rows mixed"),
        (mutants.position_of_row_zero, "row index"),
        (mutants.wrong_at_one_alignment, "alignment"),
        (mutants.cached_position_off_by_one, "cache"),
        (mutants.dead_rows, "dead rows"),
    ],
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_fault_is_named_in_half_precision_too(fault, culprit, dtype):
    result = judged(fault(tiny_decoder("llama", dtype=dtype)))
    assert (result.verdict, result.culprit and result.culprit.name) == (Verdict.DIFFERENT, culprit)


def test_one_scale_for_all_is_no_design_where_nothing_says_so():
    class Scaled(mutants.Int8Linear):
        """The same, under a name that says nothing of eight bits."""

    model = mutants.int8_activations(tiny_decoder("llama"), Scaled)
    result = judged(model)
    assert (result.verdict, result.culprit and result.culprit.name) == (Verdict.DIFFERENT, "batch statistic")


def test_one_scale_for_all_excuses_no_leak():
    model = mutants.mask_dropped(mutants.int8_activations(tiny_decoder("llama")))
    result = judged(model)
    assert result.verdict is Verdict.DIFFERENT


def test_two_faults_are_not_taken_for_one():
    """A mask that is missing at cached steps cannot explain that a lone row fails there."""
    model = mutants.mask_at_prefill_only(mutants.cached_position_off_by_one(tiny_decoder("llama")))
    result = judged(model)
    assert result.culprit is not None
    assert result.culprit.name == "cache"
    assert result.of(Relation.PAD_CONTENT).verdict is Verdict.DIFFERENT


def test_a_small_fault_that_float64_repeats_is_no_rounding():
    """RoFormer's table of sines is rounded with the weights, and then is no exact rotation: the padding's amount shows.

    So small that rounding could do it, were it not the same in float64, position by position.
    """
    result = judged(tiny_decoder("roformer", dtype="bfloat16"))
    assert result.verdict is Verdict.DIFFERENT
    assert result.culprit is not None
    assert result.culprit.name == "positions"
    (amount,) = (one for one in result.relations if one.relation is Relation.PAD_AMOUNT)
    assert "no rounding" in amount.reason
    assert judged(tiny_decoder("roformer")).verdict.clean
