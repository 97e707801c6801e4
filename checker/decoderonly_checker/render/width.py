"""Source lines as a terminal shows them: tabs, wide and invisible characters, and lines that are too long."""

from __future__ import annotations

import unicodedata

_TAB = 4
_ELLIPSIS = "..."


def visible(line: str) -> list[tuple[str, int]]:
    """For each character of a line what to print for it, and how many columns that takes.

    Control characters are spelled out, so that no file can send commands to the terminal that shows it.
    """
    cells: list[tuple[str, int]] = []
    column = 0
    for character in line:
        if character == "\t":
            size = _TAB - column % _TAB
            cells.append((" " * size, size))
        else:
            category = unicodedata.category(character)
            if category in ("Cc", "Cs") or character in "\u2028\u2029" or _reorders(character):
                spelled = character.encode("unicode_escape", "surrogatepass").decode("ascii")
                cells.append((spelled, len(spelled)))
            elif category in ("Mn", "Me", "Cf"):
                cells.append((character, 0))
            else:
                cells.append((character, 2 if unicodedata.east_asian_width(character) in "WF" else 1))
        column += cells[-1][1]
    return cells


def _reorders(character: str) -> bool:
    """Bidirectional controls make code look other than it is ("Trojan source")."""
    return "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"


def safe(text: str) -> str:
    """A text for one line of a report, with control characters spelled out."""
    return "".join(shown for shown, _ in visible(text))


class Layout:
    """A line laid out for a number of columns: cut around one place if it is too long.

    `text` is what to print.
    """

    def __init__(self, line: str, anchor: int, width: int | None) -> None:
        """Lay out a line (without its break) so that the character `anchor` (0-based) can be seen."""
        self._cells = visible(line)
        anchor = min(anchor, len(self._cells))
        self._first, self._last = 0, len(self._cells)
        if width is not None and self._columns(0, len(self._cells)) > width:
            self._cut(anchor, max(width - 2 * len(_ELLIPSIS), 20))
        self._head = _ELLIPSIS if self._first > 0 else ""
        tail = _ELLIPSIS if self._last < len(self._cells) else ""
        self.text = self._head + "".join(text for text, _ in self._cells[self._first : self._last]) + tail

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The columns before and of a span of characters; what was cut off is one column at the edge."""
        start = min(max(start, self._first), self._last)
        end = min(max(end, start), self._last)
        return len(self._head) + self._columns(self._first, start), max(1, self._columns(start, end))

    def _columns(self, start: int, end: int) -> int:
        return sum(size for _, size in self._cells[start:end])

    def _cut(self, anchor: int, room: int) -> None:
        """Keep some of what stands before the anchor, then as much as fits."""
        self._first = anchor
        before = 0
        while self._first > 0 and before + self._cells[self._first - 1][1] <= room // 3:
            self._first -= 1
            before += self._cells[self._first][1]
        self._last = self._first
        used = 0
        while self._last < len(self._cells) and used + self._cells[self._last][1] <= room:
            used += self._cells[self._last][1]
            self._last += 1
