"""What is being measured is shown behind pytest's own progress, on terminals, and nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys

import pytest

SLOW = """
    import time
    from pytest_decoderonly import tiny_decoder, tiny_tokenizer

    def build():
        model = tiny_decoder("llama")
        model.register_forward_pre_hook(lambda *_: time.sleep(0.02))
        return model, tiny_tokenizer()
"""
ITEM = "decoderonly::slow.build::prompt-in-pieces"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.mkdir("nothing")
    pytester.makeini("[pytest]\ndecoderonly_paths = nothing\n")
    pytester.makepyfile(slow=SLOW)
    return pytester


def command(*args: str) -> list[str]:
    return [
        *(sys.executable, "-m", "pytest", "--decoderonly-checks", "--decoderonly-model=slow:build"),
        *("-p", "no:cacheprovider", ITEM, *args),
    ]


def on_a_terminal(project: pytest.Pytester, *args: str) -> str:
    """Run pytest on a pseudo-terminal and return all that it writes."""
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    leader, follower = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR")}
    process = subprocess.Popen(
        command(*args),
        stdout=follower,
        stderr=follower,
        stdin=subprocess.DEVNULL,
        cwd=project.path,
        env={**env, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while select.select([leader], [], [], 120)[0]:
            seen += os.read(leader, 4096)
    os.close(leader)
    assert process.wait(timeout=60) == 0
    return seen.decode()


def test_what_is_measured_is_shown_and_leaves_nothing(project):
    text = on_a_terminal(project)
    assert re.search(
        r"\x1b7 slow\.build prompt-in-pieces\S*, run \d+: \d x \d+ tokens in float32\x1b\[K\x1b8", text
    )
    # What is drawn between saving and restoring the place is not where pytest goes on.
    left = re.sub(r"\x1b7.*?\x1b8", "", text)
    assert "tokens in float32" not in left
    assert re.search(r"\d passed", left)
    # And it is taken away before pytest writes the verdict.
    assert text.index("\x1b8\x1b[K", text.rindex("\x1b7")) < text.index(" passed")


def test_nothing_is_shown_where_there_is_no_terminal(project):
    result = project.runpytest_inprocess(*command()[3:])
    assert "tokens in float32" not in result.stdout.str()
    assert "\x1b" not in result.stdout.str()
