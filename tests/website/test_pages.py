"""Pages that are made from the code: all of it is there, and it says what the code says."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml
from _website import diagrams, plugin_pages, rule_pages
from decoderonly_checker import rules
from decoderonly_checker.rules.base import CommentRule

import pytest_decoderonly

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = {"reference/api.md", "reference/pytest.md", "reference/rules/index.md", "versioning.md"}


def menu(entries):
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from menu(value) if isinstance(value, list) else [value]


def test_the_menu_leads_to_every_page():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(menu(config["nav"])) == sorted(written | GENERATED)


def test_every_rule_has_a_page_that_each_catcher_speaks_on():
    pages = {page.code: page.text for page in rule_pages.all_pages()}
    assert pages.keys() == rules.codes().keys()
    for code, text in pages.items():
        for part in (
            "## Why is this bad?",
            "## What it does not report",
            "### The checker",
            "## Silence it",
            "## References",
            "Source of",
        ):
            assert part in text, (code, part)
        assert rules.load(code).good.strip() in text


def test_the_checkers_report_on_a_page_is_the_one_of_its_example():
    for code in rules.findable():
        said = rule_pages.checker_says(code).report
        assert f"[{code}]" in said, code
        assert "--> example.py:" in said, code


def test_the_guards_report_is_there_for_each_rule_that_it_sees():
    checks = sorted((ROOT / "pytest_decoderonly" / "runtime" / "checks").glob("dlm*.py"))
    assert checks
    for path in checks:
        code = path.name[:6].upper()
        assert (f"[{code}]" in rule_pages.guard_says().get(code, "")) != bool(rules.load(code).unseen), code


def test_readme_and_start_page_say_how_many_rules_there_are():
    about_comments = [rule for rule in rules.load_all() if isinstance(rule, CommentRule)]
    count = len(rules.codes()) - len(about_comments)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        f"the whole catalogue, {count} mistakes and {['no', 'one', 'two', 'three'][len(about_comments)]} about"
        in readme
    )
    assert f"knows [{count} such mistakes]" in (DOCS / "index.md").read_text(encoding="utf-8")


def test_the_table_has_a_row_for_each_rule():
    assert re.findall(r"^\| \[(DLM\d+)\]", rule_pages.table(), re.MULTILINE) == sorted(rules.codes())


@pytest.mark.parametrize(
    "module", ["padding", "prompts", "outputs", "answers", "labels", "canaries", "scores"]
)
def test_an_assertion_says_which_codes_it_reports(module):
    """Codes in the modules behind it are in its docstring, so that no rule's page forgets it."""
    behind = {
        "labels": ("labels", "alignment", "packing"),
        "canaries": ("supervision",),
        "scores": ("scorefaults", "scorevalues", "scores", "windows"),
    }.get(module, (module,))
    folder = ROOT / "pytest_decoderonly"
    text = (folder / "assertions" / f"{module}.py").read_text(encoding="utf-8")
    text += "".join((folder / "compare" / f"{name}.py").read_text(encoding="utf-8") for name in behind)
    written = set(re.findall(r'"(DLM\d{3})"', text))
    public = [name for name, home in pytest_decoderonly._HOMES.items() if home == f"assertions.{module}"]
    told = {code for code, names in rule_pages.assertions().items() if set(names) & set(public)}
    assert told == written


def test_options_and_fixtures_are_those_of_the_plugin(pytestconfig):
    text = plugin_pages.options_page()
    declared = {
        name
        for group in pytestconfig._parser._groups
        if group.name == "decoderonly"
        for option in group.options
        for name in option.names()
    }
    assert declared
    assert set(re.findall(r"^`(--[\w-]+)", text, re.MULTILINE)) == declared
    for name in (
        "decoderonly_device",
        "decoderonly_tiny_model",
        "decoderonly_guard_rules",
        "decoderonly_allow",
    ):
        assert name in text


def test_promises_are_those_of_contributing():
    promised = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## What is promised\n")[2]
    text = plugin_pages.promises_page()
    assert promised.partition("\n## ")[0].strip().splitlines()[-1] in text
    assert "(../CHANGELOG.md)" in text


def test_every_public_name_is_on_the_page_of_the_api():
    text = plugin_pages.api_page()
    assert sorted(re.findall(r"^::: pytest_decoderonly\.(\w+)$", text, re.MULTILINE)) == sorted(
        pytest_decoderonly.__all__
    )


def test_diagrams_are_as_they_would_be_drawn():
    for name, drawing in diagrams.drawings().items():
        assert (diagrams.FOLDER / f"{name}.svg").read_text(encoding="utf-8") == drawing, (
            "python docs/_website/diagrams.py --write"
        )


def test_the_library_says_what_the_page_of_warnings_quotes():
    import transformers

    quoted = re.findall(
        r'^\| "([^"]+)" \|',
        (DOCS / "explanations" / "from-a-warning-to-the-rule.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert len(quoted) == 6
    home = Path(transformers.__file__).parent
    files = [
        home / name for name in ("generation/utils.py", "modeling_utils.py", "tokenization_utils_base.py")
    ]
    # Adjacent literals are one string; a formatted one is its constant parts.
    texts = [
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert [quote for quote in quoted if not any(quote in text for text in texts)] == []


def test_the_page_on_rounding_says_what_was_measured():
    numbers = json.loads((DOCS / "reference" / "gap.json").read_text(encoding="utf-8"))
    text = " ".join((DOCS / "explanations" / "bug-or-rounding.md").read_text(encoding="utf-8").split())
    single, half = numbers["float32"], numbers["bfloat16"]
    reach = max(half["sound"])
    hidden = sum(value is not None and value <= reach for value in half["faulty"])
    faults = len(single["faulty"])
    assert (
        f"tiny ones of {len(single['sound'])} architectures as they are, and {faults} with one fault" in text
    )
    least = min(value for value in single["faulty"] if value is not None)
    assert (
        f"the sound ones stay below {max(single['sound']):.1e}, and the least fault moves the logits by {least:.1e}"
        in text
    )
    assert f"sound models reach {reach:.1e}, and {hidden} of the {faults} faulty ones lie below that" in text
