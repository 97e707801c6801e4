"""Which files to check: folders walked as git and ruff do, files named by the user always taken."""

# ruff: noqa: PTH100, PTH111, PTH114, PTH116, PTH118, PTH120, PTH123
# Strings instead of Path objects: this runs for every file and folder of a tree.

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from decoderonly_checker.config import MARKDOWN_INCLUDE
from decoderonly_checker.diagnostics import FileError
from decoderonly_checker.patterns import Patterns, read_patterns
from decoderonly_checker.source.files import os_reason, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decoderonly_checker.config import Settings

# What marks a folder as an environment that tools have made (venv, virtualenv; conda).
_ENVIRONMENTS = frozenset({"pyvenv.cfg", "conda-meta"})


def find_files(
    paths: Iterable[Path], settings: Settings, *, force_exclude: bool = False
) -> tuple[list[Path], list[FileError]]:
    """List the files to check, absolute and without duplicates, in the order of their names.

    Left out of a folder: hidden entries, virtual environments, what `exclude` or git's ignore files name, and
    what `include` does not name. A file or folder that is named itself is always taken.

    Args:
        paths: Files and folders.
        settings: `include`, `exclude`, `extend_exclude`, the root that they are relative to, `respect_gitignore`.
        force_exclude: Apply the patterns of `exclude` to named files and folders too.

    Returns:
        The files, and one error for each path that is missing or cannot be listed.
    """
    names, errors = find_names(map(str, paths), settings, force_exclude=force_exclude)
    return [Path(name) for name in names], errors


def find_names(
    paths: Iterable[str], settings: Settings, *, force_exclude: bool = False
) -> tuple[list[str], list[FileError]]:
    """The same as `find_files` for those who need no Path objects, which take longer to make than the walk."""
    found: dict[str, None] = {}
    errors: list[FileError] = []
    walker = _Walker(settings, errors)
    for path in paths:
        absolute = os.path.abspath(path)
        try:
            status = os.stat(absolute)
        except OSError as problem:
            if os.path.islink(absolute) and isinstance(problem, FileNotFoundError):
                reason = "is a broken symbolic link"
            elif isinstance(problem, NotADirectoryError):
                reason = "no such file or directory"
            else:
                reason = os_reason(problem)
            errors.append(FileError(shown_path(Path(absolute)), reason))
            continue
        is_folder = (status.st_mode & 0o170000) == 0o040000
        if force_exclude and walker.excludes(absolute, is_folder=is_folder):
            continue
        if is_folder:
            found.update(dict.fromkeys(walker.walk(absolute)))
        else:
            found[absolute] = None
    # `a/x.py` before `a.py`, as Path.parts compare.
    return sorted(found, key=lambda name: name.replace(os.sep, "\0")), errors


def is_excluded(path: Path, settings: Settings) -> bool:
    """Whether the patterns of `exclude` leave out a file, which need not exist."""
    return _Walker(settings, []).excludes(os.path.abspath(path), is_folder=False)


class _Scope(NamedTuple):
    """Patterns and the folder that they are relative to."""

    prefix: int  # length of the folder's path with its separator; the paths asked about lie below it
    patterns: Patterns


