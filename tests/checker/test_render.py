"""How findings are drawn."""

import json
import unicodedata
from pathlib import Path

import pytest
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
from decoderonly_checker.render import FORMATS, render
from decoderonly_checker.render.text import error_line, summary
from decoderonly_checker.render.width import Layout, safe, visible
from decoderonly_checker.source.excerpts import Excerpts
from decoderonly_checker.source.files import load_source
from hypothesis import given
from hypothesis import strategies as st

SERVE = """\
from app.loading import model, tok


def answer(prompts):
    enc = tok(prompts, padding=True, return_tensors="pt")
    enc = enc.to("cuda")
    out = model.generate(**enc, max_new_tokens=64)
    return out
"""
LOADING = 'NAME = "gpt2"\ntok = AutoTokenizer.from_pretrained(NAME)\n'


def place(path, line, text, source, cell=None):
    column = source.splitlines()[line - 1].index(text) + 1
    return Place(path, line, column, line, column + len(text), cell)


def finding(**changes):
    values = {
        "code": "DLM102",
        "name": "right-padded-generation",
        "severity": Severity.ERROR,
        "confidence": Confidence.LIKELY,
        "place": place("app/serve.py", 7, "model.generate", SERVE),
        "message": "batched prompts are padded on the right before `generate`",
        "effect": "shorter prompts are continued from padding tokens",
        "help": 'pass `padding_side="left"`',
        "label": "continues after the padding of the shorter rows",
        "related": (
            Related(
                place("app/loading.py", 2, "AutoTokenizer.from_pretrained(NAME)", LOADING),
                "tokenizer built here; `padding_side` is never set",
            ),
            Related(place("app/serve.py", 5, "padding=True", SERVE), "rows get padded here"),
        ),
    }
    return Diagnostic(**{**values, **changes})


@pytest.fixture
def excerpts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Excerpts(
        [
            load_source(Path("app/serve.py"), SERVE.encode()),
            load_source(Path("app/loading.py"), LOADING.encode()),
        ]
    )


FULL = """\
error[DLM102]: batched prompts are padded on the right before `generate`  (likely)
  --> app/serve.py:7:11
   |
 5 |     enc = tok(prompts, padding=True, return_tensors="pt")
   |                        ------------ rows get padded here
 7 |     out = model.generate(**enc, max_new_tokens=64)
   |           ^^^^^^^^^^^^^^ continues after the padding of the shorter rows
   |
  ::: app/loading.py:2:7
 2 | tok = AutoTokenizer.from_pretrained(NAME)
   |       ----------------------------------- tokenizer built here; `padding_side` is never set
   |
   = effect: shorter prompts are continued from padding tokens
   = help: pass `padding_side="left"`
   = see: decoderonly rule DLM102

"""


def test_full(excerpts):
    assert render(CheckResult((finding(),)), "full", excerpts) == FULL


def test_full_in_colour_is_the_same_text(excerpts):
    drawn = render(CheckResult((finding(),)), "full", excerpts, color=True)
    assert drawn.startswith("\x1b[31;1merror[DLM102]\x1b[0m")
    for code in ("31;1", "34;1", "34", "1", "0"):
        drawn = drawn.replace(f"\x1b[{code}m", "")
    assert drawn == FULL
    warning = render(CheckResult((finding(severity=Severity.WARNING),)), "full", excerpts, color=True)
    assert warning.startswith("\x1b[33;1mwarning[DLM102]")


def test_full_says_which_fix_there_is(excerpts):
    fix = Fix("pass it", Applicability.UNSAFE, (Edit(finding().place, "x"),))
    drawn = render(CheckResult((finding(fix=fix, confidence=Confidence.CERTAIN),)), "full", excerpts)
    assert '   = help: pass `padding_side="left"` (fix available, unsafe)\n' in drawn
    assert drawn.startswith("error[DLM102]: batched prompts are padded on the right before `generate`\n")


def test_several_marks_on_one_line_and_over_several_lines(excerpts):
    whole = Place("app/serve.py", 5, 11, 7, 51)
    drawn = render(
        CheckResult((finding(place=whole, label="all this", related=finding().related[1:]),)),
        "full",
        excerpts,
    )
    assert drawn.splitlines()[1:7] == [
        "  --> app/serve.py:5:11",
        "   |",
        ' 5 |     enc = tok(prompts, padding=True, return_tensors="pt")',
        "   |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ all this",
        "   |                        ------------ rows get padded here",
        "   |",
    ]


