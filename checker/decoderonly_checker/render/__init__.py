"""Results as text for people and machines. Renderers know nothing of rules; each is imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import CheckResult
    from decoderonly_checker.source.excerpts import Excerpts

# For people, and for machines.
FORMATS = (
    "full",
    "concise",
    "json",
    "json-lines",
    "sarif",
    "github",
    "gitlab",
    "junit",
    "rdjson",
    "markdown",
)
FOR_MACHINES = frozenset(FORMATS[2:])


def render(
    result: CheckResult,
    output_format: str,
    excerpts: Excerpts,
    *,
    color: bool = False,
    links: bool = False,
    width: int | None = None,
) -> str:
    """Draw the findings of a run, not its totals; its errors only in formats that have a place for them.

    Args:
        result: What was found.
        output_format: One of `FORMATS`.
        excerpts: Where the lines of the files come from; used by `full` only.
        color: Use ANSI colours (`full` and `concise`).
        links: Make places links to their files, for terminals (`full` and `concise`).
        width: Columns to fit source lines into (`full`); never cut if None.

    Returns:
        Text that ends in a line break, or nothing for no findings in a format for people.

    Raises:
        ValueError: An unknown format.
    """
    if output_format in FOR_MACHINES:
        return _for_machines(result, output_format, excerpts)
    from decoderonly_checker.render.text import Text

    text = Text(excerpts, color=color, links=links, width=width)
    if output_format == "full":
        return "".join(text.full(diagnostic) + "\n" for diagnostic in result.diagnostics)
    if output_format == "concise":
        return "".join(text.concise(diagnostic) for diagnostic in result.diagnostics)
    raise ValueError(f'unknown output format "{output_format}"; known: {", ".join(FORMATS)}')


def _for_machines(result: CheckResult, output_format: str, excerpts: Excerpts) -> str:
    if output_format in ("json", "json-lines"):
        from decoderonly_checker.render.json import render_json, render_json_lines

        return (render_json if output_format == "json" else render_json_lines)(result.diagnostics)
    if output_format == "sarif":
        from decoderonly_checker.render.sarif import render_sarif

        return render_sarif(result, excerpts)
    if output_format == "github":
        from decoderonly_checker.render.github import render_github

        return render_github(result)
    if output_format == "gitlab":
        from decoderonly_checker.render.gitlab import render_gitlab

        return render_gitlab(result, excerpts)
    if output_format == "junit":
        from decoderonly_checker.render.junit import render_junit

        return render_junit(result)
    if output_format == "markdown":
        from decoderonly_checker.render.markdown import render_markdown

        return render_markdown(result)
    from decoderonly_checker.render.rdjson import render_rdjson

    return render_rdjson(result, excerpts)