class _Walker:
    """Walks folders under the same settings."""

    def __init__(self, settings: Settings, errors: list[FileError]) -> None:
        self._root = _with_separator(str(settings.root))
        self._exclude = Patterns([*settings.exclude, *settings.extend_exclude])
        markdown = MARKDOWN_INCLUDE if settings.include_markdown else ()
        self._include = Patterns((*settings.include, *markdown), folded=True)
        self._respect = settings.respect_gitignore
        self._errors = errors
        self._found: list[str] = []
        self._links: list[tuple[str, tuple[_Scope, ...] | None]] = []
        self._entered: set[str] = set()  # real paths

    def excludes(self, absolute: str, *, is_folder: bool) -> bool:
        """Whether the settings exclude a path, by itself or with a folder that it lies in."""
        relative = self._relative(absolute)
        return bool(relative) and self._exclude.covers(relative, is_folder=is_folder)

    def _relative(self, absolute: str) -> str:
        """The path below the root with `/`; a path elsewhere stays absolute: patterns of names still count there."""
        relative = absolute.removeprefix(self._root)
        return relative.replace(os.sep, "/") if os.sep != "/" else relative

    def walk(self, top: str) -> list[str]:
        """The files below a folder, in no order. The folder itself is taken whatever it is."""
        self._found = []
        self._links = []
        self._entered = set()
        self._walk(top, os.path.realpath(top), self._ignores_at(top), named=True)
        # Links are followed last, so that a folder goes by its own name, and only to where nobody has been.
        while self._links:
            link, ignores = self._links.pop(0)
            self._walk(link, os.path.realpath(link), ignores)
        return self._found

    def _walk(
        self, top: str, real_top: str, ignores: tuple[_Scope, ...] | None, *, named: bool = False
    ) -> None:
        """Walk one folder without following links in it.

        Args:
            top: The folder; all paths found begin with it.
            real_top: The same without links.
            ignores: What counts in the folder; if it is not `named`, its own ignore file comes in addition. None
                outside a repository.
            named: The folder was named by the user.
        """
        include, exclude = self._include.verdict, self._exclude.verdict
        pending = [(top, real_top, ignores)]
        while pending:
            folder, real, ignores = pending.pop()
            if real in self._entered:
                continue
            self._entered.add(real)
            try:
                with os.scandir(folder) as listing:
                    entries = list(listing)
            except OSError as problem:
                self._errors.append(FileError(shown_path(Path(folder)), os_reason(problem)))
                continue
            names = {entry.name for entry in entries}
            if not (named and folder == top) and not _ENVIRONMENTS.isdisjoint(names):
                continue
            if self._respect and not (named and folder == top):
                if ".git" in names:
                    ignores = self._ignores_at(folder)  # a repository in another one stands for itself
                elif ignores is not None and ".gitignore" in names:
                    ignores = self._with_file(ignores, os.path.join(folder, ".gitignore"), folder)
            # Paths below the folder relative to the root; elsewhere `exclude` sees all of the path.
            inner = self._relative(os.path.join(folder, ""))
            for entry in entries:
                name = entry.name
                if name[0] == ".":
                    continue
                try:
                    is_folder = entry.is_dir()
                except OSError:
                    is_folder = False
                relative = inner + name
                if not is_folder and include(relative, name, is_folder=False) is not True:
                    continue
                if exclude(relative, name, is_folder=is_folder):
                    continue
                path = entry.path
                if ignores and _ignored(ignores, path, name, is_folder=is_folder):
                    continue
                if not is_folder:
                    if entry.is_file() or entry.is_symlink():
                        self._found.append(path)
                elif entry.is_symlink():
                    self._links.append((path, ignores))
                else:
                    pending.append((path, real + os.sep + name, ignores))

    def _ignores_at(self, top: str) -> tuple[_Scope, ...] | None:
        """The ignore files that govern the inside of a folder, the weakest first; None outside a repository."""
        if not self._respect:
            return None
        above = [top]
        while not os.path.lexists(os.path.join(above[-1], ".git")):
            parent = os.path.dirname(above[-1])
            if parent == above[-1]:
                return None
            above.append(parent)
        repository = above[-1]
        ignores: tuple[_Scope, ...] = ()
        for file in (_personal_ignore_file(), _exclude_file(os.path.join(repository, ".git"))):
            ignores = self._with_file(ignores, file, repository)
        for folder in reversed(above):
            ignores = self._with_file(ignores, os.path.join(folder, ".gitignore"), folder)
        return ignores

    def _with_file(self, ignores: tuple[_Scope, ...], file: str, folder: str) -> tuple[_Scope, ...]:
        try:
            with open(file, "rb") as stream:
                patterns = read_patterns(stream.read())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return ignores
        except OSError as problem:
            self._errors.append(FileError(shown_path(Path(file)), os_reason(problem)))
            return ignores
        return (*ignores, _Scope(len(_with_separator(folder)), patterns)) if patterns else ignores


def _with_separator(folder: str) -> str:
    return folder if folder.endswith(os.sep) else folder + os.sep


def _ignored(ignores: tuple[_Scope, ...], path: str, name: str, *, is_folder: bool) -> bool:
    for prefix, patterns in reversed(ignores):  # the nearest file has the last word
        relative = path[prefix:]
        if os.sep != "/":
            relative = relative.replace(os.sep, "/")
        verdict = patterns.verdict(relative, name, is_folder=is_folder)
        if verdict is not None:
            return verdict
    return False


def _exclude_file(git: str) -> str:
    """`info/exclude` of a repository. In a linked worktree and a submodule `.git` is a file that says where."""
    folder = git
    try:
        with open(git, encoding="utf-8", errors="surrogateescape") as file:
            first = file.readline()
    except OSError:  # a folder, as a rule
        first = ""
    if first.startswith("gitdir:"):
        folder = os.path.join(os.path.dirname(git), first.removeprefix("gitdir:").strip())
        try:
            with open(os.path.join(folder, "commondir"), encoding="utf-8", errors="surrogateescape") as file:
                folder = os.path.join(folder, file.readline().strip())
        except OSError:
            pass  # a submodule has none
    return os.path.join(folder, "info", "exclude")


def _personal_ignore_file() -> str:
    """The user's own ignore file: `core.excludesFile` of the personal git settings, else git's default place."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    personal = os.environ.get("GIT_CONFIG_GLOBAL")
    places = [os.path.join(os.path.expanduser("~"), ".gitconfig"), os.path.join(config, "git", "config")]
    for place in places if personal is None else [personal]:
        try:
            with open(place, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        section = ""
        for line in lines:
            if line.lstrip().startswith("["):
                section = line.strip().lower()
            key, equals, value = line.partition("=")
            if section == "[core]" and equals and key.strip().lower() == "excludesfile":
                return os.path.expanduser(value.strip().strip('"'))
    return os.path.join(config, "git", "ignore")
