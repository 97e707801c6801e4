"""Which positions the loss is taken over, and which token each is taught, by the gradient at the logits.

Loss values prove nothing: on a random model labels that are shifted twice move the loss by a thousandth. The
gradient of a cross-entropy at one position is (softmax - one-hot) times the weight of the position in the
loss: exactly zero where the position is ignored, and of one sign at the label alone. To read it, the output of
the language-model head is replaced by zeros (every token equally likely, so that nothing depends on what the
model believes) and, in a second run, by its own values.

A fused loss never makes the logits: it multiplies hidden states with the head's weight W itself. Its gradient at the
hidden state of one position is W^T (softmax - one-hot) times the weight of the position, so the label is the token
whose row of W points that way from the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.compare.embeddings import input_embeddings, output_embeddings
from pytest_decoderonly.compare.gather import kept_random_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    LossFn = Callable[[Any, dict[str, Any]], Any]

_HEADS = ("lm_head", "embed_out", "output_projection", "output")
_MOST_COLUMNS = 1024
_CHUNK = 256  # positions at a time, so that (positions, vocabulary) stays small
_SAME = 1e-6
_EVEN = 0.01  # of the label's gradient
_FIT = 0.999  # cosine; rounding in bfloat16 leaves 0.9999


class UndecidedError(ValueError):
    """What the loss is taken over cannot be told for this model and loss; the message says why."""


@dataclass(frozen=True)
class Attribution:
    """What each position's prediction is taught: (rows, positions), None where it is not in the loss.

    `weights` are those of the positions in the loss, 0 where there are none; empty where they cannot be told.
    `by` says whether the gradient at the logits told it, that at the last hidden states, or one label at a time.
    """

    taught: tuple[tuple[int | None, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    by: Literal["logits", "hidden states", "labels"]

    def labels(self, ignore_index: int) -> list[list[int]]:
        """Return labels that stand at their own tokens: what position t is taught stands at t + 1."""
        return [
            [ignore_index, *(ignore_index if token is None else token for token in row[:-1])]
            for row in self.taught
        ]


def attribute(
    model: Any,
    batch: Mapping[str, Any],
    loss_fn: LossFn | None = None,
    *,
    head: Any = None,
    ignore_index: int = -100,
) -> Attribution:
    """Tell which positions of a batch the loss is taken over, and what each is taught.

    Where the loss does not go through the output of the head (fused and chunked losses), the gradient at the
    hidden states behind the backbone tells it. Where that cannot be read, labels are kept one column at a time,
    and the last position whose embedding has a gradient is the one that predicts it; this costs a forward and a
    backward pass a column. Gradients, modes and the random state stay as they are.

    Raises:
        UndecidedError: Neither way can tell.
        TypeError: `loss_fn` returns no tensor.
        ValueError: There is no loss.
    """
    batch = as_tensors(batch, model)
    shape = tuple(batch["input_ids"].shape)
    function = loss_fn or _own_loss
    with _unchanged(model), kept_random_state():
        output = head if head is not None else _head(model)
        runs = []
        if output is not None:
            runs = [_at_logits(model, batch, function, output, shape, own=own) for own in (False, True)]
        if runs and runs[0] is not None and runs[1] is not None:
            return _read(runs[0], runs[1], batch["input_ids"])
        found = _at_hidden_states(model, batch, function, output, shape)
        if found is not None:
            return found
        return _by_labels(model, batch, function, ignore_index)


def as_tensors(batch: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """Return the batch with lists and arrays as tensors on the model's device.

    Raises:
        TypeError: It is no mapping with `input_ids` of shape (rows, positions).
    """
    import torch

    if not isinstance(batch, Mapping) or "input_ids" not in batch:
        raise TypeError("batch: must be a mapping with input_ids of shape (rows, positions)")
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    made: dict[str, Any] = {}
    for name, value in batch.items():
        array = isinstance(value, (list, tuple)) or type(value).__module__ == "numpy"
        made[name] = torch.as_tensor(value, device=device) if array else value
    if not isinstance(made["input_ids"], torch.Tensor) or made["input_ids"].dim() != 2:
        raise TypeError("batch: input_ids must have the shape (rows, positions)")
    return made


def _own_loss(model: Any, batch: dict[str, Any]) -> Any:
    if batch.get("labels") is None:
        raise ValueError("batch: has no labels, so the model computes no loss; give loss_fn")
    return model(**batch)


def _loss(model: Any, batch: dict[str, Any], function: LossFn) -> torch.Tensor:
    import torch

    # Trainers pop from the batch.
    found = function(model, dict(batch))
    if isinstance(found, tuple) and found and isinstance(found[0], torch.Tensor):
        found = found[0]
    if not isinstance(found, torch.Tensor):
        found = found.get("loss") if isinstance(found, Mapping) else getattr(found, "loss", None)
    if not isinstance(found, torch.Tensor):
        raise TypeError("loss_fn: must return the loss as a tensor (or what has a .loss)")
    return found.sum()


def _head(model: Any) -> Any:
    found = output_embeddings(model)
    if found is None:
        inner = getattr(model, "module", model)
        found = next((getattr(inner, name) for name in _HEADS if hasattr(inner, name)), None)
    return found if hasattr(found, "register_forward_hook") else None


@contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """Give each module its mode back, and each parameter its gradient and whether it has one."""
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, gradient, wanted in parameters:
            parameter.grad = gradient
            parameter.requires_grad_(wanted)


def _at_logits(
    model: Any, batch: dict[str, Any], function: LossFn, head: Any, shape: tuple[int, ...], *, own: bool
) -> torch.Tensor | None:
    """Return the gradient of the loss at the head's output, (rows, positions, vocabulary); None without."""
    import torch

    leaves: list[torch.Tensor] = []

    def replaced(_: Any, __: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return output
        wide = output.detach().to(torch.promote_types(output.dtype, torch.float32))
        leaf = (wide.clone() if own else torch.zeros_like(wide)).requires_grad_()
        leaves.append(leaf)
        return leaf

    joined = _joined(_gradients(head, replaced, leaves, lambda: _loss(model, batch, function)), shape)
    # No label at all is a mean over nothing, whose gradient is no number.
    return None if joined is None else torch.nan_to_num(joined, nan=0.0)


def _gradients(
    module: Any, replaced: Callable[..., Any], leaves: list[torch.Tensor], loss: Callable[[], torch.Tensor]
) -> list[torch.Tensor]:
    """Return the gradients of a loss at the leaves that a hook puts in the place of a module's outputs; [] without."""
    import torch

    handle = module.register_forward_hook(replaced)
    try:
        with torch.enable_grad():
            found = loss()
    finally:
        handle.remove()
    if not leaves or not found.requires_grad:
        return []
    gradients = torch.autograd.grad(found, leaves, allow_unused=True)
    return [gradient for gradient in gradients if gradient is not None]


def _joined(parts: list[torch.Tensor], shape: tuple[int, ...]) -> torch.Tensor | None:
    """Put the head's calls together to (rows, positions, vocabulary), where that can be done in one way."""
    import torch

    if not parts:
        return None
    rows, width = shape
    if all(part.dim() == 3 for part in parts):
        if all(part.shape[1] == width for part in parts) and sum(part.shape[0] for part in parts) == rows:
            return torch.cat(parts, 0)
        if all(part.shape[0] == rows for part in parts) and sum(part.shape[1] for part in parts) == width:
            return torch.cat(parts, 1)
    if all(part.dim() == 2 for part in parts) and sum(part.shape[0] for part in parts) == rows * width:
        return torch.cat(parts, 0).reshape(rows, width, -1)
    return None


def _read(flat: torch.Tensor, own: torch.Tensor, ids: torch.Tensor) -> Attribution:
    """Take from each position the label that stands out, and its weight.

    With equal logits all but the label have the same small gradient; with its own, one that is certain of the
    label has none, but a loss that clips ratios of probabilities is as in training. Where the others differ, it is
    another distribution that is taught (distillation): of that no token can be said, and the one that stands
    there is taken for it.
    """
    size = flat.shape[-1]
    strength, label = flat.abs().max(-1)
    other_strength, other_label = own.abs().max(-1)
    if size > 2:
        others = flat.scatter(-1, label[..., None], flat.gather(-1, (label[..., None] + 1) % size))
        soft = others.amax(-1) - others.amin(-1) > _EVEN * strength
        label = label.where(~soft, ids.roll(-1, 1))
    taught: list[tuple[int | None, ...]] = []
    weights: list[tuple[float, ...]] = []
    columns = zip(
        strength.tolist(), label.tolist(), other_strength.tolist(), other_label.tolist(), strict=True
    )
    for row in columns:
        tokens: list[int | None] = []
        shares: list[float] = []
        for by_flat, token, by_own, own_token in zip(*row, strict=True):
            tokens.append(token if by_flat else own_token if by_own else None)
            shares.append(by_flat * size / (size - 1) if size > 1 else by_flat)
        taught.append(tuple(tokens))
        weights.append(tuple(shares))
    return Attribution(tuple(taught), tuple(weights), "logits")


def _backbone(model: Any) -> Any:
    """Return the module that gives the last hidden states, None where it is not known."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else getattr(model, "module", model)
    found = getattr(inner, "base_model", None)
    return found if found is not inner and hasattr(found, "register_forward_hook") else None


def _at_hidden_states(
    model: Any, batch: dict[str, Any], function: LossFn, head: Any, shape: tuple[int, ...]
) -> Attribution | None:
    """Read labels and weights off the gradient at the last hidden states, set to zero; None where it cannot be read.

    That is where a direction is no token's: the head is more than a matrix, or the loss more than a sum of
    log-probabilities.
    """
    import torch

    backbone, weight = _backbone(model), getattr(head, "weight", None)
    if backbone is None or not isinstance(weight, torch.Tensor) or weight.dim() != 2:
        return None
    leaves: list[torch.Tensor] = []

    def replaced(_: Any, __: Any, output: Any) -> Any:
        state = getattr(output, "last_hidden_state", None)
        if not isinstance(state, torch.Tensor) or state.shape[-1] != weight.shape[1]:
            return output
        leaves.append(torch.zeros_like(state, requires_grad=True))
        output.last_hidden_state = leaves[-1]
        return output

    gradient = _joined(_gradients(backbone, replaced, leaves, lambda: _loss(model, batch, function)), shape)
    if gradient is None:
        return None
    gradient = torch.nan_to_num(gradient.float(), nan=0.0)
    matrix, bias = weight.detach().float(), getattr(head, "bias", None)
    chance = torch.zeros(len(matrix), device=matrix.device) if bias is None else bias.detach().float()
    directions = torch.softmax(chance, 0) @ matrix - matrix
    following = batch["input_ids"].roll(-1, 1).clamp(0, len(matrix) - 1).tolist()
    on = gradient.abs().amax(-1) > 0
    taught: list[list[int | None]] = [[None] * shape[1] for _ in range(shape[0])]
    weights = [[0.0] * shape[1] for _ in range(shape[0])]
    places = on.nonzero().tolist()
    for start in range(0, len(places), _CHUNK):
        some = places[start : start + _CHUNK]
        mine = torch.stack([gradient[row, column] for row, column in some])
        cosine = (
            torch.nn.functional.normalize(mine, dim=-1) @ torch.nn.functional.normalize(directions, dim=-1).T
        )
        fit, token = cosine.abs().max(-1)
        # Tokens that share a row of the head cannot be told apart: then it is the one that stands there.
        there = torch.tensor([following[row][column] for row, column in some], device=token.device)
        same = cosine.abs().gather(1, there[:, None])[:, 0] >= fit - _SAME
        token = torch.where(same, there, token)
        if float(fit.min()) < _FIT:
            return None
        share = ((mine * directions[token]).sum(-1) / directions[token].square().sum(-1)).abs()
        for (row, column), label, size in zip(some, token.tolist(), share.tolist(), strict=True):
            taught[row][column], weights[row][column] = label, size
    return Attribution(tuple(map(tuple, taught)), tuple(map(tuple, weights)), "hidden states")


def _by_labels(model: Any, batch: dict[str, Any], function: LossFn, ignore_index: int) -> Attribution:
    """Keep one column of labels at a time, and look how far back its gradient begins."""
    import torch

    labels = batch.get("labels")
    table = input_embeddings(model)
    if not isinstance(labels, torch.Tensor) or labels.shape != batch["input_ids"].shape:
        raise UndecidedError(
            "model: its loss does not go through the output of its head, and the batch has no labels of the "
            "shape of input_ids to tell by; name the head (head=...) or give a loss_fn that uses its logits"
        )
    if not hasattr(table, "register_forward_hook"):
        raise UndecidedError("model: has no input embeddings that can be found; name the head (head=...)")
    used = (labels != ignore_index).any(0).nonzero().flatten().tolist()
    if len(used) > _MOST_COLUMNS:
        raise UndecidedError(
            f"batch: labels in {len(used)} columns would need as many passes (at most {_MOST_COLUMNS}); "
            "give shorter rows"
        )
    rows, width = labels.shape
    taught: list[list[int | None]] = [[None] * width for _ in range(rows)]
    for column in used:
        kept = torch.full_like(labels, ignore_index)
        kept[:, column] = labels[:, column]
        reach = _reach(model, {**batch, "labels": kept}, function, table)
        named = kept[:, column] != ignore_index
        if (named & ~reach.any(1)).any():
            # A model that is certain of a label learns nothing from it: ask with another one.
            kept[named, column] = (kept[named, column] + 1) % 2
            reach |= _reach(model, {**batch, "labels": kept}, function, table)
        for row in named.nonzero().flatten().tolist():
            if reach[row].any():
                taught[row][int(reach[row].nonzero().max())] = int(labels[row, column])
    return Attribution(tuple(map(tuple, taught)), (), "labels")


def _reach(model: Any, batch: dict[str, Any], function: LossFn, table: Any) -> torch.Tensor:
    """Return (rows, positions): does the embedding at a position touch the loss?"""
    import torch

    leaves: list[torch.Tensor] = []

    def replaced(_: Any, __: Any, output: torch.Tensor) -> torch.Tensor:
        leaf = output.detach().clone().requires_grad_()
        leaves.append(leaf)
        return leaf

    handle = table.register_forward_hook(replaced)
    try:
        with torch.enable_grad():
            loss = _loss(model, batch, function)
    finally:
        handle.remove()
    shape = batch["input_ids"].shape
    if not loss.requires_grad:
        return torch.zeros(shape, dtype=torch.bool)
    found = [g for g in torch.autograd.grad(loss, leaves, allow_unused=True) if g is not None]
    if len(found) != 1 or found[0].shape[:2] != shape:
        raise UndecidedError(
            "model: embeds its ids in a way that positions cannot be followed; name the head"
        )
    return torch.nan_to_num(found[0]).abs().amax(-1) != 0
