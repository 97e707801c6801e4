"""Judges one call of `generate`: where its rows stopped, what its cache held, what room its limit left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
        last: The number of tokens behind which every row had stopped; None where not every row had.
        open_rows: Rows that had not stopped, where the call ended early.
    """

    length: int
    limit: int
    last: int | None
    open_rows: tuple[int, ...]

    @property
    def short(self) -> bool:
        """Whether the call ended too early, rather than too late."""
        return bool(self.open_rows)

    def message(self, where: str) -> str:
        """Return the finding in words. `where` names the call."""
        if self.length > self.limit:
            return (
                f"{where} generated {self.length} tokens, its limit leaves {self.limit}\n"
                "        effect: the same prompt gets answers of other lengths, given in another way (ids, embeddings)\n"
                "        do:     set max_new_tokens; where generation is your own, count what was given as "
                "embeddings against max_length"
            )
        if self.last is not None:
            count = self.length - self.last
            return (
                f"{where} went on for {count} token{'s' * (count > 1)} after every row had stopped, "
                f"at token {self.last} of {self.length}\n"
                "        effect: answers run on behind their end, and every batch takes as long as the limit\n"
                "        do:     let the stopping criterion return one truth value a row, of shape (rows,), True "
                "where that row's own end matches"
            )
        rows = ", ".join(map(str, self.open_rows[:10])) + (", …" if len(self.open_rows) > 10 else "")
        several = len(self.open_rows) > 1
        return (
            f"{where} ended after {self.length} of {self.limit} tokens, though row{'s' * several} {rows} had not "
            "stopped\n"
            f"        effect: {'these answers are' if several else 'this answer is'} cut short by another row's end\n"
            "        do:     let the stopping criterion return one truth value a row, of shape (rows,); match each "
            "row's own end, never the flattened batch"
        )


def audit_stops(rows: Sequence[Sequence[int]], stops: Stops, tokenizer: Any = None) -> StopAudit | None:
    """Say whether a call went on after all rows had stopped, or ended before a row had and before its limit.

    Args:
        rows: What each row generated, of equal lengths.
        stops: What ends a row.
        tokenizer: Decodes, where stops are texts.

    Returns:
        What is wrong, or None.
    """
    length = max(map(len, rows), default=0)
    if length > stops.limit:
        return StopAudit(length, stops.limit, None, ())
    places = [_stop(row, stops, tokenizer) for row in rows]
    missing = tuple(i for i, place in enumerate(places) if place is None)
    if missing:
        return StopAudit(length, stops.limit, None, missing) if length < stops.limit else None
    last = max((place for place in places if place is not None), default=length)
    return StopAudit(length, stops.limit, last, ()) if last < length else None


def _stop(row: Sequence[int], stops: Stops, tokenizer: Any) -> int | None:
    """Return behind how many tokens the row has stopped."""
    found = next((i + 1 for i, token in enumerate(row) if token in stops.ids), None)
    if stops.texts:
        low, high = 0, len(row) if found is None else found

        def holds(size: int) -> bool:
            text = tokenizer.decode(list(row[:size]))
            return any(stop in text for stop in stops.texts)

        if holds(high):
            while low < high:  # the shortest beginning that holds a stop
                middle = (low + high) // 2
                if holds(middle):
                    high = middle
                else:
                    low = middle + 1
            return low
    if found is None and stops.pad is not None and row and row[-1] == stops.pad:
        return next(len(row) - n for n, token in enumerate([*row[::-1], None]) if token != stops.pad)
    return found


def uncontinued(
    rows: Sequence[Sequence[int]], cached: int, before: Sequence[Sequence[int]] | None, *, where: str
) -> str:
    """Say what is wrong with ids that are given with a filled cache; empty where nothing is.

    Args:
        rows: The ids of the call, of equal lengths.
        cached: Tokens in the cache.
        before: What the call returned that filled the cache, where that is known.
        where: Names the call.
    """
    advice = (
        "        effect: what is cut off by the cache's length is the new turn itself: the model answers something "
        "else\n"
        "        do:     give generate the whole conversation, earlier answers included; it skips what the cache "
        "holds"
    )
    width = len(rows[0]) if rows else 0
    if width <= cached:
        return (
            f"{where} got {width} ids with a cache of {cached} tokens: they are the new turn alone\n{advice}"
        )
    if before is not None and len(before) == len(rows):
        size = min(cached, len(before[0]))
        if any(list(old[:size]) != list(row[:size]) for old, row in zip(before, rows, strict=True)):
            return f"{where} got ids that do not begin with the {size} tokens in its cache\n{advice}"
    return ""


def unroomy(settings: Mapping[str, Any], limit: int, wanted: int, *, where: str) -> str:
    """Say that a call could generate fewer than `wanted` tokens; empty where it could."""
    if limit >= wanted:
        return ""
    told = settings.get("max_new_tokens")
    counted = told is None and limit != settings.get("max_length", limit)
    why = f"max_length {settings.get('max_length')} counts the prompt" if counted else f"its limit is {limit}"
    return (
        f"{where} had room for {max(0, limit)} new tokens, expected {wanted}: {why}"
        + ("   [DLM106]\n" if counted else "\n")
        + "        effect: answers are cut short"
        + (", the more the longer the longest prompt of the batch is\n" if counted else "\n")
        + "        do:     "
        + (
            "set max_new_tokens instead of max_length"
            if counted
            else f"set max_new_tokens to {wanted} or more"
        )
    )
