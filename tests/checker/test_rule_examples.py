"""Every rule's own examples: the bad one is reported with its code and no other, the good one not at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from decoderonly_checker import rules
from decoderonly_checker.config import Settings
from decoderonly_checker.rules.base import RuntimeRule
from decoderonly_checker.runner import check_paths, check_source

if TYPE_CHECKING:
    from pathlib import Path

    from decoderonly_checker.rules.base import Rule

CODES = sorted(rules.codes())


def found_in(text: str, rule: Rule, folder: Path) -> set[str]:
    path = folder / "example.py"
    path.write_text(text, encoding="utf-8")
    result = check_paths([path], Settings(root=folder, **rule.wanted))
    assert not result.errors
    return {d.code for d in result.diagnostics}


@pytest.mark.parametrize("code", CODES)
def test_bad_example_is_reported_with_its_code_alone(code: str, tmp_path: Path) -> None:
    rule = rules.load(code)
    assert found_in(rule.bad, rule, tmp_path) == (set() if isinstance(rule, RuntimeRule) else {code})


@pytest.mark.parametrize("code", CODES)
def test_good_example_is_silent(code: str, tmp_path: Path) -> None:
    rule = rules.load(code)
    assert found_in(rule.good, rule, tmp_path) == set()


@pytest.mark.parametrize("code", CODES)
def test_documentation_says_why_and_what_is_left_alone(code: str) -> None:
    text = rules.load(code).documentation
    assert "## Why is this bad?" in text
    assert "## What it does not report" in text


@pytest.mark.parametrize("code", CODES)
def test_references_are_titled_links_to_single_pages(code: str) -> None:
    references = rules.load(code).references
    assert references
    assert len({reference.url for reference in references}) == len(references)
    for title, url in ((reference.title, reference.url) for reference in references):
        assert title == " ".join(title.split()), title
        assert not set("[]<>|") & set(title), title
        parts = urlsplit(url)
        assert parts.scheme == "https", url
        assert "." in parts.netloc, url
        assert parts.path.strip("/"), url
        assert not set(" ()<>\"'") & set(url), url
        if parts.netloc == "github.com":
            number = re.search(r"#(\d+)\b", title)
            thread = re.fullmatch(r"/[\w.-]+/[\w.-]+/(?:issues|pull)/(\d+)", parts.path)
            line = re.fullmatch(r"/[\w.-]+/[\w.-]+/blob/[0-9a-f]{40}/.+\.py", parts.path)
            assert thread or (line and re.fullmatch(r"L\d+", parts.fragment)), url
            assert (number and number[1]) == (thread and thread[1]), (title, url)


@pytest.mark.parametrize("code", sorted(rules.codes()))
def test_documentation_says_how_safe_the_fix_is(code: str) -> None:
    rule = rules.load(code)
    said = rule.documentation.partition("## Fix safety\n\n")[2].partition(":")[0]
    settings = Settings(**rule.wanted)
    fixes = [one.fix for one in check_source(rule.bad, "bad.py", settings).diagnostics if one.code == code]
    made = {fix.applicability.value.capitalize() for fix in fixes if fix is not None}
    assert made == ({said} if said != "No fix" else set()), (
        f"{code}: the fixes of its bad example are {made or 'none'}, so `## Fix safety` begins with "
        f"{' or '.join(f'`{one}: ...`' for one in sorted(made)) or '`No fix: why.`'}"
    )


def test_the_six_rules_of_the_first_form_are_there() -> None:
    assert {"DLM101", "DLM102", "DLM201", "DLM202", "DLM204", "DLM301"} <= set(CODES)
