"""`decoderonly rule`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from decoderonly_checker.config import SettingsError, nearest_rule
from decoderonly_checker.render.page import page_of
from decoderonly_checker.rules import codes, load, load_all
from decoderonly_checker.rules.base import RuntimeRule

if TYPE_CHECKING:
    from decoderonly_checker.rules.base import Rule


@click.command("rule", short_help="Explain a rule.")
@click.argument("code", required=False)
@click.option("--all", "every", is_flag=True, help="List all rules.")
@click.option(
    "--output-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print.",
)
def command(code: str | None, every: bool, output_format: str) -> None:
    """Explain a rule: what it reports, why, an example, and what it leaves alone.

    CODE is a code (DLM101) or a name (missing-attention-mask).
    """
    if every == (code is not None):
        raise SettingsError("rule: name one rule (`decoderonly rule DLM101`), or ask for `--all`")
    if code is not None:
        rule = load(_find(code))
        click.echo(json.dumps(_as_object(rule), indent=2) if output_format == "json" else page_of(rule))
    elif output_format == "json":
        click.echo(json.dumps([_as_object(rule) for rule in load_all()], indent=2))
    else:
        rules = load_all()
        width = max((len(rule.name) for rule in rules), default=0)
        for rule in rules:
            click.echo(f"{rule.code}  {rule.name:<{width}}  {rule.severity!s:<7}  {_first_line(rule)}")


def _find(word: str) -> str:
    known = codes()
    if word.upper() in known:
        return word.upper()
    for code, name in known.items():
        if word.lower() == name:
            return code
    raise SettingsError(f'rule: unknown rule "{word}"{nearest_rule(word, known)}')


def _first_line(rule: Rule) -> str:
    return " ".join(rule.documentation.split("\n\n", 1)[0].split())


def _as_object(rule: Rule) -> dict[str, Any]:
    return {
        "code": rule.code,
        "name": rule.name,
        "severity": str(rule.severity),
        "static": not isinstance(rule, RuntimeRule),
        "summary": _first_line(rule),
        "documentation": rule.documentation,
        "bad": rule.bad,
        "good": rule.good,
        "measured": None if rule.measured is None else asdict(rule.measured),
        "references": [asdict(reference) for reference in rule.references],
    }
