"""What `assert_same_with` changes: one thing about how a model is run, never the model.

Plain data: importing this costs nothing.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Assisted",
    "Attention",
    "BareForward",
    "Beams",
    "Cache",
    "Change",
    "ChunkedPrefill",
    "Compiled",
    "ExplicitMask",
    "InputsEmbeds",
    "Packed",
    "ReusedCache",
    "Rewritten",
    "RightPadded",
    "WarmCache",
]


class Change(abc.ABC):
    """One thing that must not matter. Use one of the subclasses."""

    @property
    @abc.abstractmethod
    def label(self) -> str:
        """What is changed, in words, as reports name it."""


def _positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: must be a positive integer, got {value!r}")


@dataclass(frozen=True)
class Cache(Change):
    """Another kind of cache: a name that `generate` knows (`"static"`, `"dynamic"`, …) or `"none"`.

    The reference is the cache that `generate` takes by itself. `config` is `generate`'s `cache_config`, such as
    `{"backend": "fp8"}` for a quantised cache. A quantised cache differs by design, unless rows with padding differ
    by far more than rows without.
    """

    kind: str = "static"
    config: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check the kind.

        Raises:
            ValueError: `kind` is no text.
        """
        if not isinstance(self.kind, str) or not self.kind:
            raise ValueError(f"kind: must be the name of a cache, such as 'static', got {self.kind!r}")

    @property
    def label(self) -> str:
        """What is changed."""
        return "no cache" if self.kind == "none" else f"{self.kind} cache"


@dataclass(frozen=True)
class Attention(Change):
    """Another attention backend: `"eager"`, `"sdpa"`, `"flex_attention"`, `"flash_attention_2"` and so on.

    The reference is the backend that the model has.
    """

    backend: str = "eager"

    @property
    def label(self) -> str:
        """What is changed."""
        return f"attention {self.backend}"


@dataclass(frozen=True)
class Packed(Change):
    """All rows in one sequence, with position ids that restart, against each row alone.

    transformers tells the borders from the positions only without a mask and without a cache. `mask` hands
    over a mask of ones, `use_cache` asks for a cache, as callers do who lose the borders by it.
    """

    mask: bool = False
    use_cache: bool = False

    @property
    def label(self) -> str:
        """What is changed."""
        return "packed rows" + " with a mask of ones" * self.mask + " with a cache" * self.use_cache


@dataclass(frozen=True)
class Compiled(Change):
    """The forward pass through `torch.compile`; `backend` is torch's (`"inductor"`, `"aot_eager"`, …)."""

    backend: str | Callable[..., Any] = "inductor"
    dynamic: bool | None = True

    @property
    def label(self) -> str:
        """What is changed."""
        return f"torch.compile ({getattr(self.backend, '__name__', self.backend)})"


@dataclass(frozen=True)
class InputsEmbeds(Change):
    """`generate(inputs_embeds=…)` instead of `input_ids`; also for a prompt of one token."""

    @property
    def label(self) -> str:
        """What is changed."""
        return "inputs_embeds"


@dataclass(frozen=True)
class Beams(Change):
    """Beam search over the batch, against the row alone and against the log-probabilities of its own text."""

    num_beams: int = 3
    num_return_sequences: int = 2

    def __post_init__(self) -> None:
        """Check the counts.

        Raises:
            ValueError: Not positive, or more sequences than beams.
        """
        _positive("num_beams", self.num_beams)
        _positive("num_return_sequences", self.num_return_sequences)
        if self.num_return_sequences > self.num_beams:
            raise ValueError(
                f"num_return_sequences: {self.num_return_sequences} of {self.num_beams} beams; at most as many"
            )

    @property
    def label(self) -> str:
        """What is changed."""
        return f"{self.num_beams} beams in a batch"


