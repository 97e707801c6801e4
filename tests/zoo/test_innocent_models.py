"""What models do that looks like a bug and is none: nothing of it may be reported."""

from __future__ import annotations

import mutants
import pytest
import torch
from batches import ROWS, batched, names
from reports import report

from pytest_decoderonly import assert_same_with, changes, tiny_decoder
from pytest_decoderonly.compare.verdict import Relation, Verdict


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("arch", ["llama", "mixtral", "gemma2"])
def test_i01_half_precision_rounds_otherwise_in_a_batch(arch, dtype):
    assert batched(tiny_decoder(arch, dtype=dtype)).verdict is Verdict.ROUNDING


@pytest.mark.parametrize("arch", ["llama", "mamba"])
def test_i03_another_kernel_for_another_batch_size(arch):
    rows = [[(7 * i + 3 * j) % 290 + 5 for j in range(12)] for i in range(8)]
    assert batched(tiny_decoder(arch, heat=8.0), rows).verdict.clean


def test_i05_experts_add_in_another_order():
    result = batched(tiny_decoder("mixtral"))
    assert 0 <= max(e.worst for e in result.of(Relation.NEIGHBOUR_CONTENT).decisive) < 1e-5


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_i07_near_ties_of_the_greedy_choice(arch):
    model = tiny_decoder(arch, dtype="bfloat16", tie_word_embeddings=False)
    with torch.no_grad():
        head = model.lm_head.weight
        head[1::2] = head[0::2]  # every token has a twin
    result = batched(model)
    assert result.verdict.clean
    assert not result.flips
    assert_same_with(model, ROWS, changes.Beams())
    assert_same_with(model, ROWS[:1], changes.Assisted(tiny_decoder("llama", seed=3)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("arch", ["llama", "mistral"])
def test_i09_another_attention_kernel(arch, dtype):
    result = assert_same_with(tiny_decoder(arch, dtype=dtype), ROWS, changes.Attention("eager"))
    assert result.verdict is Verdict.ROUNDING


def test_i11_rotary_positions_shifted_by_the_padding():
    batched(mutants.positions_over_padding(tiny_decoder("llama")))
    assert_same_with(tiny_decoder("llama"), ROWS, changes.BareForward())


@pytest.mark.parametrize("arch", ["gpt2", "gpt_neo", "openai-gpt"])
def test_i13_learned_positions_in_a_bare_forward(arch):
    model = tiny_decoder(arch)
    batched(model)
    text = report(assert_same_with, model, ROWS, changes.BareForward())
    names(text, "learned positions", "by design", "DLM109")
    assert (
        assert_same_with(model, ROWS, changes.BareForward(), allow_by_design=True).verdict
        is Verdict.BY_DESIGN
    )
    assert_same_with(model, ROWS, changes.BareForward(position_ids=True))


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_i15_rope_scaling_past_the_original_context(kind):
    rope = {"rope_type": kind, "factor": 4.0, "rope_theta": 10000.0}
    sizes = {"max_position_embeddings": 24}
    if kind == "longrope":
        rope.update(short_factor=[1.0] * 8, long_factor=[4.0] * 8, original_max_position_embeddings=24)
        sizes = {"max_position_embeddings": 96}
    model = tiny_decoder("llama", rope_parameters=rope, **sizes)
    names(report(batched, model), "rope scaling", "by design")
    assert batched(model, [r[:8] for r in ROWS] + [ROWS[0]]).verdict.clean


def test_i17_dropout_in_train_mode():
    model = tiny_decoder("llama", attention_dropout=0.1).train()
    assert batched(model).verdict.clean
    assert_same_with(model, ROWS, changes.Cache("static"))
    assert model.training


@pytest.mark.parametrize("count", [1, 3])
def test_i21_beams_and_several_sequences_a_prompt(count):
    assert_same_with(tiny_decoder("qwen2"), ROWS, changes.Beams(num_beams=3, num_return_sequences=count))


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_i23_virtual_tokens_before_every_row(kind):
    peft = pytest.importorskip("peft", reason="needs peft: pip install peft")
    config = {"prompt": peft.PromptTuningConfig, "prefix": peft.PrefixTuningConfig}[kind]
    model = peft.get_peft_model(tiny_decoder("llama"), config(task_type="CAUSAL_LM", num_virtual_tokens=5))
    if kind == "prefix":
        assert batched(model).verdict.clean
        return
    # They stand before the padding: the way from them to the text grows with it.
    names(report(batched, model), "virtual tokens", "by design")
    assert batched(
        model, relations=["pad-content", "neighbour-content", "row-order", "cached-vs-full"]
    ).verdict.clean


def test_i25_max_length_is_shared_by_unequal_prompts():
    model = tiny_decoder("llama")
    model.generation_config.max_length = 40
    assert batched(model, [ROWS[0][:5], ROWS[2][:30]]).verdict.clean


def test_i29_one_prompt_without_a_mask():
    assert_same_with(tiny_decoder("llama"), ROWS[:1], changes.ExplicitMask())


def test_i31_packed_rows_told_from_their_positions():
    assert assert_same_with(tiny_decoder("llama"), ROWS, changes.Packed()).verdict.clean
    for lost in (changes.Packed(mask=True), changes.Packed(use_cache=True)):
        names(report(assert_same_with, tiny_decoder("llama"), ROWS, lost), "packed rows visible")
