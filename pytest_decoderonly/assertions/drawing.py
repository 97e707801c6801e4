"""Rows of tokens as text: one sign a position, a pointer, and a small table around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_ROWS = 10
_WIDTH = 72
_CONTEXT = 2
_WHOLE = 3


def strip(signs: Sequence[str], point: int) -> tuple[str, str]:
    """Return a line of signs and one with a pointer under position `point`; long rows are cut around it."""
    start = 0
    if len(signs) > _WIDTH:
        start = min(max(0, point - _WIDTH // 2), len(signs) - _WIDTH)
    end = min(len(signs), start + _WIDTH)
    left, right = "..." * (start > 0), "..." * (end < len(signs))
    return left + "".join(signs[start:end]) + right, " " * (len(left) + point - start) + "^"


def table(columns: Sequence[int], lines: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return aligned lines: a name, then one cell for each of `columns`."""
    head = max(len(name) for name, _ in lines)
    widths = [max(len(cells[i]) for _, cells in lines) for i in range(len(columns))]
    return [
        f"{name:<{head}}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in lines
    ]


def around(point: int, length: int, context: int = _CONTEXT) -> list[int]:
    """Return the positions shown around `point`."""
    return list(range(max(0, point - context), min(length, point + context + 1)))


def token_text(tokenizer: Any) -> Callable[[int], str] | None:
    """Return a function from id to the token's text in quotes, None without a tokenizer."""
    if tokenizer is None or not hasattr(tokenizer, "decode"):
        return None

    def show(token: int) -> str:
        try:
            text = str(tokenizer.decode([token]))
        except Exception:
            return "?"
        return quoted(text, 12)

    return show


def quoted(text: str, limit: int = 60) -> str:
    """Return `text` in quotes on one line, cut in the middle where it is long."""
    plain = repr(text)
    if len(plain) <= limit:
        return plain
    side = (limit - 5) // 2
    return f"{plain[:side]} ... {plain[-side:]}"


def plural(count: int, word: str) -> str:
    """Return `1 row`, `2 rows`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def listing(header: str, blocks: Sequence[Sequence[str]], footer: Sequence[str] = ()) -> str:
    """Join a header, at most ten blocks of indented lines (three of them whole), and what was left out."""
    lines = [header]
    for i, block in enumerate(blocks[:MAX_ROWS]):
        lines.append(block[0])
        shown = block[1:] if i < _WHOLE else block[1:3]
        lines.extend(f"        {line}".rstrip() for line in shown)
    if len(blocks) > MAX_ROWS:
        lines.append(f"... and {plural(len(blocks) - MAX_ROWS, 'more row')} like these")
    lines.extend(footer)
    return "\n".join(lines)
