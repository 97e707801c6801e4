"""Formats that other programs read: each must be read by a parser of its own, whatever stands in a finding."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote

import pytest
import sarif_pydantic
from decoderonly_checker.diagnostics import (
    Applicability,
    CheckResult,
    Confidence,
    Diagnostic,
    Edit,
    FileError,
    Fix,
    Place,
    Related,
    Severity,
)
from decoderonly_checker.render import FOR_MACHINES, render
from decoderonly_checker.render.places import byte_column, fingerprints, uri_of
from decoderonly_checker.source.excerpts import Excerpts
from decoderonly_checker.source.files import load_source
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

CODES = ["DLM101", "DLM201"]
words = st.text(max_size=30)
paths = st.sampled_from(["app/serve.py", "a b/ü,1:2%.py", "/abs/serve.py", "n.ipynb", "we\nird.py"])
places = st.builds(
    lambda path, line, column, more, length, cell: Place(
        path, line, column, line + more, column + length, cell if path.endswith("ipynb") else None
    ),
    paths,
    st.integers(1, 50),
    st.integers(1, 90),
    st.integers(0, 3),
    st.integers(0, 9),
    st.integers(0, 4),
)
fixes = st.none() | st.builds(
    Fix,
    words,
    st.sampled_from(Applicability),
    st.lists(st.builds(Edit, places, words), max_size=2).map(tuple),
)
diagnostics = st.builds(
    Diagnostic,
    st.sampled_from(CODES),
    st.just("some-rule"),
    st.sampled_from(Severity),
    st.sampled_from(Confidence),
    places,
    words,
    words,
    words,
    words,
    st.lists(st.builds(Related, places, words), max_size=2).map(tuple),
    fixes,
)
errors = st.builds(FileError, paths, words, st.none() | st.integers(1, 9), st.none() | st.integers(0, 3))
results = st.builds(
    CheckResult,
    st.lists(diagnostics, max_size=4).map(tuple),
    st.lists(errors, max_size=2).map(tuple),
    st.lists(paths, max_size=3, unique=True).map(tuple),
)


def drawn(result, output_format):
    return render(result, output_format, Excerpts())


def sarif_run(text):
    log = sarif_pydantic.Sarif.model_validate_json(text)
    (run,) = log.runs
    return run


@given(results)
def test_json_lines_are_the_entries_of_the_json_list(result):
    lines = drawn(result, "json-lines").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(drawn(result, "json"))


@given(results)
def test_sarif_holds_every_finding_and_error(result):
    text = drawn(result, "sarif")
    assert text.isascii()
    run = sarif_run(text)
    assert [(r.rule_id, r.message.text.split("\n")[0]) for r in run.results] == [
        (d.code, d.message.split("\n")[0]) for d in result.diagnostics
    ]
    rules = json.loads(text)["runs"][0]["tool"]["driver"]["rules"]
    assert [rules[r.rule_index]["id"] for r in run.results] == [d.code for d in result.diagnostics]
    notes = json.loads(text)["runs"][0]["invocations"][0]["toolExecutionNotifications"]
    assert [note["message"]["text"] for note in notes] == [error.message for error in result.errors]


@given(results)
def test_sarif_claims_no_region_in_notebooks(result):
    for one, diagnostic in zip(
        json.loads(drawn(result, "sarif"))["runs"][0]["results"], result.diagnostics, strict=True
    ):
        (location,) = one["locations"]
        assert ("region" in location["physicalLocation"]) == (diagnostic.place.cell is None)
        if diagnostic.place.cell is not None:
            (named,) = location["logicalLocations"]
            assert named["name"] == f"cell {diagnostic.place.cell + 1}, line {diagnostic.place.line}"


@given(results)
def test_annotations_are_one_command_a_line_with_nothing_of_the_text_between_them(result):
    def unescaped(text):
        for sign, code in ((",", "%2C"), (":", "%3A"), ("\n", "%0A"), ("\r", "%0D"), ("%", "%25")):
            text = text.replace(code, sign)
        return text

    lines = drawn(result, "github").split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(result.diagnostics) + len(result.errors)
    errors = [d.place.path for d in result.diagnostics if d.severity is Severity.ERROR]
    warnings = [d.place.path for d in result.diagnostics if d.severity is not Severity.ERROR]
    told = errors + [e.path for e in result.errors] + warnings
    for line, path in zip(lines, told, strict=True):
        level, title, file = re.fullmatch(
            r"::(error|warning) title=([^:,]*),file=([^:,]*)(?:,[^:]*)?::.*", line
        ).groups()
        assert level in {"error", "warning"}
        assert title
        assert unescaped(file) == path


@pytest.mark.parametrize(("errors_", "warnings_", "left"), [(10, 10, 0), (11, 3, 1), (2, 14, 4), (12, 12, 4)])
def test_annotations_beyond_those_that_github_shows_are_counted(errors_, warnings_, left):
    def found(line, severity):
        place = Place("a.py", line, 1, line, 5)
        return Diagnostic(
            "DLM101", "missing-attention-mask", severity, Confidence.CERTAIN, place, "m", "e", "h"
        )

    mixed = [found(2 * line + 1, Severity.WARNING) for line in range(warnings_)]
    mixed += [found(2 * line, Severity.ERROR) for line in range(errors_)]
    lines = drawn(CheckResult(tuple(mixed)), "github").splitlines()
    told = [line.split(" ")[0] for line in lines]
    assert told == ["::error"] * errors_ + ["::warning"] * warnings_ + ["::notice"] * bool(left)
    assert not left or f"::{errors_ + warnings_} in all, and {left} of them " in lines[-1]


@given(results)
def test_markdown_is_one_table_whose_cells_are_the_texts(result):
    """As GitHub reads it: what stands in a text is neither a cell, nor a tag, nor emphasis."""
    text = drawn(result, "markdown")
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    rows = [token for token in tokens if token.type == "tr_open"]
    count = len(result.diagnostics) + len(result.errors)
    assert len(rows) == (count + 1 if count else 0)
    cells = [tokens[at + 1] for at, token in enumerate(tokens) if token.type == "td_open"]
    assert len(cells) == 5 * count
    for number, one in enumerate(sorted(result.diagnostics, key=lambda d: d.severity is not Severity.ERROR)):
        mine = cells[5 * number : 5 * number + 5]
        assert mine[0].content == one.severity.value
        (place,) = mine[2].children
        assert place.type == "code_inline"
        for cell in mine[3:]:
            assert {child.type for child in cell.children} <= {"text", "code_inline", "text_special"}
    blocks = {token.type.rpartition("_")[0] for token in tokens}
    assert blocks <= {"heading", "paragraph", "", "table", "thead", "tbody", "tr", "th", "td"}


@given(results)
def test_gitlab_issues_have_all_that_is_asked_for_and_tell_findings_apart(result):
    issues = json.loads(drawn(result, "gitlab"))
    assert len(issues) == len(result.diagnostics) + len(result.errors)
    for issue in issues:
        assert {"description", "check_name", "fingerprint", "severity", "location"} <= issue.keys()
        assert issue["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert issue["location"].keys() & {"positions", "lines"}
    found = [issue["fingerprint"] for issue in issues[: len(result.diagnostics)]]
    assert len(set(found)) == len(found)


@given(results)
def test_junit_is_xml_that_counts_right(result):
    root = ET.fromstring(drawn(result, "junit"))  # noqa: S314 - our own
    assert len(root.findall(".//failure")) == int(root.get("failures")) == len(result.diagnostics)
    assert len(root.findall(".//error")) == int(root.get("errors")) == len(result.errors)
    assert len(root.findall(".//testcase")) == int(root.get("tests"))
    for suite in root:
        assert len(suite.findall("testcase")) == int(suite.get("tests"))
    quiet = {*result.checked} - {d.place.path for d in result.diagnostics} - {e.path for e in result.errors}
    assert len([case for case in root.iter("testcase") if len(case) == 0]) == len(quiet)


@given(results)
def test_rdjson_holds_every_finding(result):
    found = json.loads(drawn(result, "rdjson"))["diagnostics"]
    assert len(found) == len(result.diagnostics) + len(result.errors)
    for one in found:
        assert one["severity"] in {"ERROR", "WARNING"}
        assert one["location"]["path"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=20), st.integers(1, 20))
def test_columns_in_bytes(line, column):
    column = min(column, len(line) + 1)
    at = byte_column([line], 1, column)
    assert line.encode()[at - 1 :].decode() == line[column - 1 :]


def test_suggestions_count_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text('x = "äö"; cut(y)\n', encoding="utf-8")
    at = Place("a.py", 1, 11, 1, 17)
    fix = Fix("cut", Applicability.SAFE, (Edit(Place("a.py", 1, 15, 1, 16), "z"),))
    found = Diagnostic("DLM201", "n", Severity.ERROR, Confidence.CERTAIN, at, "m", "", "", fix=fix)
    (one,) = json.loads(render(CheckResult((found,)), "rdjson", Excerpts()))["diagnostics"]
    assert one["location"]["range"] == {"start": {"line": 1, "column": 13}, "end": {"line": 1, "column": 19}}
    assert one["suggestions"] == [
        {"range": {"start": {"line": 1, "column": 17}, "end": {"line": 1, "column": 18}}, "text": "z"}
    ]


@given(st.integers(0, 5), st.integers(1, 4))
def test_fingerprints_survive_moved_lines_and_tell_equal_lines_apart(moved, times):
    def prints(before):
        text = "\n" * before + "generate()\n" * times
        source = load_source(Path("a.py"), text.encode())
        places = [Place(source.shown, before + i + 1, 1, before + i + 1, 5) for i in range(times)]
        sure = (Severity.ERROR, Confidence.CERTAIN)
        found = [Diagnostic("DLM101", "n", *sure, place, "", "", "") for place in places]
        return list(fingerprints(found, Excerpts([source])))

    assert prints(0) == prints(moved)
    assert len(set(prints(moved))) == times


@pytest.mark.parametrize("path", ["a b/ü.py", "c%20d.py", "e#f?.py"])
def test_paths_are_uris(path):
    assert unquote(uri_of(path)) == path
    assert re.fullmatch(r"[\w./%~-]+", uri_of(path), re.ASCII)


def test_paths_above_the_working_directory_are_told_whole(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert uri_of("../a.py") == (tmp_path / "a.py").resolve().as_uri()


def test_sarif_carries_the_rule_pages_and_the_way_to_the_finding():
    made = Place("app/load.py", 2, 7, 2, 40)
    found = Diagnostic(
        "DLM101", "missing-attention-mask", Severity.WARNING, Confidence.CERTAIN, Place("app/serve.py", 5, 1, 5, 9),
        "no mask", "changes answers", "pass it", "here", (Related(made, "tokenizer made here"),),
    )  # fmt: skip
    (run,) = json.loads(render(CheckResult((found,)), "sarif", Excerpts()))["runs"]
    (rule,) = run["tool"]["driver"]["rules"]
    assert rule["name"] == "MissingAttentionMask"
    assert "## Why is this bad?" in rule["help"]["markdown"]
    (one,) = run["results"]
    assert one["message"]["text"] == "no mask\nEffect: changes answers\nHelp: pass it"
    walk = one["codeFlows"][0]["threadFlows"][0]["locations"]
    assert [step["location"]["message"]["text"] for step in walk] == ["tokenizer made here", "here"]
    assert one["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "app/load.py"


def test_every_format_is_tested_here():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in tested for name in FOR_MACHINES)
