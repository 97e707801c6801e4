"""A rule's page in Markdown, the same wherever it is read: `decoderonly rule CODE`, an editor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.rules.base import RuntimeRule

if TYPE_CHECKING:
    from decoderonly_checker.rules.base import Rule


def page_of(rule: Rule) -> str:
    """Return a rule's page in Markdown: title, documentation, both examples, how to silence it, references."""
    return "\n".join(
        [
            f"# {rule.name} ({rule.code})",
            "",
            f"Severity: {rule.severity}",
            "",
            *(
                ["Seen at run time only: the checker does not report it.", ""]
                if isinstance(rule, RuntimeRule)
                else []
            ),
            rule.documentation.rstrip(),
            "",
            "## Example",
            "",
            "```python",
            rule.bad.strip("\n"),
            "```",
            "",
            "## Use instead",
            "",
            "```python",
            rule.good.strip("\n"),
            "```",
            "",
            *_measured(rule),
            "## Silence it",
            "",
            f"`# decoderonly: ignore[{rule.code}] reason` behind the line, or on a line of its own before it.",
            "",
            references_of(rule),
        ]
    )


def references_of(rule: Rule) -> str:
    """Return the section on where others met the mistake, and what libraries say of it."""
    return "\n".join(
        ["## References", "", *(f"- [{reference.title}]({reference.url})" for reference in rule.references)]
    )


def _measured(rule: Rule) -> list[str]:
    found = rule.measured
    if found is None:
        return []
    return [
        "## What was measured",
        "",
        f"Both programs were run on {found.model}:",
        "",
        f"- the first: {found.bad}",
        f"- the second: {found.good}",
        "",
    ]
