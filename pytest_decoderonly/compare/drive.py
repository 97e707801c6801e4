"""Drive a model as its users do, and keep the logits of real positions only."""

from __future__ import annotations

import contextlib
import inspect
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_decoderonly.compare import progress
from pytest_decoderonly.compare.culprit import virtual_tokens
from pytest_decoderonly.compare.embeddings import embedding_table
from pytest_decoderonly.compare.memory import NoRoomError, room_for
from pytest_decoderonly.compare.precision import device_of, dtype_name, dtype_of, first_generator
from pytest_decoderonly.errors import message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

Row = tuple[int, ...]
_Result = TypeVar("_Result")


class CannotDriveError(Exception):
    """The model could not be run; the message is one line."""


class NotOfferedError(CannotDriveError):
    """The model declares that it has no such thing (no cache, no choice of backends); the message is one line."""


@dataclass(frozen=True)
class Batch:
    """Left-padded rows: `rows` are the real tokens, `fills[i]` the ids under the padding of row i."""

    rows: tuple[Row, ...]
    fills: tuple[Row, ...]
    continuation: tuple[Row, ...]

    @property
    def width(self) -> int:
        """Columns, padding included."""
        return len(self.rows[0]) + len(self.fills[0])


@dataclass
class Trace:
    """What one run gave, in float32 or float64.

    Per row: `prefill[i]` of shape (tokens or 1, vocabulary) and `steps[i]` of shape (steps, vocabulary).
    """

    prefill: list[torch.Tensor] = field(default_factory=list)
    steps: list[torch.Tensor] = field(default_factory=list)

    def row(self, index: int) -> torch.Tensor:
        """Return the logits of all real positions of one row, prefill then steps: (positions, vocabulary)."""
        import torch

        return torch.cat([self.prefill[index], self.steps[index]])


