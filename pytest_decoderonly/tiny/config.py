"""Shrink a model type's own configuration to tiny sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.tiny.sizes import BOS_ID, BY_TYPE, DECODER_FLAG, EOS_ID, PAD_ID, SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PretrainedConfig


class TinyModelError(ValueError):
    """This architecture cannot be built tiny; the message says why in one line."""


def tiny_architectures() -> tuple[str, ...]:
    """Return the model types of the installed transformers that have a causal LM class.

    Most of them build with `tiny_decoder`; the rest raise `TinyModelError`.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


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
    with quiet():
        try:
            default = config_class()
            values = _shrunk(arch, default.to_dict(), getattr(default, "attribute_map", {}))
            return config_class(**{**values, **overrides})
        except Exception as error:
            raise TinyModelError(
                f"arch: the configuration of {arch!r} refuses tiny sizes: {one_line(error)}"
            ) from error


def _shrunk(arch: str, default: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    known = set(default) | set(aliases)
    values: dict[str, Any] = {}
    for name, small in SIZES.items():
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
    specific = dict(BY_TYPE.get(arch, {}))
    if arch in DECODER_FLAG:
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


class quiet:  # noqa: N801 - reads as a statement
    """Hold back the notes of configurations about sizes that are odd on purpose."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._level = logging.get_verbosity()
        logging.set_verbosity(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self._level)


def one_line(error: BaseException) -> str:
    """Return an error as one line of at most some 200 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
