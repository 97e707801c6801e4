"""The command as users run it: a process, its output, its exit code."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from decoderonly_checker import rules

BAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tok = AutoTokenizer.from_pretrained("gpt2")
tok.pad_token = tok.eos_token
model = AutoModelForCausalLM.from_pretrained("gpt2")
enc = tok(["Hi.", "Name three colours."], padding=True, return_tensors="pt")
out = model.generate(enc["input_ids"], max_new_tokens=8)
"""
GOOD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tok = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
tok.pad_token = tok.eos_token
model = AutoModelForCausalLM.from_pretrained("gpt2")
enc = tok(["Hi.", "Name three colours."], padding=True, return_tensors="pt")
out = model.generate(**enc, max_new_tokens=8)
"""
COMMAND = [sys.executable, "-m", "decoderonly_checker"]


FIXES = " 1 fix with --fix, 1 more with --unsafe-fixes."


@pytest.fixture(autouse=True)
def _files(tmp_path):
    (tmp_path / "bad.py").write_text(BAD, encoding="utf-8")
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "plain.py").write_text("print('hello')\n", encoding="utf-8")


def clean_environment(**changes):
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return {**kept, **changes}


@pytest.fixture
def process(tmp_path):
    """Run the command as a process of its own."""

    def run(*arguments, stdin=None, **environment):
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=clean_environment(**environment),
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def run(command, tmp_path):
    return partial(command, cwd=tmp_path)


@pytest.mark.parametrize(
    "arguments", [["check"], ["check", "bad.py", "--output-format", "json"], ["rule", "X"]]
)
def test_a_process_does_the_same(run, process, arguments):
    here, there = run(*arguments), process(*arguments)
    assert (here.returncode, here.stdout, here.stderr) == (there.returncode, there.stdout, there.stderr)


def test_findings(run):
    done = run("check", "bad.py", "--output-format", "concise")
    assert done.returncode == 1
    assert done.stderr == ""
    first, second, total = done.stdout.splitlines()
    assert first.startswith("bad.py:7:7: error DLM101 ")
    assert second.startswith("bad.py:7:7: error DLM102 ")
    assert total == f"2 errors in 1 file (1 file checked).{FIXES}"


def test_the_whole_report(run):
    done = run("check", "bad.py", "--select", "DLM101")
    assert done.returncode == 1
    report = done.stdout
    assert report.startswith("error[DLM101]: ")
    assert "\n  --> bad.py:7:7\n   |\n" in report
    assert re.search(r'\n 7 \| out = model\.generate\(enc\["input_ids"\].*\n   \|       \^+ ', report)
    assert re.search(r"\n 6 \| enc = tok\(.*\n   \|       -+ ", report)
    for note in ("   = effect: ", "   = help: ", "   = see: decoderonly rule DLM101\n"):
        assert note in report
    assert "\x1b" not in report


def test_clean_and_nothing_to_do(run, tmp_path):
    done = run("check", "good.py")
    assert (done.returncode, done.stdout) == (0, "No findings in 1 file.\n")
    done = run("check", "plain.py")
    assert (done.returncode, done.stdout) == (0, "No language-model calls in 1 file: nothing to check.\n")
    (tmp_path / "empty").mkdir()
    done = run("check", "empty")
    assert (done.returncode, done.stdout) == (0, "No Python files or notebooks found: nothing to check.\n")
    done = run("check", "good.py", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_current_folder_is_the_default(run):
    done = run("check", "--output-format", "concise")
    assert done.returncode == 1
    assert done.stdout.endswith(
        f"2 errors in 1 file (2 files checked, 1 skipped: no language-model calls).{FIXES}\n"
    )


def test_json(run):
    done = run("check", "--output-format", "json")
    assert done.returncode == 1
    first, second = json.loads(done.stdout)
    assert (first["code"], first["path"], first["line"], first["column"]) == ("DLM101", "bad.py", 7, 7)
    assert second["code"] == "DLM102"
    assert (
        done.stderr == f"2 errors in 1 file (2 files checked, 1 skipped: no language-model calls).{FIXES}\n"
    )
    done = run("check", "good.py", "--output-format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_selection(run):
    assert run("check", "bad.py", "--select", "DLM102").stdout.startswith("error[DLM102]")
    assert run("check", "bad.py", "--ignore", "missing-attention-mask,DLM2").stdout.startswith(
        "error[DLM102]"
    )
    done = run("check", "bad.py", "--select", "DLM3", "--extend-select", "DLM101")
    assert done.stdout.startswith("error[DLM101]")
    assert run("check", "bad.py", "--ignore", "DLM").returncode == 0
    assert run("check", "bad.py", "--exit-zero").returncode == 0


def test_a_file_gets_so_much_time(run, tmp_path):
    (tmp_path / "bad.py").write_text(BAD + "print(tok, model)\n" * 200, encoding="utf-8")
    done = run("check", "bad.py", "--timeout", "0.0001")
    assert (done.returncode, done.stderr) == (
        2,
        "error: bad.py: took over 0.0001 s: skipped (see --timeout)\n",
    )
    assert done.stdout == "No findings in 1 file. 1 file could not be checked in full.\n"
    (tmp_path / "pyproject.toml").write_text("[tool.decoderonly]\ntimeout = 0.0001\n", encoding="utf-8")
    assert run("check", "bad.py").returncode == 2
    assert run("check", "bad.py", "--timeout", "0").returncode == 1


def test_git_ignore_files_can_be_left_alone(run, tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("bad.py\n", encoding="utf-8")
    assert run("check").returncode == 0
    assert run("check", "--no-respect-gitignore").returncode == 1
    (tmp_path / "decoderonly.toml").write_text("respect-gitignore = false\n", encoding="utf-8")
    assert run("check").returncode == 1
    assert run("check", "--respect-gitignore").returncode == 0


def test_settings_and_comments(run, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.decoderonly]\nignore = ['DLM102']\n", encoding="utf-8")
    (tmp_path / "bad.py").write_text(
        BAD.replace("=8)", "=8)  # decoderonly: ignore[DLM101] shown"), encoding="utf-8"
    )
    done = run("check", "bad.py")
    assert (done.returncode, done.stdout) == (
        0,
        "No findings in 1 file. 1 finding silenced by comments or settings.\n",
    )
    (tmp_path / "other.toml").write_text("", encoding="utf-8")
    assert run("check", "bad.py", "--config", "other.toml").stdout.startswith("error[DLM102]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "DLM10x"], 'error: --select: unknown rule "DLM10x"; did you mean DLM1'),
        (["--timeout", "-1"], "error: --timeout must be a number of seconds, or 0 for no limit, not -1.0\n"),
        (["--ignore", "missing-atention-mask"], "did you mean missing-attention-mask"),
        (
            ["--extend-select", "E501"],
            'error: --extend-select: unknown rule "E501"; `decoderonly rule --all` lists',
        ),
        (
            ["--confidence", "sure"],
            'error: --confidence must be one of certain, likely, possible, not "sure"',
        ),
        (["--config", "gone.toml"], "error: gone.toml: no such file or directory"),
        (["-", "x.py"], "error: `-` (standard input) cannot be combined with other paths"),
        (["--stdin-filename", "x.py"], "error: --stdin-filename needs `-` as the path"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(run, arguments, message):
    done = run("check", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_settings_are_one_line_and_exit_code_2(run, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.decoderonly]\nselekt = []\n", encoding="utf-8")
    done = run("check", "bad.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "error: pyproject.toml: unknown setting tool.decoderonly.selekt; did you mean select?\n"
    )


def test_wrong_options_are_told_by_click(run):
    done = run("check", "--output-format", "xml")
    assert done.returncode == 2
    assert "'xml' is not one of" in done.stderr
    assert run("chekc").returncode == 2


def test_what_cannot_be_checked_is_named_and_the_rest_is_shown(run, tmp_path):
    (tmp_path / "broken.py").write_text("def f(:\n    model.generate(tokenizer(x))\n", encoding="utf-8")
    (tmp_path / "binary.py").write_bytes(b"model.generate(tokenizer(x))\0\1\2")
    (tmp_path / "n.ipynb").write_text("{", encoding="utf-8")
    (tmp_path / "deep.py").write_text("model.generate(tokenizer" + "(" * 1000 + ")" * 1001, encoding="utf-8")
    done = run("check", ".", "gone.py", "--output-format", "concise")
    assert done.returncode == 2
    assert [line.split()[2] for line in done.stdout.splitlines()[:-1]] == ["DLM101", "DLM102"]
    assert done.stdout.endswith(f" 5 files could not be checked in full.{FIXES}\n")
    assert done.stderr.splitlines() == [
        "error: binary.py:1: is binary or UTF-16: it holds a NUL byte",
        "error: broken.py:1: syntax error: invalid syntax",
        "error: deep.py:1: brackets nest 1001 deep; Python itself stops at 200",
        "error: gone.py: no such file or directory",
        "error: n.ipynb:1: is not a notebook: broken JSON, expecting property name enclosed in double quotes",
    ]


def test_a_folder_in_place_of_a_file_it_can_read(run, tmp_path):
    (tmp_path / "pyproject.toml").mkdir()
    assert run("check", "good.py").returncode == 0


def test_standard_input(run, tmp_path):
    done = run("check", "-", "--stdin-filename", "app/x.py", "--select", "DLM101", stdin=BAD)
    assert done.returncode == 1
    assert "--> app/x.py:7:7" in done.stdout
    assert ' 7 | out = model.generate(enc["input_ids"], max_new_tokens=8)' in done.stdout
    done = run("check", "-", "-q", stdin="model.generate(tokenizer(")
    assert (done.returncode, done.stderr) == (2, "error: <stdin>:1: syntax error: '(' was never closed\n")


def test_standard_input_as_a_notebook(run):
    cells = [{"cell_type": "markdown", "source": ""}, {"cell_type": "code", "source": BAD}]
    done = run(
        "check",
        "-",
        "--stdin-filename",
        "x.ipynb",
        "--output-format",
        "json",
        stdin=json.dumps({"cells": cells}),
    )
    assert [(item["cell"], item["line"]) for item in json.loads(done.stdout)] == [(1, 7), (1, 7)]


def test_colour(run):
    assert "\x1b" not in run("check", "bad.py").stdout
    assert run("check", "bad.py", FORCE_COLOR="1").stdout.startswith("\x1b[31;1merror[DLM101]\x1b[0m")
    assert "\x1b" not in run("check", "bad.py", FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b" in run("check", "bad.py", "--color", NO_COLOR="1").stdout
    assert "\x1b" not in run("check", "bad.py", "--no-color", FORCE_COLOR="1").stdout
    assert "\x1b" not in run("check", "bad.py", "--output-format", "json", FORCE_COLOR="1").stdout


def on_terminal(arguments, cwd, command=COMMAND, **environment):
    """What a process prints when its output is a terminal."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=cwd,
        stdin=child,
        stdout=child,
        stderr=child,
        env=clean_environment(**environment),
    )
    os.close(child)
    chunks = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([parent], [], [], 1)[0]:
            try:
                data = os.read(parent, 65536)
            except OSError:
                break
            if not data:
                break
            chunks.append(data)
    os.close(parent)
    process.wait(timeout=10)
    return b"".join(chunks).decode()


