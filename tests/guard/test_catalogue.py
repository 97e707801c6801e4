"""The guard and the catalogue name the same rules the same way."""

from __future__ import annotations

from decoderonly_checker import rules
from decoderonly_checker.rules.base import CommentRule

from pytest_decoderonly.runtime.checks import all_checks, checks_of


def test_checks_bear_the_names_of_their_rules():
    names = rules.codes()
    assert {check.code: check.name for check in all_checks()}.items() <= names.items()


def test_every_rule_is_judged_at_run_time_or_says_why_not():
    judged = {check.code for check in all_checks()}
    about_code = {code for code in rules.codes() if not isinstance(rules.load(code), CommentRule)}
    silent = about_code - judged
    assert {code for code in silent if not rules.load(code).unseen} == set(), (
        "give it a file in pytest_decoderonly/runtime/checks, or say in the rule's `unseen` what shows nowhere at run time"
    )
    assert silent == {"DLM207", "DLM208", "DLM403"}


def test_every_check_judges_some_event():
    hooks = (
        "on_generate",
        "on_decode",
        "on_forward",
        "on_pipeline",
        "on_collate",
        "on_tokenize_error",
        "on_run",
    )
    asked = {check.code for hook in hooks for check in checks_of(hook)}
    assert asked == {check.code for check in all_checks()}
