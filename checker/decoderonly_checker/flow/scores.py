"""What a model's forward computed: numbers for each position, and what was made of them.

Values like those of `flow.values`: immutable, `origin` is the place that made them.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from decoderonly_checker.flow.values import Tuple, Value, alternatives
from decoderonly_checker.immutable import immutable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import ForwardCall, Reduction


@immutable
class Logits(Value):
    """Numbers of a forward for each position, or what was computed from them position by position.

    `kind` is "logits", "log_probs" (or probabilities, over the vocabulary), "hidden" (a layer's states), "layers" (those
    of all layers) or "token" (one number a position). `rank` is "batch" (rows, positions), "row" (positions of
    one), "flat" (rows and positions in one axis), "turned" (positions are not the second axis) or "position" (one of each
    row: nothing more is known of its axes). `against` are the ids that a "token" number was taken at. `start` is
    the bound from which on positions were kept. `clean` is set where padding cannot be among them any more, or may not be,
    `wide` where `gather` left an axis of one behind the positions.
    """

    call: ForwardCall = field(default=None, compare=False)  # type: ignore[assignment]
    key: int = 0
    kind: str = "logits"
    rank: str = "batch"
    against: Value | None = None
    start: Value | None = None
    clean: bool = False
    wide: bool = False


@immutable
class Score(Value):
    """A number for a row or for the batch, made of the numbers of its positions; `reduction` says how."""

    reduction: Reduction = field(default=None, compare=False)  # type: ignore[assignment]
    key: int = 0


VOCABULARY = frozenset(
    {"logits", "log_probs", "hidden"}
)  # kinds that have one more axis behind the positions


def logits_in(value: Value | None) -> Logits | None:
    """Return the first alternative of a value that is scores of positions, or None."""
    return next((one for one in alternatives(value) if isinstance(one, Logits)), None)


def scores_in(value: Value) -> Iterator[Score]:
    """Yield the scores that stand in `value` itself (not in containers on the heap)."""
    for one in alternatives(value):
        if isinstance(one, Score):
            yield one
        elif isinstance(one, Tuple):
            for item in one.items:
                yield from scores_in(item)
