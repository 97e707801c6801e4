"""Run a user's model in another precision, and give it back exactly as it was."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.memory import is_no_room

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


class CannotCastError(Exception):
    """These weights have no copy in another precision; the message says why."""


def device_of(model: torch.nn.Module) -> torch.device:
    """Return where the input ids go: the device of the first parameter or buffer."""
    import itertools

    import torch

    for tensor in itertools.chain(model.parameters(), model.buffers()):
        if tensor.device.type != "meta":
            return tensor.device
    return torch.device("cpu")


def dtype_of(model: torch.nn.Module) -> torch.dtype:
    """Return the floating type that most of the weights have: the working precision."""
    import torch

    counts: dict[torch.dtype, int] = {}
    for parameter in model.parameters():
        if parameter.is_floating_point():
            counts[parameter.dtype] = counts.get(parameter.dtype, 0) + parameter.numel()
    return max(counts, key=lambda dtype: counts[dtype]) if counts else torch.float32


def shortened(model: torch.nn.Module) -> bool:
    """Whether float32 products are rounded on this machine (TF32 and the like), as torch's settings say."""
    import torch

    if torch.get_float32_matmul_precision() != "highest":
        return True
    convolves = any(isinstance(module, torch.nn.modules.conv._ConvNd) for module in model.modules())
    return device_of(model).type == "cuda" and convolves and torch.backends.cudnn.allow_tf32


def dtype_name(dtype: torch.dtype) -> str:
    """Return `float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


@contextlib.contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluate without gradients and autocast; then mode, buffers and random state are as before.

    Buffers are put back because a model may rewrite them in a forward pass (dynamic rotary frequencies do).
    """
    import torch

    device = device_of(model)
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and buffer.device.type != "meta"
    ]
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.no_grad(),
        torch.autocast(device.type, enabled=False),
        _quiet(),
    ):
        try:
            model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training
            for module, name, buffer, before in buffers:
                module._buffers[name] = buffer
                if not torch.equal(buffer, before):
                    buffer.copy_(before)


@contextlib.contextmanager
def precision(model: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Run the same weights in `dtype` (float32 or float64) inside the block.

    No copy of the module is made, so hooks, patches and ties stay: each floating tensor is replaced by its
    cast, and the original tensor object's storage is put back afterwards, bit for bit. TF32 is off inside.

    Raises:
        CannotCastError: Weights are quantised or not in memory, or do not fit into it in that precision.
    """
    import torch

    _refuse(model)
    parameters = [(p, p.data) for p in model.parameters() if p.is_floating_point() and p.dtype != dtype]
    buffers = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        # Only lift what is narrower: float32 tables of a bfloat16 model are float32 on purpose.
        if buffer is not None and buffer.is_floating_point() and buffer.dtype.itemsize < dtype.itemsize
    ]
    matmul = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        try:
            for parameter, original in parameters:
                parameter.data = original.to(dtype)
            for module, name, buffer in buffers:
                module._buffers[name] = buffer.to(dtype)
        except Exception as error:
            if not is_no_room(error):
                raise
            raise CannotCastError(f"the weights do not fit into memory in {dtype_name(dtype)}") from None
        yield
    finally:
        for parameter, original in parameters:
            parameter.data = original
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def why_not_castable(model: torch.nn.Module) -> str:
    """Return why there is no copy of these weights in another precision; empty where there is."""
    try:
        _refuse(model)
    except CannotCastError as error:
        return str(error)
    return ""


def _refuse(model: torch.nn.Module) -> None:
    quantised = getattr(model, "is_quantized", False) or getattr(model, "hf_quantizer", None) is not None
    # transformers 5 calls quantised what it has read from a GGUF file, also where the weights in memory are plain
    # numbers; whether they are is seen below.
    if quantised and getattr(model, "quantization_method", None) != "gguf":
        raise CannotCastError(
            "the weights are quantised, so there is no float32 copy of the same weights to judge by"
        )
    for name, parameter in model.named_parameters():
        if parameter.device.type == "meta":
            raise CannotCastError(
                f"the weight {name} is not in memory (offloaded), so it cannot be cast to float32"
            )
        if not parameter.is_floating_point() and not parameter.is_complex():
            raise CannotCastError(
                f"the weight {name} is {dtype_name(parameter.dtype)}, so there is no float32 copy to judge by"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Our own calls of `generate` must not fill the user's log with advice about them."""
    import warnings

    try:
        from transformers.utils import logging
    except ImportError:
        yield
        return
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def first_generator(model: Any) -> Any | None:
    """Return the outermost module inside `model` that transformers' `generate` runs on, or None."""
    try:
        from transformers.generation import GenerationMixin
    except ImportError:
        return None
    for module in model.modules():
        can = getattr(module, "can_generate", None)
        if isinstance(module, GenerationMixin) and (can is None or can()):
            return module
    return None
