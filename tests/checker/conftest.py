"""What the checker's tests share."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from decoderonly_checker.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def _nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nowhere")


@pytest.fixture(scope="module", autouse=True)
def _in_no_project(_nowhere: Path) -> Iterator[None]:
    """Run in an empty folder: text that is checked as if it stood here has no project around it to be looked through."""
    before = Path.cwd()
    os.chdir(_nowhere)
    yield
    os.chdir(before)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command's entry point in this process, which is ten times faster than in one of its own.

    What differs there is tested with processes in test_cli.py.
    """

    def run(
        *arguments: object, cwd: Path | None = None, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            if cwd is not None:
                patch.chdir(cwd)
            for name in ("NO_COLOR", "FORCE_COLOR"):
                patch.delenv(name, raising=False)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["decoderonly", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            capsys.readouterr()
            with pytest.raises(SystemExit) as done:
                main()
        return subprocess.CompletedProcess(arguments, done.value.code, *capsys.readouterr())

    return run
