"""Tiny models: reproducible, hot, and no trace left in the global random state."""

from __future__ import annotations

import warnings

import pytest
import torch

from pytest_decoderonly import TinyModelError, tiny_architectures, tiny_decoder
from pytest_decoderonly.compare.battery import run_battery
from pytest_decoderonly.tiny import BOS_ID, EOS_ID, PAD_ID, VOCAB_SIZE

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


# One of each family: what a configuration nests, lists for each layer, derives from its other sizes.
FAMILIES = {
    "text and vision": "gemma3",
    "text and audio": "moss_transcribe_diarize",
    "a list of sizes for each layer": "gemma3n_text",
    "sizes that vary by layer": "gemma4_text",
    "sizes known to the arguments only": "dots3_note",
    "latent attention": "deepseek_v3",
    "indexed attention": "glm_moe_dsa",
    "compressed attention": "deepseek_v4",
    "n-gram embeddings": "qwen4_exp",
    "byte patches": "blt",
    "shared layers": "zamba",
    "hybrid": "granitemoehybrid",
    "convolution": "lfm2_moe",
    "recurrent": "xlstm",
    "encoder as decoder": "xmod",
    "decoder of an encoder-decoder": "bart",
    "axial positions": "reformer",
}


@pytest.mark.parametrize("arch", FAMILIES.values(), ids=FAMILIES)
def test_families_generate(arch):
    model = tiny_decoder(arch)
    ids = torch.arange(5, 23).reshape(2, 9)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        more = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, min_new_tokens=3, do_sample=False
        )
    assert logits.shape == (2, 9, model.config.get_text_config().vocab_size)
    assert logits.isfinite().all()
    assert more.shape == (2, 12)
    assert torch.equal(more[:, :9], ids)


def test_all_but_a_few_build_and_keep_the_laws():
    """Within size, hot, no embedding of padding at zero; no warning; random state as it was."""
    failed = {}
    state = torch.get_rng_state()
    for arch in tiny_architectures():
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                model = tiny_decoder(arch)
            except TinyModelError as error:
                failed[arch] = str(error)
                continue
        assert not said, f"{arch}: {said[0].message}"
        assert sum(p.numel() for p in model.parameters()) < 5_000_000, arch
        for name, parameter in model.named_parameters():
            assert parameter.dim() < 2 or parameter.any(), f"{arch}: {name} is zero"
            grid = torch.equal(parameter, parameter.bfloat16().float())
            assert grid or not parameter.requires_grad, f"{arch}: {name} is off the bfloat16 grid"
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Embedding) and module.padding_idx is not None:
                assert module.weight[module.padding_idx].any(), f"{arch}: padding in {name} is zero"
        assert model.get_input_embeddings().weight[PAD_ID].any(), arch
        settings = model.generation_config
        assert (settings.pad_token_id, settings.bos_token_id) == (PAD_ID, BOS_ID), arch
        assert settings.eos_token_id == EOS_ID, arch
    assert torch.equal(torch.get_rng_state(), state)
    for text in failed.values():
        assert "\n" not in text
        assert text.startswith("arch: ")
    # With timm, the vision tower of gemma3n could be made, but not small.
    known = {"gemma3n", "gemma4_assistant", "gemma4_unified_assistant", "musicgen", "musicgen_melody"}
    assert set(failed) <= known, failed


def test_an_override_of_a_part_changes_that_part():
    plain, deep = tiny_decoder("gemma3"), tiny_decoder("gemma3", text_config={"intermediate_size": 96})
    assert plain.config.text_config.intermediate_size == 128
    assert deep.config.text_config.intermediate_size == 96
    assert deep.config.text_config.hidden_size == plain.config.text_config.hidden_size == 64


def test_narrow_types_keep_what_the_class_keeps_wide():
    model = tiny_decoder("deepseek_v3", dtype="bfloat16")
    kinds = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    assert {kind for name, kind in kinds.items() if name.endswith("e_score_correction_bias")} == {
        torch.float32
    }
    assert kinds["model.layers.0.mlp.up_proj.weight"] == kinds["lm_head.weight"] == torch.bfloat16
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert tiny_decoder("deepseek_v3", dtype="float64").model.rotary_emb.inv_freq.dtype == torch.float64


def test_sines_stay_sines():
    table = tiny_decoder("roformer").roformer.encoder.embed_positions.weight
    assert table.pow(2).sum(-1).allclose(torch.full((table.shape[0],), table.shape[1] / 2))


@pytest.mark.parametrize("arch", ["deepseek_v32", "dots3_note_text", "qwen4_exp_text"])
def test_an_index_selects_and_has_no_ties(arch):
    """Rows longer than what the index may take, and the same choice in every shape."""
    rows = [list(range(5, 11)), list(range(20, 39)), list(range(50, 83))]
    model = tiny_decoder(arch)
    assert run_battery(model, rows, pad_id=PAD_ID, steps=2, widths=(8, 33)).verdict.clean
    config = model.config
    assert getattr(config, "index_topk", None) == 16 or config.indexer_budget == 16


def test_decays_and_scales_are_not_heated():
    cold, hot = (dict(tiny_decoder("mamba", heat=heat).named_parameters()) for heat in (1.0, 4.0))
    name = "backbone.layers.0.mixer.A_log"
    assert torch.equal(cold[name], hot[name])
    name = "backbone.layers.0.mixer.in_proj.weight"
    assert torch.equal(cold[name] * 4, hot[name])


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"arch": "lama"}, TinyModelError, "arch: 'lama' is no causal LM .* did you mean llama"),
        ({"heat": 0}, ValueError, "heat: must be a positive number, got 0"),
        ({"dtype": "int8"}, ValueError, "dtype: must be a floating type .*, got 'int8'"),
        ({"num_attention_heads": 7}, TinyModelError, "llama"),
        ({"vocab_size": 10**6}, TinyModelError, "a tiny 'llama' would still have 128 million parameters"),
        ({"arch": "musicgen"}, TinyModelError, "'musicgen' is no model for prompts: .* audio codes"),
    ],
)
def test_usage_errors(kwargs, error, text):
    with pytest.raises(error, match=text):
        tiny_decoder(**kwargs)
