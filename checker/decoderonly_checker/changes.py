"""What a branch changed, as git tells it, and which files of a project depend on that."""

# ruff: noqa: PTH118 - git and the walk of folders speak in strings

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.config import SettingsError
from decoderonly_checker.discovery import find_files
from decoderonly_checker.plan import Contents
from decoderonly_checker.source.code import code_of_file
from decoderonly_checker.source.files import PYTHON_SUFFIXES, shown_path
from decoderonly_checker.source.imports import ImportPaths, imports_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from decoderonly_checker.config import Settings

_OPTION = "--changed-since"
# A hook runs with these set, to the repository of the commit and relative to its top.
_HOOK_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


class Changes:
    """What changed between the merge base with a revision and the files as they are now.

    Committed, staged, unstaged and untracked changes count alike; files that are gone, or have another name now,
    count under the name they had.
    """

    def __init__(self, revision: str, paths: Iterable[Path]) -> None:
        """Ask git.

        Args:
            revision: A branch, tag or commit.
            paths: Files and folders; each must lie in a repository that knows the revision.

        Raises:
            SettingsError: One line: git is not installed, no repository, unknown revision, no common history.
        """
        self._real: set[str] = set()
        self._real_folders: dict[str, str] = {}
        self._affected: dict[Path, frozenset[str]] = {}
        tops: set[str] = set()
        folders = dict.fromkeys(
            path if path.is_dir() else path.parent for path in map(Path.absolute, paths) if path.exists()
        )
        for folder in folders:
            top = _top(folder)
            if top not in tops:
                tops.add(top)
                self._real.update(_changed(revision, top))

    def narrow(self, files: list[Path], settings: Settings) -> list[Path]:
        """Those of the files that changed, or import what changed, directly or through other modules."""
        affected = self._affected.get(settings.root)
        if affected is None:
            affected = self._affected[settings.root] = frozenset(self._dependents(settings))
        return [file for file in files if str(file) in affected or self._real_name(str(file)) in self._real]

    def _real_name(self, file: str) -> str:
        """The file as git names it: the folders without links, the file as it is called."""
        folder, name = os.path.split(file)
        real = self._real_folders.get(folder)
        if real is None:
            real = self._real_folders[folder] = os.path.realpath(folder)
        return os.path.join(real, name)

    def _dependents(self, settings: Settings) -> Iterator[str]:
        # As the project's files are named below its root, which may itself lie behind a link.
        root, real_root = str(settings.root), os.path.join(os.path.realpath(settings.root), "")
        changed = [
            os.path.join(root, name[len(real_root) :]) if name.startswith(real_root) else name
            for name in self._real
            if os.path.splitext(name)[1].lower() in PYTHON_SUFFIXES  # noqa: PTH122
        ]
        if not changed:
            return
        project, _ = find_files([settings.root], settings)
        yield from _importers(changed, map(str, project), ImportPaths(root, gone=changed))


def _importers(changed: Iterable[str], project: Iterable[str], paths: ImportPaths) -> Iterator[str]:
    """Yield the files of a project that import changed ones, directly or through each other."""
    importing: dict[str, list[str]] = {}
    contents = Contents()
    for path in project:
        # Where an encoding hides the code, imports are looked for in the bytes as they are.
        data = contents.read(path)
        code = code_of_file(data, path)
        for target in set(paths.targets(path, set(imports_of(data if code is None else code)))):
            importing.setdefault(target, []).append(path)
    found: set[str] = set()
    pending = [*changed]
    while pending:
        for path in importing.get(pending.pop(), ()):
            if path not in found:
                found.add(path)
                pending.append(path)
                yield path


def _top(folder: Path) -> str:
    """The work tree that a folder lies in, without links."""
    done = _git(str(folder), "rev-parse", "--show-toplevel")
    if done.returncode == 0:
        return os.path.realpath(os.fsdecode(done.stdout).rstrip("\r\n"))
    said = _first_line(done.stderr)
    if "not a git repository" in said or not said:
        said = "not in a git repository"
    raise SettingsError(f"{_OPTION}: {shown_path(folder)}: {said}")


def _changed(revision: str, top: str) -> Iterator[str]:
    commit = None
    if revision and not revision.startswith("-"):
        commit = _git(top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if commit is None or commit.returncode != 0:
        shallow = _git(top, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        hint = " (the clone is shallow: fetch it first)" if shallow else ""
        raise SettingsError(f'{_OPTION}: unknown revision "{revision}" in {shown_path(Path(top))}{hint}')
    base = _git(top, "merge-base", commit.stdout.decode().strip(), "HEAD")
    if base.returncode != 0:
        raise SettingsError(
            f'{_OPTION}: "{revision}" and the current branch have no common commit in {shown_path(Path(top))}'
        )
    listings = (
        # Renamed files are to be told under both names.
        ["diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", base.stdout.decode().strip(), "--"],
        ["ls-files", "--others", "--exclude-standard", "-z"],
    )
    for arguments in listings:
        done = _git(top, *arguments)
        if done.returncode != 0:
            raise SettingsError(f"{_OPTION}: git {arguments[0]}: {_first_line(done.stderr)}")
        for name in done.stdout.split(b"\0"):
            if name:
                yield os.path.join(top, os.path.normpath(os.fsdecode(name)))


def _git(folder: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if key not in _HOOK_VARIABLES}
    # Messages in English, and no lock taken for a question.
    environment.update(LC_ALL="C", GIT_OPTIONAL_LOCKS="0")
    try:
        return subprocess.run(  # noqa: S603
            ["git", "-C", folder, *arguments],  # noqa: S607 - the user's git
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise SettingsError(f"{_OPTION} needs git, which is not installed (no `git` on PATH)") from None
    except OSError as problem:
        raise SettingsError(f"{_OPTION}: git cannot be run: {problem.strerror or problem}") from None


def _first_line(said: bytes) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ").removeprefix("error: ") if lines else ""
