"""Tiny causal LMs with hot weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.tiny.config import TinyModelError, one_line, quiet, tiny_config
from pytest_decoderonly.tiny.sizes import PAD_ID

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

_MAX_PARAMETERS = 5_000_000


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
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        try:
            _refuse_large(arch, config)
            model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.float32)
        except TinyModelError:
            raise
        except Exception as error:
            raise TinyModelError(f"arch: a tiny {arch!r} cannot be built: {one_line(error)}") from error
        _warm(model, heat)
    return model.to(device=device, dtype=torch_dtype).eval()


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
