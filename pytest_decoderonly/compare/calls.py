"""Judges one call of `generate`: where its rows stopped, and what its cache held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence


_HEAD = 16  # tokens of the prompt that are read with a row


@dataclass(frozen=True)
class Stops:
    """What ends a row: ids, texts, and the padding that fills it up; `limit` is the most tokens of a call."""

    ids: frozenset[int]
    limit: int
    texts: tuple[str, ...] = ()
    pad: int | None = None


@dataclass(frozen=True)
class StopAudit:
    """A call that ended at the wrong token.

    Attributes:
        length: Tokens that were generated.
        limit: Tokens that could have been.
        places: For each row, behind how many tokens it had stopped; None where it had not.
        kind: `beyond` the limit; `late`, after every row had stopped; `early`, before a row had and the limit.
    """

    length: int
    limit: int
    places: tuple[int | None, ...]
    kind: Literal["beyond", "late", "early"]

    @property
    def last(self) -> int:
        """Behind how many tokens the last of the rows that stopped had done so."""
        return max((place for place in self.places if place is not None), default=self.length)


def audit_stops(
    rows: Sequence[Sequence[int]],
    stops: Stops,
    tokenizer: Any = None,
    before: Sequence[Sequence[int]] | None = None,
) -> StopAudit | None:
    """Say whether a call went on after all rows had stopped, or ended before a row had and before its limit.

    A row counts as stopped too late only where the stop stands in its own text, and as not stopped only where
    no reading of it holds one.

    Args:
        rows: What each row generated, of equal lengths.
        stops: What ends a row.
        tokenizer: Decodes, where stops are texts.
        before: The ids in front of each row: tokenizers drop spaces at the start of a text, and a stop may
            begin in the prompt.

    Returns:
        What is wrong, or None.
    """
    length = max(map(len, rows), default=0)
    heads = [list(row[-_HEAD:]) for row in before] if before is not None else [[] for _ in rows]
    readers = [_Reader(list(row), head, stops, tokenizer) for row, head in zip(rows, heads, strict=True)]
    places = tuple(reader.stopped(sure=False) for reader in readers)
    if length > stops.limit:
        return StopAudit(length, stops.limit, places, "beyond")
    if None in places:
        return StopAudit(length, stops.limit, places, "early") if length < stops.limit else None
    found = StopAudit(length, stops.limit, tuple(reader.stopped(sure=True) for reader in readers), "late")
    # Where several processes generate together, one that has ended adds padding until the others have, too.
    went_on = any(token != stops.pad for row in rows for token in row[found.last :])
    return found if went_on and None not in found.places else None


class _Reader:
    """Looks for the stop of one row."""

    def __init__(self, row: list[int], head: list[int], stops: Stops, tokenizer: Any) -> None:
        self.row, self.head, self.stops, self.tokenizer = row, head, stops, tokenizer
        self.hidden: set[int] = set()
        if stops.texts:
            # The names of special tokens are no text, but where they are stops themselves.
            for token in getattr(tokenizer, "all_special_ids", None) or ():
                name = tokenizer.decode([token])
                if not any(name in stop for stop in stops.texts):
                    self.hidden.add(token)

    def stopped(self, *, sure: bool) -> int | None:
        """Return behind how many tokens the row has stopped."""
        row, stops = self.row, self.stops
        found = next((i + 1 for i, token in enumerate(row) if token in stops.ids), None)
        low, high = 0, len(row) if found is None else found
        if stops.texts and self._holds(high, sure=sure):
            while low < high:  # the shortest beginning that holds a stop
                middle = (low + high) // 2
                if self._holds(middle, sure=sure):
                    high = middle
                else:
                    low = middle + 1
            return low
        if found is None and stops.pad is not None and row and row[-1] == stops.pad:
            return next(len(row) - n for n, token in enumerate([*row[::-1], None]) if token != stops.pad)
        return found

    def _holds(self, size: int, *, sure: bool) -> bool:
        row, texts = self.row[:size], self.stops.texts
        start = self.tokenizer.decode(self.head)
        shown = self.tokenizer.decode([*self.head, *(token for token in row if token not in self.hidden)])
        if any(stop in shown[len(start) :] for stop in texts):
            return True
        if sure:
            return False
        whole = self.tokenizer.decode([*self.head, *row])
        ends = (whole.rfind(stop) + len(stop) for stop in texts if stop in whole)
        return any(end > len(start) for end in ends) or any(
            stop in self.tokenizer.decode(row) for stop in texts
        )


@dataclass(frozen=True)
class CacheProblem:
    """Ids that do not go with a cache that already holds tokens."""

    what: str
    effect: str
    advice: str


def uncontinued(
    rows: Sequence[Sequence[int]], cached: int, before: Sequence[Sequence[int]] | None, mask_width: int | None
) -> CacheProblem | None:
    """Say what is wrong with ids that are given with a filled cache; None where nothing is.

    `generate` of transformers 5 takes ids as the whole text where the mask has their width, and leaves out as
    many as the cache holds; where the mask is as wide as cache and ids together, they are what is new.

    Args:
        rows: The ids of the call, of equal lengths.
        cached: Tokens in the cache.
        before: What the call returned that filled the cache, where that is known.
        mask_width: Columns of the mask; None without one.
    """
    width = len(rows[0]) if rows else 0
    known = before if before is not None and len(before) == len(rows) and len(before[0]) >= cached else None
    if mask_width is not None and mask_width == cached + width:
        # The last token that was generated is in no cache yet.
        ends = zip(known or (), rows, strict=False)
        if any(len(old) == cached + 1 and old[cached] != new[0] for old, new in ends):
            return CacheProblem(
                "got new ids alone, and the last token generated before is neither in the cache nor among them",
                "the model does not see how the earlier answer ended",
                "begin the new ids with the last token of what generate returned",
            )
        return None
    what = ""
    if mask_width is not None and mask_width != width:
        what = (
            f"got {width} ids and a mask of {mask_width} columns with a cache of {cached} tokens: expected "
            f"{width} columns for the whole text, or {cached + width} for new tokens alone"
        )
    elif width <= cached:
        what = f"got {width} ids with a cache of {cached} tokens: they are the new turn alone"
    elif known is not None and any(
        list(old[:cached]) != list(row[:cached]) for old, row in zip(known, rows, strict=True)
    ):
        what = f"got ids that do not begin with the {cached} tokens in its cache"
    if not what:
        return None
    return CacheProblem(
        what,
        "what generate leaves out as known is a part of the new turn: the model answers something else",
        "give generate the whole conversation, earlier answers included; it skips what the cache holds",
    )