@dataclass(frozen=True)
class Assisted(Change):
    """Assisted decoding: a smaller model proposes, or, without one, the prompt's own n-grams (`lookup`)."""

    assistant: Any = None
    lookup: int = 2

    @property
    def label(self) -> str:
        """What is changed."""
        return "assisted decoding" if self.assistant is not None else "prompt lookup decoding"


@dataclass(frozen=True)
class ChunkedPrefill(Change):
    """The prompt in pieces of `size` tokens, each with the cache of those before; two halves by default."""

    size: int | None = None
    position_ids: bool = True

    def __post_init__(self) -> None:
        """Check the size.

        Raises:
            ValueError: Not positive.
        """
        if self.size is not None:
            _positive("size", self.size)

    @property
    def label(self) -> str:
        """What is changed."""
        how = "in two calls" if self.size is None else f"in pieces of {self.size} tokens"
        return f"prompt {how}" + " without position_ids" * (not self.position_ids)


@dataclass(frozen=True)
class WarmCache(Change):
    """A second turn on the cache of the first, against the whole text run cold.

    The first `keep` of each prompt's tokens (half by default) run first, with `answer` further tokens that
    are taken back by `trim(cache, length)`, or by the cache's own `crop` where it has one.
    """

    keep: float = 0.5
    answer: int = 0
    trim: Callable[[Any, int], Any] | None = None

    def __post_init__(self) -> None:
        """Check the share and the count.

        Raises:
            ValueError: `keep` is no share, or `answer` is negative.
        """
        if not 0 < self.keep < 1:
            raise ValueError(f"keep: must be between 0 and 1, got {self.keep!r}")
        if self.answer < 0:
            raise ValueError(f"answer: must not be negative, got {self.answer!r}")

    @property
    def label(self) -> str:
        """What is changed."""
        return "warm cache" + f", cut back by {self.answer} tokens" * bool(self.answer)


@dataclass(frozen=True)
class ReusedCache(Change):
    """A cache that held another text and was emptied, against a new one of the same kind.

    `kind` is `"static"` or `"dynamic"`; `empty(cache)` empties it, by default its own `reset`.
    """

    kind: str = "static"
    empty: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        """Check the kind.

        Raises:
            ValueError: Neither of the two.
        """
        if self.kind not in ("static", "dynamic"):
            raise ValueError(f"kind: must be 'static' or 'dynamic', got {self.kind!r}")

    @property
    def label(self) -> str:
        """What is changed."""
        return f"a {self.kind} cache that is used again"


@dataclass(frozen=True)
class RightPadded(Change):
    """The prompts padded on the right, then cached steps, against each row alone."""

    @property
    def label(self) -> str:
        """What is changed."""
        return "right-padded prompt"


@dataclass(frozen=True)
class ExplicitMask(Change):
    """A mask of ones against no mask; `position_ids(length)` gives positions other than 0, 1, 2 and so on."""

    position_ids: Callable[[int], Sequence[int]] | None = None

    @property
    def label(self) -> str:
        """What is changed."""
        return "no attention_mask"


@dataclass(frozen=True)
class BareForward(Change):
    """A left-padded batch through `forward` with its mask but without `position_ids`, against each row alone."""

    position_ids: bool = False

    @property
    def label(self) -> str:
        """What is changed."""
        return "left-padded forward" + " without position_ids" * (not self.position_ids)


@dataclass(frozen=True)
class Rewritten(Change):
    """Your own way to the logits, against the model's.

    `run(model, rows)` gets the prompts' ids (a list of lists) and returns, for each row, logits or scores of
    shape (positions, vocabulary): those of the prompt's last positions, as many as it likes. `reference` is
    called the same way with each row alone; without one the model's own forward pass stands for it. It may be
    `run` itself: then a batch is held against its rows.
    """

    run: Callable[[Any, list[list[int]]], Sequence[Any]]
    reference: Callable[[Any, list[list[int]]], Sequence[Any]] | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """What is changed."""
        return self.name or getattr(self.run, "__name__", "your own procedure")
