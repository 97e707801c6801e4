"""Results as text for people and machines. Renderers know nothing of rules; each is imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import CheckResult
    from decoderonly_checker.source.excerpts import Excerpts

FORMATS = ("full", "concise", "json")


def render(
    result: CheckResult,
    output_format: str,
    excerpts: Excerpts,
    *,
    color: bool = False,
    width: int | None = None,
) -> str:
    """Draw the findings of a run (not its errors, not its totals).

    Args:
        result: What was found.
        output_format: One of `FORMATS`.
        excerpts: Where the lines of the files come from; used by `full` only.
        color: Use ANSI colours (`full` and `concise`).
        width: Columns to fit source lines into (`full`); never cut if None.

    Returns:
        Text that ends in a line break, or nothing for no findings in a format for people.

    Raises:
        ValueError: An unknown format.
    """
    if output_format == "json":
        from decoderonly_checker.render.json import render_json

        return render_json(result.diagnostics)
    from decoderonly_checker.render.text import Text

    text = Text(excerpts, color=color, width=width)
    if output_format == "full":
        return "".join(text.full(diagnostic) + "\n" for diagnostic in result.diagnostics)
    if output_format == "concise":
        return "".join(text.concise(diagnostic) for diagnostic in result.diagnostics)
    raise ValueError(f'unknown output format "{output_format}"; known: {", ".join(FORMATS)}')