def test_distant_lines_are_parted(excerpts):
    far = Related(place("app/serve.py", 1, "tok", SERVE), "from here")
    assert "\n...\n" in render(CheckResult((finding(related=(far,)),)), "full", excerpts)
    assert "\n...\n" not in FULL


def test_a_file_that_is_gone_is_still_named(excerpts):
    gone = finding(place=Place("gone.py", 12345, 3, 12345, 9), related=())
    drawn = render(CheckResult((gone,)), "full", excerpts)
    assert "     --> gone.py:12345:3\n" in drawn
    assert "      | continues after the padding of the shorter rows (line 12345)\n" in drawn


def test_places_in_notebooks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [{"cell_type": "code", "source": text} for text in ("tok = load()", "x = 1\nf(tok)")]
    (tmp_path / "n.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    diagnostic = finding(
        place=Place("n.ipynb", 2, 1, 2, 7, cell=1),
        related=(Related(Place("n.ipynb", 1, 7, 1, 13, cell=0), "loaded here"),),
    )
    drawn = render(CheckResult((diagnostic,)), "full", Excerpts())
    assert "  --> n.ipynb:cell 2:2:1\n   |\n 2 | f(tok)\n   | ^^^^^^ continues" in drawn
    assert "  ::: n.ipynb:cell 1:1:7\n 1 | tok = load()\n   |       ------ loaded here\n" in drawn
    assert render(CheckResult((diagnostic,)), "concise", Excerpts()).startswith(
        "n.ipynb:cell 2:2:1: error DLM102 "
    )


def test_concise_is_one_line(excerpts):
    assert render(CheckResult((finding(), finding(code="DLM101"))), "concise", excerpts) == (
        "app/serve.py:7:11: error DLM102 batched prompts are padded on the right before `generate` "
        "[tokenizer built here: app/loading.py:2]\n"
        "app/serve.py:7:11: error DLM101 batched prompts are padded on the right before `generate` "
        "[tokenizer built here: app/loading.py:2]\n"
    )


def test_nothing_found_draws_nothing(excerpts):
    assert render(CheckResult(), "full", excerpts) == ""
    assert render(CheckResult(), "concise", excerpts) == ""
    assert render(CheckResult(), "json", excerpts) == "[]\n"
    with pytest.raises(ValueError, match='unknown output format "xml"; known: full, concise, json'):
        render(CheckResult(), "xml", excerpts)


def test_json_has_exactly_these_keys(excerpts):
    fix = Fix("pass it", Applicability.SAFE, (Edit(Place("a.py", 1, 2, 3, 4), "x"),))
    (entry,) = json.loads(render(CheckResult((finding(fix=fix),)), "json", excerpts))
    where = {"path": "app/serve.py", "cell": None, "line": 7, "column": 11, "end_line": 7, "end_column": 25}
    tokenizer = {
        "path": "app/loading.py",
        "cell": None,
        "line": 2,
        "column": 7,
        "end_line": 2,
        "end_column": 42,
    }
    padded = {"path": "app/serve.py", "cell": None, "line": 5, "column": 24, "end_line": 5, "end_column": 36}
    edit = {"path": "a.py", "cell": None, "line": 1, "column": 2, "end_line": 3, "end_column": 4}
    assert entry == {
        "code": "DLM102",
        "name": "right-padded-generation",
        "severity": "error",
        "confidence": "likely",
        **where,
        "message": "batched prompts are padded on the right before `generate`",
        "effect": "shorter prompts are continued from padding tokens",
        "help": 'pass `padding_side="left"`',
        "related": [
            {"message": "tokenizer built here; `padding_side` is never set", **tokenizer},
            {"message": "rows get padded here", **padded},
        ],
        "fix": {"message": "pass it", "applicability": "safe", "edits": [{"content": "x", **edit}]},
    }


def test_json_reference_names_every_key():
    reference = Path(__file__).parents[2] / "docs/reference/json.md"
    text = reference.read_text(encoding="utf-8")
    fix = Fix("", Applicability.SAFE, ())
    (entry,) = json.loads(render(CheckResult((finding(fix=fix),)), "json", Excerpts()))
    for key in (*entry, *entry["fix"]):
        assert f"| `{key}` |" in text, key