def test_terminals_get_colour_and_no_more_columns_than_they_have(tmp_path):
    drawn = on_terminal(["check", "bad.py"], tmp_path, TERM="xterm", COLUMNS="50")
    assert "\x1b[31;1merror[DLM101]\x1b[0m" in drawn
    assert f"\x1b]8;;{(tmp_path / 'bad.py').as_uri()}\x1b\\bad.py:" in drawn
    plain = re.sub(r"\x1b\[[0-9;]*m|\x1b\]8;;[^\x1b]*\x1b\\", "", drawn).replace("\r", "")
    code = [line for line in plain.splitlines() if re.match(r" \d \| ", line)]
    assert code
    assert all(len(line) <= 50 for line in code)
    assert any(line.endswith("...") for line in code)
    assert "\x1b" not in on_terminal(["check", "bad.py"], tmp_path, TERM="xterm", NO_COLOR="1")
    assert "\x1b" not in on_terminal(["check", "bad.py"], tmp_path, TERM="dumb")


IMPATIENT = """\
from decoderonly_checker.cli import progress
from decoderonly_checker.__main__ import main

progress._PATIENCE_S = 0
main()
"""
PATIENT = """\
import time
from decoderonly_checker.cli.progress import Progress

with Progress() as progress:
    for done in range(1, 31):
        time.sleep(0.05)
        progress(done, 30)
print("found")
"""


