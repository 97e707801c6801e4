"""The comparison of suites sees what a guard would change, and tells it from what changes by itself."""

from __future__ import annotations

import os
import subprocess
import sys

import guard_on_suites
import pytest
from guard_on_suites import GUARDED, SUITES, Run, compare, read, run_both

SUITE = """
import sys
from pathlib import Path

def test_same():
    pass

def test_fails_in_both():
    assert 1 == 2

def test_sees_the_guard():
    assert "pytest_decoderonly.runtime.plugin" not in sys.modules

def test_another_at_each_run():
    runs = Path(__file__).with_name("runs")
    runs.write_text(runs.read_text() + "." if runs.exists() else ".")
    assert len(runs.read_text()) == 1
"""
FOUND = """
import warnings
from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer

def test_decodes_the_prompt():
    tokenizer = tiny_tokenizer()
    batch = tokenizer(["the sky is"], return_tensors="pt")
    text = tokenizer.batch_decode(tiny_decoder().generate(**batch, max_new_tokens=2))
    assert text

def test_fails_by_itself():
    test_decodes_the_prompt()
    assert 1 == 2
"""


@pytest.fixture
def suite(tmp_path):
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "test_some.py").write_text(SUITE)
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.com", "-C", str(folder)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "A suite"], check=True)
    return {"name": "some", "url": "", "revision": "HEAD", "tests": ["test_some.py"]}


def test_what_changes_is_told_from_what_is_unsteady(suite, tmp_path, capsys):
    run_both(suite, tmp_path, tmp_path)
    compared = compare(suite, tmp_path)
    assert compared is not None
    assert compared.changed == ["test_some.py::test_sees_the_guard"]
    assert compared.unsteady == ["test_some.py::test_another_at_each_run"]
    assert compared.off.count() == {"passed": 3, "failed": 1}
    assert guard_on_suites.report([compared], [], page=False) == 1
    assert "CHANGED test_some.py::test_sees_the_guard" in capsys.readouterr().out


def test_a_suite_without_tests_is_no_result(suite, tmp_path):
    with pytest.raises(SystemExit, match="some: no test ran"):
        run_both({**suite, "tests": ["test_missing.py"]}, tmp_path, tmp_path)


def test_a_suite_that_needs_other_versions_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "suites.toml").write_text('[[suites]]\nname = "other"\nneeds = ["pytest<1"]\n')
    monkeypatch.setattr(guard_on_suites, "SUITES", tmp_path)
    monkeypatch.setattr(sys, "argv", ["guard_on_suites.py", str(tmp_path)])
    assert guard_on_suites.main() == 0
    assert (
        f"other is left out: it needs pytest<1 ({pytest.__version__} is installed)" in capsys.readouterr().out
    )
    monkeypatch.setattr(sys, "argv", ["guard_on_suites.py", str(tmp_path), "other"])
    with pytest.raises(SystemExit, match="other is left out"):
        guard_on_suites.main()


def test_findings_are_read_with_the_tests_that_they_failed(pytester, monkeypatch, tmp_path):
    kept = tmp_path / "outcomes.jsonl"
    monkeypatch.setenv("SUITE_OUTCOMES", str(kept))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUITES), os.environ.get("PYTHONPATH", "")]))
    pytester.makepyfile(test_found=FOUND)
    # Not in this process: what torch registers when it is first imported would be forgotten with the run, and fail later.
    pytester.runpytest_subprocess("-p", "outcomes", *GUARDED, "test_found.py")
    run = read(kept)
    assert run.by_guard == {"test_found.py::test_decodes_the_prompt"}
    (found,) = run.found
    assert found.startswith("DLM201 test_found.py:")
    assert run.found[found] == {
        "test_found.py::test_decodes_the_prompt",
        "test_found.py::test_fails_by_itself",
    }
    assert "DLM201" in run.texts[found]
    off = Run(outcomes={name: [("call", "passed", "")] for name in run.outcomes})
    assert guard_on_suites.differing(off, run) == {"test_found.py::test_fails_by_itself"}
