"""A file is judged with the files that call into it, also when those were not asked about (as in a pre-commit hook)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from decoderonly_checker.config import load_settings
from decoderonly_checker.runner import check_paths

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
CALLER = """
from app.complete import complete

def answer(prompt):
    return complete(prompt)[len(prompt):]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.decoderonly]\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "complete.py").write_text(COMPLETE)
    return tmp_path


def codes(project: Path, *names: str) -> list[tuple[str, str]]:
    result = check_paths([project / name for name in names], load_settings(project))
    assert not result.errors
    return [(d.place.path, d.code) for d in result.diagnostics]


def test_without_a_caller_the_decode_is_reported(project: Path) -> None:
    assert codes(project, "app/complete.py") == [("app/complete.py", "DLM201")]


def test_a_caller_that_cuts_is_seen_though_not_asked_about(project: Path) -> None:
    (project / "app" / "serve.py").write_text(CALLER)
    assert codes(project, "app/complete.py") == []


def test_one_file_and_the_whole_project_agree(project: Path) -> None:
    (project / "app" / "serve.py").write_text(CALLER)
    whole = codes(project, ".")
    assert whole == [("app/serve.py", "DLM202")]
    assert codes(project, "app/serve.py") == whole


def test_a_caller_of_a_caller_counts(project: Path) -> None:
    (project / "app" / "between.py").write_text(
        "from app.complete import complete\n\ndef through(prompt):\n    return complete(prompt)\n"
    )
    (project / "serve.py").write_text(
        CALLER.replace("app.complete", "app.between").replace("complete", "through")
    )
    assert codes(project, "app/complete.py") == []


def test_without_a_project_only_the_files_beside_are_looked_at(project: Path) -> None:
    (project / "pyproject.toml").unlink()
    (project / "app" / "serve.py").write_text(CALLER.replace("app.complete", "complete"))
    assert codes(project, "app/complete.py") == []


def test_modules_are_found_from_the_root_of_a_project_without_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "complete.py").write_text(COMPLETE)
    (tmp_path / "jobs" / "nightly").mkdir(parents=True)
    user = tmp_path / "jobs" / "nightly" / "run.py"
    user.write_text(
        "from app.complete import model, tokenizer\n"
        "ids = tokenizer('Hi.', return_tensors='pt').input_ids\n"
        "print(model.generate(ids, max_new_tokens=8))\n"
    )
    monkeypatch.chdir(tmp_path / "jobs")
    assert [d.code for d in check_paths([user]).diagnostics] == ["DLM101"]
