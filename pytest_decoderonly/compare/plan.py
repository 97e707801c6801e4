"""The runs that the battery holds against each other: which rows, how wide, over which padding."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.drive import Batch, Row, ordinary_ids
from pytest_decoderonly.compare.shapes import beyond_window, inside_window, sweep_widths
from pytest_decoderonly.compare.verdict import Relation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# One run and the reference it is held against: the two batches, and which row of the first is which of the
# second.
Pair = tuple[Batch, Batch, list[tuple[int, int]]]


# Other numbers of rows than the prompts': code with a path of its own for pairs, or for blocks of four.
_SIZES = (2, 5)


class Plan:
    """Batches of a model's rows, for each relation; of at most `most` rows."""

    def __init__(
        self,
        model: Any,
        rows: tuple[Row, ...],
        *,
        pad_id: int,
        steps: int,
        widths: Sequence[int] | None,
        solo_rows: int,
        most: int | None = None,
    ) -> None:
        self.model = model
        self.rows = rows
        self.pad_id = pad_id
        self.steps = steps
        self.sizes = [size for size in _SIZES if most is None or size <= most]
        self.ordinary = ordinary_ids(model, rows)
        draw = random.Random(7)  # noqa: S311 - test data
        self.continuation = tuple(self._draw(draw, steps) for _ in rows)
        self.width = max(map(len, rows))
        self.widths = sorted(
            set(sweep_widths(model, min(map(len, rows)), steps) if widths is None else widths)
        )
        self.solo = self._pick(solo_rows)
        self.long = beyond_window(model, max(rows, key=len), steps)
        self._pairs: dict[Relation, list[Pair]] = {}

    def _draw(self, draw: random.Random, count: int) -> Row:
        words = self.ordinary or (self.pad_id,)
        return tuple(draw.choice(words) for _ in range(count))

    def _pick(self, count: int) -> list[int]:
        order = sorted(range(len(self.rows)), key=lambda i: len(self.rows[i]))
        first = [order[0], order[-1], *order[1:-1]]
        return list(dict.fromkeys(first))[:count]

    def batch(
        self,
        rows: Sequence[Row],
        continuation: Sequence[Row],
        width: int,
        fill: int | random.Random | None = None,
    ) -> Batch:
        """Rows padded on the left to `width`, over the padding id, one id, or ids that are drawn."""
        fills: list[Row] = []
        for row in rows:
            pads = width - len(row)
            fills.append(
                self._draw(fill, pads)
                if isinstance(fill, random.Random)
                else (self.pad_id if fill is None else fill,) * pads
            )
        return Batch(tuple(rows), tuple(fills), tuple(continuation))

    @property
    def padded_width(self) -> int:
        """The width of the batch for relations that need padding: equal rows get some."""
        return self.width + 3 if all(len(row) == self.width for row in self.rows) else self.width

    def base(self, width: int | None = None) -> Batch:
        """All rows."""
        return self.batch(self.rows, self.continuation, width or self.width)

    def alone(self, i: int, width: int | None = None, fill: random.Random | None = None) -> Batch:
        """Row `i` by itself, unpadded or as wide as is said."""
        return self.batch([self.rows[i]], [self.continuation[i]], width or len(self.rows[i]), fill)

    def another(self, i: int) -> Batch:
        """Other text of the same length as row `i`, by itself."""
        draw = random.Random(11)  # noqa: S311 - test data
        return self.own(self._draw(draw, len(self.rows[i])), self._draw(draw, self.steps))

    def own(self, row: Row, continuation: Row) -> Batch:
        """A row that is none of the prompts, unpadded."""
        return self.batch([row], [continuation], len(row))

    def whole(self) -> list[tuple[int, Batch]]:
        """The rows for cached against full: the shortest and the longest, and both sides of a window."""
        ends = [self.solo[0], max(range(len(self.rows)), key=lambda i: len(self.rows[i]))]
        found = [(i, self.alone(i)) for i in dict.fromkeys(ends)]
        near = inside_window(self.model, self.rows[ends[0]], self.steps)
        if near is not None:
            found.insert(0, (ends[0], self.own(near, self.continuation[ends[0]])))
        if self.long is not None:
            found.append((ends[1], self.own(self.long, self.continuation[ends[1]])))
        return found

    def padded(self) -> Batch | None:
        """The padded batch, which a forward pass without a cache must read as `generate` does; None without one."""
        return self.base(self.padded_width) if len(self.rows) > 1 else None

    def pairs(self, relation: Relation) -> list[Pair]:
        """The runs that a relation holds against each other: (reference, other, rows)."""
        if relation not in self._pairs:
            self._pairs[relation] = list(self._make_pairs(relation))
        return self._pairs[relation]

    def _make_pairs(self, relation: Relation) -> Iterable[Pair]:
        everyone = [(i, i) for i in range(len(self.rows))]
        short = self.solo[0]
        if relation is Relation.PAD_CONTENT:
            width = self.padded_width
            other = self.batch(self.rows, self.continuation, width, random.Random(1))  # noqa: S311 - test data
            yield self.base(width), other, everyone
            if len(self.rows) > 1:
                wide = len(self.rows[short]) + 5
                yield self.alone(short, wide), self.alone(short, wide, random.Random(2)), [(0, 0)]  # noqa: S311
        elif relation is Relation.NEIGHBOUR_CONTENT and len(self.rows) > 1:
            width = self.padded_width
            for observed in dict.fromkeys([0, len(self.rows) // 2, len(self.rows) - 1]):
                draw = random.Random(3 + observed)  # noqa: S311
                rows = [
                    row if i == observed else self._draw(draw, len(row)) for i, row in enumerate(self.rows)
                ]
                more = [
                    row if i == observed else self._draw(draw, len(row))
                    for i, row in enumerate(self.continuation)
                ]
                yield self.base(width), self.batch(rows, more, width), [(observed, observed)]
        elif relation is Relation.ROW_ORDER and len(self.rows) > 1:
            # Turned round, not rotated: rows that are mixed in a ring look the same after a rotation.
            order = [*range(len(self.rows))][::-1]
            turned = self.batch(
                [self.rows[i] for i in order], [self.continuation[i] for i in order], self.width
            )
            yield self.base(), turned, [(i, order.index(i)) for i in range(len(self.rows))]
        elif relation is Relation.BATCH_VS_SOLO and len(self.rows) > 1:
            for i in self.solo:
                yield self.alone(i), self.base(), [(0, i)]
            for count in self.sizes:
                if count != len(self.rows):
                    order = [self.solo[j % len(self.solo)] for j in range(count)]
                    some = self.batch(
                        [self.rows[i] for i in order], [self.continuation[i] for i in order], self.width
                    )
                    for i in self.solo[:2]:
                        yield self.alone(i), some, [(0, j) for j, own in enumerate(order) if own == i]
            if self.long is not None:
                following = self.continuation[self.solo[-1]]
                both = [self.continuation[short], following]
                pair = self.batch([self.rows[short], self.long], both, len(self.long))
                yield self.own(self.long, following), pair, [(0, 1)]
        elif relation is Relation.PAD_AMOUNT:
            for width in self.widths:
                if width > len(self.rows[short]):
                    yield self.alone(short), self.alone(short, width), [(0, 0)]

    def index(self, row: Row) -> int:
        """The prompt that a row of a batch is, or was made of."""
        return self.solo[-1] if row == self.long else self.rows.index(row)
