"""One page a rule, and the table of all rules, made from the rules and from what the catchers say of their examples."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from decoderonly_checker import rules
from decoderonly_checker.config import Settings
from decoderonly_checker.diagnostics import Applicability
from decoderonly_checker.render.page import page_of
from decoderonly_checker.render.text import Text
from decoderonly_checker.rules.base import CommentRule, Rule, RuntimeRule
from decoderonly_checker.runner import check_source
from decoderonly_checker.source.excerpts import Excerpts
from decoderonly_checker.source.files import load_source

ROOT = Path(__file__).resolve().parents[2]
_SILENCE = "\n## Silence it\n"
_CODE = re.compile(r"DLM\d{3}")


@dataclass(frozen=True)
class RulePage:
    """A rule's page in Markdown, under its code."""

    code: str
    name: str
    text: str


@dataclass(frozen=True)
class Seen:
    """What the checker says of a rule's bad example: its report, and the fix that it offers."""

    report: str
    fix: str
    applicability: Applicability | None


@cache
def checker_says(code: str) -> Seen:
    """Check a rule's bad example, under the settings that the rule wants, and draw what is found."""
    rule = rules.load(code)
    path = Path("example.py")
    found = check_source(rule.bad, path, Settings(root=Path.cwd(), **rule.wanted)).diagnostics
    mine = [diagnostic for diagnostic in found if diagnostic.code == code]
    text = Text(Excerpts([load_source(path, rule.bad.encode())]))
    fix = next((diagnostic.fix for diagnostic in mine if diagnostic.fix is not None), None)
    return Seen(
        "\n".join(text.full(diagnostic).rstrip("\n") for diagnostic in mine),
        fix.message if fix else "",
        fix.applicability if fix else None,
    )


@cache
def guard_says() -> dict[str, str]:
    """Return the guard's report of each bad example, as it was kept when the examples were last run."""
    kept: dict[str, str] = json.loads(
        (ROOT / "tests" / "evidence" / "guard_reports.json").read_text(encoding="utf-8")
    )
    return kept


@cache
def assertions() -> dict[str, tuple[str, ...]]:
    """Return the public assertions that report a code, by code, as their docstrings say."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "pytest_decoderonly" / "assertions").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("assert_"):
                for code in sorted(set(_CODE.findall(ast.get_docstring(node) or ""))):
                    found.setdefault(code, []).append(node.name)
    return {code: tuple(names) for code, names in found.items()}


@cache
def all_pages() -> tuple[RulePage, ...]:
    """Make the page of every rule."""
    return tuple(RulePage(rule.code, rule.name, _page(rule)) for rule in rules.load_all())


def _page(rule: Rule) -> str:
    before, mark, silence = page_of(rule).partition(_SILENCE)
    if not mark:
        raise ValueError(f"{rule.code}: its page has no section {_SILENCE.strip()!r}")
    return "\n".join(
        [before.rstrip(), "", *_caught(rule), *_fix(rule), mark.strip(), silence, *_source(rule)]
    )


def _caught(rule: Rule) -> list[str]:
    lines = ["## How each catcher sees it", "", "### The checker", ""]
    if isinstance(rule, RuntimeRule):
        lines += ["It does not: only running code shows this.", ""]
    else:
        lines += ["On the first example above:", "", *_block(checker_says(rule.code).report)]
    if isinstance(rule, CommentRule):
        return lines  # about comments, which nothing sees at run time
    lines += ["### The guard", ""]
    said = guard_says().get(rule.code)
    if said:
        lines += ["When the first example is run under `pytest --decoderonly-checks`:", "", *_block(said)]
    else:
        lines += [f"It does not: {rule.unseen or 'nothing of it shows at run time.'}", ""]
    names = assertions().get(rule.code, ())
    lines += ["### Assertions", ""]
    if names:
        lines += [", ".join(f"[`{name}`](../api.md#pytest_decoderonly.{name})" for name in names) + ".", ""]
    else:
        lines += ["None is about it.", ""]
    return lines


def _fix(rule: Rule) -> list[str]:
    if isinstance(rule, RuntimeRule):
        return []
    seen = checker_says(rule.code)
    lines = ["## Fix of the example", ""]
    if seen.applicability is None:
        return [*lines, "`--fix` offers none for this example: what is meant is for you to say.", ""]
    option = "--fix" if seen.applicability is Applicability.SAFE else "--unsafe-fixes"
    return [
        *lines,
        (
            f"{seen.fix[:1].upper()}{seen.fix[1:]}. {str(seen.applicability).capitalize()}: made by `{option}`. "
            "See [fixes](../fixes.md) for what safe and unsafe mean."
        ),
        "",
    ]


def _source(rule: Rule) -> list[str]:
    shown = f"checker/decoderonly_checker/rules/{rule.code.lower()}_{rule.name.replace('-', '_')}.py"
    code = (ROOT / shown).read_text(encoding="utf-8").rstrip()
    body = "\n".join(f"    {line}" if line else "" for line in ["```python", *code.split("\n"), "```"])
    return ["", f'??? quote "Source of the rule: `{shown}`"', "", body, ""]


def _block(text: str) -> list[str]:
    return ["```text", text, "```", ""]


def table() -> str:
    """Make the page with the table of all rules, which a script of the site filters."""
    groups = "".join(
        f'<option value="DLM{digit}">{digit}xx: {what}</option>'
        for digit, what in (
            ("0", "comments"),
            ("1", "what goes into the model"),
            ("2", "what comes out"),
            ("3", "what the loss is taken over"),
            ("4", "scores read from logits"),
        )
    )
    rows = [_row(rule) for rule in rules.load_all()]
    return "\n".join(
        [
            "---",
            "hide: [toc]",
            "---",
            "",
            "# Rules",
            "",
            "One catalogue for three catchers. A code means the same to all of them, is never used again for something else,",
            "and one comment silences it for checker and guard. `decoderonly rule CODE` prints a rule's page in a terminal.",
            "",
            (
                '<form class="dlm-filter" hidden markdown="0">'
                '<label>Search <input type="search" name="text" placeholder="padding"></label>'
                f'<label>About <select name="group"><option value="">all</option>{groups}</select></label>'
                '<label>Seen by <select name="seen"><option value="">anyone</option><option value="checker">checker</option>'
                '<option value="guard">guard</option><option value="assertions">assertions</option></select></label>'
                '<output aria-live="polite"></output></form>'
            ),
            "",
            '<div class="dlm-rules" markdown>',
            "",
            "| rule | reports | severity | checker | guard | assertions | fix |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            "</div>",
            "",
        ]
    )


def _row(rule: Rule) -> str:
    static = not isinstance(rule, RuntimeRule)
    fix = checker_says(rule.code).applicability if static else None
    first = " ".join(rule.documentation.split("\n\n", 1)[0].split()).removeprefix("Reports ")
    cells = (
        f"[{rule.code}]({rule.code}.md)<br>{rule.name}",
        first,
        str(rule.severity),
        "yes" if static else "",
        "yes" if rule.code in guard_says() else "",
        "yes" if rule.code in assertions() else "",
        str(fix or ""),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
