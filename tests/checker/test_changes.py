"""`--changed-since`: what git says has changed, and what depends on it."""

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import pytest
from decoderonly_checker.changes import Changes
from decoderonly_checker.config import SettingsError, load_settings
from decoderonly_checker.discovery import find_files

BAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tok = AutoTokenizer.from_pretrained("gpt2")
tok.pad_token = tok.eos_token
model = AutoModelForCausalLM.from_pretrained("gpt2")
enc = tok(["Hi.", "Name three colours."], padding=True, return_tensors="pt")
out = model.generate(enc["input_ids"], max_new_tokens=8)
"""


@pytest.fixture(autouse=True)
def _nobodys_git(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Nobody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "nobody@example.org")


def git(where, *arguments):
    subprocess.run(["git", "-C", where, *arguments], capture_output=True, check=True)


def write(root, files):
    for name, text in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def commit(root, message="more"):
    git(root, "add", "--all")
    git(root, "commit", "-qm", message)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with one commit on `main`, and a branch `work` on it."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    git(root, "init", "-q", "--initial-branch=main")
    (root / "pyproject.toml").write_text("[tool.decoderonly]\n", encoding="utf-8")
    modules = {
        "app/__init__": "",
        "app/base": "A = 1\n",
        "app/middle": "from app.base import A\n",
        "app/top": "import app.middle\n",
        "app/other": "B = 1\n",
        "alone": "C = 1\n",
    }
    write(root, modules)
    commit(root)
    git(root, "checkout", "-qb", "work")
    return root


def narrowed(*paths, since="main"):
    """Names of the files that are left of those below some paths."""
    wanted = [Path(path) for path in (paths or (".",))]
    changes = Changes(since, wanted)
    left = set()
    for path in wanted:
        settings = load_settings(path)
        files, errors = find_files([path], settings)
        assert errors == []
        left.update(changes.narrow(files, settings))
    return sorted(os.path.relpath(file) for file in left)


def test_nothing_changed(project):
    assert narrowed() == []


def test_committed_staged_unstaged_and_untracked_changes_count(project):
    write(project, {"alone": "C = 2\n", "committed": "1\n"})
    commit(project)
    write(project, {"staged": "1\n"})
    git(project, "add", "staged.py")
    write(project, {"app/other": "B = 2\n", "untracked": "1\n", "dir with ünïcode/new\nline": "1\n"})
    (project / "notes.txt").write_text("x")
    assert narrowed() == [
        *("alone.py", "app/other.py", "committed.py", "dir with ünïcode/new\nline.py", "staged.py"),
        "untracked.py",
    ]


def test_what_the_other_branch_did_since_does_not_count(project):
    write(project, {"alone": "C = 2\n"})
    commit(project)
    git(project, "checkout", "-q", "main")
    write(project, {"app/other": "B = 2\n"})
    commit(project)
    git(project, "tag", "v2")
    git(project, "checkout", "-q", "work")
    assert narrowed() == ["alone.py"]
    assert narrowed(since="v2") == ["alone.py"]
    assert narrowed(since="HEAD") == []


def test_what_git_ignores_does_not_count(project):
    (project / ".gitignore").write_text("local.py\n", encoding="utf-8")
    write(project, {"local": "1\n", "new": "1\n"})
    assert narrowed() == ["new.py"]


def test_modules_that_depend_on_changed_ones_count(project):
    write(project, {"app/base": "A = 2\n"})
    assert narrowed() == ["app/base.py", "app/middle.py", "app/top.py"]


def test_who_imported_what_is_gone_counts(project):
    (project / "app/base.py").unlink()
    assert narrowed() == ["app/middle.py", "app/top.py"]
    git(project, "checkout", "-q", "app/base.py")
    git(project, "mv", "app/base.py", "app/renamed.py")
    commit(project)
    assert narrowed() == ["app/middle.py", "app/renamed.py", "app/top.py"]


def test_who_imported_a_package_that_is_gone_counts(project):
    write(project, {"user": "import app\n", "other": "from app import B\n", "app/__init__": "B = 1\n"})
    commit(project)
    git(project, "tag", "full")
    git(project, "rm", "-rq", "app")
    assert narrowed(since="full") == ["other.py", "user.py"]


def test_the_way_of_imports_leads_through_files_that_are_not_asked_about(project):
    write(project, {"app/base": "A = 2\n"})
    assert narrowed("app/top.py", "alone.py") == ["app/top.py"]


def test_excluded_modules_are_dependencies_all_the_same(project):
    (project / "pyproject.toml").write_text(
        "[tool.decoderonly]\nextend-exclude = ['base.py']\n", encoding="utf-8"
    )
    write(project, {"app/base": "A = 2\n"})
    assert narrowed() == ["app/middle.py", "app/top.py"]


def test_from_a_folder_below_and_with_settings_below(project, monkeypatch):
    (project / "app/decoderonly.toml").write_text("", encoding="utf-8")
    write(project, {"app/base": "A = 2\n", "app/middle": "from base import A\n", "alone": "C = 2\n"})
    commit(project)
    write(project, {"app/low": "from . import middle\n"})
    monkeypatch.chdir(project / "app")
    assert narrowed() == ["base.py", "low.py", "middle.py"]
    assert narrowed("..") == ["../alone.py", "base.py", "low.py", "middle.py", "top.py"]
    assert narrowed("../alone.py") == ["../alone.py"]


def test_behind_a_link(project, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(project, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    (project / "app/base.py").unlink()
    write(project, {"alone": "C = 2\n"})
    assert narrowed("link") == ["link/alone.py", "link/app/middle.py", "link/app/top.py"]


def test_two_repositories(project, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q", "--initial-branch=main")
    write(other, {"x": "1\n", "y": "1\n"})
    commit(other)
    write(other, {"y": "2\n"})
    write(project, {"alone": "C = 2\n"})
    monkeypatch.chdir(tmp_path)
    assert narrowed("project", "other") == ["other/y.py", "project/alone.py"]


def test_settings_of_git_do_not_matter(project):
    for setting in ("diff.relative=true", "diff.renames=copies", "core.quotePath=true", "diff.noprefix=true"):
        git(project, "config", *setting.split("="))
    git(project, "mv", "app/base.py", "app/renamed.py")
    assert narrowed("app") == ["app/middle.py", "app/renamed.py", "app/top.py"]


def test_in_a_hook_of_another_repository(project, tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path / "other"], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other/.git/index"))
    write(project, {"alone": "C = 2\n"})
    assert narrowed() == ["alone.py"]


def refusal(*paths, since="main"):
    with pytest.raises(SettingsError) as caught:
        narrowed(*paths, since=since)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_revisions_are_named(project):
    for revision in ("gone", "-x", "--help", "", "main..work", "main:app"):
        assert refusal(since=revision) == f'--changed-since: unknown revision "{revision}" in .'


def test_a_shallow_clone_says_so(project, tmp_path, monkeypatch):
    subprocess.run(["git", "clone", "-q", "--depth=1", project.as_uri(), tmp_path / "clone"], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    assert refusal(since="v1").endswith('unknown revision "v1" in . (the clone is shallow: fetch it first)')


def test_no_common_history(project):
    git(project, "checkout", "-q", "--orphan", "apart")
    commit(project, "apart")
    assert refusal() == '--changed-since: "main" and the current branch have no common commit in .'


def test_no_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "sub").mkdir()
    assert refusal("sub") == "--changed-since: sub: not in a git repository"


def test_no_git(project, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal() == "--changed-since needs git, which is not installed (no `git` on PATH)"


@pytest.fixture
def check(command):
    return partial(command, "check", "--no-cache")


def test_the_command(project, check):
    write(project, {"old": BAD})
    commit(project)
    git(project, "branch", "-f", "main")
    done = check("--changed-since", "main")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "No Python files or notebooks changed since main: nothing to check.\n"
    write(project, {"new": BAD})
    done = check("--changed-since", "main", "--output-format", "json")
    assert done.returncode == 1
    assert {finding["path"] for finding in json.loads(done.stdout)} == {"new.py"}
    assert check("--changed-since", "main", "old.py").returncode == 0
    done = check("--changed-since", "gone", "-q")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'error: --changed-since: unknown revision "gone" in .\n'
    done = check("--changed-since", "main", "missing.py", "new.py")
    assert done.returncode == 2
    assert done.stderr == "error: missing.py: no such file or directory\n"
    done = check("--changed-since", "main", "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --changed-since cannot be combined with `-` (standard input)\n"


def test_a_finding_in_an_unchanged_caller_is_reported(project, check):
    first, _, *lines = BAD.splitlines(keepends=True)
    loading = [line for line in lines if line.startswith("tok")]
    helper = "".join([first, *loading]).replace('"gpt2")', '"gpt2", padding_side="left")')
    caller = "".join([first, "from helper import tok\n", *(line for line in lines if line not in loading)])
    write(project, {"helper": helper, "caller": caller.replace('enc["input_ids"]', "**enc")})
    commit(project)
    git(project, "branch", "-f", "main")
    assert check().returncode == 0
    write(project, {"helper": helper.replace(', padding_side="left"', "")})
    done = check("--changed-since", "main", "--output-format", "concise")
    assert done.stdout.splitlines()[0].startswith("caller.py:5:7: error DLM102 ")
