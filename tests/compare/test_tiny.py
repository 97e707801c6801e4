"""Tiny models: reproducible, hot, and no trace left in the global random state."""

from __future__ import annotations

import pytest
import torch

from pytest_decoderonly import TinyModelError, tiny_architectures, tiny_decoder
from pytest_decoderonly.tiny import PAD_ID, VOCAB_SIZE

MAIN = (
    "llama",
    "gpt2",
    "qwen2",
    "mistral",
    "gpt_neox",
    "mamba",
    "mixtral",
    "gemma2",
    "falcon_h1",
    "opt",
    "bloom",
    "phi3",
)


@pytest.mark.parametrize("arch", MAIN)
def test_models(arch):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    model, again, other = tiny_decoder(arch), tiny_decoder(arch), tiny_decoder(arch, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    same = [torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert not model.training
    assert model.config.model_type == arch
    assert model.get_input_embeddings().weight.shape[0] == VOCAB_SIZE
    assert model.get_input_embeddings().weight[PAD_ID].abs().sum() > 0
    assert sum(p.numel() for p in model.parameters()) < 1_000_000
    for parameter in model.parameters():
        assert torch.equal(parameter, parameter.bfloat16().float()), "on the bfloat16 grid"
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    assert logits.shape == (1, 20, VOCAB_SIZE)
    assert logits.isfinite().all()


def test_heat_scales_matrices():
    cold, hot = tiny_decoder("llama", heat=1.0), tiny_decoder("llama", heat=4.0)
    name = "model.layers.0.self_attn.q_proj.weight"
    assert torch.equal(cold.state_dict()[name] * 4, hot.state_dict()[name])
    assert torch.equal(cold.state_dict()["model.norm.weight"], hot.state_dict()["model.norm.weight"])


def test_most_architectures_build():
    built, failed = [], {}
    for arch in tiny_architectures():
        try:
            built.append(tiny_decoder(arch).config.model_type)
        except TinyModelError as error:  # noqa: PERF203
            failed[arch] = str(error)
            assert "\n" not in failed[arch]
            assert failed[arch].startswith("arch: ")
    assert set(MAIN) <= set(built)
    assert len(built) >= 0.75 * len(tiny_architectures()), failed


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"arch": "lama"}, TinyModelError, "arch: 'lama' is no causal LM .* did you mean llama"),
        ({"heat": 0}, ValueError, "heat: must be a positive number, got 0"),
        ({"dtype": "int8"}, ValueError, "dtype: must be a floating type .*, got 'int8'"),
        ({"num_attention_heads": 7}, TinyModelError, "llama"),
    ],
)
def test_usage_errors(kwargs, error, text):
    with pytest.raises(error, match=text):
        tiny_decoder(**kwargs)
