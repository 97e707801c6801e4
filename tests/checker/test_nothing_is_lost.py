"""What is told from bytes alone never costs a finding: with it and without it, the same is reported."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.diagnostics import Confidence
from decoderonly_checker.runner import check_paths
from decoderonly_checker.source.selection import Selection
from test_specs import SPECS, cases, write

EXAMPLES = Path(__file__).parents[2] / "examples"


def found(root: Path) -> set[tuple[object, ...]]:
    result = check_paths([root], Settings(root=root), confidence=Confidence.POSSIBLE)
    return {(d.code, d.place, d.message, d.confidence) for d in result.diagnostics}


def without_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Selection, "matters", lambda *_: True)
    monkeypatch.setattr(Selection, "idle", lambda *_: frozenset())
    monkeypatch.setattr(Selection, "unused", lambda *_: frozenset())


def same_both_ways(root: Path, monkeypatch: pytest.MonkeyPatch) -> set[tuple[object, ...]]:
    monkeypatch.chdir(root)
    quick = found(root)
    with monkeypatch.context() as patch:
        without_selection(patch)
        assert quick == found(root)
    return quick


@pytest.mark.parametrize("spec", sorted(SPECS.glob("*.md")), ids=lambda path: path.stem)
def test_on_specifications(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (_, files) in enumerate(cases(spec)[::5]):
        root = tmp_path / str(number)
        root.mkdir()
        write(files, root)
        same_both_ways(root, monkeypatch)


@pytest.mark.parametrize("example", ["support_bot", "answers_that_never_stop"])
def test_on_the_examples(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / example
    shutil.copytree(EXAMPLES / example, root, ignore=shutil.ignore_patterns("*.toml", "__pycache__"))
    assert same_both_ways(root, monkeypatch)


@pytest.mark.parametrize("package", ["transformers/pipelines", "trl/scripts", "peft/utils"])
def test_on_installed_code(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, inner = package.partition("/")
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    root = tmp_path / "code"
    shutil.copytree(Path(spec.origin).parent / inner, root, ignore=shutil.ignore_patterns("__pycache__"))
    same_both_ways(root, monkeypatch)
