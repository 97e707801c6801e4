"""Draws the diagrams of the documentation: rows of tokens, and the pipeline.

    python docs/_website/diagrams.py --write

They stand in docs/assets/diagrams/, so that pages show them wherever they are read. `site.css` has the same colours.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDER = Path(__file__).resolve().parents[1] / "assets" / "diagrams"
_NUMBERS = FOLDER.parents[1] / "reference" / "gap.json"  # of benchmarks/rounding_gap.py
_LIGHT = (
    "--dlm-ink:#1f2430;--dlm-faint:#5b6475;--dlm-line:#6b7485;"
    "--dlm-prompt:#cfe0ff;--dlm-answer:#cdeccb;--dlm-pad:#e9e9ee;--dlm-bad:#ffd0cc"
)
_DARK = (
    "--dlm-ink:#e6e9f0;--dlm-faint:#a9b2c3;--dlm-line:#98a1b3;"
    "--dlm-prompt:#2a4575;--dlm-answer:#265a35;--dlm-pad:#3a3f4b;--dlm-bad:#7a2d2a"
)
_STYLE = (
    f"<style>svg{{{_LIGHT}}}@media(prefers-color-scheme:dark){{svg{{{_DARK}}}}}"
    "text{font:13px/1 ui-monospace,monospace;fill:var(--dlm-ink)}.note{font-family:sans-serif;fill:var(--dlm-faint)}"
    ".prompt{fill:var(--dlm-prompt)}.answer{fill:var(--dlm-answer)}.pad{fill:var(--dlm-pad)}.bad{fill:var(--dlm-bad)}"
    ".none{fill:none}rect{stroke:var(--dlm-line)}path{stroke:var(--dlm-line);fill:none;stroke-width:1.5}</style>"
)
_CHARACTER, _CELL, _ROW, _MARGIN = 7.9, 28, 36, 8


@dataclass(frozen=True)
class Row:
    """One row of cells: a label in front, cells as (text, role), and a note behind. A role is a class of the style."""

    label: str
    cells: tuple[tuple[str, str], ...] = ()
    note: str = ""


def cells(text: str, role: str) -> tuple[tuple[str, str], ...]:
    """Make cells of one role from words."""
    return tuple((word, role) for word in text.split())


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> str:
    role = f' class="{css}"' if css else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{role}>{html.escape(text)}</text>'


def rows_of_tokens(rows: tuple[Row, ...]) -> str:
    """Draw rows of cells whose columns line up, as an SVG."""
    labels = _MARGIN + max(len(row.label) for row in rows) * _CHARACTER + 12
    count = max(len(row.cells) for row in rows)
    widths = [
        max((len(row.cells[column][0]) for row in rows if column < len(row.cells)), default=1) * _CHARACTER
        + 14
        for column in range(count)
    ]
    starts = [labels + sum(widths[:column]) for column in range(count + 1)]
    parts, y = [], float(_MARGIN)
    right = 0.0
    for row in rows:
        if not row.cells:
            parts.append(_text(_MARGIN, y + 18, row.label))
            parts.append(_text(labels, y + 18, row.note, "note"))
            right = max(right, labels + len(row.note) * 6.6)
            y += _ROW - 6
            continue
        parts.append(_text(_MARGIN, y + 18, row.label))
        for column, (word, role) in enumerate(row.cells):
            if role == "gap":
                continue
            x, width = starts[column], widths[column]
            parts.append(
                f'<rect class="{role}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{_CELL}" rx="3"/>'
            )
            parts.append(_text(x + width / 2, y + 18, word, anchor="middle"))
        end = starts[len(row.cells)]
        if row.note:
            parts.append(_text(end + 10, y + 18, row.note, "note"))
        right = max(right, end + 10 + len(row.note) * 6.6)
        y += _ROW
    return _svg(right + _MARGIN, y, parts)


def _svg(width: float, height: float, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
        f"{_STYLE}{''.join(parts)}</svg>\n"
    )


def pipeline() -> str:
    """Draw what leads from the user's code to the three reports."""
    lanes = (
        ("your source code", ("bytes", "parse", "interpret", "facts", "rules"), "checker", "prompt"),
        ("your running tests", ("wrapped call", "event", "where ids come from", "checks"), "guard", "answer"),
        (
            "your model, batch, score",
            ("plan", "run", "relations", "culprit"),
            "assertions, conformance",
            "pad",
        ),
    )
    parts, y = [], 12.0
    right = 0.0
    for source, steps, name, role in lanes:
        parts.append(_text(_MARGIN, y - 1 + 8, name, "note"))
        x = float(_MARGIN)
        y += 16
        for index, word in enumerate((source, *steps, "finding")):
            width = len(word) * _CHARACTER + 18
            css = "none" if index in (0, len(steps) + 1) else role
            parts.append(
                f'<rect class="{css}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="30" rx="4"/>'
            )
            parts.append(_text(x + width / 2, y + 19, word, anchor="middle"))
            x += width
            if index <= len(steps):
                parts.append(f'<path d="M{x:.0f} {y + 15:.0f}h16m-5 -4l5 4l-5 4"/>')
                x += 18
        right = max(right, x)
        y += 56
    note = "one code, one page, one comment that silences: DLM101 to DLM403"
    parts.append(_text(_MARGIN, y + 4, note, "note"))
    return _svg(right + _MARGIN, y + 16, parts)


