"""Which files are found."""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.diagnostics import FileError
from decoderonly_checker.discovery import find_files
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True)
def _nobodys_git(monkeypatch, tmp_path_factory):
    """The settings of whoever runs the tests do not count."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "none"))


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


def test_a_bad_line_in_an_ignore_file_is_passed_over_as_git_does(project):
    make(project, "a.py", "x", "y.py", ".git/config")
    (project / ".gitignore").write_bytes(b"\xef\xbb\xbfy.py\r\n!\n\xff\n[a\n")
    assert found() == ["a.py"]


def test_an_ignore_file_that_cannot_be_read_is_named(project):
    make(project, "a.py", ".git/config", "sub/b.py")
    (project / "sub/.gitignore").symlink_to(".gitignore")
    files, errors = find_files([Path()], Settings())
    assert files == [project / "a.py", project / "sub/b.py"]
    assert [error.path for error in errors] == ["sub/.gitignore"]


def test_include(project):
    make(project, "a.py", "b.PYI", "scripts/run", "scripts/deep/run", "deep/c.py", "n.ipynb", "x.txt")
    assert found(include=("*.pyi",)) == ["b.PYI"]
    assert found(include=("scripts/*", "/*.py")) == ["a.py", "scripts/run"]
    assert found(include=("*.py", "!deep/*.py")) == ["a.py"]
    assert found(["deep"], include=("deep/*.py",)) == ["deep/c.py"]
    assert found(["x.txt"], include=("*.py",)) == ["x.txt"]
    assert found(include=("**/*.py",), exclude=("deep",)) == ["a.py"]


def test_patterns_do_not_take_the_way_to_the_root_for_part_of_the_project(project):
    first = project.parts[1]
    make(project, "out/a.py", "root/pyproject.toml", "out/gen/b.py")
    assert found(["out"], root=project / "root", exclude=(f"/{first}", "out/a.py", "gen")) == ["out/a.py"]


def test_environments_of_conda_and_behind_links(project):
    make(project, "a.py", "tool/conda-meta/history", "tool/lib/x.py", "far/env/pyvenv.cfg", "far/env/x.py")
    make(project, "near/b.py")
    (project / "near/link").symlink_to(project / "far/env", target_is_directory=True)
    assert found() == ["a.py", "near/b.py"]
    assert found(["near"]) == ["near/b.py"]
    assert found(["tool"]) == ["tool/lib/x.py"]


def test_a_folder_goes_by_its_own_name_before_that_of_a_link(project):
    make(project, "b/x.py", "b/deep/y.py", "outside/z.py", "outside/.gitignore")
    (project / "outside/.gitignore").write_text("w.py\n", encoding="utf-8")
    make(project, "outside/w.py", "top/.git/config", "top/c.py")
    for link, target in (("a", "b"), ("c", "b/deep"), ("top/far", "../outside")):
        (project / link).symlink_to(target, target_is_directory=True)
    assert found() == [
        *("b/deep/y.py", "b/x.py", "outside/w.py", "outside/z.py", "top/c.py"),
    ]
    assert found(["top"]) == ["top/c.py", "top/far/z.py"]


def test_git_ignore_files_count_in_repositories_only_and_can_be_left_alone(project):
    make(project, "a.py", "gen/b.py")
    (project / ".gitignore").write_text("gen\n", encoding="utf-8")
    assert found() == ["a.py", "gen/b.py"]
    make(project, ".git/config")
    assert found() == ["a.py"]
    assert found(respect_gitignore=False) == ["a.py", "gen/b.py"]


def test_a_repository_in_another_stands_for_itself(project):
    make(project, ".git/config", "a.py", "inner/.git/config", "inner/a.py", "inner/b.py")
    (project / ".gitignore").write_text("a.py\n", encoding="utf-8")
    (project / "inner/.gitignore").write_text("b.py\n", encoding="utf-8")
    assert found() == ["inner/a.py"]


def test_linked_worktrees_share_the_exclude_file(project):
    git(project, "init", "-q", "main")
    make(project / "main", "a.py")
    git(project / "main", "add", "a.py")
    git(project / "main", "commit", "-qm", "first")
    git(project / "main", "worktree", "add", "-q", "../other")
    (project / "main/.git/info/exclude").write_text("b.py\n", encoding="utf-8")
    make(project, "other/b.py", "other/sub/b.py", "other/c.py")
    assert found(["other"]) == ["other/a.py", "other/c.py"]
    assert found(["other/sub"]) == []


def test_the_personal_ignore_file(project, monkeypatch):
    git(project, "init", "-q")
    make(project, "a.py", "b.py", "c.py", "home/mine")
    (project / "home/mine").write_text("a.py\nc.py\n", encoding="utf-8")
    (project / "home/config").write_text(
        '[user]\n\texcludesFile = no\n[core]\n\tx = 1\n\texcludesFile = "~/mine"\n', encoding="utf-8"
    )
    (project / ".gitignore").write_text("!c.py\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(project / "home"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(project / "home/config"))
    assert found() == ["b.py", "c.py"] == git_finds(project)
    (project / "home/.config/git").mkdir(parents=True)
    (project / "home/.config/git/ignore").write_text("b.py\n", encoding="utf-8")
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert found() == ["a.py", "c.py"]


def git(where, *arguments):
    identity = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=where, capture_output=True, check=True)
    return done.stdout.decode()


def git_finds(where):
    listed = git(where, "ls-files", "-z", "--others", "--exclude-standard", "--cached").split("\0")
    hidden = {name for name in listed if any(part.startswith(".") for part in name.split("/"))}
    return sorted(
        (name for name in {*listed} - hidden - {""} if name.endswith(".py")), key=lambda n: n.split("/")
    )


_NAMES = st.text("ab-!# [].*\\", min_size=1, max_size=3).filter(lambda name: not name.startswith("."))
_PATHS = st.lists(_NAMES, max_size=3).flatmap(
    lambda folders: _NAMES.map(lambda name: "/".join([*folders, f"{name}.py"]))
)
_PATTERN = st.text("ab./*?[]!^-\\ #p", max_size=8) | st.lists(
    st.sampled_from(
        [
            "**",
            "*",
            "a",
            "b",
            "/",
            "?",
            "[ab]",
            "[!a]",
            "[[:alpha:]]",
            "a*",
            "**/",
            "*.py",
            "\\",
            "!",
            " ",
            "\r",
        ]
    ),
    max_size=6,
).map("".join)
_IGNORES = st.lists(_PATTERN | _PATHS | _PATHS.map("!{}".format), max_size=4).map("\n".join)


@settings(max_examples=60, deadline=None)
@given(
    paths=st.lists(_PATHS, min_size=1, max_size=12),
    top=_IGNORES,
    info=_IGNORES,
    nested=st.lists(st.tuples(st.integers(0, 11), _IGNORES), max_size=2),
)
def test_the_same_files_as_git(tmp_path_factory, paths, top, info, nested):
    root = tmp_path_factory.mktemp("tree")
    git(root, "init", "-q")
    for path in paths:
        with contextlib.suppress(NotADirectoryError, FileExistsError, IsADirectoryError):
            make(root, path)  # a name may be a file here and a folder there
    (root / ".gitignore").write_text(top, encoding="utf-8", newline="")
    (root / ".git/info/exclude").write_text(info, encoding="utf-8", newline="")
    for number, lines in nested:
        folder = (root / paths[number % len(paths)]).parent
        if folder.is_dir():
            (folder / ".gitignore").write_text(lines, encoding="utf-8", newline="")
    files, errors = find_files([root], Settings(root=root, exclude=()))
    assert errors == []
    assert [file.relative_to(root).as_posix() for file in files] == git_finds(root)
