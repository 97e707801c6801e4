"""The text around a finding, read again when a report is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.source.files import SourceError, SourceFile, load_source

if TYPE_CHECKING:
    from collections.abc import Iterable


class Excerpts:
    """Lines of files by the names that findings carry. A file that cannot be read any more has no lines."""

    def __init__(self, known: Iterable[SourceFile] = ()) -> None:
        """Take files that are in memory, such as standard input; others are read when asked for."""
        self._files: dict[str, SourceFile | None] = {source.shown: source for source in known}
        self._lines: dict[tuple[str, int | None], list[str]] = {}

    def lines(self, path: str, cell: int | None = None) -> list[str]:
        """All lines of a file or of a notebook's cell, without their breaks."""
        key = (path, cell)
        if key not in self._lines:
            self._lines[key] = self._load(path, cell)
        return self._lines[key]

    def _load(self, path: str, cell: int | None) -> list[str]:
        if path not in self._files:
            try:
                self._files[path] = load_source(Path(path))
            except SourceError:
                self._files[path] = None
        source = self._files[path]
        try:
            return source.cell(cell).lines if source is not None else []
        except KeyError:
            return []
