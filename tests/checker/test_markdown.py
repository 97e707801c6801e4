"""Python blocks of Markdown files: which are code, where they stand, what is said of the others."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from decoderonly_checker.cli.app import app
from decoderonly_checker.config import Settings
from decoderonly_checker.fixes.run import fix_all
from decoderonly_checker.runner import check_paths
from decoderonly_checker.source.files import load_source
from hypothesis import given, settings
from hypothesis import strategies as st

SETUP = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
encoding = tokenizer("Question: why? Answer:", return_tensors="pt")
"""
BARE = "output = model.generate(encoding.input_ids)"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def check(text, name="a.md"):
    Path(name).write_text(text, encoding="utf-8", newline="")
    return check_paths([name], Settings())


def places(result):
    return [(d.code, d.place.line, d.place.column, d.place.cell) for d in result.diagnostics]


def test_blocks_share_their_names_and_findings_stand_in_the_file():
    text = f"# It's a title\n\n```python\n{SETUP}```\n\nDon't:\n\n```py\n{BARE}\n```\n"
    result = check(text)
    line = text.split("\n").index(BARE) + 1
    assert places(result) == [("DLM101", line, 10, None)]
    assert "-->" in CliRunner().invoke(app, ["check", "--no-cache", "a.md"]).output


@pytest.mark.parametrize(
    ("before", "column"), [("> ", 12), ("  ", 12), ("- x\n\n  ", 12)], ids=["quoted", "indented", "in a list"]
)
def test_blocks_within_other_things_keep_their_columns(before, column):
    head, _, indent = before.rpartition("\n")
    body = "\n".join(f"{indent}{line}" for line in ["```python", *SETUP.splitlines(), BARE, "```"])
    text = f"{head}\n{body}\n" if head else f"{body}\n"
    assert [(code, at) for code, _, at, _ in places(check(text))] == [("DLM101", column)]


@pytest.mark.parametrize(
    "info", ["python", "py", "Python", "python title=x.py", "{python}", "python,ignore", "{.python}"]
)
def test_what_is_python(info):
    assert len(check(f"```{info}\n{SETUP}{BARE}\n```\n").diagnostics) == 1


@pytest.mark.parametrize("info", ["", "text", "bash", "pycon", "json"])
def test_what_is_not(info):
    assert not check(f"```{info}\n{SETUP}{BARE}\n```\n").diagnostics


def test_blocks_that_do_not_parse_are_left_out_and_said():
    result = check(f"```python\n{SETUP}```\n```python\nmodel.generate(…\n```\n```python\n{BARE}\n```\n")
    assert [code for code, *_ in places(result)] == ["DLM101"]
    assert result.hints == ("a.md: a Python block left out, as what is there does not parse",)
    assert not result.errors


def test_comments_in_blocks_count_and_those_in_prose_do_not():
    text = f"# decoderonly: skip-file\n\n```python\n{SETUP}{BARE}  # decoderonly: ignore[DLM101] short\n```\n"
    result = check(text)
    assert (result.diagnostics, result.suppressed) == ((), 1)
    stale = check(text.replace("DLM101", "DLM201")).diagnostics
    assert [(d.code, d.fix is None) for d in stale] == [("DLM101", False), ("DLM001", True)]


def test_markdown_is_taken_from_folders_on_demand():
    Path("b.py").write_text("x = 1\n", encoding="utf-8")
    check(f"```python\n{SETUP}{BARE}\n```\n")
    run = lambda *options: CliRunner().invoke(app, ["check", "--no-cache", *options, "."])  # noqa: E731
    assert run().exit_code == 0
    assert run("--include-markdown").exit_code == 1
    Path("decoderonly.toml").write_text("include-markdown = true\n", encoding="utf-8")
    assert "a.md:6:10" in run("--output-format", "concise").output
    # No comments are written into what people read.
    before = Path("a.md").read_bytes()
    run("--add-ignore", "why")
    assert Path("a.md").read_bytes() == before


NAMED = "ids = tokenizer.encode('Hi', return_tensors=\"pt\")  # why\nout = model.generate(\n    ids,\n    do_sample=True,\n)"
NAMED_AFTER = """\
encoded = tokenizer('Hi', return_tensors="pt")  # why
ids = encoded["input_ids"]
out = model.generate(
    ids,
    do_sample=True,
    attention_mask=encoded["attention_mask"],
)"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("before", "code", "after"),
    [
        ("", NAMED, NAMED_AFTER),
        ("   ", NAMED, NAMED_AFTER),
        ("- a list\n\n  ", NAMED, NAMED_AFTER),
        ("> ", BARE, BARE.replace("ids)", "ids, attention_mask=encoding.attention_mask)")),
        # A new line would need the sign that quotes.
        ("> ", NAMED, NAMED),
        ("\t", BARE, BARE),  # code by its indentation, which is no Python
    ],
    ids=["plain", "indented", "in a list", "quoted", "quoted, with a new line", "no fence"],
)
def test_blocks_are_fixed_and_no_other_byte_changes(before, code, after, ending):
    head, _, indent = before.rpartition("\n")

    def page(code):
        inside = ["```python", *SETUP.splitlines(), "", *code.splitlines(), "```"]
        body = "\n".join(f"{indent}{line}".rstrip() for line in inside)
        return f"It's `so`\u00e9:\n\n{head}\n{body}\n\n```sh\nmodel.generate(ids)\n```\nthe end".replace(
            "\n", ending
        )

    check(page(code))
    done = fix_all(lambda: check_paths(["a.md"], Settings()), unsafe=True)
    assert done.left.errors == ()
    assert Path("a.md").read_bytes().decode() == page(after)
    assert not any(found.fix for found in done.left.diagnostics)


def test_without_the_parser_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    (error,) = check("```python\nx\n```\n").errors
    assert error.message == (
        "markdown-it-py reads Markdown, and is not installed: pip install 'pytest-decoderonly[markdown]'"
    )


LINES = st.sampled_from(
    [
        "",
        "text",
        'It\'s "so"',
        "```python",
        "```",
        "~~~py",
        "~~~",
        "> ```python",
        "> x = 1",
        "x = 1",
        "  y(",
        "\t",
        "- ```py",
        "    f()",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(LINES, max_size=14), st.sampled_from(["\n", "\r\n", "\r"]))
def test_lines_stay_where_they_are(lines, end):
    source = load_source(Path("x.md"), end.join(lines).encode())
    (cell,) = source.cells
    read = cell.text.split("\n")
    assert len(read) == len(cell.lines)
    for number, (code, whole) in enumerate(zip(read, cell.lines, strict=True), start=1):
        at = cell.shifts.get(number, 0) + len(code) - len(code.lstrip())
        assert whole[at : at + len(code.strip())] == code.strip()
