"""A small training step: a padded batch with labels, and how far its gradient reaches."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_decoderonly.errors import message_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_decoderonly.conformance.case import Case

_Result = TypeVar("_Result")

_LENGTHS = (7, 12)
IGNORE = -100


def on_labelled_batch(case: Case, side: str, run: Callable[[dict[str, Any]], _Result]) -> tuple[_Result, str]:
    """Run a training step on a padded batch; where it does not fit into memory on half of the rows.

    Returns:
        What `run` returns, and a sentence on how far the batch was halved; empty where it was not.

    Raises:
        NoRoomError: Not even one row fits.
    """
    from pytest_decoderonly.compare.memory import free_memory, halving, room_for

    def at_most(most: int | None) -> _Result:
        batch = _labelled_batch(case, side, most)
        with room_for(*batch["input_ids"].shape):
            return run(batch)

    return halving(at_most, free_memory(case.model))


def _labelled_batch(case: Case, side: str, most: int | None) -> dict[str, Any]:
    """Return a padded batch whose first half of each row is a prompt: ids, mask, labels of (rows, positions).

    The width stays that of all rows, so that one row is padded, too.
    """
    import torch

    from pytest_decoderonly.compare.drive import Driver
    from pytest_decoderonly.compare.precision import device_of

    rows = case.rows(_LENGTHS)
    width = max(map(len, rows))
    rows = rows[:most]

    def padded(values: list[int], fill: int) -> list[int]:
        pads = [fill] * (width - len(values))
        return pads + values if side == "left" else values + pads

    device = device_of(case.model)
    # Training loops keep no cache; some models write into theirs, which no gradient survives.
    extra = {"use_cache": False} if "use_cache" in Driver(case.model, case.pad_id).accepts else {}
    return {
        **extra,
        "input_ids": torch.tensor([padded(row, case.pad_id) for row in rows], device=device),
        "attention_mask": torch.tensor([padded([1] * len(row), 0) for row in rows], device=device),
        "labels": torch.tensor(
            [padded([IGNORE] * (len(row) // 2) + row[len(row) // 2 :], IGNORE) for row in rows],
            device=device,
        ),
    }


@dataclass(frozen=True)
class Flow:
    """How far a gradient reaches: `dead` are decoder layers without any, `not_finite` weights with NaN or infinity.

    `error` says why there is no loss, `raised` what the backward pass raised.
    """

    trained: int = 0
    layers: int = 0
    dead: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()
    error: str = ""
    raised: str = ""


def gradient_flow(model: Any, batch: dict[str, Any]) -> Flow:
    """Take the gradient of the model's loss; weights, their gradients and modes stay as they are.

    Memory that has run out is raised, whatever else the backward pass raises is told.
    """
    import torch

    from pytest_decoderonly.compare.layers import decoder_layers
    from pytest_decoderonly.compare.memory import is_no_room
    from pytest_decoderonly.compare.precision import undisturbed

    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    # What a text does not pass through (the layers of a vision tower) has no part in its loss.
    passed: set[int] = set()
    hooks = [
        layer.register_forward_hook(lambda module, *_: passed.add(id(module)))
        for layer in decoder_layers(model)
    ]
    with contextlib.ExitStack() as stack, undisturbed(model), torch.enable_grad():
        for hook in hooks:
            stack.callback(hook.remove)
        # As in training: some models take no gradient otherwise. `undisturbed` gives modes and random numbers back.
        model.train()
        try:
            loss = getattr(model(**batch), "loss", None)
        except (TypeError, ValueError) as error:
            return Flow(error=message_of(error))
        if not isinstance(loss, torch.Tensor):
            return Flow(error="its output has no loss")
        if not loss.requires_grad:
            return Flow(dead=("the loss, which no trainable weight has a part in",))
        try:
            gradients = torch.autograd.grad(loss.sum(), [p for _, p in named], allow_unused=True)
        except RuntimeError as error:
            if is_no_room(error):
                raise
            return Flow(raised=message_of(error))
    reached = {
        id(parameter): gradient is not None and bool((gradient != 0).any())
        for (_, parameter), gradient in zip(named, gradients, strict=True)
    }
    broken = [
        name
        for (name, _), gradient in zip(named, gradients, strict=True)
        if gradient is not None and not bool(gradient.isfinite().all())
    ]
    names = {id(module): name for name, module in model.named_modules()}
    layers = [
        (names.get(id(layer), "a layer"), [p for p in layer.parameters() if id(p) in reached])
        for layer in decoder_layers(model)
        if id(layer) in passed
    ]
    trainable = [(name, parameters) for name, parameters in layers if parameters]
    dead = [name for name, parameters in trainable if not any(reached[id(p)] for p in parameters)]
    return Flow(len(named), len(trainable), tuple(dead), tuple(broken))
