"""Rows that a scorer runs in windows, one after the other: each token must be scored in one of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_decoderonly.compare.padding import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_decoderonly.compare.reading import Call, Column

MAX_STATES = 64


@dataclass(frozen=True)
class Window:
    """Where a pass over a part of a row stands: tokens from column `column` on are the row's from `begin` on.

    `lead`: whether a token stands in front of them.
    """

    call: int
    at: int
    column: int
    begin: int
    length: int
    lead: int

    @property
    def end(self) -> int:
        """The first token behind it."""
        return self.begin + self.length

    @property
    def states(self) -> Iterator[tuple[Column, int]]:
        """Its states, each with the token of the row that it predicts."""
        for place in range(-self.lead, self.length):
            yield (self.call, self.at, self.column + place), self.begin + place + 1


def find_windows(calls: Sequence[Call], row: Sequence[int]) -> list[Window] | None:
    """Find each pass in the row; None where that cannot be told, or where they do not follow each other.

    One token (BOS, or the one before) may stand in front. Passes over the same tokens, or over a part of what
    another one saw, are no windows: likelihoods with and without a context are compared so.
    """
    windows: list[Window] = []
    for number, call in enumerate(calls):
        for at, ids in enumerate(call.ids):
            mask = call.mask[at] if call.mask is not None else (1,) * len(ids)
            if not any(mask):
                return None
            first, end = mask.index(1), len(mask) - mask[::-1].index(1)
            if not all(mask[first:end]):
                return None
            found = None
            for lead in (0, 1):
                own = tuple(ids[first + lead : end])
                places = [
                    b for b in range(len(row) - len(own) + 1) if own and tuple(row[b : b + len(own)]) == own
                ]
                if len(places) > 1:
                    return None
                if places:
                    found = Window(number, at, first + lead, places[0], len(own), lead)
                    break
            if found is None:
                return None
            windows.append(found)
    ordered = all(a.begin < b.begin and a.end < b.end for a, b in pairwise(windows))
    return windows if ordered and len(windows) > 1 else None


def window_fault(
    number: int, row: Sequence[int], windows: Sequence[Window], read: Sequence[int], prompt: int | None
) -> tuple[Problem | None, str]:
    """What is wrong with how often each token is scored (`read`), and a sign for each token."""
    wanted = range(1 if prompt is None else max(1, prompt), len(row))
    twice = [i for i, count in enumerate(read) if count > 1]
    missing = [i for i in wanted if not read[i]] if prompt is not None else []
    early = [i for i in range(prompt or 0) if read[i]]
    signs = "".join(
        "!"
        if count > 1 or i in early
        else "R"
        if count
        else "?"
        if i in missing
        else "p"
        if i < (prompt or 0)
        else "."
        for i, count in enumerate(read)
    )
    many = f"{len(windows)} windows"
    if twice:
        count = f"{len(twice)} of {len(row)} tokens {'are' if len(twice) > 1 else 'is'}"
        return Problem(
            "",
            number,
            twice[0],
            f"{count} scored more than once: {many} overlap, and each scores what it shares with the one before",
            "tokens count twice, some of them with little context",
            "score only what the window before has not scored; what they share is context (labels -100)",
        ), signs
    if early:
        return Problem(
            "DLM403",
            number,
            early[0],
            f"{len(early)} prompt token{'s are' if len(early) > 1 else ' is'} counted into the score of the continuation",
            "the score depends on how likely the prompt is",
            "sum the log-probabilities of the continuation's tokens only",
        ), signs
    if missing:
        count = f"{len(missing)} of {len(wanted)} tokens {'are' if len(missing) > 1 else 'is'}"
        return Problem(
            "",
            number,
            missing[0],
            f"{count} scored in none of the {many}: nothing predicts the first token of a window",
            "a part of the continuation does not count",
            "let windows overlap by one token at least, and score it in the later one",
        ), signs
    return None, signs
