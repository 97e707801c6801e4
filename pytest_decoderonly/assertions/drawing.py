"""How every message looks: a sentence, rows drawn with one sign a position, facts in columns, a legend.

A message has fewer than 30 lines, and rows are drawn so that they fit into 80 columns with what pytest puts in front.
What several rows have in common (effect, advice) is said once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare.texts import decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MAX_ROWS = 10
MAX_LINES = 29
_WIDTH = 56
_CONTEXT = 2
_INDENT = " " * 8

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Block:
    """What is said of one row: a head, the row drawn, a table and facts around the first wrong place, what to do."""

    head: str
    drawing: tuple[str, ...] = ()
    table: tuple[str, ...] = ()
    facts: Facts = ()
    advice: Facts = ()


def advice(effect: str, do: str) -> Facts:
    """Return what a mistake leads to, and what to do against it."""
    return (("effect", effect), ("do", do))


def strip(signs: Sequence[str], point: int) -> tuple[str, str]:
    """Return a line of signs and one with a pointer under position `point`; long rows are cut around it."""
    start = 0
    if len(signs) > _WIDTH:
        start = min(max(0, point - _WIDTH // 2), len(signs) - _WIDTH)
    end = min(len(signs), start + _WIDTH)
    left, right = "..." * (start > 0), "..." * (end < len(signs))
    return left + "".join(signs[start:end]) + right, " " * (len(left) + point - start) + "^"


def table(lines: Sequence[tuple[str, Sequence[str]]], *, left: bool = False) -> list[str]:
    """Return aligned lines: a name, then cells, to the right of their columns unless `left`."""
    head = max(len(name) for name, _ in lines)
    widths = [max(map(len, cells)) for cells in zip(*(cells for _, cells in lines), strict=True)]
    side = "<" if left else ">"
    return [
        (
            f"{name:<{head}}  "
            + "  ".join(f"{cell:{side}{width}}" for cell, width in zip(cells, widths, strict=True))
        ).rstrip()
        for name, cells in lines
    ]


def around(point: int, length: int, context: int = _CONTEXT) -> list[int]:
    """Return the positions shown around `point`."""
    return list(range(max(0, point - context), min(length, point + context + 1)))


def neighbourhood(
    point: int, ids: Sequence[int], tokenizer: Any = None, more: Sequence[tuple[str, Sequence[object]]] = ()
) -> tuple[str, ...]:
    """Return a small table of what stands around `point`: positions, ids, texts, and further lines (one value each)."""
    where = around(point, len(ids))
    lines = [("position", [str(i) for i in where]), ("id", [str(ids[i]) for i in where])]
    show = token_text(tokenizer)
    if show is not None:
        lines.append(("token", [show(ids[i]) for i in where]))
    lines += [(name, [str(values[i]) for i in where]) for name, values in more]
    return tuple(table(lines))


def token_text(tokenizer: Any) -> Callable[[int], str] | None:
    """Return a function from id to the token's text in quotes, None without a tokenizer."""
    if tokenizer is None or not hasattr(tokenizer, "decode"):
        return None

    def show(token: int) -> str:
        text = decoded(tokenizer, [token])
        return "?" if text is None else quoted(text, 12)

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


def share(part: int, whole: int, word: str) -> str:
    """Return `1 of 2 rows`."""
    return f"{part} of {plural(whole, word)}"


def columns(facts: Sequence[tuple[str, str]], width: int = 0) -> list[str]:
    """Return `name: text` lines whose texts begin in one column."""
    wide = max([width, *(len(name) + 2 for name, _ in facts)])
    return [f"{name + ':':<{wide}}{text}" for name, text in facts]


def legend(drawn: str, meanings: Mapping[str, str], note: str = "") -> str:
    """Return what the signs that occur in `drawn` mean."""
    return "signs: " + ", ".join(f"{sign} {text}" for sign, text in meanings.items() if sign in drawn) + note


def statement(header: str, code: str, facts: Sequence[tuple[str, str]]) -> str:
    """Return a message about no row in particular."""
    lines = [header + (f"   [{code}]" if code else ""), *(_INDENT + line for line in columns(facts))]
    return "\n".join(lines)


def listing(header: str, blocks: Sequence[Block], footer: Sequence[str] = ()) -> str:
    """Join a header, blocks and a footer: at most ten rows and 29 lines, then the number of rows left out.

    Later rows are drawn without a table, and without the advice of an earlier one; where room runs out, without facts.
    """
    room = MAX_LINES - 2 - len(footer)
    lines: list[str] = []
    said: set[Facts] = set()
    shown = 0
    for block in blocks[:MAX_ROWS]:
        new = block.advice not in said
        around_it = [*(f"   {line}" for line in block.table)] * new
        facts = columns([*block.facts, *(block.advice if new else ())])
        whole = [block.head, *(_INDENT + line for line in (*block.drawing, *around_it, *facts))]
        short = [block.head, *(_INDENT + line for line in block.drawing)]
        chosen = next(
            (found for found in (whole, short) if len(lines) + len(found) <= room),
            whole if not lines else None,
        )
        if chosen is None:
            break
        lines += [line.rstrip() for line in chosen]
        shown += 1
        if chosen is whole:
            said.add(block.advice)
    if shown < len(blocks):
        lines.append(f"... and {plural(len(blocks) - shown, 'more row')}")
    return "\n".join([header, *lines, *footer])
