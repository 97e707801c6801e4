"""What a comparison says: plain data, without tensors."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class Verdict(str, enum.Enum):
    """The outcome of a relation or of the whole battery."""

    EQUAL = "equal"
    ROUNDING = "equal up to rounding"
    DIFFERENT = "different"
    BY_DESIGN = "different by design"
    UNDECIDED = "undecided"

    def __str__(self) -> str:
        return self.value

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong: equal, or equal up to rounding."""
        return self in (Verdict.EQUAL, Verdict.ROUNDING)


class Relation(str, enum.Enum):
    """Two runs that a correct model answers alike."""

    REPEATED = "repeated"
    PAD_CONTENT = "pad-content"
    NEIGHBOUR_CONTENT = "neighbour-content"
    ROW_ORDER = "row-order"
    BATCH_VS_SOLO = "batch-vs-solo"
    PAD_AMOUNT = "pad-amount"
    CACHED_VS_FULL = "cached-vs-full"
    LAST_LOGITS = "last-logits"

    def __str__(self) -> str:
        return self.value

    @property
    def same_shape(self) -> bool:
        """Whether both runs have the same shapes, so that a correct dense model gives the same bits."""
        return self in (Relation.REPEATED, Relation.PAD_CONTENT, Relation.NEIGHBOUR_CONTENT)

    @property
    def says(self) -> str:
        """The relation in words."""
        return _WORDS[self]


_WORDS = {
    Relation.REPEATED: "the same row run again, after other rows, gives the same",
    Relation.PAD_CONTENT: "other token ids under the padding change nothing",
    Relation.NEIGHBOUR_CONTENT: "other text in the neighbouring rows changes nothing",
    Relation.ROW_ORDER: "the order of the rows changes nothing",
    Relation.BATCH_VS_SOLO: "a row of a left-padded batch equals the row alone, unpadded",
    Relation.PAD_AMOUNT: "a row alone is the same with any amount of left padding",
    Relation.CACHED_VS_FULL: "cached steps equal one forward pass over the whole text",
    Relation.LAST_LOGITS: "logits_to_keep, as generate asks for it, keeps the last positions",
}


@dataclass(frozen=True)
class RowError:
    """How far one row of a run is from its reference.

    `errors` holds max |difference of logits| over the vocabulary at each real position (prefill, then cached
    steps), divided by `scale`, the standard deviation of the reference logits; NaN where either side is not
    finite. `width` is the padded width of the run, `pads` how many padding columns the row had there, `rows` how
    many rows ran together.
    """

    row: int
    errors: np.ndarray
    prefill: int
    scale: float
    width: int
    pads: int
    rows: int = 1

    @property
    def worst(self) -> float:
        """The greatest relative error; NaN if any position is not finite."""
        return float(self.errors.max()) if self.errors.size else 0.0

    @property
    def finite(self) -> bool:
        """Whether all compared logits are finite."""
        return self.worst == self.worst

    def first(self, limit: float) -> int | None:
        """Return the first position whose error is over `limit` or not finite."""
        over = ~(self.errors <= limit)
        return int(over.argmax()) if over.any() else None

    def place(self, position: int) -> str:
        """Name a position: a prompt token or a cached step."""
        if position < self.prefill:
            return f"prompt token {position} of {self.prefill}"
        return f"cached step {position - self.prefill + 1} of {self.errors.size - self.prefill}"


@dataclass(frozen=True)
class RelationResult:
    """One relation's verdict with the numbers of both precisions.

    `work` is in the model's dtype, `single` in float32. `applicable` is False where the input cannot show
    the relation (a single row has no neighbours).
    """

    relation: Relation
    verdict: Verdict
    reason: str = ""
    work: tuple[RowError, ...] = ()
    single: tuple[RowError, ...] = ()
    limit: float = 0.0
    applicable: bool = True

    @property
    def decisive(self) -> tuple[RowError, ...]:
        """The errors that the verdict was read from: float32 where it was run, else the working precision."""
        return self.single or self.work

    @property
    def failing(self) -> tuple[RowError, ...]:
        """The rows over the limit."""
        return tuple(error for error in self.decisive if not error.worst <= self.limit)

    @property
    def finite(self) -> bool:
        """Whether all compared logits are finite."""
        return all(error.finite for error in self.decisive)


