"""What a report holds: JSON as its schema says, there and back again, several runs as one."""

from __future__ import annotations

import json
import math
from importlib import resources

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import FINDING, environment, whole_run

from pytest_decoderonly.compare.verdict import Culprit
from pytest_decoderonly.conformance.outcome import VERDICTS, LayerDeviation, Number, Outcome
from pytest_decoderonly.reporting import files
from pytest_decoderonly.reporting.run import Found, ReportError, Run, Unchecked, merged

SCHEMA = json.loads((resources.files("pytest_decoderonly.reporting") / "schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

anything = st.text(st.characters(exclude_categories=()), max_size=12)
measured = st.none() | st.floats(width=32)
outcomes = st.builds(
    Outcome,
    model=anything,
    spec=anything,
    check=anything,
    item=anything,
    verdict=st.sampled_from(VERDICTS),
    seen=anything,
    parameters=st.dictionaries(anything, anything | st.integers(), max_size=2),
    protects_from=anything,
    seconds=st.floats(0, 1e6),
    numbers=st.lists(
        st.builds(Number, anything, anything, measured, measured, anything, st.floats(0, 1)), max_size=2
    ).map(tuple),
    text=anything,
    rows=st.lists(anything, max_size=2).map(tuple),
    culprit=st.none() | st.builds(Culprit, anything, anything, anything, st.booleans()),
    profile=st.lists(st.builds(LayerDeviation, anything, st.floats(width=32)), max_size=2).map(tuple),
    notes=st.lists(anything, max_size=2).map(tuple),
)
runs = st.builds(
    Run,
    started=st.datetimes().map(lambda moment: f"{moment.isoformat(timespec='seconds')}+00:00"),
    environments=st.lists(
        st.builds(environment, command=anything, seed=st.none() | st.integers()), max_size=2
    ),
    seconds=st.floats(0, 1e6).map(lambda value: round(value, 3)),
    selected=st.none() | st.integers(0, 9),
    ran=st.integers(0, 9),
    interrupted=anything,
    outcomes=st.lists(outcomes, max_size=3),
    findings=st.lists(
        st.builds(Found, st.sampled_from(("static", "guard")), anything, st.just(FINDING), anything),
        max_size=2,
    ),
    unchecked=st.lists(st.builds(Unchecked, anything, anything), max_size=2),
)


@given(runs)
def test_any_run_is_json_of_the_schema_and_comes_back(run):
    text = files.as_json(run)
    assert text.isascii()
    data = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    VALIDATOR.validate(data)
    assert Run.from_dict(data).as_dict() == run.as_dict()


def test_the_schema_is_one_and_refuses_what_is_no_report():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    data = whole_run().as_dict()
    VALIDATOR.validate(data)
    for broken in ({**data, "version": 2}, {**data, "more": 1}, {**data, "outcomes": [{}]}):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate(broken)


def test_numbers_that_json_has_not_come_back():
    data = json.loads(files.as_json(whole_run()))
    (broken,) = [
        one
        for one in data["outcomes"]
        if one["parameters"] == {"batch": 4, "length": 33, "dtype": "bfloat16"}
    ]
    assert broken["numbers"][1]["float32"] == "nan"
    back = Run.from_dict(data)
    assert any(math.isnan(n.float32) for one in back.outcomes for n in one.numbers if n.float32 is not None)


@given(st.lists(runs, min_size=1, max_size=3))
def test_merging_loses_nothing_that_was_found(several):
    whole = merged(several)
    VALIDATOR.validate(json.loads(files.as_json(whole)))
    assert len(whole.outcomes) == sum(len(run.outcomes) for run in several)
    assert whole.ran == sum(run.ran for run in several)
    assert {repr(one) for one in whole.findings} == {repr(one) for run in several for one in run.findings}
    assert len({repr(one) for one in whole.findings}) == len(whole.findings)
    assert whole.started == min(run.started for run in several)
    assert all(run.interrupted in whole.interrupted for run in several)
    assert merged([whole]).as_dict() == whole.as_dict()


def test_merging_nothing_is_refused():
    with pytest.raises(ValueError, match="runs: must hold at least one"):
        merged([])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON: "),
        (b"\xff", "is not JSON: "),
        (b"[]", "version: expected 1, got None"),
        (b'{"version": 9}', "version: expected 1, got 9"),
        (b'{"version": 1}', "is no report: KeyError: 'started'"),
    ],
)
def test_what_is_no_report_is_one_line_that_names_it(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ReportError) as caught:
        files.read(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read_again(tmp_path):
    run = whole_run()
    files.write(run, tmp_path / "a.json")
    assert files.read(tmp_path / "a.json").as_dict() == run.as_dict()
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    target.write_text("old")
    monkeypatch.setattr("pathlib.Path.replace", _full)
    with pytest.raises(ReportError, match="cannot be written: no space left on device"):
        files.write(whole_run(), target)
    assert target.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def _full(*_args: object) -> None:
    raise OSError(28, "No space left on device")


def test_the_command_merges_and_draws(tmp_path, capsys):
    from pytest_decoderonly.reporting.__main__ import main

    one, two, page = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "all.html"
    files.write(whole_run(), one)
    files.write(whole_run(), two)
    assert main([str(one), str(two), "--output", str(page), "--output", str(tmp_path / "all.json")]) == 0
    both = files.read(tmp_path / "all.json")
    assert both.as_dict() == merged([whole_run(), whole_run()]).as_dict()
    assert "76 of 80 items ran" in " ".join(page.read_text("utf-8").split())

    two.write_text("[]")
    assert main([str(one), str(two), "--output", str(page)]) == 2
    assert capsys.readouterr().err == f"error: {two}: version: expected 1, got None\n"
    with pytest.raises(SystemExit):
        main([str(one), "--output", str(tmp_path / "gone" / "all.html")])
    assert "there is no folder" in capsys.readouterr().err
