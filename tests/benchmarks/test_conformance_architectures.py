"""The page of the suite on all architectures: each failure with its cause, nothing unexplained unseen."""

from __future__ import annotations

import sys

import conformance_architectures
import pytest
import transformers
from conformance_tables.page import summary, write_page
from verdict_tables import causes
from verdict_tables.records import versions

NAMES = ("jamba", "musicgen", "llama")


@pytest.fixture(scope="module")
def measured():
    return {name: conformance_architectures.measure(name, None) for name in NAMES}


def test_what_ran_is_counted(measured):
    assert set(measured["llama"]["verdicts"]) == {"passed", "not applicable"}
    assert set(measured["musicgen"]["verdicts"]) == {"not applicable"}
    assert measured["llama"]["seconds"] > 0
    text, unexplained = summary(measured)
    assert "2 of 3 models built" in text
    assert unexplained == []


@pytest.mark.skipif(
    transformers.__version__ != causes.VERSION, reason=f"read in transformers {causes.VERSION}"
)
def test_the_page_says_why_and_where(measured, tmp_path):
    page = tmp_path / "page.md"
    write_page(page, measured, versions())
    lines = page.read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if line.startswith("| jamba | `")]
    assert len(told) == 2
    for line in told:
        assert f"/blob/v{causes.VERSION}/src/transformers/models/jamba/modeling_jamba.py#L" in line
    assert any("`right-padding`" in line and "/issues/48256" in line for line in told)
    assert any(line.startswith("| musicgen | 'musicgen' is no model for prompts") for line in lines)
    assert any(line.startswith("| llama | 46 | 3 | nothing |") for line in lines)


def test_a_failure_without_a_cause_is_an_error(measured, tmp_path):
    other = {"llama": measured["jamba"]}
    assert summary(other)[1] == ["llama cache-reused", "llama prompt-in-pieces", "llama right-padding"]
    page = tmp_path / "page.md"
    write_page(page, other, versions())
    assert "**not explained**" in page.read_text(encoding="utf-8")


def test_a_cause_of_nothing_is_named(measured):
    assert (
        "a cause is given, but nothing fails: mamba2: right-padding"
        in summary({"mamba2": measured["llama"]})[0]
    )


def test_an_unknown_model_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["x", "--only", "lama", "--results", str(tmp_path / "known.jsonl")])
    with pytest.raises(SystemExit):
        conformance_architectures.main()
    assert "argument --only: no such models: lama" in capsys.readouterr().err
