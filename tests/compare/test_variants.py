"""One thing changed about how a model is run: sound models do not alarm, each change has a fault that it finds."""

from __future__ import annotations

import copy
import random

import mutants
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_decoderonly import (
    assert_batch_equals_single,
    assert_same_with,
    changes,
    tiny_decoder,
    tiny_tokenizer,
)
from pytest_decoderonly.compare.variants import run_change
from pytest_decoderonly.compare.verdict import Relation, Verdict, worst

_draw = random.Random(0)  # noqa: S311 - test data
ROWS = [[_draw.randrange(5, 300) for _ in range(n)] for n in (6, 19, 33)]


def forwarded(model, rows):
    return [model(torch.tensor([row])).logits[0, -2:] for row in rows]


EVERY = (
    changes.Cache("static"),
    changes.Cache("none"),
    changes.Attention("eager"),
    changes.Packed(),
    changes.ReusedCache(),
    changes.InputsEmbeds(),
    changes.Beams(),
    changes.Assisted(),
    changes.ChunkedPrefill(),
    changes.ChunkedPrefill(size=5),
    changes.WarmCache(),
    changes.WarmCache(keep=0.3, answer=3),
    changes.ExplicitMask(),
    changes.BareForward(position_ids=True),
    changes.Rewritten(forwarded),
)
# What an architecture cannot do, and how it says so.
CANNOT = {
    ("mamba2", "static cache"): "the same cache as it is (LinearAttentionLayer)",
    ("mamba2", "attention eager"): "as it is",
    ("mamba2", "packed rows"): "takes no position_ids",
    ("mamba2", "prompt lookup decoding"): "not supported with stateful models",
    ("mamba2", "warm cache, cut back by 3 tokens"): "cannot be cut back",
}


@pytest.mark.parametrize("arch", ["llama", "gpt2", "mistral", "mamba2"])
@pytest.mark.parametrize("change", EVERY, ids=lambda change: change.label)
def test_sound_models_do_not_alarm(change, arch):
    result = run_change(tiny_decoder(arch, dtype="bfloat16"), ROWS, change, pad_id=0)
    if (arch, change.label) in CANNOT:
        assert result.verdict is Verdict.UNDECIDED
        assert CANNOT[arch, change.label] in result.reason
        return
    assert result.verdict.clean, result.reason
    assert result.culprit is None
    assert result.layer is None


def test_compiled_graphs_run_and_are_judged():
    """Two shapes, one graph; the model is as small as can be, for tracing takes seconds."""
    model = tiny_decoder("llama", num_hidden_layers=1)
    assert run_change(model, ROWS[:2], changes.Compiled(backend="eager"), pad_id=0).verdict.clean
    result = run_change(model, ROWS[:2], changes.Compiled(backend=_graph_with_a_fault), pad_id=0)
    assert result.verdict is Verdict.DIFFERENT
    assert result.culprit.name == "compiled graph"
    assert "forward" not in model.__dict__


def test_a_model_that_is_not_compiled_is_not_called_equal():
    model = tiny_decoder("llama", num_hidden_layers=1)
    with torch._dynamo.config.patch(disable=True):  # as TORCHDYNAMO_DISABLE=1 does
        result = run_change(model, ROWS[:2], changes.Compiled(backend="eager"), pad_id=0)
    assert result.verdict is Verdict.UNDECIDED
    assert "ran no compiled graph" in result.reason


def test_both_precisions_are_measured():
    result = run_change(tiny_decoder("llama", dtype="bfloat16"), ROWS, changes.Attention("eager"), pad_id=0)
    assert worst(result.work) > 1e-3 > 1e-4 > worst(result.single) > 0
    assert (result.verdict, result.dtype) == (Verdict.ROUNDING, "bfloat16")


def _graph_with_a_fault(graph, _inputs):
    def run(*args):
        return tuple(o * 1.01 if o.is_floating_point() else o for o in graph(*args))

    return run


