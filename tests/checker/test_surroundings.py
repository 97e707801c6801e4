"""What is kept of a project between checks changes no finding, and is given up when it is said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from decoderonly_checker.config import load_settings
from decoderonly_checker.runner import check_source
from decoderonly_checker.surroundings import Surroundings

if TYPE_CHECKING:
    from pathlib import Path

COMPLETE = """
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")

def complete(prompt):
    encoding = tokenizer(prompt, return_tensors="pt")
    return tokenizer.decode(model.generate(**encoding, max_new_tokens=8)[0])
"""
# What cuts the echo off, so that nothing is wrong with the function that leaves it in.
CALLER = """
from complete import complete

def answer(prompt):
    return complete(prompt)[len(prompt):]
"""
NO_CALLER = CALLER.replace("complete(prompt)", "str(prompt)")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "complete.py").write_text(COMPLETE)
    return tmp_path


def codes(project: Path, around: Surroundings) -> list[str]:
    path = project / "complete.py"
    settings = load_settings(project)
    with_it = check_source(COMPLETE, path, settings, around=around).diagnostics
    if not around.unsaved:
        assert check_source(COMPLETE, path, settings, around=Surroundings()).diagnostics == with_it
    return [found.code for found in with_it]


def test_a_file_that_changes_is_looked_at_again(project: Path) -> None:
    around = Surroundings()
    (project / "caller.py").write_text(NO_CALLER)
    assert codes(project, around) == ["DLM201"]
    (project / "caller.py").write_text(CALLER)
    assert codes(project, around) == []
    (project / "caller.py").unlink()
    assert codes(project, around) == ["DLM201"]


def test_a_file_that_comes_is_seen_when_the_project_is_walked_anew(project: Path) -> None:
    around = Surroundings()
    assert codes(project, around) == ["DLM201"]
    (project / "caller.py").write_text(CALLER)
    found = check_source(COMPLETE, project / "complete.py", load_settings(project), around=around).diagnostics
    assert [one.code for one in found] == ["DLM201"]  # the project is not walked for each check
    around.forget_files()
    assert codes(project, around) == []


def test_what_is_not_saved_counts(project: Path) -> None:
    around = Surroundings()
    (project / "caller.py").write_text(NO_CALLER)
    around.unsaved = {str(project / "caller.py"): CALLER.encode()}
    assert codes(project, around) == []
    around.unsaved = {}
    assert codes(project, around) == ["DLM201"]


def test_other_settings_are_another_project(project: Path) -> None:
    around = Surroundings()
    (project / "caller.py").write_text(CALLER)
    assert codes(project, around) == []
    (project / "decoderonly.toml").write_text('exclude = ["caller.py"]\n')
    assert codes(project, around) == ["DLM201"]
