"""Where the commands keep what they remember, and `clean`."""

import contextlib
import sqlite3
from functools import partial

import pytest
from decoderonly_checker.cache import Cache

CODE = """\
from transformers import AutoTokenizer

tok = AutoTokenizer.from_pretrained("gpt2", pad_token="<pad>")
ids = tok(texts, padding=True)
"""


@pytest.fixture
def project(tmp_path):
    """A project with one file."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "pyproject.toml").write_text("[tool.decoderonly]\n")
    (place / "x.py").write_text(CODE)
    return place


@pytest.fixture
def run(command, project, monkeypatch):
    monkeypatch.delenv("DECODERONLY_CACHE_DIR", raising=False)
    return partial(command, cwd=project)


def remember(folder):
    with Cache.open(folder) as cache:
        cache.put("file", {b"k": b"v" * 5000})
    assert cache.problem is None
    return folder


NOTHING = "No findings in 1 file.\n"


def test_a_folder_that_was_named_and_cannot_be_used_is_told(run, project):
    told = f"warning: cache {project / 'x.py'}: is not a folder\n"
    done = run("check", "--cache-dir", "x.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, NOTHING, told)
    done = run("check", DECODERONLY_CACHE_DIR="x.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, NOTHING, told)
    (project / "pyproject.toml").write_text("[tool.decoderonly]\ncache-dir = 'x.py'\n")
    done = run("check")
    assert (done.returncode, done.stdout, done.stderr) == (0, NOTHING, told)
    for quiet in (["--no-cache"], ["-q"], ["--no-cache", "--cache-dir", "x.py"]):
        assert run("check", *quiet).stderr == ""
    assert (project / "x.py").read_text() == CODE


def test_the_usual_folder_may_be_of_no_use(run, project):
    (project / ".decoderonly_cache").write_text("")
    done = run("check")
    assert (done.returncode, done.stdout, done.stderr) == (0, NOTHING, "")


def test_clean(run, project, tmp_path):
    assert run("clean").stdout == "No cache in .decoderonly_cache.\n"
    remember(project / ".decoderonly_cache")
    remember(project / "other")
    remember(tmp_path / "outer/.decoderonly_cache")
    (tmp_path / "outer/pyproject.toml").write_text("[tool.decoderonly]\n")
    done = run("clean", "x.py", ".", tmp_path / "outer")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert first.startswith("Deleted .decoderonly_cache (")
    assert first.endswith(" kB).")
    assert second.startswith(f"Deleted {tmp_path}/outer/.decoderonly_cache (")
    assert not (project / ".decoderonly_cache").exists()
    assert not (tmp_path / "outer/.decoderonly_cache").exists()
    assert (project / "other").exists()


@pytest.mark.parametrize("how", ["option", "variable", "setting"])
def test_clean_finds_the_folder_as_check_does(run, project, how):
    remember(project / "named")
    remember(project / ".decoderonly_cache")
    options, environment = [], {}
    if how == "option":
        options = ["--cache-dir", "named"]
    elif how == "variable":
        environment = {"DECODERONLY_CACHE_DIR": "named"}
    else:
        (project / "pyproject.toml").write_text("[tool.decoderonly]\ncache-dir = 'named'\n")
    done = run("clean", *options, **environment)
    assert done.stdout.startswith("Deleted named (")
    assert not (project / "named").exists()
    assert (project / ".decoderonly_cache").exists()


def test_clean_leaves_what_is_not_the_caches(run, project):
    done = run("clean", "--cache-dir", ".")
    assert (done.returncode, done.stdout) == (0, "No cache in ..\n")
    assert {file.name for file in project.iterdir()} == {"pyproject.toml", "x.py"}


def test_clean_told_wrong(run, project):
    remember(project / ".decoderonly_cache")
    done = run("clean", ".", "gone")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: clean: gone: no such file or directory\n"
    assert (project / ".decoderonly_cache").exists()


def test_clean_beside_a_run_that_writes(run, project, monkeypatch):
    monkeypatch.setattr("decoderonly_checker.cache_store._WAIT", 0.1)
    folder = remember(project / ".decoderonly_cache")
    store = next(folder.glob("*.sqlite"))
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        done = run("clean")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: cache {folder}: another process is writing to it\n"
    assert run("clean").returncode == 0


def test_caches_are_no_sources(run, project):
    folder = project / "named" / ".decoderonly_cache"
    folder.mkdir(parents=True)
    (folder / "y.py").write_text(CODE)
    assert run("check", "--no-cache").stdout == NOTHING
