"""Comments that silence nothing, that give no reason, that are written in bulk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from decoderonly_checker.cli.app import app
from decoderonly_checker.config import Settings
from decoderonly_checker.fixes.apply import edited
from decoderonly_checker.runner import check_paths, check_source
from hypothesis import given, settings
from hypothesis import strategies as st

HEAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
encoding = tokenizer("Once upon a time", return_tensors="pt")
"""
FINE = "output = model.generate(**encoding, max_new_tokens=8)"
BARE = "output = model.generate(encoding.input_ids)"  # DLM101


@pytest.fixture(scope="module", autouse=True)
def _elsewhere(tmp_path_factory):
    """Not in a project: nothing else is looked at."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


def check(text, **kwargs):
    return check_source(HEAD + text, "main.py", Settings(**kwargs))


def told(text, **kwargs):
    return [(d.code, d.message) for d in check(text, **kwargs).diagnostics]


def mended(text, **kwargs):
    result = check(text, **kwargs)
    edits = {e for d in result.diagnostics if d.code == "DLM001" for e in d.fix.edits}
    return edited(HEAD + text, edits).removeprefix(HEAD)


NOTHING = "silences nothing: there is no such finding here"


@pytest.mark.parametrize(
    ("text", "said", "after"),
    [
        (f"{FINE}  # decoderonly: ignore[DLM101] why\n", "ignore[DLM101]", f"{FINE}\n"),
        (f"{FINE}  # noqa: DLM101\n", "noqa: DLM101", f"{FINE}\n"),
        (f"{FINE}  # noqa: E501, DLM101\n", "noqa: DLM101", f"{FINE}  # noqa: E501\n"),
        (f"{FINE}  # type: ignore  # decoderonly: ignore[DLM1]\n", "ignore[DLM1]", f"{FINE}  # type: ignore\n"),
        (f"{FINE}  # decoderonly: ignore[DLM1]  # type: ignore\n", "ignore[DLM1]", f"{FINE}  # type: ignore\n"),
        (f"# decoderonly: ignore[DLM201]\n{FINE}\n", "ignore[DLM201]", f"{FINE}\n"),
        (f"{FINE}\n# decoderonly: ignore[DLM201]", "ignore[DLM201]", f"{FINE}\n"),
        (f"{FINE}  # decoderonly: ignore\n", "ignore", f"{FINE}\n"),
        (
            f"{BARE}  # decoderonly: ignore[DLM101, DLM201] why\n",
            "ignore[DLM201]",
            f"{BARE}  # decoderonly: ignore[DLM101] why\n",
        ),
        (
            f"{BARE}  # decoderonly: ignore[dlm201,missing-attention-mask]\n",
            "ignore[DLM201]",
            f"{BARE}  # decoderonly: ignore[missing-attention-mask]\n",
        ),
    ],
)  # fmt: skip
def test_what_silences_nothing_is_reported_and_taken_away(text, said, after):
    assert told(text) == [("DLM001", f"`{said}` {NOTHING}")]
    assert mended(text) == after
    assert told(after) == []


@pytest.mark.parametrize(
    "text",
    [
        f"{BARE}  # decoderonly: ignore[DLM101]\n",
        f"{BARE}  # decoderonly: ignore[DLM1]\n",
        f"{BARE}  # decoderonly: ignore\n",
        f"{BARE}  # noqa: DLM101\n",
        f"{FINE}  # noqa\n",
        f"{FINE}  # noqa: E501\n",
        f"{FINE}  # decoderonly: ignore[DLM311] seen at run time only\n",
        f"{FINE}  # decoderonly: ignore[DLM101, guard] it is the padding of the test\n",
        f"{FINE}  # decoderonly: ignore[DLM101, DLM001] for the examples in the docs\n",
        f"# decoderonly: skip-file\n{FINE}  # decoderonly: ignore[DLM101]\n",
        f"print('# decoderonly: ignore[DLM101]')\n{FINE}\n",
        f"# decoderonly: ignore[DLM101]\n{BARE}  # noqa: DLM101\n",
    ],
)
def test_what_does_its_work_or_is_for_another_is_left_alone(text):
    assert told(text) == []


def test_a_comment_for_the_guard_does_not_silence_the_checker():
    assert [code for code, _ in told(f"{BARE}  # decoderonly: ignore[DLM101, guard]\n")] == ["DLM101"]


def test_rules_that_did_not_run_are_not_judged():
    text = f"{FINE}  # decoderonly: ignore[DLM101]\n"
    assert told(text, ignore=("DLM101",)) == []
    assert told(text, select=("DLM2", "DLM001")) == []
    assert told(f"{FINE}  # decoderonly: ignore\n", ignore=("DLM310",)) == []
    assert told(text, ignore=("unused-ignore",)) == []
    assert told(text, per_file_ignores={"main.py": ("DLM001",)}) == []


def test_a_rule_that_does_not_exist_is_named_with_those_near_it():
    ((code, message),) = told(f"{BARE}  # decoderonly: ignore[DLM101, missing-attentoin-mask]\n")
    assert code == "DLM001"
    assert "there is no rule MISSING-ATTENTOIN-MASK; did you mean missing-attention-mask" in message


def test_a_file_that_was_not_checked_to_its_end_is_not_judged():
    result = check(f"{FINE}  # decoderonly: ignore[DLM101]\ndef broken(:\n")
    assert result.errors
    assert result.diagnostics == ()


def test_files_without_model_calls_are_looked_at_too(tmp_path):
    (tmp_path / "plain.py").write_text("x = 1  # decoderonly: ignore[DLM101]\n", encoding="utf-8")
    result = check_paths([tmp_path], Settings(root=tmp_path))
    assert [d.code for d in result.diagnostics] == ["DLM001"]
    assert len(result.skipped) == 1


def test_a_remembered_run_says_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(HEAD + f"{FINE}  # noqa: DLM101\n", encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    first, second = (CliRunner().invoke(app, ["check", "--output-format", "concise"]).output for _ in "12")
    assert first == second
    assert "DLM001" in first


def test_reasons_are_asked_for_on_demand():
    text = f"{BARE}  # decoderonly: ignore[DLM101]\n"
    assert told(text, require_ignore_reason=True) == [("DLM002", "this comment does not say why")]
    assert told("# decoderonly: skip-file\n", require_ignore_reason=True)[0][0] == "DLM002"
    assert told(text) == []
    assert told(f"{BARE}  # decoderonly: ignore[DLM101] one prompt\n", require_ignore_reason=True) == []
    assert told(f"{BARE}  # noqa: DLM101\n", require_ignore_reason=True) == []


PIECES = st.sampled_from(
    [
        BARE,
        FINE,
        "output = model.generate(\n    encoding.input_ids,\n    max_length=9,\n)",
        "print(tokenizer.decode(model.generate(**encoding)[0]))",
        "text = '''\n''' + tokenizer.decode(model.generate(**encoding)[0]); print(text)",
        "if encoding:\n    output = model.generate(encoding.input_ids)",
        "x = 1",
    ]
)
TAILS = st.sampled_from(
    [
        "", "", "  # a note", "  # noqa: E501", "  # noqa: DLM101", "  # decoderonly: ignore[DLM101] why", "   ",
        "  # decoderonly: ignore[DLM201]", "  # type: ignore # decoderonly: ignore[DLM3, DLM202]",
        "\n# decoderonly: ignore[DLM101, E501,]", "  # decoderonly: ignore", "  # decoderonly: ignore[nothing]",
    ]
)  # fmt: skip
BREAKS = st.sampled_from(["\n", "\r\n", "\n\n"])


@st.composite
def programs(draw):
    lines = draw(st.lists(st.tuples(PIECES, TAILS), min_size=1, max_size=4))
    end = draw(BREAKS)
    return (HEAD + "".join(f"{piece}{tail}\n" for piece, tail in lines)).replace("\n", end)


@settings(max_examples=30, deadline=None)
@given(programs())
def test_taking_comments_away_changes_no_other_finding(text):
    before = check_source(text, "main.py", Settings())
    edits = {e for d in before.diagnostics if d.code == "DLM001" for e in d.fix.edits}
    after = check_source(edited(text, edits), "main.py", Settings())
    others = [(d.code, d.message) for d in before.diagnostics if d.code != "DLM001"]
    assert [(d.code, d.message) for d in after.diagnostics] == others
    assert after.suppressed == before.suppressed


@settings(max_examples=25, deadline=None)
@given(program=programs())
def test_after_silencing_in_bulk_nothing_is_left_but_comments(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bulk")
    (folder / "decoderonly.toml").touch()
    file = folder / "main.py"
    file.write_bytes(program.encode())
    before = check_paths([file])
    done = CliRunner().invoke(app, ["check", "--no-cache", "--add-ignore", "known", str(file)])
    assert done.exit_code == 0
    after = check_paths([file])
    assert {d.code for d in after.diagnostics} <= {"DLM001"}
    findings = [d for d in before.diagnostics if d.code != "DLM001"]
    assert after.suppressed == before.suppressed + len(findings)
    assert not after.errors
    # Twice does nothing, and only comments were written.
    held = file.read_bytes()
    CliRunner().invoke(app, ["check", "--no-cache", "--add-ignore", "known", str(file)])
    assert file.read_bytes() == held
    if not findings:
        assert held == program.encode()


def test_silencing_in_bulk_can_be_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(HEAD + BARE + "\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["check", "--add-ignore", "one prompt", "--diff"])
    assert f"+{BARE}  # decoderonly: ignore[DLM101] one prompt\n" in done.output
    assert (tmp_path / "a.py").read_text(encoding="utf-8") == HEAD + BARE + "\n"
    done = CliRunner().invoke(app, ["check", "--add-ignore", "one prompt"])
    assert done.output == "Silenced 1 finding in 1 file.\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--add-ignore", "a # b"], "--add-ignore: the reason must be one line without `#`"),
        (["--add-ignore", "a\nb"], "--add-ignore: the reason must be one line without `#`"),
        (["--add-ignore", "a", "--fix"], "--add-ignore cannot be combined with --fix"),
        (["--add-ignore", "a", "-"], "--add-ignore cannot be combined with `-` (standard input)"),
    ],
)
def test_options_that_make_no_sense(options, message, capsys):
    done = CliRunner().invoke(app, ["check", *options])
    assert done.exit_code != 0
    assert message in (done.output + str(done.exception))


RUFF = '[tool.ruff]\nline-length = 100\n[tool.ruff.lint]\nselect = ["E"]\n'


@pytest.mark.parametrize(
    ("file", "text", "hinted"),
    [
        ("pyproject.toml", RUFF, True),
        ("ruff.toml", 'lint.external = ["V"]\n', True),
        ("pyproject.toml", RUFF + 'external = ["DLM"]\n', False),
        ("ruff.toml", 'external = ["D"]\n', False),
        ("pyproject.toml", "[project]\nname = 'x'\n", False),
        ("ruff.toml", "not toml", False),
    ],
)
def test_a_hint_where_ruff_would_delete_the_comment(tmp_path, monkeypatch, file, text, hinted):
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_text(text, encoding="utf-8")
    (tmp_path / "a.py").write_text(HEAD + BARE + "  # noqa: DLM101\n", encoding="utf-8")
    hints = check_paths(["a.py"], Settings(root=tmp_path)).hints
    assert bool(hints) is hinted
    if hinted:
        key = "tool.ruff.lint.external" if file == "pyproject.toml" else "lint.external"
        assert hints == (f'{file}: ruff deletes "# noqa: DLM…" comments unless {key} = ["DLM"]',)


def test_ruff_does_as_the_hint_says(tmp_path):
    for external, kept in (("", False), ('external = ["DLM"]', True)):
        (tmp_path / "ruff.toml").write_text(f'[lint]\nselect = ["RUF102"]\n{external}\n', encoding="utf-8")
        file = tmp_path / "a.py"
        file.write_text("x = 1  # noqa: DLM101\n", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "ruff", "check", "--fix", "--no-cache", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        assert ("DLM101" in file.read_text(encoding="utf-8")) is kept
