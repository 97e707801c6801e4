"""`python -m pytest_decoderonly.run`: the program sees what it would see without, and findings are told at its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

RUN = ("-m", "pytest_decoderonly.run")

SHOW = '''
"""A program that shows what it sees."""
import sys
shown = {name: value for name, value in globals().items() if name not in ("__builtins__", "__loader__", "sys")}
print(sorted(shown), __file__, __name__, __package__, __doc__, __spec__ and __spec__.name)
print(type(__builtins__).__name__, type(__loader__).__name__, sys.modules["__main__"].__dict__ is globals())
print(sys.argv, sys.path[0], sys.stdin.read())

def act(how):
    if how == "raises":
        raise KeyError("x")
    if how == "interrupted":
        raise KeyboardInterrupt
    if how == "exits":
        sys.exit(3)
    if how == "says":
        sys.exit("goodbye")

act(sys.argv[-1])
'''

ANSWER = """
import sys, threading
from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer

def ask(model, tokenizer):
    batch = tokenizer(["the question is", "yes"], padding=True, return_tensors="pt")
    out = model.generate(batch["input_ids"], max_new_tokens=2)
    print(len(tokenizer.batch_decode(out[:, batch["input_ids"].shape[1]:])))
    model.generate(out[1:], max_new_tokens=1)  # decoderonly: ignore[DLM101] to see what comes

threading.Timer(0.2, ask, (tiny_decoder("llama"), tiny_tokenizer())).start()  # behind the end of the main thread
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "show.py").write_text(SHOW)
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").touch()
    (tmp_path / "package/__main__.py").write_text(SHOW)
    (tmp_path / "broken.py").write_text("x = (\n")
    (tmp_path / "answer.py").write_text(ANSWER)
    return tmp_path


def python(folder, *arguments):
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(  # noqa: PLW1510 - the status is what is tested
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        input="given",
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize(
    "program",
    [
        "show.py a -m --report",
        "show.py raises",
        "show.py exits",
        "show.py says",
        "package a",
        "-m package a -q",
        "-m show exits",
        "broken.py",
        "nowhere.py",
        "-m nowhere",
        "-m package.nowhere",
        "-m json.nowhere.else",
    ],
)
def test_a_program_sees_and_says_what_it_does_without(folder, program):
    alone = python(folder, *program.split())
    guarded = python(folder, *RUN, "--quiet", *program.split())
    assert (guarded.returncode, guarded.stdout, guarded.stderr) == (
        alone.returncode,
        alone.stdout,
        alone.stderr,
    )


def test_a_module_that_raises_shows_its_own_frames(folder):
    guarded = python(folder, *RUN, "-q", "-m", "show", "raises")
    assert guarded.returncode == 1
    assert "pytest_decoderonly" not in guarded.stderr
    assert guarded.stderr.startswith("Traceback (most recent call last):\n  File")
    assert guarded.stderr.endswith("KeyError: 'x'\n")


@pytest.mark.skipif(os.name == "nt", reason="signals end processes on POSIX")
def test_an_interrupted_program_ends_by_its_signal(folder):
    alone = python(folder, "show.py", "interrupted")
    guarded = python(folder, *RUN, "show.py", "interrupted")
    assert guarded.returncode == alone.returncode == -signal.SIGINT
    assert guarded.stderr == alone.stderr + "decoderonly guard: 0 calls checked, 0 findings\n"


def test_findings_are_told_and_written_and_change_the_exit_status(folder):
    """Of a thread that goes on behind the main one, from a program that knows nothing of the guard."""
    report = folder / "found.json"
    guarded = python(folder, *RUN, f"--report={report.name}", "answer.py", "0")
    assert guarded.stdout == "2\n"
    assert guarded.returncode == 1
    assert (
        "DecoderOnlyError[DLM101]: generate() got ids of 2 prompts with padding and no attention_mask"
        in guarded.stderr
    )
    assert guarded.stderr.endswith(
        "SUMMARY: DLM101 answer.py:7 in ask\n\ndecoderonly guard: 3 calls checked, 1 finding, 1 suppressed\n"
    )
    (entry,) = json.loads(report.read_text())
    assert (entry["code"], entry["path"], entry["line"], entry["column"]) == ("DLM101", "answer.py", 7, 11)
    assert entry["related"][0]["line"] == 6
    assert sorted(path.name for path in folder.glob(".found*")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--guard=loud", "show.py"], "argument --guard: invalid choice: 'loud'"),
        (
            ["--guard-rule=DLM101:off", "show.py"],
            "--guard-rule: expected CODE=MODE such as DLM106=off, got 'DLM101:off'",
        ),
        (["--report=out.txt", "show.py"], "--report: expected a file that ends in .json, got 'out.txt'"),
        (
            ["--report=no/folder/out.json", "show.py"],
            "--report: no/folder/out.json: there is no folder no/folder",
        ),
        ([], "name a script, or a module behind -m"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(folder, arguments, said):
    refused = python(folder, *RUN, *arguments)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr.splitlines()[-1]
