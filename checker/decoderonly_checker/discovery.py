"""Which files to check: folders walked as git and ruff do, files named by the user always taken."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import FileError
from decoderonly_checker.source.files import SUFFIXES, os_reason, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pathspec import GitIgnoreSpec

    from decoderonly_checker.config import Settings


def find_files(
    paths: Iterable[Path], settings: Settings, *, force_exclude: bool = False
) -> tuple[list[Path], list[FileError]]:
    """List the files to check, absolute and without duplicates, in the order of their names.

    Left out of a folder: hidden entries, virtual environments, what a `.gitignore` or `exclude` names, and
    what is neither Python nor a notebook. A file or folder that is named itself is always taken.

    Args:
        paths: Files and folders.
        settings: `exclude`, `extend_exclude` and the root that they are relative to.
        force_exclude: Apply the patterns of `exclude` to named files and folders too.

    Returns:
        The files, and one error for each path that is missing or cannot be listed.
    """
    found: dict[Path, None] = {}
    errors: list[FileError] = []
    exclude = _Patterns(settings.root, [*settings.exclude, *settings.extend_exclude])
    for path in paths:
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would name another file
        try:
            is_folder = absolute.is_dir()
            exists = is_folder or absolute.exists()
        except OSError as problem:
            errors.append(FileError(shown_path(absolute), os_reason(problem)))
            continue
        if not exists:
            reason = "is a broken symbolic link" if absolute.is_symlink() else "no such file or directory"
            errors.append(FileError(shown_path(absolute), reason))
        elif force_exclude and exclude.without_self(Path(absolute.anchor)).matches(
            absolute, is_folder=is_folder
        ):
            continue
        elif is_folder:
            found.update(dict.fromkeys(_Walk(absolute, exclude, errors).files()))
        else:
            found[absolute] = None
    return sorted(found, key=lambda path: path.parts), errors


class _Patterns:
    """Patterns of one .gitignore or one settings key, relative to a folder."""

    def __init__(self, root: Path, lines: Sequence[str]) -> None:
        self._root = root
        self._lines = lines

    @cached_property
    def _spec(self) -> GitIgnoreSpec:
        from pathspec import GitIgnoreSpec  # 10 ms, and a run on named files needs none

        return GitIgnoreSpec.from_lines(self._lines)

    def verdict(self, path: Path, *, is_folder: bool) -> bool | None:
        """True for excluded, False for taken back by `!`, None where no pattern speaks."""
        try:
            relative = path.relative_to(self._root).as_posix()
        except ValueError:
            return None
        if relative == ".":
            return None
        return self._spec.check_file(relative + "/" if is_folder else relative).include

    def matches(self, path: Path, *, is_folder: bool) -> bool:
        return self.verdict(path, is_folder=is_folder) is True

    def without_self(self, named: Path) -> _Patterns:
        """The patterns but for those that exclude a folder which the user named himself."""
        lines = [
            line for line in self._lines if not _Patterns(self._root, [line]).matches(named, is_folder=True)
        ]
        return self if len(lines) == len(self._lines) else _Patterns(self._root, lines)


class _Walk:
    """One walk below one folder."""

    def __init__(self, top: Path, exclude: _Patterns, errors: list[FileError]) -> None:
        self._top = top
        self._exclude = exclude.without_self(top)
        self._errors = errors
        self._entered: set[tuple[int, int]] = set()

    def files(self) -> list[Path]:
        found: list[Path] = []
        pending = [(self._top, self._ignores_above())]
        while pending:
            folder, ignores = pending.pop()
            try:
                status = folder.stat()
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as problem:
                self._errors.append(FileError(shown_path(folder), os_reason(problem)))
                continue
            # Symlinks are followed; a folder is entered once however many links lead to it.
            if (status.st_dev, status.st_ino) in self._entered:
                continue
            self._entered.add((status.st_dev, status.st_ino))
            names = {entry.name for entry in entries}
            if "pyvenv.cfg" in names and folder != self._top:
                continue
            if ".gitignore" in names:
                ignores = self._with_ignore_file(ignores, folder / ".gitignore", folder)
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = Path(entry.path)
                try:
                    is_folder = entry.is_dir()
                except OSError:
                    is_folder = False
                if not is_folder and path.suffix.lower() not in SUFFIXES:
                    continue
                if self._left_out(path, ignores, is_folder=is_folder):
                    continue
                if is_folder:
                    pending.append((path, ignores))
                elif entry.is_file() or entry.is_symlink():
                    found.append(path)
        return found

    def _left_out(self, path: Path, ignores: tuple[_Patterns, ...], *, is_folder: bool) -> bool:
        if self._exclude.matches(path, is_folder=is_folder):
            return True
        for patterns in reversed(ignores):  # the nearest .gitignore has the last word
            verdict = patterns.verdict(path, is_folder=is_folder)
            if verdict is not None:
                return verdict
        return False

    def _ignores_above(self) -> tuple[_Patterns, ...]:
        """The ignore files of the repository that the folder lies in, outermost first."""
        if (self._top / ".git").exists():
            return self._with_ignore_file((), self._top / ".git/info/exclude", self._top)
        above = []
        for parent in self._top.parents:
            above.append(parent)
            if (parent / ".git").exists():
                break
        else:
            return ()
        ignores = self._with_ignore_file((), above[-1] / ".git/info/exclude", above[-1])
        for folder in reversed(above):
            ignores = self._with_ignore_file(ignores, folder / ".gitignore", folder)
        return tuple(patterns.without_self(self._top) for patterns in ignores)

    def _with_ignore_file(
        self, ignores: tuple[_Patterns, ...], file: Path, folder: Path
    ) -> tuple[_Patterns, ...]:
        if not file.is_file():
            return ignores
        try:
            lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            patterns = _Patterns(folder, lines)
            patterns.verdict(folder / "x", is_folder=False)  # compiles them
        except OSError as problem:
            self._errors.append(FileError(shown_path(file), os_reason(problem)))
            return ignores
        except ValueError as problem:
            self._errors.append(FileError(shown_path(file), f"holds a pattern that git refuses: {problem}"))
            return ignores
        return (*ignores, patterns)
