"""The page of all architectures: its causes point at code that is there, and nothing unexplained goes unseen."""

from __future__ import annotations

import sys
from dataclasses import replace

import architectures
import pytest
import transformers
from verdict_tables import causes
from verdict_tables.page import summary, write_page
from verdict_tables.records import read, versions

from pytest_decoderonly import tiny_architectures


@pytest.mark.skipif(
    transformers.__version__ != causes.VERSION, reason=f"read in transformers {causes.VERSION}"
)
@pytest.mark.parametrize("arch", causes.types())
def test_causes_point_at_code(arch):
    assert arch in tiny_architectures()
    for cause in causes.causes(arch):
        assert int(cause.link().rpartition("#L")[2]) > 0
        assert "|" not in cause.sentence


def test_a_cause_whose_code_is_gone_has_no_link():
    cause = causes.causes("blt")[0]
    for gone in (
        replace(cause, line="not a line of it"),
        replace(cause, function="BltModel.backward", line=""),
    ):
        with pytest.raises(LookupError, match=gone.file):
            gone.link()


@pytest.fixture(scope="module")
def measured():
    context = architectures._context()
    return {arch: architectures.measure(context, arch, 300.0) for arch in ("llama", "bart", "musicgen")}


def test_types_are_judged_in_their_own_processes(measured, tmp_path):
    assert all(record["done"] for record in measured.values())
    assert {value["verdict"] for value in measured["llama"]["verdicts"].values()} == {"equal up to rounding"}
    assert {value["culprit"] for value in measured["bart"]["verdicts"].values()} == {"no left padding"}
    assert {value["verdict"] for value in measured["bart"]["verdicts"].values()} == {"different by design"}
    assert len(measured["llama"]["verdicts"]) == len(measured["bart"]["verdicts"]) == 6
    assert measured["llama"]["right"]["verdict"] == "equal up to rounding"
    assert not measured["musicgen"]["built"]
    text, unexplained = summary(measured)
    assert unexplained == []
    assert "2 of 3 types built" in text
    page = tmp_path / "page.md"
    write_page(page, measured, versions(), lengths=(6, 19, 33), short=(6, 9, 14))
    written = page.read_text(encoding="utf-8")
    assert "BartDecoder.forward" in written
    assert "streams of audio codes" in written
    assert "| false alarms | 0 |" in written


def test_a_difference_without_a_cause_is_an_error(measured):
    other = {key: {**value, "verdict": "different"} for key, value in measured["bart"]["verdicts"].items()}
    assert summary({"llama": {**measured["bart"], "verdicts": other}})[1] == ["llama"]


def test_a_process_that_dies_or_hangs_loses_its_own_numbers_only():
    context = architectures._context()
    late = architectures.measure(context, "llama", 0.0)
    assert (late["done"], late["reason"]) == (False, "took longer than 0 s")


def test_results_of_other_versions_count_for_nothing(tmp_path):
    path = tmp_path / "known.jsonl"
    path.write_text('{"arch": "llama", "versions": {"torch": "1"}, "done": true}\n', encoding="utf-8")
    assert read(path, "arch") == {}


def test_usage_error(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["architectures.py", "--only", "lama"])
    with pytest.raises(SystemExit):
        architectures.main()
    assert "argument --only: no causal LM types: lama" in capsys.readouterr().err