FAULTS = [
    (
        lambda: mutants.mask_dropped(tiny_decoder("llama")),
        changes.Attention("sdpa"),
        "attention backend",
        "padding",
    ),
    (
        lambda: mutants.cached_position_off_by_one(tiny_decoder("gpt2")),
        changes.Cache("none"),
        "cache",
        "cached steps",
    ),
    (lambda: tiny_decoder("llama"), changes.Packed(mask=True), "packed rows visible", "block-diagonal"),
    (lambda: tiny_decoder("bamba"), changes.Packed(), "packed rows visible", "seq_idx"),
    (lambda: mutants.rows_mixed(tiny_decoder("mistral")), changes.Beams(), "beam cache", "reorder"),
    (lambda: tiny_decoder("mistral"), changes.RightPadded(), "state after padding", "window"),
    (lambda: tiny_decoder("gpt2"), changes.ChunkedPrefill(position_ids=False), "positions", "position_ids"),
]


@pytest.mark.parametrize(
    ("build", "change", "culprit", "word"), FAULTS, ids=lambda v: getattr(v, "label", None)
)
def test_each_change_finds_its_fault(build, change, culprit, word):
    with pytest.raises(AssertionError) as caught:
        assert_same_with(build(), ROWS, change, pad_token_id=0)
    assert f"\nculprit:  {culprit}: " in str(caught.value)
    assert word in str(caught.value)
    assert "DIFFERENT, not rounding" in str(caught.value)


def test_a_quantised_cache_differs_by_design_and_excuses_no_padded_row(monkeypatch):
    from transformers.cache_utils import Fp8QuantizedLayer as Layer

    fp8 = changes.Cache("quantized", {"backend": "fp8"})
    with pytest.raises(AssertionError, match=r"quantised cache: .* by design"):
        assert_same_with(tiny_decoder("llama"), ROWS, fp8)
    plain = Layer.update

    def shifted(self, keys, values, *args, **kwargs):
        """Where a step finds the cache, the columns of shorter rows stand elsewhere than the mask has them."""
        keys, values = plain(self, keys, values, *args, **kwargs)
        if len(keys) > 1 and keys.shape[2] > max(map(len, ROWS)):
            keys, values = (torch.cat([t[:-1].roll(4, 2), t[-1:]]) for t in (keys, values))
        return keys, values

    monkeypatch.setattr(Layer, "update", shifted)
    with pytest.raises(
        AssertionError, match="cache: with quantized cache other logits come out at the cached"
    ):
        assert_same_with(tiny_decoder("llama"), ROWS, fp8)


def _count_alone(cache):
    """Keys may stay where they are: no mask shows them before they are written anew."""
    for layer in cache.layers:
        layer.cumulative_length.zero_()


def _keys_alone(cache):
    """The states of recurrent layers are forgotten."""
    for layer in cache.layers:
        if not hasattr(layer, "recurrent_states"):
            layer.reset()


@pytest.mark.parametrize(
    ("arch", "kind", "empty"),
    [("mamba2", "dynamic", lambda _cache: None), ("bamba", "static", _keys_alone)],
)
def test_a_cache_that_is_not_emptied(arch, kind, empty):
    with pytest.raises(AssertionError, match="cache not emptied: "):
        assert_same_with(tiny_decoder(arch), ROWS, changes.ReusedCache(kind, empty))
    assert_same_with(tiny_decoder(arch), ROWS, changes.ReusedCache(kind))


def test_old_keys_behind_a_count_of_zero_do_no_harm():
    assert_same_with(tiny_decoder("llama"), ROWS, changes.ReusedCache(empty=_count_alone))


def test_flex_attention_is_run_unfused_on_a_cpu():
    result = assert_same_with(tiny_decoder("mistral"), ROWS, changes.Attention("flex_attention"))
    assert result.verdict is Verdict.ROUNDING
    assert any("unfused" in note for note in result.notes)


def test_the_layer_where_two_backends_part_is_named():
    model = mutants.mask_dropped_in_one_layer(tiny_decoder("llama"))
    result = run_change(model, ROWS, changes.Attention("sdpa"), pad_id=0)
    assert result.layer is not None
    assert result.layer.name == "model.layers.1.self_attn"


