"""Tiny decoder-only models and tokenizers, built in code: nothing is downloaded.

The models exist to make bugs visible, which a freshly initialised model does not do well: its matrices are so
small that wrong positions move the logits by little, and its padding embedding is zero, so that a padding
leak moves nothing at all. Here all matrices are scaled up, the padding token has an ordinary embedding, and
every weight lies on the bfloat16 grid, so that the same weights run unchanged in float32, bfloat16 and
float16 (where the range allows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["TinyModelError", "tiny_architectures", "tiny_decoder", "tiny_tokenizer"]

PAD_ID, BOS_ID, EOS_ID = 0, 1, 2
VOCAB_SIZE = 320
_MAX_PARAMETERS = 8_000_000

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] "
    "}}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Whole words become single tokens, each with its prefixes: enough merges that a prompt and a response may
# merge at their border.
_WORDS = (
    " the",
    " and",
    " of",
    " to",
    " is",
    " a",
    " in",
    " yes",
    " no",
    "ing",
    "er",
    "Qu",
    "An",
    "swer",
    "question",
    ": ",
    " you",
    " are",
    " wh",
    " that",
    " for",
    " it",
    " with",
    " sky",
    " blue",
    "def ",
    "no",
)


class TinyModelError(ValueError):
    """This architecture cannot be built tiny; the message says why in one line."""


# What a size is called, over all configurations of transformers, and what it becomes. Order does not matter.
_SIZES: dict[str, int] = {
    "vocab_size": VOCAB_SIZE,
    "unpadded_vocab_size": VOCAB_SIZE,
    "decoder_vocab_size": VOCAB_SIZE,
    "vocab_size_per_layer_input": VOCAB_SIZE,
    "ngram_vocab_size_base": 512,
    # widths
    "hidden_size": 64,
    "n_embd": 64,
    "d_model": 64,
    "emb_dim": 64,
    "embedding_dim": 64,
    "embedding_size": 64,
    "word_embed_proj_dim": 64,
    "input_embedding_size": 64,
    "output_embedding_size": 64,
    "attention_hidden_size": 64,
    "lru_width": 64,
    "dim_model_base": 64,
    "hidden_size_per_layer_input": 16,
    "router_hidden_size": 32,
    "intermediate_size": 128,
    "ffn_hidden_size": 128,
    "ffn_dim": 128,
    "dff": 128,
    "dim_ff": 128,
    "d_inner": 128,
    "n_inner": 128,
    "feed_forward_size": 128,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "shared_experts_intermediate_size": 64,
    "moe_shared_expert_intermediate_size": 64,
    "intermediate_size_mlp": 128,
    "dense_intermediate_size": 128,
    "expert_ffn_hidden_size": 64,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    # depths
    "num_hidden_layers": 2,
    "n_layer": 2,
    "n_layers": 2,
    "num_layers": 2,
    "num_blocks": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_kv_shared_layers": 0,
    "num_nextn_predict_layers": 0,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    # heads
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "attention_heads": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_encoder_attention_heads": 4,
    "num_decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_kv_heads": 2,
    "num_query_groups": 2,
    "head_dim": 16,
    "dim_head": 16,
    "d_head": 16,
    "d_kv": 16,
    "kv_channels": 16,
    "attention_head_dim": 16,
    "attention_head_size": 16,
    "rotary_dim": 8,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "o_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 16,
    "index_head_dim": 16,
    "index_n_heads": 2,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_head_dim": 16,
    "linear_num_heads": 4,
    # experts
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_topk": 2,
    "moe_k": 2,
    "n_shared_experts": 1,
    "num_shared_experts": 1,
    "moe_num_shared_experts": 1,
    "zero_expert_num": 2,
    "n_group": 1,
    "topk_group": 1,
    "num_expert_group": 1,
    # state space
    "state_size": 8,
    "ssm_state_size": 8,
    "time_step_rank": 4,
    "mamba_d_state": 8,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_num_heads": 8,
    "mamba_head_dim": 16,
    "mamba_headdim": 16,
    "mamba_d_ssm": 128,
    "mamba_dt_rank": 4,
    "mamba_chunk_size": 16,
    "chunk_size": 16,
    "n_groups": 1,
    # reach
    "max_position_embeddings": 512,
    "n_positions": 512,
    "n_ctx": 512,
    "max_seq_len": 512,
    "max_target_positions": 512,
    "context_length": 512,
    "model_max_length": 512,
    "sliding_window": 16,
    "sliding_window_size": 16,
    "window_size": 16,
    "attention_window_size": 16,
    "keep_window_size": 512,
    "local_attention": 16,
    "attention_chunk_size": 16,
    "laurel_rank": 8,
    "adapter_rank": 8,
}

# Where one name means different things, or sizes depend on each other.
_BY_TYPE: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "falcon": {"num_kv_heads": 1, "new_decoder_architecture": False},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": None},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "bamba": {"attn_layer_indices": [1]},
    "jamba": {
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
    },
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {
        "axial_pos_shape": [16, 32],
        "axial_pos_embds_dim": [32, 32],
        "attn_layers": ["local", "lsh"],
        "is_decoder": True,
    },
    "ministral": {"head_dim": 16},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "dots3_note_text": {"num_key_value_heads": 4},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "zaya": {"num_experts_per_tok": 1},
    "zamba2": {"mamba_headdim": 16, "n_mamba_heads": 8, "hybrid_layer_ids": [1]},
    "dots1": {"n_routed_experts": 4},
    "youtu": {"head_dim": 8},
}

# Encoders that become decoders only when told so.
_DECODER_FLAG = frozenset({
    "bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert",
    "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl",
    "xmod",
})  # fmt: skip


def tiny_architectures() -> tuple[str, ...]:
    """Return the model types of the installed transformers that have a causal LM class.

    Most of them build with `tiny_decoder`; the rest raise `TinyModelError`.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def tiny_decoder(
    arch: str = "llama",
    *,
    seed: int = 0,
    heat: float = 4.0,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "cpu",
    **overrides: Any,
) -> PreTrainedModel:
    """Build a tiny random causal LM of one architecture, in evaluation mode.

    The global random state is left as it was. The vocabulary (320) and the special ids are those of
    `tiny_tokenizer`.

    Args:
        arch: A model type of the installed transformers with a causal LM class, such as `"llama"`, `"gpt2"`
            or `"mamba"`.
        seed: Seed of the weights.
        heat: Factor on every matrix after initialisation. 1 gives the library's own initialisation, which
            hides position bugs.
        dtype: Floating type of the returned model, as a name or a `torch.dtype`.
        device: Where the model goes.
        **overrides: Configuration values that replace the tiny ones, under the names that the configuration
            of `arch` uses.

    Returns:
        A `PreTrainedModel` with `lm_head`, two or three layers, hidden size 64; `config.pad_token_id` is 0,
        BOS 1, EOS 2.

    Raises:
        TinyModelError: `arch` is unknown or cannot be built at this size.
        ValueError: `heat` is not positive or `dtype` is not a floating type.
    """
    import torch

    torch_dtype = _float_dtype(dtype)
    if not heat > 0:
        raise ValueError(f"heat: must be a positive number, got {heat!r}")
    config = tiny_config(arch, **overrides)
    from transformers import AutoModelForCausalLM

    # Not a `with torch.device(...)`: random draws must be the CPU's, so that a seed means the same weights on
    # every machine.
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        try:
            _refuse_large(arch, config)
            model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.float32)
        except TinyModelError:
            raise
        except Exception as error:
            raise TinyModelError(f"arch: a tiny {arch!r} cannot be built: {_one_line(error)}") from error
        _warm(model, heat)
    return model.to(device=device, dtype=torch_dtype).eval()


