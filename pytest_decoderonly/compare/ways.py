"""Ways to run a model other than plainly: in pieces, padded on the right, packed, on a cache that is warm."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.drive import CannotDriveError, Driver, NotOfferedError, Trace, logits_of, wide
from pytest_decoderonly.compare.precision import device_of, first_generator
from pytest_decoderonly.errors import message_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from pytest_decoderonly.compare.drive import Batch, Row


class Session:
    """A cache that grows call by call, as a caller's own loop over `forward` would have it."""

    def __init__(self, driver: Driver, *, position_ids: bool = True) -> None:
        self.driver = driver
        self.accepts = driver.accepts
        self.position_ids = position_ids
        self.cache: Any = None
        self.name = "past_key_values" if "past_key_values" in self.accepts else "cache_params"

    def feed(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Run `ids` (rows, tokens) after what the cache holds; `mask` covers both. Return all logits."""
        if self.name not in self.accepts:
            raise NotOfferedError("the model's forward takes no cache, so there is nothing to continue from")
        extra: dict[str, Any] = {"use_cache": True}
        if self.cache is not None:
            extra[self.name] = self.cache
        if self.position_ids and "position_ids" in self.accepts:
            extra["position_ids"] = positions
        output = self.driver.model(input_ids=ids, attention_mask=mask, **extra)
        logits = logits_of(output)
        if logits is None or logits.dim() != 3 or logits.shape[:2] != ids.shape:
            raise CannotDriveError("forward gave no logits of shape (rows, positions, vocabulary)")
        cache = getattr(output, self.name, None)
        if cache is None:
            raise NotOfferedError("forward gave no cache back, so there is nothing to continue from")
        self.cache = cache
        return logits


def in_pieces(
    driver: Driver, batch: Batch, size: int | None, *, position_ids: bool = True, right: bool = False
) -> Trace:
    """Run a padded prompt in pieces of `size` columns (all at once: None), then each continuation token."""
    import torch

    ids, mask = driver.tensors(batch.rows, batch.fills)
    if right:
        ids, mask = _to_the_right(ids, mask)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    session = Session(driver, position_ids=position_ids)
    width = ids.shape[1]
    starts = range(0, width, size or width)
    pieces = []
    for start in starts:
        end = min(width, start + (size or width))
        pieces.append(session.feed(ids[:, start:end], mask[:, :end], positions[:, start:end]))
    prompt = torch.cat(pieces, 1)
    steps = _continue(session, batch, mask)
    trace = Trace()
    for i, row in enumerate(batch.rows):
        real = prompt[i, : len(row)] if right else prompt[i, -len(row) :]
        trace.prefill.append(wide(real))
        trace.steps.append(wide(steps[i]))
    return trace


def warm(
    driver: Driver, batch: Batch, *, keep: float, answer: Row, trim: Callable[[Any, int], Any] | None
) -> Trace:
    """Run the beginning of one row, `answer` on top of it, take that back, and run the rest on the cache."""
    import torch

    (row,) = batch.rows
    kept = min(len(row) - 1, max(1, round(keep * len(row))))
    whole = torch.tensor([row], device=driver.device)
    positions = torch.arange(len(row) + len(answer) + 1, device=driver.device)[None]
    session = Session(driver)

    def feed(ids: torch.Tensor, at: int) -> torch.Tensor:
        end = at + ids.shape[1]
        ones = torch.ones(1, end, dtype=torch.long, device=driver.device)
        return session.feed(ids, ones, positions[:, at:end])

    feed(whole[:, :kept], 0)
    if answer and trim is None and hasattr(session.cache, "activate_past_recording"):
        session.cache.activate_past_recording()  # what a caller must do who will crop past a window
    for i, token in enumerate(answer):
        feed(torch.tensor([[token]], device=driver.device), kept + i)
    if answer:
        session.cache = _trimmed(session.cache, kept, len(answer), trim)
    rest = feed(whole[:, kept:], kept)
    steps = _continue(session, batch, torch.ones_like(whole))
    return Trace([wide(rest[0])], [wide(steps[0])])


def _trimmed(cache: Any, kept: int, taken: int, trim: Callable[[Any, int], Any] | None) -> Any:
    if trim is not None:
        changed = trim(cache, kept)
        return cache if changed is None else changed
    crop = getattr(cache, "crop", None)
    if crop is None:
        raise NotOfferedError(f"{type(cache).__name__} has no `crop`; give trim=")
    if _held(cache) not in (None, kept + taken):
        raise CannotDriveError(f"{type(cache).__name__} holds {_held(cache)} tokens, expected {kept + taken}")
    for layer in getattr(cache, "layers", ()):
        if getattr(layer, "is_croppable", True) is False:
            raise NotOfferedError(
                f"{type(layer).__name__} says that it cannot be cut back (a recurrent state keeps no past); give trim="
            )
    crop(-taken)  # a negative number takes tokens away, in every version
    if _held(cache) not in (None, kept):
        raise CannotDriveError(f"{type(cache).__name__}.crop left {_held(cache)} tokens, expected {kept}")
    return cache


def _held(cache: Any) -> int | None:
    """How many tokens a cache says it holds; a state does not know."""
    try:
        return int(cache.get_seq_length())
    except (AttributeError, TypeError, ValueError):
        return None


def _continue(session: Session, batch: Batch, mask: torch.Tensor) -> torch.Tensor:
    """Feed the continuation token by token; return logits of shape (rows, steps, vocabulary)."""
    import torch

    forced = torch.tensor(batch.continuation, device=mask.device)
    lengths = mask.sum(-1, keepdim=True)
    found = []
    for step in range(forced.shape[1]):
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], -1)
        found.append(session.feed(forced[:, step : step + 1], mask, lengths + step)[:, 0])
    return torch.stack(found, 1)


def _to_the_right(ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    pads = (mask == 0).sum(-1).tolist()
    turned = [(torch.roll(row, -n), torch.roll(m, -n)) for row, m, n in zip(ids, mask, pads, strict=True)]
    return torch.stack([row for row, _ in turned]), torch.stack([m for _, m in turned])


def packed(driver: Driver, rows: Sequence[Row], *, mask: bool, use_cache: bool) -> list[torch.Tensor]:
    """Run all rows as one sequence with restarting positions; return each row's logits."""
    import torch

    if "position_ids" not in driver.accepts:
        raise NotOfferedError("the model's forward takes no position_ids, so it cannot know packed rows")
    ids = torch.tensor([[token for row in rows for token in row]], device=driver.device)
    positions = torch.tensor([[i for row in rows for i in range(len(row))]], device=driver.device)
    extra: dict[str, Any] = {"attention_mask": torch.ones_like(ids)} if mask else {}
    if "use_cache" in driver.accepts:
        extra["use_cache"] = use_cache
    logits = logits_of(driver.model(input_ids=ids, position_ids=positions, **extra))
    if logits is None or logits.dim() != 3 or logits.shape[:2] != ids.shape:
        raise CannotDriveError("forward gave no logits of shape (rows, positions, vocabulary)")
    return [wide(part) for part in logits[0].split([len(row) for row in rows])]


def plain(
    driver: Driver,
    batch: Batch,
    *,
    mask: bool = True,
    positions: Sequence[int] | bool | None = True,
    all_ones: bool = False,
) -> list[torch.Tensor]:
    """Run a left-padded batch through forward without a cache; return each row's logits at real positions.

    `positions` are the model's own (False or None), counted from the mask (True), or given for a lone row. With
    `all_ones` the mask that is handed over hides nothing, though positions are counted from the right one.
    """
    import torch

    ids, ones = driver.tensors(batch.rows, batch.fills)
    extra: dict[str, Any] = {"attention_mask": torch.ones_like(ones) if all_ones else ones} if mask else {}
    if "use_cache" in driver.accepts:
        extra["use_cache"] = False
    if positions and "position_ids" in driver.accepts:
        extra["position_ids"] = (
            (ones.cumsum(-1) - 1).clamp(min=0)
            if positions is True
            else torch.tensor([list(positions)], device=driver.device)
        )
    elif positions not in (True, False, None):
        raise NotOfferedError("the model's forward takes no position_ids")
    logits = logits_of(driver.model(input_ids=ids, **extra))
    if logits is None or logits.dim() != 3 or logits.shape[1] < ids.shape[1]:
        raise CannotDriveError("forward gave no logits of shape (rows, positions, vocabulary)")
    return [wide(logits[i, -len(row) :]) for i, row in enumerate(batch.rows)]


@contextlib.contextmanager
def attention(model: Any, backend: str) -> Iterator[None]:
    """Run with another attention backend inside the block.

    Raises:
        CannotDriveError: The backend is not installed, or the model has no such choice.
    """
    setter = getattr(model, "set_attn_implementation", None)
    if setter is None:
        raise NotOfferedError(f"{type(model).__name__} has no choice of attention backends")
    if getattr(model.config, "_attn_implementation", None) == backend:
        raise NotOfferedError(f"the model runs attention {backend!r} as it is: there is nothing to compare")
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}
    before = [(config, getattr(config, "_attn_implementation", None)) for config in configs.values()]
    with contextlib.ExitStack() as stack:
        if unfused(model, backend):
            import torch

            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.callback(_put_back, before)
        try:
            setter(backend)
        except Exception as error:
            raise NotOfferedError(
                f"attention {backend!r} is not to be had here: {message_of(error)}"
            ) from error
        if getattr(model.config, "_attn_implementation", None) != backend:
            raise NotOfferedError(f"{type(model).__name__} does not take attention {backend!r}")
        yield