@pytest.mark.parametrize(
    ("line", "start", "end", "before", "size"),
    [
        ("\tf(x)", 1, 5, 4, 4),
        ("ab\tf(x)", 3, 7, 4, 4),
        ("s = '字字'; f()", 10, 13, 12, 3),
        ("f('字')", 2, 5, 2, 4),
        ("x = 'e\u0301'; f()", 10, 13, 9, 3),
        ("\x1b[31mf()", 5, 8, 8, 3),
        ("f()", 3, 3, 3, 1),
        ("f()", 9, 12, 3, 1),
    ],
)
def test_carets_stand_under_what_they_mean(line, start, end, before, size):
    assert Layout(line, start, None).span(start, end) == (before, size)


def test_nothing_in_a_file_can_steer_the_terminal():
    text = "a\x1b]0;evil\x07\u202eb\u2066\r\x9b\ud800"
    shown = safe(text)
    assert shown == "a\\x1b]0;evil\\x07\\u202eb\\u2066\\r\\x9b\\ud800"
    assert all(unicodedata.category(character) not in ("Cc", "Cs") for character in shown)


def test_long_lines_are_cut_around_the_mark(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = "x = [" + "1, " * 200 + "f(a), " + "2, " * 200 + "]"
    excerpts = Excerpts([load_source(Path("a.py"), line.encode())])
    here = place("a.py", 1, "f(a)", line)
    drawn = render(
        CheckResult((finding(place=here, related=(), label=""),)), "full", excerpts, width=60
    ).splitlines()
    code, carets = drawn[3], drawn[4]
    assert len(code) <= 60
    assert code.startswith(" 1 | ...")
    assert code.endswith("...")
    assert code[carets.index("^") : carets.rindex("^") + 1] == "f(a)"


@given(st.text(max_size=80), st.integers(0, 90), st.integers(0, 90), st.integers(30, 60))
def test_layout_laws(line, anchor, length, width):
    layout = Layout(line, anchor, width)
    columns = sum(size for _, size in visible(line))
    shown = sum(size for _, size in visible(layout.text))
    assert shown <= max(width, 26)
    if columns <= width:
        assert layout.text == safe(line)
    before, size = layout.span(anchor, anchor + length)
    assert 0 <= before <= shown
    assert 1 <= size <= max(1, shown)


def result(errors=0, warnings=0, **more):
    found = [finding(severity=Severity.ERROR)] * errors + [finding(severity=Severity.WARNING)] * warnings
    return CheckResult(tuple(found), **more)


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (result(), "No Python files or notebooks found: nothing to check."),
        (result(skipped=("a", "b")), "No language-model calls in 2 files: nothing to check."),
        (result(checked=("a",)), "No findings in 1 file."),
        (
            result(checked=("a", "b"), skipped=("c",)),
            "No findings in 2 files (1 skipped: no language-model calls).",
        ),
        (result(1, 2, checked=("a",)), "1 error, 2 warnings in 1 file (1 file checked)."),
        (
            result(2, checked=("a", "b"), skipped=("c",), hidden=2, suppressed=1),
            (
                "2 errors in 1 file (2 files checked, 1 skipped: no language-model calls). "
                "1 finding silenced by comments or settings. "
                "2 findings of low confidence hidden (--confidence possible)."
            ),
        ),
        (
            CheckResult(errors=(FileError("x", "y"), FileError("x", "z"))),
            "Nothing was checked. 1 file could not be checked in full.",
        ),
    ],
)
def test_the_last_line_says_what_was_done(outcome, text):
    assert summary(outcome) == text


def test_error_lines():
    assert error_line(FileError("a.py", "no such file")) == "error: a.py: no such file"
    assert error_line(FileError("a.py", "bad\n  thing\x1b", 3)) == "error: a.py:3: bad thing\\x1b"
    assert error_line(FileError("n.ipynb", "bad", 3, 0)) == "error: n.ipynb:cell 1:3: bad"


def test_formats_are_what_render_knows(excerpts):
    for name in FORMATS:
        assert "DLM102" in render(CheckResult((finding(),)), name, excerpts)