def worst(errors: tuple[RowError, ...]) -> float | None:
    """Return the greatest relative error of several rows, NaN if one is not finite, None without rows."""
    values = [error.worst for error in errors]
    if not values:
        return None
    return float("nan") if any(v != v for v in values) else max(values)  # noqa: PLR0124


@dataclass(frozen=True)
class Culprit:
    """What the failing pattern points at."""

    name: str
    sentence: str
    advice: str
    by_design: bool = False


@dataclass(frozen=True)
class Layer:
    """The first module whose activations part, at a real position of a row.

    `profile` holds the greatest deviation after each layer at the same call: names and numbers, in order.
    """

    name: str
    row: int
    place: str
    error: float
    call: int
    profile: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Choice:
    """A greedy token that differs between a batch and the row alone.

    The logits behind it are those of the working precision. Where they agree up to rounding it is a tie: two
    candidates as good as equal.
    """

    row: int
    place: str
    batched: int
    solo: int
    margin: float
    error: float


@dataclass(frozen=True)
class BatteryResult:
    """The battery's outcome.

    `notes` are sentences a reader needs to judge it; `runs` counts passes through the model.
    """

    verdict: Verdict
    relations: tuple[RelationResult, ...]
    dtype: str
    device: str
    lengths: tuple[int, ...]
    culprit: Culprit | None = None
    layer: Layer | None = None
    ties: tuple[Choice, ...] = ()
    flips: tuple[Choice, ...] = ()
    notes: tuple[str, ...] = ()
    runs: int = 0
    seconds: float = 0.0

    def of(self, relation: Relation) -> RelationResult | None:
        """Return the result of one relation, None where it was not asked for."""
        return next((result for result in self.relations if result.relation is relation), None)

    @property
    def failing(self) -> tuple[RelationResult, ...]:
        """The relations that do not hold."""
        return tuple(r for r in self.relations if r.verdict in (Verdict.DIFFERENT, Verdict.BY_DESIGN))


@dataclass(frozen=True)
class ChangeResult:
    """What came of one change: the plain run held against the run with one thing changed.

    `work` is in the model's dtype, `single` in float32; searches are judged in float32 alone. `details` are
    sentences on what a search found, ties among them; `notes` what a reader needs to judge it. `applicable` is
    False where the model declares that it has no such thing, or runs that way by itself.
    """

    verdict: Verdict
    change: str
    reason: str
    dtype: str
    device: str
    lengths: tuple[int, ...]
    work: tuple[RowError, ...] = ()
    single: tuple[RowError, ...] = ()
    limit: float = 0.0
    culprit: Culprit | None = None
    layer: Layer | None = None
    details: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    runs: int = 0
    seconds: float = 0.0
    applicable: bool = True

    @property
    def decisive(self) -> tuple[RowError, ...]:
        """The errors that the verdict was read from."""
        return self.single or self.work

    @property
    def failing(self) -> tuple[RowError, ...]:
        """The rows over the limit."""
        return tuple(error for error in self.decisive if not error.worst <= self.limit)


@dataclass(frozen=True)
class Limits:
    """Where rounding ends, in float32, relative to the spread of the logits.

    Measured over 110 model classes: correct ones stay below 1e-5 (state-space ones below 5e-5), and the
    smallest realistic bug moves the logits by 2.5e-3. Between `suspicious` and `bug` the same runs are
    repeated in float64, where rounding shrinks by orders of magnitude and a bug stays.
    """

    suspicious: float = 1e-4
    bug: float = 1e-3
    exact: float = 1e-5


STATE_SPACE_LIMITS = Limits(suspicious=5e-4, bug=2e-3)