def test_a_window_that_only_one_backend_keeps():
    def edit(module, query, key, value, mask):
        pads = (mask[:, :, -1:, :] < -1e4) & (mask[:, :, -1:, :].isfinite())
        return key, value, mutants._causal(mask) if pads.shape[0] == 1 else mask

    model = mutants.with_attention(tiny_decoder("mistral"), edit)
    result = run_change(model, ROWS[:1], changes.Attention("sdpa"), pad_id=0)
    assert result.culprit is not None
    assert result.culprit.name == "window"
    assert any("both sides of the window" in note for note in result.notes)


def test_a_lost_row_of_beams_is_found(monkeypatch):
    model = tiny_decoder("llama")
    plain = model.generate

    def turned(*args, **kwargs):
        output = plain(*args, **kwargs)
        if len(output.sequences) > 2:
            output.sequences, output.sequences_scores = (
                output.sequences.flip(0),
                output.sequences_scores.flip(0),
            )
        return output

    monkeypatch.setattr(model, "generate", turned)
    result = run_change(model, ROWS, changes.Beams(), pad_id=0)
    assert result.culprit.name == "rows reordered"


def _twins(model):
    """Every token has a twin of the same logit; which of them is taken is rounding."""
    with torch.no_grad():
        model.lm_head.weight[1::2] = model.lm_head.weight[0::2]
        model.get_input_embeddings().weight[1::2] = model.get_input_embeddings().weight[0::2]
    return model


def test_rejected_candidates_that_stay_in_the_cache(monkeypatch):
    from transformers.cache_utils import DynamicLayer

    assistant = tiny_decoder("qwen2", seed=5)
    assert_same_with(tiny_decoder("llama"), ROWS[:2], changes.Assisted(assistant))
    monkeypatch.setattr(DynamicLayer, "crop", lambda *_: None)
    with pytest.raises(AssertionError, match="assisted decoding: greedy"):
        assert_same_with(tiny_decoder("llama"), ROWS[:2], changes.Assisted(assistant))


@pytest.mark.parametrize("twins", [True, False])
def test_a_tie_is_named_and_passes(monkeypatch, twins):
    model = tiny_decoder("llama", tie_word_embeddings=False)
    model = _twins(model) if twins else model
    plain = model.generate

    def other(*args, **kwargs):
        output = plain(*args, **kwargs)
        if kwargs["generation_config"].prompt_lookup_num_tokens:
            output.sequences[:, -3:] ^= 1
        return output

    monkeypatch.setattr(model, "generate", other)
    result = run_change(model, ROWS, changes.Assisted(), pad_id=0, steps=8)
    if twins:
        assert result.verdict.clean
        assert "a tie" in result.notes[0]
    else:
        assert result.culprit.name == "assisted decoding"
        assert "new token 5" in result.details[0]


@pytest.mark.parametrize(
    ("arch", "rows", "change", "reason"),
    [
        ("llama", ROWS, changes.Attention("flash_attention_2"), "not to be had here"),
        ("llama", ROWS, changes.Attention("sdpa"), "nothing to compare"),
        ("llama", ROWS, changes.Cache("quantized"), "optimum-quanto"),
        ("llama", ROWS, changes.Cache("dynamic"), "takes the same cache as it is (DynamicLayer)"),
        ("llama", ROWS[:1], changes.Packed(), "two or more prompts"),
        ("llama", [r[:6] for r in ROWS], changes.RightPadded(), "the same length"),
        ("llama", [r[:6] for r in ROWS], changes.BareForward(), "the same length"),
        ("llama", [[7]], changes.WarmCache(), "cut in two"),
        ("mamba2", ROWS, changes.Assisted(), "stateful"),
        ("llama", ROWS, changes.Rewritten(lambda _m, _rows: [torch.zeros(320)]), "1 results for 3 rows"),
        ("llama", ROWS, changes.Rewritten(lambda _m, rows: [torch.zeros(99, 3)] * len(rows)), "(99, 3)"),
        ("llama", ROWS, changes.Rewritten(lambda _m, rows: [torch.zeros(3)] * len(rows)), "the other 3"),
    ],
)
def test_what_cannot_be_tried_is_undecided_with_the_reason(arch, rows, change, reason):
    if reason == "optimum-quanto":
        try:
            import optimum.quanto  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("optimum-quanto is installed: a quantised cache can be tried")
    with pytest.raises(AssertionError, match="UNDECIDED") as caught:
        assert_same_with(tiny_decoder(arch), rows, change)
    assert reason in str(caught.value)