def gap(numbers: Mapping[str, Mapping[str, Sequence[float | None]]]) -> str:
    """Draw numbers of sound and faulty models on a logarithmic scale, one strip a dtype.

    Args:
        numbers: By dtype and then group, `sound` or `faulty`; None where logits were not finite.
    """
    left, top, strip, first, last = 96, 12, 84, -8, 2
    scale = 64.0

    def at(value: float | None) -> float:
        power = last if value is None else min(max(math.log10(value) if value else first, first), last)
        return left + (power - first) * scale

    parts, y = [], float(top)
    for dtype, groups in numbers.items():
        parts.append(_text(_MARGIN, y + 40, dtype))
        for lane, (group, role) in enumerate((("sound", "answer"), ("faulty", "bad"))):
            for index, value in enumerate(groups[group]):
                # Three levels, so that neighbours do not hide each other.
                x, height = at(value), y + 12 + 34 * lane + 8 * (index % 3)
                if group == "sound":
                    parts.append(
                        f'<rect class="{role}" x="{x - 3:.1f}" y="{height - 3:.1f}" width="6" height="6" rx="3"/>'
                    )
                else:
                    parts.append(f'<path d="M{x - 3:.1f} {height - 3:.1f}l6 6m0 -6l-6 6"/>')
        y += strip
        parts.append(f'<path d="M{left} {y - 6:.0f}h{(last - first) * scale:.0f}"/>')
    parts += [
        _text(left + (power - first) * scale, y + 12, f"1e{power}", "note", "middle")
        for power in range(first, last + 1)
    ]
    for power, word in ((-4, "rounding ends"), (-3, "bugs begin")):
        x = left + (power - first) * scale
        parts.append(f'<path stroke-dasharray="3 4" d="M{x:.0f} {top}V{y - 6:.0f}"/>')
        parts.append(
            _text(x + (-4 if power == -4 else 4), top + 4, word, "note", "end" if power == -4 else "start")
        )
    parts.append(
        _text(
            left,
            y + 36,
            "● sound   ✕ faulty   left edge: no difference at all   right edge: not finite",
            "note",
        )
    )
    return _svg(left + (last - first) * scale + 40, y + 48, parts)


def drawings() -> dict[str, str]:
    """Return every diagram, by its name."""
    prompt, answer = cells("Where is Rome ?", "prompt"), cells("In Italy . ⟨eos⟩", "answer")
    hidden = tuple(("-100", "none") for _ in prompt)
    pads = cells("⟨pad⟩ ⟨pad⟩", "pad")
    blank = (("", "gap"),)
    return {
        "training": rows_of_tokens(
            (
                Row("encoder-decoder", note="two sequences"),
                Row("input_ids", prompt, "read by the encoder"),
                Row("labels", answer, "written by the decoder"),
                Row("decoder-only", note="one sequence; the labels are as long as the ids"),
                Row("input_ids", (*prompt, *answer)),
                Row("labels", (*hidden, *answer), "-100: not in the loss"),
            )
        ),
        "output": rows_of_tokens(
            (
                Row("encoder-decoder", note="generate returns the answer"),
                Row("output", answer),
                Row("decoder-only", note="generate returns the prompt and the answer"),
                Row("output", (*prompt, *answer)),
                Row("output[:, n:]", (*blank * 4, *answer), "n = input_ids.shape[1]"),
            )
        ),
        "padding": rows_of_tokens(
            (
                Row("on the right", note="the model continues the last position: padding"),
                Row("row 0", (*cells("Where is Rome ?", "prompt"), ("→ In", "answer"))),
                Row("row 1", (*cells("Hi !", "prompt"), *pads, ("→ ?", "bad"))),
                Row("on the left", note="every row ends in its own last word"),
                Row("row 0", (*cells("Where is Rome ?", "prompt"), ("→ In", "answer"))),
                Row("row 1", (*pads, *cells("Hi !", "prompt"), ("→ Hello", "answer"))),
            )
        ),
        "mask": rows_of_tokens(
            (
                Row("input_ids", (*pads, *cells("Hi !", "prompt"))),
                Row(
                    "attention_mask",
                    (*cells("0 0", "pad"), *cells("1 1", "prompt")),
                    "which positions may be read",
                ),
                Row(
                    "position_ids",
                    (*cells("0 0", "pad"), *cells("0 1", "prompt")),
                    "mask.cumsum(-1) - 1; 0 under the padding",
                ),
                Row(
                    "wrong", cells("0 1 2 3", "bad"), "counted over the padding: forward without position_ids"
                ),
            )
        ),
        "pipeline": pipeline(),
        "gap": gap(json.loads(_NUMBERS.read_text(encoding="utf-8"))),
    }


def main() -> int:
    """Write the diagrams, or say which are not as they would be written."""
    parser = argparse.ArgumentParser(description="Draws the diagrams of the documentation.")
    parser.add_argument("--write", action="store_true", help="write docs/assets/diagrams/")
    if parser.parse_args().write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for name, drawing in drawings().items():
            (FOLDER / f"{name}.svg").write_text(drawing, encoding="utf-8")
        return 0
    old = [n for n, d in drawings().items() if (FOLDER / f"{n}.svg").read_text(encoding="utf-8") != d]
    sys.stdout.write(
        "".join(f"{name}.svg is not up to date: python docs/_website/diagrams.py --write\n" for name in old)
    )
    return bool(old)


if __name__ == "__main__":
    sys.exit(main())