def tiny_config(arch: str, **overrides: Any) -> PretrainedConfig:
    """Return the configuration that `tiny_decoder` builds: `arch`'s own class with every size shrunk.

    Raises:
        TinyModelError: `arch` is unknown, or its configuration refuses the sizes.
    """
    import difflib

    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if not isinstance(arch, str) or arch not in tiny_architectures():
        near = difflib.get_close_matches(str(arch), tiny_architectures(), n=3)
        hint = (
            f"; did you mean {', '.join(near)}?"
            if near
            else "; such as llama, gpt2, qwen2, mistral, gpt_neox, mamba"
        )
        raise TinyModelError(f"arch: {arch!r} is no causal LM model type of the installed transformers{hint}")
    config_class = CONFIG_MAPPING[arch]
    with _quiet():
        try:
            default = config_class()
            values = _shrunk(arch, default.to_dict(), getattr(default, "attribute_map", {}))
            return config_class(**{**values, **overrides})
        except Exception as error:
            raise TinyModelError(
                f"arch: the configuration of {arch!r} refuses tiny sizes: {_one_line(error)}"
            ) from error


def _shrunk(arch: str, default: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    known = set(default) | set(aliases)
    values: dict[str, Any] = {}
    for name, small in _SIZES.items():
        # A size that is absent or None by default is derived from others; setting it would contradict them.
        if name in default and isinstance(default[name], int) and not isinstance(default[name], bool):
            # Switched off by default (0 shared experts, no window) stays off.
            values[name] = small if default[name] > 0 else default[name]
    if "kv_lora_rank" in values and "num_key_value_heads" in values:
        values["num_key_value_heads"] = values["num_attention_heads"]  # latent attention has no groups
    if "qk_rope_head_dim" in values and "head_dim" in values:
        values["head_dim"] = values[
            "qk_rope_head_dim"
        ]  # latent attention: `head_dim` sizes the rotary part alone
    specific = dict(_BY_TYPE.get(arch, {}))
    if arch in _DECODER_FLAG:
        specific["is_decoder"] = True
    depth = next(
        (
            v
            for k, v in {**values, **specific}.items()
            if k in {"num_hidden_layers", "n_layer", "n_layers", "num_layers"}
        ),
        2,
    )
    kinds = [
        name
        for name in ("layer_types", "layers_block_type", "mlp_layer_types", "indexer_types")
        if _is_pattern(default.get(name))
    ]
    depth = max([depth, *(len(set(default[name])) for name in kinds)])
    for name in kinds:
        values[name] = _pattern(default[name], depth)
    for name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        if name in values:
            values[name] = depth
    values.update(pad_token_id=PAD_ID, bos_token_id=BOS_ID, eos_token_id=EOS_ID)
    return {
        **values,
        **{
            k: v
            for k, v in specific.items()
            if k in known or k in {"is_decoder", "attn_config", "ffn_config"}
        },
    }


def _is_pattern(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


def _pattern(kinds: list[str], depth: int) -> list[str]:
    """Each kind of layer once, in order of appearance, then from the start again."""
    order = list(dict.fromkeys(kinds))
    return [order[i % len(order)] for i in range(depth)]


def _refuse_large(arch: str, config: PretrainedConfig) -> None:
    """A size that the table does not know would cost gigabytes: count on the meta device first."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        count = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if count > _MAX_PARAMETERS:
        raise TinyModelError(
            f"arch: a tiny {arch!r} would still have {count / 1e6:.0f} million parameters; "
            "pass the sizes that its configuration calls by other names as keyword arguments"
        )


def _warm(model: PreTrainedModel, heat: float) -> None:
    import torch

    with torch.no_grad():
        table = _embedding(model)
        if table is not None and table.shape[0] > PAD_ID:
            spread = float(table[PAD_ID + 1 :].float().std())
            table[PAD_ID] = torch.randn(table.shape[1:]) * (spread or 0.02)
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(heat)
            parameter.copy_(parameter.to(torch.bfloat16))


def _embedding(model: PreTrainedModel) -> torch.Tensor | None:
    try:
        layer = model.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        return None
    return getattr(layer, "weight", None)


def _float_dtype(dtype: str | torch.dtype) -> torch.dtype:
    import torch

    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype: must be a floating type such as 'float32' or 'bfloat16', got {dtype!r}")
    return found


class _quiet:  # noqa: N801 - reads as a statement
    """Hold back the notes of configurations about sizes that are odd on purpose."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._level = logging.get_verbosity()
        logging.set_verbosity(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self._level)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def tiny_tokenizer(
    *,
    pad: bool = True,
    bos: bool = False,
    chat_template: bool = True,
    padding_side: Literal["left", "right"] = "left",
) -> PreTrainedTokenizerFast:
    """Build a byte-level BPE tokenizer in code: any text makes a round trip.

    A few words are single tokens, so that text on both sides of a border may merge, as with real
    vocabularies. The special ids are those of `tiny_decoder`: padding 0, BOS 1, EOS 2.

    Args:
        pad: Declare the padding token. Without it the tokenizer refuses to pad, as those of GPT-2 and LLaMA
            do.
        bos: Put BOS in front of every encoding, as LLaMA's and Gemma's tokenizers do.
        chat_template: Set a ChatML template that knows `add_generation_prompt`.
        padding_side: `"left"` or `"right"`.

    Raises:
        ValueError: `padding_side` is neither.
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side: must be 'left' or 'right', got {padding_side!r}")
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    specials = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet])}
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        letters = word.replace(" ", "Ġ")
        for end in range(2, len(letters) + 1):
            if letters[:end] not in vocabulary:
                merges.append((letters[: end - 1], letters[end - 1]))
                vocabulary[letters[:end]] = len(vocabulary)
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", BOS_ID)]
        )
    else:
        backend.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<bos>",  # noqa: S106 - a token of text
        eos_token="<eos>",  # noqa: S106 - a token of text
        pad_token="<pad>" if pad else None,
        padding_side=padding_side,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE if chat_template else None
    return tokenizer
