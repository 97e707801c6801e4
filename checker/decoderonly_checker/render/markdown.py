"""A table in GitHub's Markdown: for the summary of a CI job, or a comment on a pull request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.late import late_pattern
from decoderonly_checker.render.text import summary
from decoderonly_checker.render.width import safe

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import CheckResult, Place

# GitHub refuses the summary of a step beyond 1 MiB.
_ROWS = 1000
_CODE = late_pattern(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_SPECIAL = late_pattern(r"([\\`*_\[\]<>&#~|])")


def render_markdown(result: CheckResult) -> str:
    """Write the totals, and a table of findings, errors first, and of files that could not be checked."""
    found = sorted(result.diagnostics, key=lambda one: one.severity is not Severity.ERROR)
    rows = [
        (one.severity.value, f"{one.code} {one.name}", _place(one.place), one.message, one.help)
        for one in found
    ]
    rows += [
        ("not checked", "", _code(error.path + (f":{error.line}" if error.line else "")), error.message, "")
        for error in result.errors
    ]
    lines = ["### decoderonly", "", _text(summary(result))]
    if rows:
        lines += ["", "| | rule | place | what is there | what to do |", "|---|---|---|---|---|"]
        lines += [
            f"| {kind} | {rule} | {place} | {_text(message)} | {_text(advice)} |"
            for kind, rule, place, message, advice in rows[:_ROWS]
        ]
    if len(rows) > _ROWS:
        lines += ["", f"And {len(rows) - _ROWS} more."]
    return "\n".join(lines) + "\n"


def _place(place: Place) -> str:
    cell = "" if place.cell is None else f":cell {place.cell + 1}"
    return _code(f"{place.path}{cell}:{place.line}:{place.column}")


def _code(text: str) -> str:
    """A text as code, whatever stands in it."""
    text = safe(text).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


def _text(text: str) -> str:
    """A text in which only what stands between backticks is Markdown."""
    text = safe(text)
    parts, done = [], 0
    for match in _CODE.finditer(text):
        parts += [_SPECIAL.sub(r"\\\1", text[done : match.start()]), match[0].replace("|", "\\|")]
        done = match.end()
    return "".join((*parts, _SPECIAL.sub(r"\\\1", text[done:])))
