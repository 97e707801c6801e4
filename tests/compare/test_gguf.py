"""Models out of GGUF files: transformers calls them quantised, though the weights in memory are plain numbers."""

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from pytest_decoderonly import tiny_decoder
from pytest_decoderonly.compare.precision import precision


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A LLaMA of tiny size, its matrices in blocks of four bits, as from_pretrained reads it."""
    from transformers import AutoModelForCausalLM

    whole = tiny_decoder("llama")
    config = whole.config
    folder = tmp_path_factory.mktemp("gguf")
    writer = GGUFWriter(folder / "tiny.gguf", "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    names = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "model.layers": "blk",
    }  # fmt: skip
    for name, tensor in whole.state_dict().items():
        data = tensor.numpy().astype(np.float32)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)  # noqa: PLW2901
        kind = GGMLQuantizationType.Q4_1 if data.ndim == 2 and data.shape[1] % 32 == 0 else None
        writer.add_tensor(name, data if kind is None else quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file="tiny.gguf").eval()


def test_the_weights_of_a_gguf_file_are_judged_in_other_precisions(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with precision(model, torch.float64):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
