"""Which files are found."""

import os
from pathlib import Path

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.diagnostics import FileError
from decoderonly_checker.discovery import find_files


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def found(paths=(".",), *, force_exclude=False, **settings):
    files, errors = find_files(
        [Path(path) for path in paths], Settings(**settings), force_exclude=force_exclude
    )
    assert errors == []
    return [os.path.relpath(file) for file in files]


def test_python_and_notebooks_in_order(project):
    make(project, "b.py", "a/c.pyi", "a/B.PY", "a/n.ipynb", "a/w.pyw", "x.txt", "script", "a.pyc")
    assert found() == ["a/B.PY", "a/c.pyi", "a/n.ipynb", "a/w.pyw", "b.py"]


def test_hidden_and_environments_and_usual_suspects_are_left_out(project):
    make(
        project,
        "a.py",
        ".b.py",
        ".git/x.py",
        ".cache/x.py",
        "node_modules/x.py",
        "build/x.py",
        "__pycache__/x.py",
    )
    make(project, "env/pyvenv.cfg", "env/lib/x.py", "lib/site-packages/x.py", "builder/x.py")
    assert found() == ["a.py", "builder/x.py"]


def test_what_is_named_is_taken(project):
    make(
        project, ".hidden/x.py", "env/pyvenv.cfg", "env/y.py", "build/z.py", "build/deep/dist/w.py", "script"
    )
    assert found([".hidden"]) == [".hidden/x.py"]
    assert found(["env"]) == ["env/y.py"]
    assert found(["build"]) == ["build/z.py"]
    assert found(["build/z.py", "script"]) == ["build/z.py", "script"]


def test_named_twice_is_checked_once(project):
    make(project, "a/x.py", "a/y.py")
    assert found(["a", "a/x.py", "./a/../a/y.py", "."]) == ["a/x.py", "a/y.py"]


def test_force_exclude(project):
    make(project, "build/z.py", "a.py", "gen/b.py")
    assert found(["build/z.py", "a.py", "gen", "gen/b.py"], force_exclude=True, extend_exclude=("gen/",)) == [
        "a.py"
    ]
    assert found(["build/z.py", "gen/b.py"], extend_exclude=("gen/",)) == ["build/z.py", "gen/b.py"]


def test_exclude_patterns_are_relative_to_the_settings(project):
    make(project, "examples/bot/a.py", "examples/b.py", "sub/examples/bot/c.py", "x.gen.py", "sub/y.gen.py")
    patterns = ("examples/bot", "*.gen.py")
    assert found(exclude=patterns) == ["examples/b.py", "sub/examples/bot/c.py"]
    assert found(["sub"], exclude=patterns) == ["sub/examples/bot/c.py"]
    assert found(["examples/bot"], exclude=patterns) == ["examples/bot/a.py"]
    assert found(["sub"], root=project / "sub", exclude=patterns) == []


def test_gitignore_files(project):
    make(project, ".git/config", "a.py", "gen/b.py", "keep/c.py", "keep/d.py", "keep/sub/d.py", "e.py")
    (project / ".gitignore").write_text("gen/\nd.py\n/e.py\n", encoding="utf-8")
    (project / "keep/.gitignore").write_text("!/d.py\nc.py\n", encoding="utf-8")
    assert found() == ["a.py", "keep/d.py"]
    assert found(["keep"]) == ["keep/d.py"]
    assert found(["keep/sub"]) == []
    assert found(["gen"]) == ["gen/b.py"]
    assert found(["e.py"]) == ["e.py"]


def test_git_info_exclude(project):
    make(project, ".git/info/x", "a.py", "sub/b.py")
    (project / ".git/info/exclude").write_text("b.py\n", encoding="utf-8")
    assert found() == ["a.py"]
    assert found(["sub"]) == []


def test_ignore_files_above_the_repository_do_not_count(project):
    make(project, "repo/.git/config", "repo/sub/a.py")
    (project / ".gitignore").write_text("a.py\n", encoding="utf-8")
    assert found(["repo"]) == ["repo/sub/a.py"]
    assert found(["repo/sub"]) == ["repo/sub/a.py"]


def test_links_are_followed_once(project):
    make(project, "a/x.py", "b/y.py")
    (project / "a/loop").symlink_to(project / "a", target_is_directory=True)
    (project / "a/up").symlink_to("..", target_is_directory=True)
    (project / "c").symlink_to("b", target_is_directory=True)
    names = found(["a"])
    assert len(names) == len({os.path.realpath(name) for name in names}) == 2
    assert found(["c"]) == ["c/y.py"]


def test_a_link_to_itself_does_not_stop_the_walk(project):
    make(project, "a.py")
    (project / "self").symlink_to("self")
    assert found() == ["a.py"]
    files, errors = find_files([Path("self")], Settings())
    assert (files, len(errors)) == ([], 1)


def test_missing_paths_are_errors_and_the_rest_is_found(project):
    make(project, "a.py")
    (project / "dangling.py").symlink_to("nowhere")
    files, errors = find_files([Path("gone"), Path("a.py"), Path("dangling.py")], Settings())
    assert files == [project / "a.py"]
    assert errors == [
        FileError("gone", "no such file or directory"),
        FileError("dangling.py", "is a broken symbolic link"),
    ]


def test_a_folder_that_cannot_be_listed_is_an_error(project, monkeypatch):
    make(project, "a.py", "locked/b.py", "z/c.py")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    files, errors = find_files([Path()], Settings())
    assert files == [project / "a.py", project / "z/c.py"]
    assert errors == [FileError("locked", "permission denied")]


def test_a_bad_ignore_file_is_named(project):
    make(project, "a.py", ".git/config")
    (project / ".gitignore").write_bytes(b"x\n!\n\xff\n")
    files, errors = find_files([Path()], Settings())
    assert files == [project / "a.py"]
    assert [error.path for error in errors] == [".gitignore"]