def test_nan_of_the_plain_run_is_nobodys_fault():
    model = tiny_decoder("llama")
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    result = run_change(model, ROWS, changes.Cache("static"), pad_id=0)
    assert result.verdict is Verdict.UNDECIDED
    assert "the plain run already" in result.reason


def test_quantised_weights_are_undecided_not_guessed():
    model = tiny_decoder("llama", dtype="bfloat16")
    model.is_quantized = True
    result = run_change(model, ROWS, changes.Attention("eager"), pad_id=0)
    assert result.verdict is Verdict.UNDECIDED
    assert "quantised" in result.reason


def test_rope_scaling_is_by_design_beyond_its_context_only():
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    model = tiny_decoder("llama", max_position_embeddings=24, rope_parameters=rope)
    result = run_change(model, ROWS, changes.ChunkedPrefill(), pad_id=0)
    assert (result.verdict, result.culprit.name) == (Verdict.BY_DESIGN, "rope scaling")
    assert run_change(model, [r[:9] for r in ROWS], changes.ChunkedPrefill(), pad_id=0).verdict.clean


@pytest.mark.parametrize("arch", ["bart", "blenderbot"])
def test_a_type_that_is_documented_for_right_padding(arch):
    with pytest.raises(AssertionError, match=r"no left padding: .*its documentation says so"):
        assert_batch_equals_single(tiny_decoder(arch), None, ROWS)
    with pytest.raises(AssertionError, match="DIFFERENT, not rounding"):
        assert_batch_equals_single(tiny_decoder("marian"), None, ROWS)


def test_shortened_float32_is_a_precision_of_its_own():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        model = tiny_decoder("llama")
        result = assert_batch_equals_single(model, None, ROWS)
        same = assert_same_with(model, ROWS, changes.Cache("static"))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert result.dtype == same.dtype == "float32 (TF32)"
    assert result.of(Relation.BATCH_VS_SOLO).single, "judged by a run without shortened products"


@pytest.mark.parametrize("change", EVERY, ids=lambda change: change.label)
@pytest.mark.parametrize("broken", [False, True])
def test_the_model_comes_back_as_it_was(change, broken):
    model = tiny_decoder("llama", dtype="bfloat16").train()
    handle = None
    if broken:

        def fail(*_):
            raise RuntimeError("out of patience")

        handle = model.model.layers[1].register_forward_pre_hook(fail)
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    config = copy.deepcopy((model.config.to_dict(), model.generation_config.to_dict()))
    attention, keys = model.config._attn_implementation, set(model.__dict__)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()

    result = run_change(model, ROWS, change, pad_id=0)

    assert result.verdict.clean is not broken
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert (model.config.to_dict(), model.generation_config.to_dict()) == config
    assert (model.config._attn_implementation, set(model.__dict__)) == (attention, keys)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    for name, tensor in model.state_dict().items():
        assert tensor.data_ptr() == before[name][0]
        assert torch.equal(tensor, before[name][1])
    assert torch.is_grad_enabled()
    if handle is not None:
        assert "out of patience" in result.reason


def test_the_assistant_comes_back_as_it_was():
    assistant = tiny_decoder("llama", seed=3, dtype="bfloat16").train()
    assert_same_with(tiny_decoder("llama", dtype="bfloat16"), ROWS[:1], changes.Assisted(assistant))
    assert assistant.training
    assert {p.dtype for p in assistant.parameters()} == {torch.bfloat16}


def test_texts_and_a_tokenizer():
    result = assert_same_with(
        tiny_decoder("llama"), ["Hi", "Is the sky blue?"], changes.Cache("static"), tokenizer=tiny_tokenizer()
    )
    assert len(result.lengths) == 2
    assert len(set(result.lengths)) == 2


