"""Every rule's own examples are run, on real libraries: the bad one does the harm it is reported for, the good one none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from bench import BY_HAND, PAGE, REPORTS, all_evidence, as_page, bench, same, stored
from decoderonly_checker import rules
from decoderonly_checker.config import Settings
from decoderonly_checker.fixes.apply import edited
from decoderonly_checker.rules.base import CommentRule
from decoderonly_checker.runner import check_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench import Bench


@pytest.fixture(scope="module")
def measure(smollm2: Path) -> Iterator[Bench]:
    with bench(real=smollm2) as measured:
        yield measured


@pytest.mark.parametrize("code", sorted(all_evidence()))
def test_harm_and_cure_are_as_the_rule_page_says(code: str, measure: Callable[[str], dict[str, str]]) -> None:
    measured = measure(code)
    page = stored().get(code)
    assert page is not None, f"python tests/evidence/measure.py --write {code}"
    assert measured["model"] == page["model"]
    for which in ("bad", "good"):
        assert same(page[which], measured[which]), f"stored: {page[which]}\nmeasured: {measured[which]}"


@pytest.mark.parametrize("code", sorted(all_evidence()))
def test_the_fixed_example_runs_and_does_no_more_harm_than_the_good_one(
    code: str, measure: Callable[[str], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = rules.load(code)
    fixes = [found.fix for found in check_source(rule.bad, "bad.py", Settings()).diagnostics]
    edits = {edit for fix in fixes if fix is not None for edit in fix.edits}
    fixed = edited(rule.bad, edits)
    if not edits or fixed == rule.good:
        return  # no fix yet; or the same program, which the test above has run
    monkeypatch.setattr(rule, "good", fixed)
    assert same(stored()[code]["good"], measure(code)["good"])


@pytest.mark.parametrize("code", sorted(all_evidence()))
def test_guard_reports_the_bad_example_under_this_code_alone_and_the_good_one_not(
    code: str, measure: Bench
) -> None:
    seen = {which: [finding.code for finding in found] for which, found in measure.seen(code).items()}
    if rules.load(code).unseen:
        assert code not in seen["bad"]
    else:
        assert seen["bad"] == [code]
    assert seen["good"] == seen[""] == []
    said = json.loads(REPORTS.read_text(encoding="utf-8")).get(code, "")
    assert same(said, measure.report(code)), f"python tests/evidence/measure.py --write {code}"


def test_every_rule_has_evidence() -> None:
    about_code = {code for code in rules.codes() if not isinstance(rules.load(code), CommentRule)}
    measured = all_evidence().keys() | BY_HAND.keys()
    assert measured == about_code, (
        f"{sorted(about_code ^ measured)}: write what measures it with @evidence in tests/evidence/measures, "
        "then run python tests/evidence/measure.py --write CODE"
    )
    assert not all_evidence().keys() & BY_HAND.keys()
    assert stored().keys() == about_code
    assert {code: stored()[code] for code in BY_HAND} == BY_HAND


def test_page_is_what_was_stored() -> None:
    assert PAGE.read_text(encoding="utf-8") == as_page(stored())


@pytest.mark.parametrize(
    ("page", "measured", "expected"),
    [
        ("loss 1.00, 8 tokens", "loss 1.05, 8 tokens", True),
        ("loss 1.00, 8 tokens", "loss 1.20, 8 tokens", False),
        ("loss 1.00, 8 tokens", "loss 1.00, 9 tokens", False),
        ("loss 1.00", "loss 1.00 and 2.00", False),
    ],
)
def test_fractions_may_differ_a_little_and_nothing_else(page: str, measured: str, expected: bool) -> None:
    assert same(page, measured) is expected
