"""Which files of a run are analysed, and which of them together: what only bytes and imports can tell."""

# ruff: noqa: PTH119, PTH120, PTH122, PTH123 - strings instead of Path objects: this runs for every file

from __future__ import annotations

import os.path
from dataclasses import field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.config import PROJECT_MARKERS
from decoderonly_checker.discovery import find_names
from decoderonly_checker.immutable import record
from decoderonly_checker.source.files import load_source
from decoderonly_checker.source.imports import ImportPaths
from decoderonly_checker.source.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from decoderonly_checker.config import Settings
    from decoderonly_checker.source.files import SourceFile
    from decoderonly_checker.source.selection import Scan


@record
class Unit:
    """Files that are analysed together, as one may call what another defines.

    Attributes:
        files: Their absolute paths, in order; also files that nobody asked about, as they call those that are.
        idle: The names of each file's top level that lead to no finding by themselves.
        unused: Those among them that nothing uses which could.
        weight: Bytes.
    """

    files: tuple[str, ...]
    idle: Mapping[str, frozenset[str]]
    unused: Mapping[str, frozenset[str]]
    weight: int


@record
class Plan:
    """What is to be done.

    Attributes:
        checked: The files asked about that may hold a finding.
        skipped: Those that hold none by themselves.
        joined: Those among them that are joined by imports with one that may: what it calls can be wrong.
        unread: Those that could not be read.
        silencing: Those of all these that may hold comments that silence rules.
        units: What to analyse; together they hold all of `checked`.
    """

    checked: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    silencing: list[str] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)


class Contents:
    """The bytes of files, some of which do not lie on disk (standard input); each is read when it is asked for."""

    def __init__(
        self,
        given: Mapping[str, bytes] | None = None,
        load: Callable[[Path, bytes | None, frozenset[str]], SourceFile] | None = None,
    ) -> None:
        """Take the bytes that are known already, and who may know files as they were parsed before."""
        self._given = dict(given or {})
        self._load = load

    def given(self, path: str) -> bytes | None:
        """Return the bytes that a file has here, whatever lies on disk; None where that is what counts."""
        return self._given.get(path)

    def find(self, path: str) -> bytes | None:
        """Return a file's bytes, None where it cannot be read."""
        known = self._given.get(path)
        if known is not None:
            return known
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError:
            return None

    def source(self, path: str, unused: frozenset[str]) -> SourceFile:
        """Return a file to be parsed, but for definitions that nothing uses.

        Raises:
            SourceError: It cannot be read.
        """
        data = self.read(path) or None
        if self._load is not None:
            return self._load(Path(path), data, unused)
        source = load_source(Path(path), data)
        for cell in source.cells:
            cell.unused = unused
        return source

    def read(self, path: str) -> bytes:
        """Return a file's bytes; none of one that cannot be read (who is asked about it says so)."""
        return self.find(path) or b""


def project_files(asked: Sequence[str], settings: Settings) -> list[str]:
    """Return the files of the project that some files belong to: callers are looked for there.

    Where no project is to be seen, not all that lies below some folder belongs together: what lies beside them does.
    """
    if is_project(settings.root):
        found, _ = find_names([str(settings.root)], settings)
        return found
    folders = dict.fromkeys(os.path.dirname(path) for path in asked)
    return [str(path) for folder in folders for path in sorted(Path(folder).glob("*.py")) if path.is_file()]


def is_project(root: Path) -> bool:
    """Whether a folder has the marks of a project."""
    return any((root / marker).exists() for marker in PROJECT_MARKERS)


def make_plan(
    asked: Sequence[str],
    project: Sequence[str],
    root: str,
    contents: Contents,
    scan: Callable[[Iterable[str]], dict[str, Scan]],
) -> Plan:
    """Tell which files to analyse, and which together.

    Args:
        asked: The files of the run, absolute.
        project: The files of the project, which may call into them or be called.
        root: The project's root, where imports are looked up.
        contents: Gives bytes.
        scan: Looks files over.
    """
    plan, units = begin_plan(asked, project, root, contents, scan)
    for _ in units:
        pass
    return plan


def begin_plan(
    asked: Sequence[str],
    project: Sequence[str],
    root: str,
    contents: Contents,
    scan: Callable[[Iterable[str]], dict[str, Scan]],
) -> tuple[Plan, Iterator[Unit]]:
    """Return a plan with its units as they are made: what weighs most comes first, and can be begun while the rest is planned.

    The plan is whole when they have all been made. For what is given see `make_plan`.
    """
    scans, targets = _gather(asked, project, ImportPaths(root), contents, scan)
    plan = Plan()
    return plan, _units(plan, asked, scans, targets, Selection(scans, contents.read))


