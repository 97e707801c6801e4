"""What a check has to know of a project, kept for those who check again and again: an editor's server, flake8."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from decoderonly_checker.plan import is_project, project_files
from decoderonly_checker.work import telling_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from decoderonly_checker.config import Settings
    from decoderonly_checker.source.selection import Scan


class Surroundings:
    """Walks a project once, and looks over again only those of its files that have changed.

    Attributes:
        unsaved: The bytes of files, by absolute path, that are not those on disk.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.unsaved: Mapping[str, bytes] = {}
        self._projects: dict[str, tuple[Settings, list[str]]] = {}
        self._scans: dict[str, tuple[int, int, frozenset[bytes], Scan]] = {}

    def forget_files(self) -> None:
        """Walk projects anew: files have come or gone."""
        self._projects.clear()

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
