"""Tiny causal LMs with hot weights."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.embeddings import embedding_table
from pytest_decoderonly.errors import one_line
from pytest_decoderonly.extras import need
from pytest_decoderonly.tiny.config import TinyModelError, quiet, tiny_architectures, tiny_config
from pytest_decoderonly.tiny.sizes import BOS_ID, EOS_ID, PAD_ID

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

_MAX_PARAMETERS = 5_000_000
_SPREAD = 0.02  # of weights for which an initialisation gives none; what most of transformers uses


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
        ModuleNotFoundError: torch or transformers is not installed.
    """
    need("a tiny model", "torch", "transformers")
    import torch

    torch_dtype = _float_dtype(dtype)
    if not heat > 0:
        raise ValueError(f"heat: must be a positive number, got {heat!r}")
    config = tiny_config(arch, **overrides)
    # Not a `with torch.device(...)`: random draws must be the CPU's, so that a seed means the same weights on
    # every machine.
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        try:
            model_class, config = _class_and_part(config)
            _refuse_large(arch, model_class, config)
            model = model_class._from_config(config, torch_dtype=torch.float32)
        except TinyModelError:
            raise
        except Exception as error:
            text = f"{arch}_text"
            hint = f"; its text model is {text!r}" if text in tiny_architectures() else ""
            raise TinyModelError(f"arch: a tiny {arch!r} cannot be built: {one_line(error)}{hint}") from error
        _warm(model, heat)
    _name_special_ids(model)
    return _cast(model, torch_dtype).to(device=device).eval()


def _class_and_part(config: PretrainedConfig) -> tuple[type[PreTrainedModel], PretrainedConfig]:
    """Return the causal LM class, and the part of a composite configuration that it is made from."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    wanted = model_class.config_class
    if not isinstance(config, wanted):
        config = next((part for part in vars(config).values() if isinstance(part, wanted)), config)
    return model_class, config


def _refuse_large(arch: str, model_class: type[PreTrainedModel], config: PretrainedConfig) -> None:
    """A size that the table does not know would cost gigabytes: count on the meta device first."""
    import copy

    import torch

    with torch.device("meta"):
        count = sum(p.numel() for p in model_class(copy.deepcopy(config)).parameters())
    if count > _MAX_PARAMETERS:
        raise TinyModelError(
            f"arch: a tiny {arch!r} would still have {count / 1e6:.0f} million parameters; "
            "pass the sizes that its configuration calls by other names as keyword arguments"
        )


def _name_special_ids(model: PreTrainedModel) -> None:
    """`generate` must find the padding and the end in the model alone, as it does in published models."""
    settings = getattr(model, "generation_config", None)
    for name, value in (("pad_token_id", PAD_ID), ("bos_token_id", BOS_ID), ("eos_token_id", EOS_ID)):
        if settings is not None and getattr(settings, name, None) is None:
            setattr(settings, name, value)


def _warm(model: PreTrainedModel, heat: float) -> None:
    """Leave nothing at zero that training would move, scale the matrices, round to the bfloat16 grid."""
    import torch

    with torch.no_grad():
        table = embedding_table(model)
        if table is not None and table.shape[0] > PAD_ID:
            _fill_row(table, PAD_ID)
        for module in model.modules():
            padding = getattr(module, "padding_idx", None)
            if isinstance(module, torch.nn.Embedding) and padding is not None:
                _fill_row(module.weight, padding)
        for name, parameter in model.named_parameters():
            if "position" in name and not parameter.requires_grad:
                continue  # a table of sines and cosines is computed, not learnt
            if parameter.dim() >= 2:
                if not parameter.any():
                    parameter.normal_(std=_SPREAD)
                # What is the same everywhere is a scale, and `A_log` the logarithm of a decay: no weights.
                if parameter.min() != parameter.max() and not name.endswith("A_log"):
                    parameter.mul_(heat)
            parameter.copy_(parameter.to(torch.bfloat16))


def _cast(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Cast as `from_pretrained` does: rotary frequencies, and what the class wants kept, stay in float32."""
    import torch

    kept = set(getattr(model, "_keep_in_fp32_modules_strict", None) or ())
    if dtype == torch.float16:
        kept |= set(getattr(model, "_keep_in_fp32_modules", None) or ())
    narrow = dtype in (torch.float16, torch.bfloat16)
    pattern = re.compile("|".join(["inv_freq", *(name.replace("*", ".*") for name in sorted(kept))]))
    wide = {
        id(tensor): tensor.data
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if narrow and pattern.search(name)
    }
    buffers = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if id(buffer) in wide
    ]
    model.to(dtype=dtype)
    for parameter in model.parameters():
        parameter.data = wide.get(id(parameter), parameter.data)
    for module, name, buffer in buffers:
        module._buffers[name] = buffer
    return model


def _fill_row(table: torch.Tensor, row: int) -> None:
    """Give one row an ordinary embedding where it is zero, as it is for padding in every fresh model."""
    import torch

    if not table[row].any():
        spread = float(table.float().std())
        table[row] = torch.randn(table.shape[1:]) * (spread or _SPREAD)


def _float_dtype(dtype: str | torch.dtype) -> torch.dtype:
    import torch

    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"dtype: must be a floating type such as 'float32' or 'bfloat16', got {dtype!r}")
    return found
