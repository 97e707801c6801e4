"""What a check has to know of a project, kept for those who check again and again: an editor's server, flake8."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.plan import is_project, project_files
from decoderonly_checker.source.files import load_source
from decoderonly_checker.work import telling_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from decoderonly_checker.config import Settings
    from decoderonly_checker.source.files import SourceFile
    from decoderonly_checker.source.selection import Scan


_KEPT = 3_000_000  # bytes of code; their trees take a hundred times as much where all of a file is parsed


class Surroundings:
    """Walks a project once, and looks over again only those of its files that have changed.

    Attributes:
        unsaved: The bytes of files, by absolute path, that are not those on disk.
    """

    def __init__(self, *, keep_parsed: bool = False) -> None:
        """Know nothing yet.

        Args:
            keep_parsed: Keep the files of a check as they were parsed, for the next one (see `begin`).
        """
        self.unsaved: Mapping[str, bytes] = {}
        self._keeps = keep_parsed
        self._parsed: dict[tuple[Path, Path], tuple[bytes, frozenset[str], SourceFile]] = {}
        self._used: set[tuple[Path, Path]] = set()
        self._projects: dict[str, tuple[Settings, list[str]]] = {}
        self._scans: dict[str, tuple[int, int, frozenset[bytes], Scan]] = {}

    def forget_files(self) -> None:
        """Walk projects anew: files have come or gone."""
        self._projects.clear()

    def begin(self) -> None:
        """Begin with a check: of parsed files, those that the one before had no use for are given up."""
        self._parsed = {key: known for key, known in self._parsed.items() if key in self._used}
        self._used.clear()

    @property
    def loader(self) -> Callable[[Path, bytes | None, frozenset[str]], SourceFile] | None:
        """What knows files as they were parsed before; None where none are kept."""
        return self._load if self._keeps else None

    def _load(self, path: Path, data: bytes | None, unused: frozenset[str]) -> SourceFile:
        """Return a file, as it was parsed before where it is the same.

        Args:
            path: The file.
            data: Its bytes; None where it is empty or cannot be read.
            unused: Definitions that need not be parsed.

        Raises:
            SourceError: It cannot be read.
        """
        key = (path, Path.cwd())  # messages name it by the working directory
        known = self._parsed.get(key)
        if known is None or data is None or known[:2] != (data, unused):
            source = load_source(path, data)
            for cell in source.cells:
                cell.unused = unused
            if data is None or self._size() + len(data) > _KEPT:
                return source
            known = self._parsed[key] = data, unused, source
        self._used.add(key)
        return known[2]

    def _size(self) -> int:
        return sum(len(data) for data, _, _ in self._parsed.values())

    def project(self, asked: Sequence[str], settings: Settings) -> Sequence[str]:
        """Return what `plan.project_files` does, as it was when it was first asked."""
        folders = {os.path.dirname(path) for path in asked}  # noqa: PTH120
        key = str(settings.root) if is_project(settings.root) else "\0".join(sorted(folders))
        governing, files = self._projects.get(key, (None, []))
        if governing != settings:
            files = project_files(asked, settings)
            self._projects[key] = settings, files
        return files

    def scan(
        self,
        paths: Iterable[str],
        settings: Settings,
        *,
        among: Sequence[str],
        work: Callable[[Iterable[str]], dict[str, Scan]],
    ) -> dict[str, Scan]:
        """Look files over that were not seen before as they are now.

        Args:
            paths: The files.
            settings: What governs them.
            among: Files that are never known: those under check.
            work: Does it.
        """
        telling = telling_names(settings)
        found: dict[str, Scan] = {}
        fresh: dict[str, tuple[int, int] | None] = {}
        for path in paths:
            state = None if path in self.unsaved or path in among else _state(path)
            known = self._scans.get(path)
            if known is not None and state is not None and known[:3] == (*state, telling):
                found[path] = known[3]
            else:
                fresh[path] = state
        for path, scan in work(fresh).items():
            found[path] = scan
            state = fresh[path]
            if state is not None:
                self._scans[path] = (*state, telling, scan)
        return found


def _state(path: str) -> tuple[int, int] | None:
    """What changes when a file is written."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