def _put_back(before: Sequence[tuple[Any, Any]]) -> None:
    for config, old in before:
        name = "_attn_implementation_internal"
        setattr(config, name if hasattr(config, name) else "_attn_implementation", old)


def unfused(model: Any, backend: str) -> bool:
    """Whether flex attention runs as plain torch: on a CPU its kernels would be compiled anew for every shape."""
    import torch

    stance = hasattr(getattr(torch, "compiler", None), "set_stance")
    return "flex" in backend and device_of(model).type == "cpu" and stance


@contextlib.contextmanager
def noting_caches(model: Any, kinds: set[str]) -> Iterator[None]:
    """Note what kinds of cache a model's forward passes give back."""

    def note(_module: Any, _args: Any, output: Any) -> None:
        cache = getattr(output, "past_key_values", None) or getattr(output, "cache_params", None)
        layers = dict.fromkeys(type(layer).__name__ for layer in getattr(cache, "layers", None) or ())
        offloaded = " offloaded" * bool(getattr(cache, "offloading", False))
        kinds.add(
            "no cache" if cache is None else f"{' and '.join(layers) or type(cache).__name__}{offloaded}"
        )

    handle = (first_generator(model) or model).register_forward_hook(note)
    try:
        yield
    finally:
        handle.remove()


def new_cache(model: Any, kind: str, length: int) -> Any:
    """Return an empty cache of the kind for `length` tokens.

    Raises:
        CannotDriveError: transformers makes none for this model.
    """
    import transformers

    config = (first_generator(model) or model).config
    try:
        if kind == "static":
            return transformers.StaticCache(config=config, max_cache_len=length)
        return transformers.DynamicCache(config=config)
    except Exception as error:
        raise NotOfferedError(f"no {kind} cache is to be had for this model: {message_of(error)}") from error