def _units(
    plan: Plan,
    asked: Sequence[str],
    scans: Mapping[str, Scan],
    targets: Mapping[str, Iterable[str]],
    selection: Selection,
) -> Iterator[Unit]:
    among = frozenset(asked)
    active: set[str] = set()

    def weight(group: Iterable[str]) -> int:
        """Return what a group weighs at most."""
        return sum(scans[path].size for path in group if scans[path].words)

    for group in sorted(_together(targets), key=weight, reverse=True):
        wanted = [path for path in group if path in among and selection.matters(path)]
        if not wanted:
            continue
        active.update(wanted)
        files = tuple(sorted(path for path in group if selection.matters(path) or selection.sets_up(path)))
        plan.joined += [
            path for path in group if path in among and path not in active and scans[path].readable
        ]
        idle = {path: names for path in files if (names := selection.idle(path))}
        unused = {path: names for path in files if (names := selection.unused(path))}
        unit = Unit(files, idle, unused, sum(scans[path].size for path in files))
        plan.units.append(unit)
        yield unit
    for path in asked:
        if not scans[path].readable:
            plan.unread.append(path)
        else:
            (plan.checked if path in active else plan.skipped).append(path)
            if scans[path].silencing:
                plan.silencing.append(path)


def _gather(
    asked: Sequence[str],
    project: Sequence[str],
    paths: ImportPaths,
    contents: Contents,
    scan: Callable[[Iterable[str]], dict[str, Scan]],
) -> tuple[dict[str, Scan], dict[str, frozenset[str]]]:
    """Look over all files whose words count for those that are asked about, and tell which of them each imports."""
    among = frozenset(asked)
    others = dict.fromkeys(path for path in project if path not in among)
    whole = len(others) < len(asked)
    scans = scan([*asked, *others] if whole else asked)
    if not whole:
        _add_callers(scans, list(others), contents, scan)
    # What they import, at whatever remove: also what discovery leaves out.
    targets: dict[str, frozenset[str]] = {}
    pending = list(scans)
    while pending:
        for path in pending:
            targets[path] = frozenset(paths.targets(path, scans[path].imports))
        pending = [
            target
            for target in dict.fromkeys(chain.from_iterable(targets[path] for path in pending))
            if target not in scans
        ]
        scans.update(scan(pending))
    return scans, targets


def _add_callers(
    scans: dict[str, Scan],
    others: list[str],
    contents: Contents,
    scan: Callable[[Iterable[str]], dict[str, Scan]],
) -> None:
    """Add the files that import those that were scanned, directly or through each other."""
    names = {_module_name(path) for path in scans}
    fresh = names
    made: dict[str, Scan] = {}
    while fresh and others:
        made.update(
            scan([path for path in others if path not in made and _mentions(contents.read(path), fresh)])
        )
        importing = {path: made[path] for path in others if path in made and _names(made[path]) & fresh}
        scans.update(importing)
        others = [path for path in others if path not in importing]
        fresh = {_module_name(path) for path in importing} - names
        names |= fresh


def _mentions(data: bytes, names: Iterable[bytes]) -> bool:
    return any(name in data for name in names)


def _names(scan: Scan) -> set[bytes]:
    """Return the last part of each module that is imported from, and what is imported: it may be a module too."""
    return {part for module, name in scan.imports for part in (module.rpartition(b".")[2], name)}


def _module_name(path: str) -> bytes:
    stem = os.path.splitext(os.path.basename(path))[0]
    if stem == "__init__":
        stem = os.path.basename(os.path.dirname(path))
    return stem.encode("utf-8", "surrogateescape")


def _together(targets: Mapping[str, Iterable[str]]) -> Iterator[list[str]]:
    """Yield the groups of files that imports join.

    Args:
        targets: All the files, and what each imports, which is among them.
    """
    leader: dict[str, str] = {path: path for path in targets}

    def find(path: str) -> str:
        while leader[path] != path:
            leader[path] = leader[leader[path]]
            path = leader[path]
        return path

    for path, imported in targets.items():
        for target in imported:
            leader[find(target)] = find(path)
    groups: dict[str, list[str]] = {}
    for path in targets:
        groups.setdefault(find(path), []).append(path)
    yield from groups.values()