class Driver:
    """Runs batches through `generate` with forced tokens, or through `forward` where there is no `generate`.

    Through `generate` the model's own preparation of masks, positions and cache is what is tested; forcing
    the tokens keeps runs comparable after a first difference.
    """

    def __init__(self, model: Any, pad_id: int) -> None:
        self.model = model
        self.pad_id = pad_id
        self.target = first_generator(model)
        self.device = device_of(model)
        self.runs = 0

    @property
    def caches(self) -> bool:
        """Whether decoding goes through a cache that can be compared with a full forward pass."""
        return self.target is not None

    def run(self, batch: Batch) -> Trace:
        """Return the logits of the prompt and of every forced token.

        Raises:
            CannotDriveError: The model raised, or returned no logits of the expected shape.
        """
        return self._trace(batch, cached=True)

    def full(self, batch: Batch) -> Trace:
        """The same positions from one forward pass over prompt and continuation, without a cache."""
        return self._trace(batch, cached=False)

    def generate(self, batch: Batch, *, embeds: bool = False, **settings: Any) -> Trace:
        """Like `run`, with settings of `GenerationConfig`, or with embeddings in the place of ids."""
        return self.guarded(batch, lambda: self._generate(batch, embeds=embeds, **settings))

    def guarded(self, batch: Batch, run: Callable[[], _Result]) -> _Result:
        """Count a run, and turn whatever it raises into one line.

        Raises:
            CannotDriveError: `run` raised.
            NoRoomError: It raised because memory has run out.
        """
        self.runs += 1
        if progress.wanted():
            dtype = dtype_name(dtype_of(self.model))
            progress.tell(f"{len(batch.rows)} x {batch.width} tokens in {dtype}")
        try:
            with room_for(len(batch.rows), batch.width):
                return run()
        except (CannotDriveError, NoRoomError):
            raise
        except Exception as error:
            raise CannotDriveError(
                f"{type(self.model).__name__} raised {type(error).__name__} on {len(batch.rows)} rows "
                f"of width {batch.width}: {message_of(error)}"
            ) from error

    def _trace(self, batch: Batch, *, cached: bool) -> Trace:
        if cached and self.target is not None:
            return self.guarded(batch, lambda: self._generate(batch))
        return self.guarded(batch, lambda: self._forward(batch))

    def continued(self, batch: Batch, cache: Any) -> Trace:
        """Like `run`, into a cache that the caller has made."""
        name = "past_key_values" if "past_key_values" in self.accepts else "cache_params"
        return self.guarded(batch, lambda: self._generate(batch, given={name: cache}))

    def _generate(
        self, batch: Batch, *, embeds: bool = False, given: dict[str, Any] | None = None, **settings: Any
    ) -> Trace:
        import torch
        from transformers import GenerationConfig, LogitsProcessorList

        ids, mask = self.tensors(batch.rows, batch.fills)
        forced = torch.tensor(batch.continuation, device=self.device)
        steps = forced.shape[1]
        calls: list[torch.Tensor] = []
        prompt = {"inputs_embeds": self.model.get_input_embeddings()(ids)} if embeds else {"input_ids": ids}
        width = 0 if embeds else ids.shape[1]  # without ids the answer begins at column 0
        with _collect_logits(self.target, calls):
            self.model.generate(
                **prompt,
                **(given or {}),
                attention_mask=mask,
                generation_config=GenerationConfig(
                    **{
                        "do_sample": False,
                        "num_beams": 1,
                        "num_return_sequences": 1,
                        "max_new_tokens": steps + 1,
                        "use_cache": True,
                        "pad_token_id": self.pad_id,
                        **settings,
                    }
                ),
                logits_processor=LogitsProcessorList([Force(forced, width)]),
            )
        if len(calls) != steps + 1:
            raise CannotDriveError(
                f"generate made {len(calls)} forward passes for {steps + 1} new tokens; expected one a token"
            )
        if any(call.dim() != 3 or call.shape[0] != len(batch.rows) for call in calls):
            shapes = ", ".join(str(tuple(call.shape)) for call in calls[:3])
            raise CannotDriveError(
                f"logits of {len(batch.rows)} rows come as {shapes}; expected (rows, positions, vocabulary)"
            )
        trace = Trace()
        for i, row in enumerate(batch.rows):
            # A model without `logits_to_keep` in its forward may still give only the last position.
            keep = min(len(row), calls[0].shape[1])
            trace.prefill.append(wide(calls[0][i, -keep:]))
            trace.steps.append(wide(torch.stack([call[i, -1] for call in calls[1:]])))
        return trace

    def _forward(self, batch: Batch) -> Trace:
        whole = tuple(row + more for row, more in zip(batch.rows, batch.continuation, strict=True))
        ids, mask = self.tensors(whole, batch.fills)
        logits = logits_of(self.model(input_ids=ids, attention_mask=mask, **self._plainly(mask)))
        if logits is not None and logits.dim() == 3:
            logits = logits[:, virtual_tokens(self.model) :]
        if logits is None or logits.dim() != 3 or logits.shape[:2] != ids.shape:
            shape = None if logits is None else tuple(logits.shape)
            raise CannotDriveError(
                f"forward of {tuple(ids.shape)} ids gave logits {shape}; expected (rows, positions, "
                "vocabulary)"
            )
        trace = Trace()
        for i, row in enumerate(batch.rows):
            more = len(batch.continuation[i])
            real = logits[i, -(len(row) + more) :]
            trace.prefill.append(wide(real[: len(row)]))
            trace.steps.append(wide(real[len(row) :]))
        return trace

    def _plainly(self, mask: torch.Tensor) -> dict[str, Any]:
        """No cache, and positions counted from the mask, where the model's forward takes them."""
        extra: dict[str, Any] = {}
        if "use_cache" in self.accepts:
            extra["use_cache"] = False
        if "position_ids" in self.accepts:
            extra["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        return extra

    def last(self, batch: Batch, count: int) -> Trace:
        """The last `count` positions of one unpadded row's text, as `logits_to_keep` gives them."""
        return self.guarded(batch, lambda: self._last(batch, count))

    def _last(self, batch: Batch, count: int) -> Trace:
        (row,), (more,) = batch.rows, batch.continuation
        ids, mask = self.tensors([row + more], batch.fills)
        extra = self._plainly(mask)
        logits = logits_of(self.model(input_ids=ids, attention_mask=mask, logits_to_keep=count, **extra))
        if logits is None or logits.dim() != 3 or logits.shape[1] < count:
            raise CannotDriveError(f"forward with logits_to_keep={count} gave fewer positions")
        # A model that returns more has not understood; generate reads the last one all the same.
        return Trace([wide(logits[0, -count:-1])], [wide(logits[0, -1:])])

    @property
    def accepts(self) -> set[str]:
        """The names of the arguments of the model's forward."""
        found = _parameters(self.model.forward)
        if self.target is not None and "kwargs" in found:  # a wrapper that hands everything on
            found |= _parameters(self.target.forward)
        return found

    def tensors(self, rows: Sequence[Row], fills: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask of left-padded rows, each of shape (rows, positions)."""
        import torch

        ids = torch.tensor([[*fill, *row] for fill, row in zip(fills, rows, strict=True)], device=self.device)
        mask = torch.tensor(
            [[0] * len(fill) + [1] * len(row) for fill, row in zip(fills, rows, strict=True)],
            device=self.device,
        )
        return ids, mask


class Force:
    """A logits processor that leaves exactly one token to choose: `forced`, (rows, steps), behind `width` columns."""

    def __init__(self, forced: torch.Tensor, width: int) -> None:
        self.forced = forced
        self.width = width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # noqa: D102
        import torch

        step = input_ids.shape[1] - self.width
        only = torch.full_like(scores, float("-inf"))
        # The token after the last forced one is never fed back; any will do.
        choice = self.forced[:, min(step, self.forced.shape[1] - 1)]
        only.scatter_(1, choice[:, None], 0.0)
        return only


@contextlib.contextmanager
def _collect_logits(target: Any, calls: list[torch.Tensor]) -> Iterator[None]:
    """Gather the logits of each forward pass, of all positions even where the model offers fewer."""

    def before(
        _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for name in ("logits_to_keep", "num_logits_to_keep"):
            if name in kwargs:
                kwargs[name] = 0
        return args, kwargs

    def after(_module: Any, _args: Any, output: Any) -> None:
        logits = logits_of(output)
        if logits is not None:
            calls.append(logits.detach())

    handles = [
        target.register_forward_pre_hook(before, with_kwargs=True),
        target.register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def logits_of(output: Any) -> Any:
    """Return the logits in what a forward pass gave, None where there are none."""
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, dict):
        found = output.get("logits")
    if found is None and isinstance(output, (tuple, list)) and output:
        found = output[0]
    if found is None and hasattr(output, "dim"):
        found = output
    return found


def wide(logits: torch.Tensor) -> torch.Tensor:
    """Return logits in float32, or float64 where they are."""
    import torch

    return logits if logits.dtype == torch.float64 else logits.float()


def _parameters(function: Any) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def special_ids(model: Any) -> set[int]:
    """Every id that the configuration gives a meaning of its own: padding, BOS, EOS, image placeholders."""
    found: set[int] = set()
    for source in (getattr(model, "config", None), getattr(model, "generation_config", None)):
        values = source.to_dict() if source is not None and hasattr(source, "to_dict") else {}
        for name, value in values.items():
            if name.endswith(("_token_id", "_token_index", "_token_ids")):
                found.update(v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int))
    return found


def ordinary_ids(model: Any, rows: Sequence[Row], count: int = 48) -> tuple[int, ...]:
    """Return ids to put under padding and into neighbours: ordinary tokens with an embedding of their own.

    The ids of `rows` come first, because whoever wrote them holds them for ordinary. A padding embedding of
    zero, which every fresh model has, would hide a leak.
    """
    table = embedding_table(model)
    size = len(table) if table is not None else getattr(getattr(model, "config", None), "vocab_size", None)
    special = special_ids(model)
    chosen = list(dict.fromkeys(i for row in rows for i in row if i not in special))[:count]
    if size is not None and len(chosen) < count:
        draw = random.Random(20)  # noqa: S311 - test data
        limit = min(int(size), getattr(getattr(model, "config", None), "vocab_size", None) or int(size))
        for _ in range(count * 8):
            candidate = draw.randrange(limit)
            if len(chosen) >= count:
                break
            if candidate not in special and candidate not in chosen:
                chosen.append(candidate)
    if table is not None and table.device.type != "meta":
        chosen = [i for i in chosen if i < table.shape[0] and bool(table[i].ne(0).any())]
    return tuple(chosen)
