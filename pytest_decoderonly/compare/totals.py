"""How a score of many rows weighs them: by tokens, or by rows.

The two differ by 5e-5 on a random model, so its own values prove nothing. The likelihoods that the model gives are
set instead: -log p = 1 for every token of one row and 3 for those of the others. What weight that row then has shows
in which level, given to all rows alike, leads to the same score, whatever is made of the mean (a perplexity, say).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.compare.items import Items, as_number
from pytest_decoderonly.compare.reading import CannotReadError, Edit, Reader, called_modules, steady, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Reduction = Literal["token", "row"]

_LOW, _HIGH = 1.0, 3.0
_STEPS = 22
_MAX_ROWS = 8


@dataclass(frozen=True)
class Weight:
    """What a row weighs in the score of all (`found`), and what it would by tokens and by rows."""

    row: int
    tokens: int
    total_tokens: int
    rows: int
    found: float

    @property
    def by_token(self) -> float:
        """Its share of the tokens."""
        return self.tokens / self.total_tokens

    @property
    def by_row(self) -> float:
        """Its share of the rows."""
        return 1 / self.rows

    def is_by(self, reduction: Reduction) -> bool:
        """Whether the weight is that of a reduction, within what the search resolves."""
        return abs(self.found - (self.by_token if reduction == "token" else self.by_row)) < 2e-3


@dataclass(frozen=True)
class TotalResult:
    """The weights of the longest and the shortest row; `reason` where they could not be told."""

    reduction: Reduction
    weights: tuple[Weight, ...]
    reason: str = ""
    runs: int = 0

    @property
    def wrong(self) -> tuple[Weight, ...]:
        """The rows whose weight is another."""
        return tuple(weight for weight in self.weights if not weight.is_by(self.reduction))


def judge_total(score: Callable[[Any], Any], rows: Any, reduction: Reduction) -> TotalResult:
    """Tell how a scorer of many rows weighs them.

    Raises:
        TypeError: `rows` or what `score` returns is of none of the accepted forms.
        ValueError: Fewer than two rows, or an empty one.
    """
    items = Items(rows)
    with watched():
        outer = called_modules(lambda: as_number(score(list(items.rows))))
    if not outer:
        return TotalResult(reduction, (), "no torch module was called, so its likelihoods cannot be set")
    with steady(outer):
        try:
            reader = Reader(score, outer[0])
            if not reader.likelihoods:
                return TotalResult(reduction, (), "the model gives no logits over a vocabulary")
            return _weigh(reader, items, reduction)
        except CannotReadError as error:
            return TotalResult(reduction, (), str(error))


def _weigh(reader: Reader, items: Items, reduction: Reduction) -> TotalResult:
    counts, owners = _counts(reader, items), _owners(reader, items)
    if len(set(counts)) == 1:
        return TotalResult(
            reduction, (), "all rows have as many scored tokens, so both ways give the same", reader.runs
        )

    def level(x: float) -> float:
        return as_number(reader.run(items.rows, Edit(levels=dict.fromkeys(owners, x)))[0])

    if abs(level(_LOW) - level(_HIGH)) < 1e-6:
        return TotalResult(
            reduction, (), "the score does not follow the likelihood of its tokens", reader.runs
        )
    ends = (counts.index(max(counts)), counts.index(min(counts)))
    chosen = ends if len(items) > _MAX_ROWS else range(len(items))
    targets: dict[int, float] = {}
    for i in chosen:
        own = {at: _LOW if row == i else _HIGH for at, row in owners.items()}
        targets[i] = as_number(reader.run(items.rows, Edit(levels=own))[0])
    # A mean of perplexities is no mean of their logarithms; but whichever row gets the lower level, it is the same.
    all_low, all_high = level(_LOW), level(_HIGH)
    spread = max(targets.values()) - min(targets.values())
    moves = abs(targets[ends[0]] - all_high) > 1e-3 * abs(all_high - all_low)
    alike = len(targets) == len(items) and moves and spread < 1e-4 * abs(all_high - all_low)
    weights = []
    for i in dict.fromkeys([*ends, *(j for j in targets if targets[j] == all_high)]):
        found = 1 / len(items) if alike else (_HIGH - _search(level, targets[i])) / (_HIGH - _LOW)
        weights.append(Weight(i, counts[i], sum(counts), len(items), found))
    return TotalResult(reduction, tuple(weights), "", reader.runs)


def _search(level: Callable[[float], float], target: float) -> float:
    """The level that, given to all tokens, leads to the score `target`: by false position (Illinois)."""
    low, high = _LOW, _HIGH
    below, above = level(low) - target, level(high) - target
    middle = low
    for _ in range(_STEPS):
        middle = high - above * (high - low) / (above - below)
        value = level(middle) - target
        if abs(value) <= 1e-6 * abs(target) or value == 0:
            break
        if value * above < 0:
            low, below = high, above
        else:
            below /= 2
        high, above = middle, value
    return middle


def _counts(reader: Reader, items: Items) -> list[int]:
    """How many positions of each row the score follows, when the row is all there is."""
    counts = []
    for i, row in enumerate(items.rows):
        base, calls = reader.run([row])
        if not calls and items.tokens is not None:
            counts.append(len(items.tokens[i]) - 1)  # an incomplete batch, dropped
            continue
        if len(calls) != 1 or len(set(calls[0].ids)) != 1:
            raise CannotReadError("a row alone is not one pass of one row")
        value, count = as_number(base), 0
        if not math.isfinite(value):
            counts.append(
                sum(calls[0].mask[0]) - 1 if calls[0].mask is not None else len(calls[0].ids[0]) - 1
            )
            continue  # nothing of the row is left when it is all there is: it was dropped
        for column in range(len(calls[0].ids[0])):
            moved = as_number(reader.run([row], Edit(states=frozenset([(0, 0, column)])))[0])
            count += abs(moved - value) > 1e-6 * abs(value)
        counts.append(count)
    return counts


def _owners(reader: Reader, items: Items) -> dict[tuple[int, int], int]:
    """Which row of the user's each row of each pass is."""
    alone: list[Sequence[int]] = []
    for i, row in enumerate(items.rows):
        _, calls = reader.run([row])
        if not calls and items.tokens is not None:
            alone.append(items.tokens[i])
            continue
        ids, mask = calls[0].ids[0], calls[0].mask
        alone.append([t for t, m in zip(ids, mask[0], strict=True) if m] if mask is not None else ids)
    _, calls = reader.run(items.rows)
    found: dict[tuple[int, int], int] = {}
    free = list(range(len(items)))
    for number, call in enumerate(calls):
        for at, ids in enumerate(call.ids):
            seen = call.mask[at] if call.mask is not None else (1,) * len(ids)
            own = [t for t, m in zip(ids, seen, strict=True) if m]
            match = next((i for i in free if list(alone[i]) == own), None)
            if match is None:
                match = next((i for i in free if _within(ids, alone[i])), None)
            if match is None:
                # A row once more, to fill the last batch.
                match = next((i for i in range(len(items)) if _within(ids, alone[i])), None)
            else:
                free.remove(match)
            if match is None:
                raise CannotReadError("the rows do not reach the model in the batch as they do alone")
            found[number, at] = match
    return found


def _within(ids: Sequence[int], part: Sequence[int]) -> bool:
    return any(tuple(ids[i : i + len(part)]) == tuple(part) for i in range(len(ids) - len(part) + 1))