def test_prompts_can_be_left_to_the_assertion():
    result = assert_batch_equals_single(tiny_decoder("llama"))
    assert result.lengths == (6, 19, 33)
    widths = {error.width for error in result.of(Relation.PAD_AMOUNT).decisive}
    assert widths >= {7, 31, 32, 33, 34, 63, 64, 65, 66}
    assert assert_same_with(tiny_decoder("gpt2", n_positions=24), None, changes.Packed()).lengths == (
        2,
        9,
        16,
    )


def test_the_sweep_passes_a_window_and_keeps_to_the_positions():
    result = assert_batch_equals_single(
        tiny_decoder("mistral", sliding_window=24), None, [r[:9] for r in ROWS]
    )
    assert any("the sliding window" in note for note in result.notes)
    assert {e.width for e in result.of(Relation.PAD_AMOUNT).decisive} >= {26}
    assert max(e.errors.size for e in result.of(Relation.CACHED_VS_FULL).decisive) > 24
    result = assert_batch_equals_single(tiny_decoder("gpt2", n_positions=40), None, ROWS)
    assert max(e.width for e in result.of(Relation.PAD_AMOUNT).decisive) == 34
    result = assert_batch_equals_single(tiny_decoder("llama"), None, ROWS, widths=(12, 20))
    assert {e.width for e in result.of(Relation.PAD_AMOUNT).decisive} == {12, 20}


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: assert_same_with(m, ROWS, "static"), TypeError, r"^change: .*changes"),
        (
            lambda m: assert_same_with(m, ROWS, changes.Cache("statik")),
            ValueError,
            r"^kind: 'statik' is none of",
        ),
        (lambda m: assert_same_with(m, [], changes.Cache()), ValueError, r"^prompts: "),
        (lambda m: assert_same_with(m, [[1], []], changes.Cache()), ValueError, r"^prompts: "),
        (lambda m: assert_same_with(m, ROWS, changes.Cache(), new_tokens=0), ValueError, r"^steps: "),
        (lambda _m: assert_same_with(3, ROWS, changes.Cache()), TypeError, r"^model: "),
        (lambda _m: changes.ReusedCache("paged"), ValueError, r"^kind: must be 'static' or 'dynamic'"),
        (lambda _m: changes.Beams(num_beams=0), ValueError, r"^num_beams: "),
        (
            lambda _m: changes.Beams(num_beams=2, num_return_sequences=3),
            ValueError,
            r"^num_return_sequences: ",
        ),
        (lambda _m: changes.WarmCache(keep=1.0), ValueError, r"^keep: "),
        (lambda _m: changes.ChunkedPrefill(size=0), ValueError, r"^size: "),
        (lambda m: assert_batch_equals_single(m, None, ROWS, widths=[0]), ValueError, r"^widths: "),
    ],
)
def test_usage_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(tiny_decoder("llama"))


MODELS = {arch: tiny_decoder(arch) for arch in ("llama", "mistral")}


@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    arch=st.sampled_from(sorted(MODELS)),
    change=st.sampled_from([changes.Cache("static"), changes.ChunkedPrefill(size=7), changes.InputsEmbeds()]),
)
def test_no_shape_makes_a_sound_model_fail(lengths, arch, change):
    rows = [[5 + (11 * i + 7 * j) % 290 for j in range(n)] for i, n in enumerate(lengths)]
    assert run_change(MODELS[arch], rows, change, pad_id=0, steps=2).verdict.clean


@pytest.mark.parametrize(
    "settings_of",
    [
        {"forced_eos_token_id": 2},
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 2},
        {"suppress_tokens": [5, 6]},
    ],
)
def test_scores_that_the_generation_config_changes_are_no_fault_of_beams(settings_of):
    """A forced EOS has the score 0 whatever its log-probability: the text's own says nothing of the beam's cache."""
    model = tiny_decoder("llama")
    model.generation_config.update(**settings_of)
    result = run_change(model, ROWS, changes.Beams(), pad_id=0, steps=4)
    assert result.verdict.clean
    assert any(next(iter(settings_of)) in note for note in result.notes)
