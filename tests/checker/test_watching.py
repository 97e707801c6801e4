"""`--watch`, as a process whose files change."""

import contextlib
import os
import pty
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

BAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tok = AutoTokenizer.from_pretrained("gpt2")
tok.pad_token = tok.eos_token
model = AutoModelForCausalLM.from_pretrained("gpt2")
enc = tok(["Hi.", "Name three colours."], padding=True, return_tensors="pt")
out = model.generate(**enc, max_new_tokens=8)
"""
GOOD = BAD.replace('("gpt2")\ntok.', '("gpt2", padding_side="left")\ntok.')
# A shell starts background jobs with interrupts ignored, and the tests may run in one.
PROGRAM = """\
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from decoderonly_checker.__main__ import main
main()
"""
ENDING = "Watching for changes; Ctrl-C ends it.\n"


class Watched:
    """A running `check --watch`; what it prints is gathered up to the line that ends a check."""

    def __init__(self, folder, *arguments, terminal=False):
        command = [
            sys.executable,
            "-c",
            PROGRAM,
            "check",
            "--watch",
            "--output-format",
            "concise",
            *arguments,
        ]
        environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm", "PYTHONUNBUFFERED": "1"}
        if terminal:
            self._out, child = pty.openpty()
        else:
            self._out, child = os.pipe()
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=child, stderr=child, env=environment
        )
        os.close(child)
        self._read = queue.Queue()
        self._text = ""
        threading.Thread(target=self._gather, daemon=True).start()

    def _gather(self):
        with contextlib.suppress(OSError):  # a terminal ends with one
            while data := os.read(self._out, 65536):
                self._read.put(data)
        self._read.put(b"")

    def next(self):
        """What the next check prints."""
        deadline = time.monotonic() + 60
        while ENDING not in self._text:
            data = self._read.get(timeout=max(0.1, deadline - time.monotonic()))
            assert data, f"ended: {self._text}"
            self._text += data.decode().replace("\r\n", "\n")
        said, _, self._text = self._text.partition(ENDING)
        return said

    def settle(self, pattern):
        """What a check prints that was made after all changes: one may see half of them first."""
        said = ""
        while not re.search(pattern, said):
            said = self.next()
        return said

    def is_quiet(self, seconds=1.5):
        time.sleep(seconds)
        return self._read.empty() and not self._text

    def interrupt(self):
        for _ in range(10):
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=5)
        return None


@pytest.fixture
def watching(tmp_path):
    started = []

    def start(*arguments, **more):
        started.append(Watched(tmp_path, *arguments, **more))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def test_checks_again_until_interrupted(tmp_path, watching):
    (tmp_path / "a.py").write_text(GOOD, encoding="utf-8")
    running = watching()
    assert running.next() == "No findings in 1 file.\n"
    (tmp_path / "a.py").write_text(BAD, encoding="utf-8")
    assert "a.py:7:7: error DLM102" in running.settle("1 error in 1 file")
    (tmp_path / "new").mkdir()
    (tmp_path / "new/b.py").write_text(BAD, encoding="utf-8")
    assert "new/b.py:7:7: error DLM102" in running.settle("2 errors in 2 files")
    shutil.rmtree(tmp_path / "new")
    running.settle("1 error in 1 file ")
    # As editors save: another file takes the name.
    (tmp_path / "a.tmp").write_text(GOOD, encoding="utf-8")
    (tmp_path / "a.tmp").replace(tmp_path / "a.py")
    running.settle("No findings in 1 file")
    assert running.interrupt() == 0
    assert running._text == ""


def test_what_cannot_matter_is_passed_over(tmp_path, watching):
    for folder in (".git", "node_modules"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a.py").write_text(GOOD, encoding="utf-8")
    running = watching("--cache-dir", "kept")
    running.next()
    for name in ("train.log", ".git/x.py", "node_modules/x.py", ".a.py.swp", "data.json"):
        (tmp_path / name).write_text(BAD, encoding="utf-8")
    (tmp_path / "kept/inner").mkdir(parents=True, exist_ok=True)
    (tmp_path / "kept/inner/x.py").write_text(BAD, encoding="utf-8")
    assert running.is_quiet()
    shutil.rmtree(tmp_path / "kept")
    assert running.is_quiet(0.5)
    (tmp_path / "b.py").write_text(BAD, encoding="utf-8")
    running.settle("1 error in 1 file")
    assert running.is_quiet()


def test_wrong_settings_are_shown_and_can_be_mended(tmp_path, watching):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.py").write_text(BAD, encoding="utf-8")
    (tmp_path / "decoderonly.toml").write_text("selekt = []\n", encoding="utf-8")
    running = watching("sub")
    wrong = "error: decoderonly.toml: unknown setting selekt; did you mean select?\n"
    assert running.next() == wrong
    (tmp_path / "decoderonly.toml").write_text("ignore = ['DLM102']\n", encoding="utf-8")
    running.settle("No findings in 1 file")
    (tmp_path / "decoderonly.toml").write_text("ignore = 3\n", encoding="utf-8")
    running.settle("error: decoderonly.toml: ignore must be a list of strings, not an integer")
    (tmp_path / "decoderonly.toml").unlink()
    running.settle("1 error in 1 file")
    assert running.process.poll() is None


def test_what_a_named_file_imports_is_watched(tmp_path, watching):
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    (tmp_path / "app").mkdir()
    loading, rest = BAD.split("model =")
    (tmp_path / "helper.py").write_text(loading, encoding="utf-8")
    (tmp_path / "app/main.py").write_text(
        f"from transformers import AutoModelForCausalLM\nfrom helper import tok\nmodel ={rest}",
        encoding="utf-8",
    )
    running = watching("app/main.py")
    assert "app/main.py:5:7: error DLM102" in running.next()
    (tmp_path / "helper.py").write_text(
        loading.replace('t2")', 't2", padding_side="left")'), encoding="utf-8"
    )
    running.settle("No findings in 1 file")


def test_a_terminal_is_cleared(tmp_path, watching):
    (tmp_path / "a.py").write_text(BAD, encoding="utf-8")
    running = watching(terminal=True)
    assert running.next().startswith("\x1b[2J\x1b[1;1Ha.py:7:7: error DLM102")
    (tmp_path / "a.py").write_text(GOOD, encoding="utf-8")
    assert running.settle("No findings").startswith("\x1b[2J\x1b[1;1H")
    assert running.interrupt() == 0


def test_without_watchfiles_it_says_what_to_install(tmp_path):
    program = f"import sys\nsys.modules['watchfiles'] = None\n{PROGRAM}"
    command = [sys.executable, "-c", program, "check", "--watch"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'error: --watch needs watchfiles: pip install "pytest-decoderonly[watch]"\n'


def test_standard_input_cannot_be_watched(tmp_path):
    command = [sys.executable, "-c", PROGRAM, "check", "--watch", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --watch cannot be combined with `-` (standard input)\n"
