"""Fixes in notebooks: the code changes, and no other byte of the JSON."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from decoderonly_checker.cli.app import app
from decoderonly_checker.fixes.notebooks import NotebookError, Replacement, replaced, rewritten
from decoderonly_checker.runner import check_paths
from hypothesis import given, settings
from hypothesis import strategies as st

SETUP = [
    "%pip install transformers\n",
    "from transformers import AutoModelForCausalLM, AutoTokenizer\n",
    'tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen2-0.5B")\n',
    'model = AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B")',
]
USE = [
    "%%time\n",
    "# größer\n",
    'encoding = tokenizer(["Question: a? Answer:", "b"], padding=True, return_tensors="pt")\n',
    "output = model.generate(\n",
    '    encoding["input_ids"],\n',
    "    max_new_tokens=8,\n",
    ")  # 🙂\n",
    "print(tokenizer.batch_decode(output))",
]
FIXED = [
    "%%time\n",
    "# größer\n",
    'encoding = tokenizer(["Question: a? Answer:", "b"], padding=True, return_tensors="pt")\n',
    "output = model.generate(\n",
    '    encoding["input_ids"],\n',
    "    max_new_tokens=8,\n",
    '    attention_mask=encoding["attention_mask"],\n',
    ")  # 🙂\n",
    'print(tokenizer.batch_decode(output[:, encoding["input_ids"].shape[1]:]))',
]


def document(*sources):
    def code(source):
        return {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {"a": [1, {}]},
            "outputs": [],
            "source": source,
        }

    prose = {"cell_type": "markdown", "metadata": {}, "source": ["# f()\n", "text"]}
    return {
        "cells": [prose, *map(code, sources), prose],
        "metadata": {"x": "ü"},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


LAYOUTS = {
    "as Jupyter writes it": {"indent": 1, "ensure_ascii": False},
    "in one line": {"separators": (",", ":")},
    "as Colab does": {"indent": 2, "ensure_ascii": True},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("joined", [False, True], ids=["lines", "one string"])
def test_the_code_is_fixed_and_no_other_byte_changes(tmp_path, monkeypatch, layout, joined):
    monkeypatch.chdir(tmp_path)
    shape = "".join if joined else list
    Path("n.ipynb").write_text(
        json.dumps(document(shape(SETUP), shape(USE)), **layout) + "\n", encoding="utf-8"
    )
    done = CliRunner().invoke(app, ["check", "--fix", "--no-cache", "--ignore", "DLM102", "n.ipynb"])
    assert "Fixed 2 findings in 1 file.\n" in done.output
    after = Path("n.ipynb").read_text(encoding="utf-8")
    assert after == json.dumps(document(shape(SETUP), shape(FIXED)), **layout) + "\n"


def test_a_difference_is_shown_by_cell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("n.ipynb").write_text(json.dumps(document(SETUP, USE)), encoding="utf-8")
    before = Path("n.ipynb").read_bytes()
    done = CliRunner().invoke(app, ["check", "--diff", "--unsafe-fixes", "--no-cache", "n.ipynb"])
    assert "--- n.ipynb:cell 2\n+++ n.ipynb:cell 2\n" in done.output
    assert (
        '+tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen2-0.5B", padding_side="left")\n' in done.output
    )
    assert "--- n.ipynb:cell 3\n" in done.output
    assert Path("n.ipynb").read_bytes() == before


def test_comments_are_written_and_taken_away_in_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = json.dumps(document(SETUP, [*USE[:-1], "# decoderonly: ignore[DLM401]\n", USE[-1]]), indent=1)
    Path("n.ipynb").write_text(text, encoding="utf-8")
    CliRunner().invoke(app, ["check", "--add-ignore", "known", "--no-cache", "n.ipynb"])
    assert {d.code for d in check_paths(["n.ipynb"]).diagnostics} == {"DLM001"}
    source = json.loads(Path("n.ipynb").read_text(encoding="utf-8"))["cells"][2]["source"]
    assert source[-3:] == [
        ")  # 🙂  # decoderonly: ignore[DLM101, DLM102] known\n",
        "# decoderonly: ignore[DLM401, DLM201]\n",
        "print(tokenizer.batch_decode(output))",
    ]
    CliRunner().invoke(app, ["check", "--fix", "--no-cache", "n.ipynb"])
    source = json.loads(Path("n.ipynb").read_text(encoding="utf-8"))["cells"][2]["source"]
    assert source[-2] == "# decoderonly: ignore[DLM201]\n"


def test_a_comment_alone_takes_its_line_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sources = (
        ["# decoderonly: ignore[DLM401]\n", "x = 1\n", "# noqa: DLM101"],
        ["# noqa: DLM101\n", "# noqa: DLM102"],
    )
    Path("n.ipynb").write_text(json.dumps(document(*sources), indent=1), encoding="utf-8")
    done = CliRunner().invoke(app, ["check", "--fix", "--no-cache", "n.ipynb"])
    assert done.exit_code == 0, done.output
    assert Path("n.ipynb").read_text(encoding="utf-8") == json.dumps(document(["x = 1\n"], [""]), indent=1)


def test_an_old_format_is_left_alone_and_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = [{"cell_type": "code", "input": "".join((*SETUP, "\n", *USE[1:])), "language": "python"}]
    Path("n.ipynb").write_text(
        json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3}), encoding="utf-8"
    )
    before = Path("n.ipynb").read_bytes()
    done = CliRunner().invoke(app, ["check", "--fix", "--no-cache", "n.ipynb"])
    assert "error: n.ipynb: not fixed: is a notebook of a format that fixes do not know\n" in done.output
    assert Path("n.ipynb").read_bytes() == before


CHARACTERS = st.text(st.sampled_from('ab \n\t\\"ü🙂\u2028/\x00n'), max_size=12)
FORMATS = st.sampled_from([*LAYOUTS.values(), {"indent": "\t"}, {"separators": (" , ", " :\n")}])


@st.composite
def edits(draw, length):
    points = sorted(draw(st.lists(st.integers(0, length), max_size=6)))
    found = [
        Replacement(start, end, draw(CHARACTERS))
        for start, end in zip(points[::2], points[1::2], strict=False)
    ]
    # Apart from each other, as `choose` makes them.
    return [one for number, one in enumerate(found) if number == 0 or one.start > found[number - 1].end]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.lists(CHARACTERS, min_size=1, max_size=5), st.booleans(), FORMATS)
def test_the_source_is_what_it_should_be_and_the_rest_what_it_was(data, lines, joined, layout):
    source = "".join(lines)
    replacements = data.draw(edits(len(source)))
    before = document("x", source if joined else lines)
    after = rewritten(json.dumps(before, **layout), {2: replacements})
    now = json.loads(after)
    held = now["cells"][2]["source"]
    assert "".join(held) == replaced(source, replacements)
    if joined:
        before["cells"][2]["source"] = replaced(source, replacements)
        assert json.loads(after) == before
    before["cells"][2]["source"] = now["cells"][2]["source"] = None
    assert now == before
    if not replacements:
        assert after == json.dumps(document("x", source if joined else lines), **layout)


@pytest.mark.parametrize("text", ["", "[]", '{"cells": 3}', "{", '{"cells": [{"source": []}]}'])
def test_what_is_no_notebook_any_more_is_refused(text):
    with pytest.raises(NotebookError):
        rewritten(text, {0: [Replacement(0, 0, "x")]})
