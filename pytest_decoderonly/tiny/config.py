"""Shrink a model type's own configuration to tiny sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.errors import one_line
from pytest_decoderonly.tiny.sizes import (
    BOS_ID,
    BY_TYPE,
    DECODER_FLAG,
    DEPTHS,
    EOS_ID,
    KINDS,
    NO_PROMPT,
    PAD_ID,
    SIZES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PretrainedConfig


class TinyModelError(ValueError):
    """This architecture cannot be built tiny; the message says why in one line."""


def tiny_architectures() -> tuple[str, ...]:
    """Return the model types of the installed transformers that have a causal LM class.

    Nearly all of them build with `tiny_decoder`; the rest raise `TinyModelError`.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))


def tiny_config(arch: str, **overrides: Any) -> PretrainedConfig:
    """Return the configuration that `tiny_decoder` builds: `arch`'s own class with every size shrunk.

    The configurations inside it (`text_config`, `vision_config`, …) are shrunk by the same rules. An override
    that is a dictionary changes the tiny configuration of that name instead of replacing it.

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
    if arch in NO_PROMPT:
        raise TinyModelError(f"arch: {arch!r} is no model for prompts: {NO_PROMPT[arch]}")
    config_class = CONFIG_MAPPING[arch]
    with quiet():
        try:
            return config_class(**_merged(_shrunk(config_class()), overrides))
        except Exception as error:
            raise TinyModelError(
                f"arch: the configuration of {arch!r} refuses tiny sizes: {one_line(error)}"
            ) from error


def _merged(values: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for name, value in overrides.items():
        inner = merged.get(name)
        merged[name] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _shrunk(default: PretrainedConfig) -> dict[str, Any]:
    """The arguments that make a tiny configuration of the same class."""
    import inspect

    from transformers import PretrainedConfig

    arch = default.model_type
    # What is no argument is derived from the arguments; setting it would contradict them.
    accepted = inspect.signature(type(default)).parameters
    own = default.to_dict()
    own |= {name: own[kept] for name, kept in getattr(default, "attribute_map", {}).items() if kept in own}
    own = {name: value for name, value in own.items() if name in accepted}
    values: dict[str, Any] = {}
    for name, small in SIZES.items():
        # A size that is absent or None by default is derived from others, too.
        if isinstance(own.get(name), int) and not isinstance(own[name], bool):
            # Switched off by default (0 shared experts, no window) stays off.
            values[name] = small if own[name] > 0 else own[name]
    if "kv_lora_rank" in values and "num_key_value_heads" in values:
        values["num_key_value_heads"] = values["num_attention_heads"]  # latent attention has no groups
    if "qk_rope_head_dim" in values and "head_dim" in values:
        # Latent attention: `head_dim` sizes the rotary part alone.
        values["head_dim"] = values["qk_rope_head_dim"]
    for name, value in vars(default).items():
        if isinstance(value, PretrainedConfig):
            values[name] = {**_shrunk(value), "model_type": value.model_type}
    specific = {**BY_TYPE.get(arch, {}), **({"is_decoder": True} if arch in DECODER_FLAG else {})}
    values.update(_layers(own, {**values, **specific}))
    values.update(pad_token_id=PAD_ID, bos_token_id=BOS_ID, eos_token_id=EOS_ID)
    return _merged(values, specific)


def _layers(own: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """As many layers as there are kinds of layers, two at least; what is listed for each layer, as often."""
    kinds = {name: asked.get(name, own.get(name)) for name in KINDS}
    lengths = [len(set(kind)) for kind in kinds.values() if _is_list(kind)]
    depths = {name: max([asked[name], *lengths]) for name in DEPTHS if name in asked}
    depth = max([*depths.values(), *(lengths if not depths else [])], default=2)
    before = next((own[name] for name in DEPTHS if isinstance(own.get(name), int)), None)
    values: dict[str, Any] = dict(depths)
    for name, value in own.items():
        if _is_list(value) and (name in KINDS or len(value) == before) and not name.endswith("_token_id"):
            # Each kind once, in order of appearance, then from the start again.
            order = [SIZES[name]] if name in SIZES else list(dict.fromkeys(value))
            values[name] = [order[i % len(order)] for i in range(depth)]
    return values


def _is_list(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and bool(value)
        and all(isinstance(item, (str, int, float)) for item in value)
    )


class quiet:  # noqa: N801 - reads as a statement
    """Hold back the notes of configurations about sizes that are odd on purpose."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._level = logging.get_verbosity()
        logging.set_verbosity(logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self._level)