def reused(
    driver: Driver, batch: Batch, other: Batch, kind: str, empty: Callable[[Any], Any] | None
) -> Trace:
    """Run `other` into a cache, empty it, and run `batch` into it."""
    cache = new_cache(driver.model, kind, max(batch.width, other.width) + len(batch.continuation[0]) + 1)
    driver.continued(other, cache)
    if empty is None and not hasattr(cache, "reset"):
        raise CannotDriveError(f"{type(cache).__name__} has no `reset`; give empty=")
    (empty or type(cache).reset)(cache)
    return driver.continued(batch, cache)


class Compiling:
    """The forward pass through `torch.compile`, while a block runs; what others have compiled is left alone."""

    def __init__(self, model: Any, backend: str | Callable[..., Any], *, dynamic: bool | None) -> None:
        import torch

        self.model = model
        self.ran = 0
        name = getattr(backend, "__name__", backend)
        make = torch._dynamo.lookup_backend(backend) if isinstance(backend, str) else backend

        def counted(graph: Any, inputs: Any) -> Callable[..., Any]:
            run = make(graph, inputs)

            def call(*args: Any) -> Any:
                self.ran += 1
                return run(*args)

            return call

        self.name = name
        # A function of its own: `model.compile()` would stay with the model.
        self.forward = torch.compile(model.forward, backend=counted, dynamic=dynamic)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Put the compiled forward in the model's place inside the block.

        Raises:
            CannotDriveError: Nothing was compiled: torch gave up, and ran the model plainly.
        """
        had = self.model.__dict__.get("forward")
        before = self.ran
        try:
            self.model.forward = self.forward
            yield
        finally:
            if had is None:
                del self.model.forward
            else:
                self.model.forward = had
        if self.ran == before:
            raise CannotDriveError(
                f"torch.compile ({self.name}) ran no compiled graph: it gave up, often at its limit of recompilations "
                "(torch._dynamo.reset() clears the count)"
            )


@contextlib.contextmanager
def unmarked(model: Any) -> Iterator[None]:
    """Leave no attribute on the model that `generate` puts there (it keeps a static cache), and put back its own."""
    target = first_generator(model) or model
    before = dict(target.__dict__)
    try:
        yield
    finally:
        for name in set(target.__dict__) - set(before):
            del target.__dict__[name]
        target.__dict__.update(before)


def right_padded(driver: Driver, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Run a right-padded batch through forward with its mask alone; return each row's logits at its own tokens."""
    import torch

    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[driver.pad_id] * (width - len(row))] for row in rows], device=driver.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=driver.device)
    extra = {"use_cache": False} if "use_cache" in driver.accepts else {}
    logits = logits_of(driver.model(input_ids=ids, attention_mask=mask, **extra))
    if logits is None or logits.dim() != 3 or logits.shape[1] < width:
        raise CannotDriveError("forward gave no logits of shape (rows, positions, vocabulary)")
    start = logits.shape[1] - width  # learned tokens of prompt tuning come first
    return [wide(logits[i, start : start + len(row)]) for i, row in enumerate(rows)]
