"""The hooks, run by pre-commit itself on a real git repository, installed from this repository's files."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = (
    ".pre-commit-hooks.yaml",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "pytest_decoderonly",
    "checker",
)

LOADING = """\
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(name: str):
    return AutoTokenizer.from_pretrained(name{side}), AutoModelForCausalLM.from_pretrained(name)
"""
SERVING = """\
from loading import load

tokenizer, model = load("HuggingFaceTB/SmolLM2-135M-Instruct")


def answer(questions: list[str]) -> list[str]:
    encoding = tokenizer(questions, padding=True, return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=32)
    return tokenizer.batch_decode(output[:, encoding["input_ids"].shape[1] :], skip_special_tokens=True)
"""
FAULTY_LOADING = LOADING.format(side="")
CORRECTED_LOADING = LOADING.format(side=', padding_side="left"')


class Repository:
    """A git repository in a folder, away from the user's own git settings."""

    def __init__(self, folder, home):
        self.folder = folder
        self.environment = {
            **os.environ,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "PRE_COMMIT_HOME": str(home),
            # The temporary folders may belong to another user than git thinks is running.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
            self.environment |= {f"{name}_NAME": "tests", f"{name}_EMAIL": "tests@example.invalid"}
        # Set while a hook of an outer repository runs the tests; they would point there.
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
            self.environment.pop(name, None)
        self.run("git", "init", "--quiet")

    def run(self, *command, status=0):
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def commit(self):
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--no-verify", "--message", "state")
        return self.run("git", "rev-parse", "HEAD").strip()

    def pre_commit(self, *arguments, status=0):
        return self.run(sys.executable, "-m", "pre_commit", "run", "--color=never", *arguments, status=status)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("pre-commit")


@pytest.fixture(scope="module")
def hooks(tmp_path_factory, home):
    """This repository as a source of hooks: its files as they are now, committed or not."""
    folder = tmp_path_factory.mktemp("hooks")
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder, Repository(folder, home).commit()


@pytest.fixture
def project(tmp_path, home, hooks):
    folder, commit = hooks
    entries = [{"id": "decoderonly-check"}, {"id": "decoderonly-check-all"}]
    config = {"repos": [{"repo": str(folder), "rev": commit, "hooks": entries}]}
    (tmp_path / ".pre-commit-config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    (tmp_path / "serving.py").write_text(SERVING, encoding="utf-8")
    return Repository(tmp_path, home)


def results(output):
    """Each hook's result, from lines such as `decoderonly check.....Failed`."""
    lines = (line for line in output.splitlines() if line.startswith("decoderonly check"))
    return [line.rpartition(".")[2] for line in lines if "..." in line]


def test_hooks_find_what_crosses_files(project):
    (project.folder / "loading.py").write_text(FAULTY_LOADING, encoding="utf-8")
    project.commit()
    output = project.pre_commit("--all-files", status=1)
    assert results(output) == ["Failed", "Failed"]
    assert "DLM102" in output
    assert "serving.py:8:14" in output

    # Only the file that was edited is in the commit; its mistake shows in another one.
    output = project.pre_commit("--files", "loading.py", status=1)
    assert results(output) == ["Passed", "Failed"]

    (project.folder / "loading.py").write_text(CORRECTED_LOADING, encoding="utf-8")
    project.commit()
    assert results(project.pre_commit("--all-files")) == ["Passed", "Passed"]


def test_settings_exclude_files_that_pre_commit_names(project):
    (project.folder / "loading.py").write_text(FAULTY_LOADING, encoding="utf-8")
    settings = '[tool.decoderonly]\nexclude = ["serving.py"]\n'
    (project.folder / "pyproject.toml").write_text(settings, encoding="utf-8")
    project.commit()
    assert results(project.pre_commit("--all-files")) == ["Passed", "Passed"]


def test_the_fixing_hook_changes_files_and_is_content_with_them(project, hooks):
    folder, commit = hooks
    config = {"repos": [{"repo": str(folder), "rev": commit, "hooks": [{"id": "decoderonly-fix"}]}]}
    (project.folder / ".pre-commit-config.yaml").write_text(json.dumps(config), encoding="utf-8")
    (project.folder / "loading.py").write_text(CORRECTED_LOADING, encoding="utf-8")
    cut = '[:, encoding["input_ids"].shape[1] :]'
    assert cut in SERVING
    (project.folder / "serving.py").write_text(SERVING.replace(cut, ""), encoding="utf-8")
    project.commit()
    output = project.pre_commit("--all-files", status=1)
    assert "files were modified by this hook" in output
    assert (project.folder / "serving.py").read_text(encoding="utf-8") == SERVING.replace(
        cut, cut.replace(" :", ":")
    )
    project.commit()
    assert results(project.pre_commit("--all-files")) == ["Passed"]


def test_hook_environment_is_light(project, home):
    (project.folder / "loading.py").write_text(CORRECTED_LOADING, encoding="utf-8")
    project.commit()
    project.pre_commit("--all-files")
    (python,) = home.glob("repo*/py_env-*/bin/python")
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    names = {item["name"].lower() for item in json.loads(listed)}
    assert "pytest-decoderonly" in names
    assert not names & {"torch", "transformers", "numpy", "tokenizers"}
