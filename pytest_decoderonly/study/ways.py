"""The ways of asking that are held against each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Way:
    """One way of asking: on which side rows are padded, and whether `generate` is told so.

    `key` is what options and results call it.
    """

    key: str
    name: str
    side: Literal["left", "right"]
    mask: bool


ALONE = Way("alone", "one prompt at a time", "left", mask=True)
BATCHED = (
    Way("left", "left, with the mask", "left", mask=True),
    Way("left-no-mask", "left, without the mask", "left", mask=False),
    Way("right", "right, with the mask", "right", mask=True),
)


@dataclass(frozen=True)
class Cell:
    """A way at one size: `batch_size` prompts at a time, `padding` columns more than the longest needs."""

    way: Way
    batch_size: int
    padding: int

    def __str__(self) -> str:
        if self.way is ALONE:
            return self.way.name
        more = f", {self.padding} more columns" if self.padding else ""
        return f"{self.way.name}, batches of {self.batch_size}{more}"


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        ways: Held against prompts alone.
        batch_sizes: In prompts.
        paddings: Columns more than the longest prompt of a batch needs.
        max_new_tokens: The longest answer.
        rounds: How often times are taken.
    """

    ways: tuple[Way, ...] = BATCHED
    batch_sizes: tuple[int, ...] = (2, 8)
    paddings: tuple[int, ...] = (0,)
    max_new_tokens: int = 24
    rounds: int = 3

    @property
    def cells(self) -> list[Cell]:
        """Prompts alone first, then each way at each size."""
        return [
            Cell(ALONE, 1, 0),
            *(
                Cell(way, size, padding)
                for size in self.batch_sizes
                for padding in self.paddings
                for way in self.ways
            ),
        ]
