"""What a scorer reads of a model: watch its calls, move single states, set the likelihood of single tokens.

A score is one number, and a value alone proves little: on a random model a shift by one moves it hardly at all. So
the states that the model hands to the scorer are moved one position at a time. A score that follows reads that
position; one that does not, to the last bit, does not read it. Nothing is assumed about the scorer but that it
does the same twice.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.arrays import as_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import torch

Column = tuple[int, int, int]
"""Call, row and column of a state."""


class CannotReadError(Exception):
    """What the scorer reads cannot be told; the message says why in one line."""


@dataclass(frozen=True)
class Call:
    """One pass through the model: what it was given. `shift` states stand in front of the first id."""

    ids: tuple[tuple[int, ...], ...]
    mask: tuple[tuple[int, ...], ...] | None
    positions: bool
    shift: int = 0


def columns(calls: Iterable[Call]) -> list[Column]:
    """Every state of these calls."""
    return [
        (number, row, column)
        for number, call in enumerate(calls)
        for row in range(len(call.ids))
        for column in range(len(call.ids[row]))
    ]


@dataclass
class Edit:
    """What is changed on the way from the model to the scorer.

    `states`: columns whose hidden state is moved. `logits`: for a column, which vocabulary entry is raised, and
    by how much. `levels`: for (call, row), the negative log-likelihood that every next token gets.
    """

    states: frozenset[Column] = frozenset()
    logits: Mapping[Column, tuple[int, float]] | None = None
    levels: Mapping[tuple[int, int], float] | None = None


def called_modules(run: Callable[[], object]) -> list[torch.nn.Module]:
    """Run something and return the outermost torch modules that were called meanwhile, in order."""
    if "torch" not in sys.modules:
        run()
        return []
    from torch.nn.modules.module import register_module_forward_pre_hook

    seen: dict[int, torch.nn.Module] = {}

    def note(module: torch.nn.Module, _arguments: object) -> None:
        seen.setdefault(id(module), module)

    handle = register_module_forward_pre_hook(note)
    try:
        run()
    finally:
        handle.remove()
    inner = {
        id(child)
        for module in seen.values()
        for child in module.modules()
        if child is not module and id(child) != id(module)
    }
    return [module for key, module in seen.items() if key not in inner]


class Reader:
    """Runs a scorer and sees what its model is given; edits what the model gives back.

    `likelihoods`: whether there are logits over a vocabulary to edit. `low`: the name of a type of less than 32
    bits that was seen on the way.

    Args:
        score: The user's scorer.
        outer: The outermost module that it calls.

    Raises:
        CannotReadError: The model has an encoder, so positions of ids are not positions of states.
    """

    def __init__(self, score: Callable[[Any], Any], outer: torch.nn.Module) -> None:
        self.score = score
        (self.trunk, *self._others), self.head, self.likelihoods = _parts(outer)
        self.runs = 0
        self.low = ""
        self._edit = Edit()
        self._calls: list[Call] = []
        self._pending: list[Call] = []

    def run(self, items: Sequence[Any], edit: Edit | None = None) -> tuple[Any, tuple[Call, ...]]:
        """Score `items`; return what the scorer gave and the calls that its model got.

        Raises:
            CannotReadError: The model gets no ids, or gives no state for each of them.
        """
        self._edit = edit or Edit()
        self._calls, self._pending = [], []
        handles = [
            self.trunk.register_forward_pre_hook(self._before, with_kwargs=True),
            self.trunk.register_forward_hook(self._after),
        ]
        if self.head is not None:
            handles.append(self.head.register_forward_hook(self._at_head))
        self.runs += 1
        try:
            values = self.score(list(items))
        finally:
            for handle in handles:
                handle.remove()
        if not self._calls and self._others:
            self.trunk = self._others.pop(0)
            return self.run(items, edit)
        return values, tuple(self._calls)

    def _before(self, _module: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None or not hasattr(ids, "dim") or ids.dim() != 2 or ids.is_floating_point():
            raise CannotReadError("the model is not given token ids of shape (rows, positions)")
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        flat = mask is not None and hasattr(mask, "dim") and mask.dim() == 2 and mask.shape == ids.shape
        self._pending.append(
            Call(
                tuple(map(tuple, as_rows(ids, "input_ids"))),
                tuple(map(tuple, as_rows(mask, "attention_mask"))) if flat else None,
                kwargs.get("position_ids") is not None,
            )
        )

    def _after(self, _module: object, _args: object, output: Any) -> Any:
        states = _states(output)
        call = self._pending.pop()
        shift = states.shape[1] - len(call.ids[0])
        if states.shape[0] != len(call.ids) or shift < 0:
            raise CannotReadError("the model does not give one state for each token")
        number = len(self._calls)
        self._calls.append(dataclasses.replace(call, shift=shift))
        self._note(states)
        mine = [(row, column + shift) for at, row, column in self._edit.states if at == number]
        moved = states
        if mine:
            moved = states.clone()
            push = _direction(states)
            for row, column in mine:
                moved[row, column] += push
        if self.head is None:
            moved = self._likelihoods(moved, number)
        return output if moved is states else _replaced(output, states, moved)

    def _at_head(self, _module: object, _args: object, output: Any) -> Any:
        if not self._calls:
            return output
        self._note(output)
        return self._likelihoods(output, len(self._calls) - 1)

    def _note(self, tensor: Any) -> None:
        if getattr(tensor, "is_floating_point", lambda: False)() and tensor.dtype.itemsize < 4:
            self.low = str(tensor.dtype).removeprefix("torch.")

    def _likelihoods(self, logits: Any, number: int) -> Any:
        """Raise single logits, or set all so that each next token has a given likelihood."""
        edit, call = self._edit, self._calls[number]
        if not edit.logits and not edit.levels:
            return logits
        if not hasattr(logits, "dim") or logits.dim() != 3 or logits.shape[0] != len(call.ids):
            raise CannotReadError(
                "the model's head does not give logits of shape (rows, positions, vocabulary)"
            )
        start = len(call.ids[0]) + call.shift - logits.shape[1]  # `logits_to_keep` cuts the front
        changed = logits.clone()
        for (at, row, column), (token, amount) in (edit.logits or {}).items():
            if at == number and 0 <= column + call.shift - start < logits.shape[1]:
                changed[row, column + call.shift - start, token] += amount
        for (at, row), level in (edit.levels or {}).items():
            if at == number:
                _set_level(changed[row], call.ids[row], call.shift - start, level)
        return changed


def _set_level(logits: torch.Tensor, ids: Sequence[int], offset: int, level: float) -> None:
    """Fill one row's logits (positions, vocabulary): each next token gets -log p = `level`."""
    import math

    vocabulary = logits.shape[-1]
    logits.fill_(math.log(math.expm1(level) / (vocabulary - 1)))
    for column in range(len(ids) - 1):
        if 0 <= column + offset < logits.shape[0]:
            logits[column + offset, ids[column + 1]] = 0.0


