"""What is kept of a project between checks changes no finding, and is given up when it is said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from decoderonly_checker.config import load_settings
from decoderonly_checker.runner import check_source, check_sources
from decoderonly_checker.source import lazy
from decoderonly_checker.surroundings import Surroundings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


PARSED = {
    "complete.py": (
        COMPLETE,
        f"# {COMPLETE[:1]} moved\n{COMPLETE}",
        COMPLETE.replace("[0])", '[0][encoding["input_ids"].shape[1]:])'),
        f"{COMPLETE}\ndef more(x):\n    y = x\n    z = y\n    return complete(z)\n",
        f"{COMPLETE}\ndef broken(:\n",
    ),
    "caller.py": (
        CALLER,
        NO_CALLER,
        f"{CALLER}\nprint(complete('Hi'))\n",
        "from complete import more as answer\n",
        "",
    ),
    "main.py": (
        "from caller import answer\n\ndef run(tokenizer):\n    if answer:\n        print(answer('Hi'))\n    return 1\n",
        "from complete import model, tokenizer\nmodel.generate(tokenizer('Hi', return_tensors='pt').input_ids)\n",
        "import os\n",
    ),
}
STATES = st.tuples(*(st.integers(0, len(texts) - 1) for texts in PARSED.values()))


@given(st.lists(STATES, min_size=2, max_size=6))
@settings(suppress_health_check=list(HealthCheck), max_examples=25, deadline=None)
def test_kept_trees_change_no_finding(project: Path, states: list[tuple[int, ...]]) -> None:
    around = Surroundings(keep_parsed=True)
    for name in PARSED:
        (project / name).write_text("")
    for state in states:
        texts = {
            project / name: PARSED[name][number].encode() for name, number in zip(PARSED, state, strict=True)
        }
        around.begin()
        kept, anew = (
            check_sources(texts, load_settings(project), around=one) for one in (around, Surroundings())
        )
        assert (kept.diagnostics, kept.errors) == (anew.diagnostics, anew.errors)


def test_what_has_not_changed_is_parsed_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    real = lazy.LazyTree.__init__
    monkeypatch.setattr(
        lazy.LazyTree,
        "__init__",
        lambda self, text, *more: (parsed.append(text), real(self, text, *more))[1],
    )
    (project / "caller.py").write_text(NO_CALLER)
    around = Surroundings(keep_parsed=True)

    def check(text: str) -> list[str]:
        parsed.clear()
        around.begin()
        check_sources({project / "caller.py": text.encode()}, load_settings(project), around=around)
        return list(parsed)

    assert sorted(check(CALLER)) == sorted([CALLER, COMPLETE])
    assert check(f"{CALLER}# x\n") == [f"{CALLER}# x\n"]
    assert check("import os\n") == []
    # What one check had no use for is given up.
    assert check("import os\n") == []
    assert sorted(check(CALLER)) == sorted([CALLER, COMPLETE])
