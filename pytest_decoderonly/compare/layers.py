"""Find the first layer where two runs part."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.verdict import Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

# (call, module, activations of the row at its real positions), in the order in which the modules finished
EMBEDDINGS = "the embeddings (before the first layer)"
Record = list[tuple[int, str, "torch.Tensor"]]


def first_layer(
    model: Any,
    reference: tuple[Callable[[], object], int, int],
    other: tuple[Callable[[], object], int, int],
    *,
    limit: float,
) -> Layer | None:
    """Return the first module after which two runs differ by more than `limit` of their spread.

    Args:
        model: The model that both runs go through.
        reference: A function that runs the model, the row to look at, and the row's number of prompt tokens.
        other: The same for the run that differs.
        limit: Relative difference from which activations count as parted; 0 for runs that must agree bit for
            bit.
    """
    first, second = (_record(model, *run) for run in (reference, other))
    pairs = {(call, name): value for call, name, value in second}
    blocks = _block_names(model)
    found: Layer | None = None
    profile: list[tuple[str, float]] = []
    for call, name, value in first:
        match = pairs.get((call, name))
        error = None if match is None else _deviation(value, match)
        if error is None:
            continue
        if found is None:
            if profile and name == EMBEDDINGS:
                profile.clear()  # another call begins
            over = ~(error <= limit)
            if bool(over.any()):
                position, tokens = int(over.int().argmax()), error.shape[0]
                where = f"prompt token {position} of {tokens}" if call == 0 else f"cached step {call}"
                found = Layer(name=name, row=other[1], place=where, error=float(error[position]), call=call)
        elif call != found.call:
            break
        if name in blocks or name == EMBEDDINGS:
            profile.append((name, float(error.max())))
    return None if found is None else replace(found, profile=tuple(profile))


def _deviation(value: torch.Tensor, match: torch.Tensor) -> torch.Tensor | None:
    """Return how far apart two records of (positions, size) are at each position, None where they cannot be held."""
    tokens = min(value.shape[0], match.shape[0])
    mine, theirs = value[-tokens:], match[-tokens:]
    if mine.shape != theirs.shape:
        return None
    spread = float(mine[mine.isfinite()].std()) if int(mine.isfinite().sum()) > 1 else 1.0
    error: torch.Tensor = (mine - theirs).abs().amax(-1) / (spread or 1.0)
    return error


def _block_names(model: Any) -> set[str]:
    blocks = {id(block) for block in decoder_layers(model)}
    return {name for name, module in model.named_modules() if id(module) in blocks}


def _record(model: Any, run: Callable[[], object], row: int, tokens: int) -> Record:
    record: Record = []
    with _hooks(model, row, tokens, record):
        run()
    return record


@contextlib.contextmanager
def _hooks(model: Any, row: int, tokens: int, record: Record) -> Iterator[None]:
    blocks = decoder_layers(model)
    calls = {"n": -1}
    handles = []
    if blocks:
        names = {id(module): name for name, module in model.named_modules()}

        def start(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            calls["n"] += 1
            keep(EMBEDDINGS, args[0] if args else kwargs.get("hidden_states"))

        def keep(name: str, value: Any) -> None:
            tensor = value[0] if isinstance(value, (tuple, list)) and value else value
            if not hasattr(tensor, "dim") or tensor.dim() != 3 or row >= tensor.shape[0]:
                return
            own = tensor[row, -tokens:] if calls["n"] == 0 else tensor[row, -1:]
            record.append((calls["n"], name, own.detach().double().cpu()))

        def finish(name: str) -> Callable[..., None]:
            return lambda _module, _args, output: keep(name, output)

        handles.append(blocks[0].register_forward_pre_hook(start, with_kwargs=True))
        for block in blocks:
            handles.extend(c.register_forward_hook(finish(names[id(c)])) for c in block.children())
            handles.append(block.register_forward_hook(finish(names[id(block)])))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def decoder_layers(model: Any) -> list[Any]:
    """The decoder's layers: the list of modules that holds most of the weights."""
    import torch

    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module)]
    if not lists:
        return []
    heaviest = max(lists, key=lambda module: sum(p.numel() for p in module.parameters()))
    return list(heaviest)