def _parts(outer: torch.nn.Module) -> tuple[list[torch.nn.Module], torch.nn.Module | None, bool]:
    """The modules that may give a state a token, the head that makes logits of them, whether there are logits.

    A module that is none of transformers' gives logits itself.
    """
    try:
        from transformers import PreTrainedModel
    except ImportError:
        return [outer], None, True
    for module in outer.modules():
        if isinstance(module, PreTrainedModel):
            if getattr(module.config, "is_encoder_decoder", False):
                raise CannotReadError("the model has an encoder")
            head = module.get_output_embeddings()
            base = module.base_model
            # Some models call the decoder within their base model by itself (OPT does).
            inner = [part for part in (getattr(base, "decoder", None),) if part is not None]
            return [base, *inner], head, head is not None
    return [outer], None, True


def _states(output: Any) -> torch.Tensor:
    for name in ("last_hidden_state", "logits"):
        found = getattr(output, name, None)
        if found is not None and found.dim() == 3:
            return found
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    if hasattr(first, "dim") and first.dim() == 3:
        return first
    raise CannotReadError("the model does not give one state for each token")


def _replaced(output: Any, before: torch.Tensor, after: torch.Tensor) -> Any:
    """The same output with other states, wherever they stand in it."""

    def swap(value: Any) -> Any:
        if value is before:
            return after
        if isinstance(value, (tuple, list)):
            return type(value)([swap(item) for item in value])
        # The last of all hidden states is the same tensor, or an equal one.
        if hasattr(value, "shape") and value.shape == before.shape and value.dtype == before.dtype:
            return after if bool((value == before).all()) else value
        return value

    if isinstance(output, Mapping):
        return type(output)(**{name: swap(value) for name, value in output.items()})
    return swap(output)


def _direction(states: torch.Tensor) -> torch.Tensor:
    """A fixed push of the size of a state; no random state is touched."""
    import torch

    generator = torch.Generator().manual_seed(5)
    push = torch.randn(states.shape[-1], generator=generator)
    size = states.detach().float().std().item()
    return (push * (size if size > 0 else 1.0)).to(states)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Without gradients; the random state comes back as it was. Nothing at all where torch is not in use."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        yield


@contextlib.contextmanager
def steady(modules: Sequence[torch.nn.Module]) -> Iterator[str]:
    """Run in evaluation mode and float32, without gradients; all comes back as it was.

    Yields the reason why float32 could not be had, or an empty string.
    """
    if not modules:
        yield ""
        return
    import torch

    from pytest_decoderonly.compare.precision import CannotCastError, precision, undisturbed

    with contextlib.ExitStack() as stack:
        reason = ""
        for module in modules:
            stack.enter_context(undisturbed(module))
        try:
            casts = contextlib.ExitStack()
            for module in modules:
                casts.enter_context(precision(module, torch.float32))
            stack.enter_context(casts)
        except CannotCastError as error:
            casts.close()
            reason = str(error)
        yield reason