def test_runs_show_how_far_they_are_and_wipe_it(tmp_path):
    watched = {"TERM": "xterm", "CI": "", "NO_COLOR": "1"}
    command = [sys.executable, "-c", IMPATIENT, "check", "--no-cache", "--output-format", "concise"]
    for columns in ("80", "30"):
        drawn = on_terminal([], tmp_path, command, **watched, COLUMNS=columns)
        counts = [int(done) for done in re.findall(r"Checking  \[[#-]+\]  (\d)/3", drawn)]
        assert counts == sorted(counts)
        assert counts[-1] == 3
        assert all(len(line) < int(columns) for line in re.findall(r"Checking[^\x1b\r]*", drawn))
        bar, wipe, after = drawn.rpartition("\x1b[1A\x1b[2K\r")
        assert wipe
        assert "bad.py" not in bar
        assert after.startswith("bad.py:7:7: error DLM101")
    assert "Checking" not in on_terminal(["-q"], tmp_path, command, **watched)
    for unseen in ({"CI": "true"}, {"TERM": "dumb"}):
        assert "Checking" not in on_terminal([], tmp_path, command, **{**watched, **unseen})
    assert "Checking" in on_terminal([], tmp_path, command, **{**watched, "CI": "false"})


def test_a_second_passes_before_a_bar_is_shown(tmp_path):
    drawn = on_terminal([], tmp_path, [sys.executable, "-c", PATIENT], TERM="xterm", CI="")
    counts = [int(done) for done in re.findall(r"(\d+)/30", drawn)]
    assert counts[0] == 0
    assert counts[1] > 1
    assert counts[-1] == 30
    assert drawn.endswith("\x1b[1A\x1b[2K\rfound\r\n")
    done = subprocess.run([sys.executable, "-c", PATIENT], capture_output=True, check=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == ([b"found"], b"")


def test_statistics(run, tmp_path):
    (tmp_path / "again.py").write_text(
        BAD + "tok.decode(out[0], skip_special_tokens=True)\n", encoding="utf-8"
    )
    done = run("check", "--statistics")
    assert done.returncode == 1
    assert done.stdout == (
        "2  DLM101  missing-attention-mask\n"
        "2  DLM102  right-padded-generation\n"
        "4 errors in 2 files (3 files checked, 1 skipped: no language-model calls). "
        "2 fixes with --fix, 2 more with --unsafe-fixes.\n"
    )
    done = run("check", "--statistics", "--output-format", "json", "-q")
    assert done.returncode == 1
    assert json.loads(done.stdout) == [
        {"code": "DLM101", "name": "missing-attention-mask", "count": 2},
        {"code": "DLM102", "name": "right-padded-generation", "count": 2},
    ]
    assert run("check", "--statistics", "--exit-zero").returncode == 0
    done = run("check", "good.py", "--statistics")
    assert (done.returncode, done.stdout) == (0, "No findings in 1 file.\n")
    assert run("check", "good.py", "--statistics", "--output-format", "json").stdout == "[]\n"


def test_a_console_that_cannot_show_a_character(process, tmp_path):
    (tmp_path / "字.py").write_text(BAD, encoding="utf-8")
    done = process("check", "字.py", PYTHONIOENCODING="cp1252")
    assert done.returncode == 1
    assert "--> \\u5b57.py:7:7" in done.stdout


def test_a_reader_that_leaves(tmp_path):
    (tmp_path / "many.py").write_text(
        BAD + BAD.splitlines()[-1] + "\n" + "out = model.generate(enc['input_ids'])\n" * 400
    )
    process = subprocess.Popen(
        [*COMMAND, "check", "many.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1


def test_ctrl_c(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    # A shell starts background jobs with interrupts ignored, and the tests may run in one.
    program = (
        "import runpy, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "runpy.run_module('decoderonly_checker', run_name='__main__', alter_sys=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, "check", "pipe.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with (tmp_path / "pipe.py").open("w"):  # opens when the command has begun to read
        # Python drops an interrupt that falls into a destructor; a person would press the keys again.
        for _ in range(30):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
                break
        assert process.wait(timeout=1) == 130
    assert process.stderr.read().decode().strip() == "error: interrupted"


def test_start_up_is_lean(tmp_path):
    program = (
        "import sys\n"
        "from decoderonly_checker.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert done.code == 0, done.code\n"
        "heavy = {'libcst', 'torch', 'transformers', 'pytest', 'yaml', 'pygls', 'flake8', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check", "plain.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_rule_explains_one_rule(run):
    for word in ("DLM101", "dlm101", "missing-attention-mask"):
        done = run("rule", word)
        assert done.returncode == 0
        assert done.stdout.startswith("# missing-attention-mask (DLM101)\n\nSeverity: error\n\n")
        assert "## Why is this bad?" in done.stdout
        assert rules.load("DLM101").bad in done.stdout
        assert rules.load("DLM101").good in done.stdout
        assert f"\n- the first: {rules.load('DLM101').measured.bad}\n" in done.stdout
        first = rules.load("DLM101").references[0]
        assert f"\n## References\n\n- [{first.title}]({first.url})\n" in done.stdout


def test_rule_as_json(run):
    one = json.loads(run("rule", "DLM102", "--output-format", "json").stdout)
    assert list(one) == [
        "code", "name", "severity", "static", "summary", "documentation", "bad", "good", "measured", "references",
    ]  # fmt: skip
    assert list(one["measured"]) == ["model", "bad", "good"]
    assert [list(reference) for reference in one["references"]] == [["title", "url"]] * len(one["references"])
    every = json.loads(run("rule", "--all", "--output-format", "json").stdout)
    assert [rule["code"] for rule in every] == list(rules.codes())
    assert one in every


def test_rule_tells_what_only_a_run_shows(run):
    assert "Seen at run time only" in run("rule", "DLM311").stdout
    assert "Seen at run time only" not in run("rule", "DLM101").stdout
    every = json.loads(run("rule", "--all", "--output-format", "json").stdout)
    assert [rule["code"] for rule in every if not rule["static"]] == ["DLM311"]


def test_rule_lists_all(run):
    lines = run("rule", "--all").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [[code, name] for code, name in rules.codes().items()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DLM10"], 'error: rule: unknown rule "DLM10"; did you mean DLM1'),
        (["prompt-not-striped"], "did you mean prompt-not-stripped"),
        ([], "error: rule: name one rule (`decoderonly rule DLM101`), or ask for `--all`"),
        (["DLM101", "--all"], "error: rule: name one rule (`decoderonly rule DLM101`), or ask for `--all`"),
    ],
)
def test_rule_told_wrong(run, arguments, message):
    done = run("rule", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_version_and_help(run):
    assert re.fullmatch(r"decoderonly \d+\.\d+\.\d+\n", run("--version").stdout)
    done = run("--help")
    assert done.returncode == 0
    assert re.search(r"^  check +Check files, folders and notebooks\.$", done.stdout, re.MULTILINE)
    assert "--output-format" in run("check", "-h").stdout


def test_the_installed_command_is_the_same(run, tmp_path):
    script = Path(sys.executable).with_name("decoderonly")
    assert script.exists(), "the package is not installed where the tests run"
    done = subprocess.run(
        [script, "check", "bad.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, run("check", "bad.py").stdout)


def test_our_own_bugs_ask_for_a_report(process, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import decoderonly_checker.config as c\ndef boom(*a, **k):\n    raise ZeroDivisionError('x')\n"
        "c.load_settings = boom\n",
        encoding="utf-8",
    )
    done = process("check", "bad.py", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert (
        done.stderr.splitlines()[-1]
        == "error: internal error: ZeroDivisionError; please report it with the lines above"
    )


def test_the_command_ends_its_process_after_all_is_said(tmp_path: Path) -> None:
    """It leaves without Python's taking apart: what was printed must be out, also into a file, with the right exit code."""
    (tmp_path / "a.py").write_text(
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        'tokenizer = AutoTokenizer.from_pretrained("gpt2")\n'
        'model = AutoModelForCausalLM.from_pretrained("gpt2")\n'
        'encoding = tokenizer("Hello", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**encoding)[0]))\n"
        + "".join(f"print(tokenizer.decode(model.generate(**encoding)[0]), {n})\n" for n in range(300))
    )
    target = tmp_path / "said.txt"
    with target.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "decoderonly_checker", "check", "--confidence=possible", "a.py"],
            cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert target.read_text().count("[DLM201]") == 301
    assert b"301" in done.stderr or "301" in target.read_text().splitlines()[-1]


def test_the_command_can_still_be_profiled(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("print(1)\n")
    command = [sys.executable, "-m", "cProfile", "-o", "times", "-m", "decoderonly_checker", "check", "a.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "times").stat().st_size > 0
