"""A right-padded prefill: what is left in the cache of convolutions and recurrences is the padding's."""

from __future__ import annotations

import pytest
import torch

from pytest_decoderonly import Verdict, tiny_decoder
from pytest_decoderonly.compare.right_padding import judge_right_padding

ROWS = [list(range(5, 11)), list(range(40, 49)), list(range(80, 94))]


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gpt_neox", "mixtral", "bloom"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_is_right(arch, dtype):
    result = judge_right_padding(tiny_decoder(arch, dtype=dtype), ROWS, pad_id=0)
    assert result.verdict.clean
    assert result.culprit is None
    assert result.steps < 1e-4


@pytest.mark.parametrize("arch", ["mamba", "mamba2", "falcon_h1", "lfm2", "qwen3_next", "jamba", "bamba"])
def test_states_hold_the_padding(arch):
    """Reported for transformers as issue 48256: the prompt is right, and all that follows is not."""
    result = judge_right_padding(tiny_decoder(arch, dtype="bfloat16"), ROWS, pad_id=0)
    assert result.verdict is Verdict.DIFFERENT
    assert result.culprit == "cache after right padding"
    assert result.prompt < 1e-4
    assert result.steps > 0.1


def test_positions_that_nobody_can_tell():
    result = judge_right_padding(tiny_decoder("bart"), ROWS, pad_id=0)
    assert result.culprit == "position after right padding"


def test_a_mask_that_is_dropped_is_visible_at_the_step():
    model = tiny_decoder("llama")
    forward = model.model.forward
    model.model.forward = lambda *args, **kwargs: forward(*args, **{**kwargs, "attention_mask": None})
    result = judge_right_padding(model, ROWS, pad_id=0)
    assert result.verdict is Verdict.DIFFERENT
    assert result.prompt < 1e-4, "causal attention does not see what comes later"


def test_leaves_no_trace():
    model = tiny_decoder("mamba", dtype="bfloat16").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    judge_right_padding(model, ROWS, pad_id=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_undecided_without_a_cache():
    result = judge_right_padding(tiny_decoder("openai-gpt"), ROWS, pad_id=0)
    assert result.verdict is Verdict.UNDECIDED
    assert result.reason == "OpenAIGPTLMHeadModel returned no cache that its forward takes back"


@pytest.mark.parametrize(
    ("rows", "steps", "text"),
    [
        ([[5, 6], [7, 8]], 2, "rows: must hold two or more prompts of different lengths"),
        ([[5, 6], []], 2, "rows: must hold .* none of them empty"),
        (ROWS, 0, "steps: must be at least 1, got 0"),
    ],
)
def test_usage_errors(rows, steps, text):
    with pytest.raises(ValueError, match=text):
        judge_right_padding(tiny_decoder("llama"), rows, pad_id=0, steps=steps)
