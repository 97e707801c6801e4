"""The study as a table for terminals, as Markdown, and as JSON."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING

from decoderonly_checker.render.width import safe

from pytest_decoderonly.study.words import probability

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_decoderonly.study.result import CellResult, Share, Study

HEAD = (
    "way of asking",
    "batch",
    "+pads",
    "right answers",
    "as alone",
    "rounding",
    "lost",
    "gained",
    "p",
    "tokens/s",
    "speed",
)


def render(study: Study, output_format: str) -> str:
    """Return the whole as text; what came from a model or a file cannot steer a terminal."""
    return _DRAWN[output_format](study)


def words(study: Study) -> str:
    """Return the conclusions and notes, one paragraph each, wrapped for the terminal."""
    width = max(60, min(shutil.get_terminal_size().columns, 110))
    lines = [textwrap.fill(safe(text), width, subsequent_indent="  ") for text in _sentences(study)]
    return "\n".join(lines) + "\n"


def setting(study: Study) -> str:
    """Say in two lines what was asked, of which model, and how."""
    model, how = study.model, study.setting
    size = _size(model["parameters"])
    threads = how["threads"]
    where = how["device"] if how["device"] != "cpu" else f"cpu, {threads} thread{'s' * (threads != 1)}"
    rounds = f"{how['rounds']} round{'s' * (how['rounds'] != 1)}"
    return (
        f"{safe(model['name'])} ({safe(model['class'])}, {size} parameters) in {how['dtype']} on {where}\n"
        f"{how['questions']} questions {how['prompts']}; greedy, {how['max_new_tokens']} new tokens at most; {rounds}; "
        f"torch {how['torch']}, transformers {how['transformers']}"
    )


def _sentences(study: Study) -> list[str]:
    return [_upper(conclusion.text) for conclusion in study.conclusions] + study.notes


def _text(study: Study) -> str:
    rows = [HEAD, *(_row(cell, "-") for cell in study.cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    failed = [f"{safe(c.name)}, {c.size}: {safe(c.error)}" for c in study.cells if c.error is not None]
    legend = (
        "+pads: padding columns beyond what the longest prompt needs. Shares come with 95 % intervals (Wilson). as "
        "alone: the same tokens; rounding: other tokens, by rounding alone. lost: right alone and wrong here; gained: "
        "the reverse; p: McNemar's exact test of the two, corrected for several (Holm). speed: tokens per second over "
        "those alone, median of the rounds."
    )
    width = max(60, min(shutil.get_terminal_size().columns, 110))
    parts = [
        setting(study),
        "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], *failed]),
        textwrap.fill(legend, width),
        words(study),
    ]
    return "\n\n".join(parts)


def _markdown(study: Study) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"

    lines = [line(HEAD), "|---|" + "---:|" * (len(HEAD) - 1)]
    lines += [line(_row(cell, "")) for cell in study.cells]
    failed = [f"* {safe(c.name)}, {c.size}: {safe(c.error)}" for c in study.cells if c.error is not None]
    said = [f"* {safe(text)}" for text in _sentences(study)]
    caption = setting(study).replace("\n", "; ")
    return "\n".join([*lines, "", f"({caption}.)", "", *failed, *said]) + "\n"


def _json(study: Study) -> str:
    return json.dumps(study.as_json(), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _row(cell: CellResult, nothing: str) -> tuple[str, ...]:
    head = (cell.name, str(cell.batch_size), str(cell.padding))
    if cell.error is not None:
        return (*head, "failed", *[nothing] * (len(HEAD) - 4))
    rate = cell.tokens_per_second or 0.0
    speed = (
        f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}",
        nothing if cell.speed is None else f"{cell.speed:.2f}x",
    )
    if cell.alone:
        return (*head, _share(cell.right, nothing), *[nothing] * 5, *speed)
    tested = cell.p is not None
    return (
        *head,
        _share(cell.right, nothing),
        _share(cell.same, nothing),
        str(cell.rounding) if not cell.unjudged else "?",
        str(cell.lost) if tested else nothing,
        str(cell.gained) if tested else nothing,
        probability(cell.p_adjusted) or nothing,
        *speed,
    )


def _share(share: Share | None, nothing: str) -> str:
    if share is None:
        return nothing
    return f"{share.count}/{share.total} ({100 * share.low:.0f}-{100 * share.high:.0f} %)"


def _size(count: int) -> str:
    for unit, name in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g}{name}"
    return str(count)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


_DRAWN: dict[str, Callable[[Study], str]] = {"table": _text, "json": _json, "markdown": _markdown}
FORMATS = tuple(_DRAWN)
