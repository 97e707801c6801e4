"""What editors have open: text with the protocol's positions, files, and notebooks with their cells."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit
from urllib.request import url2pathname

from decoderonly_checker.immutable import immutable
from decoderonly_checker.source.files import NOTEBOOK_SUFFIX, encode
from decoderonly_checker.source.scan import Lines

if TYPE_CHECKING:
    from collections.abc import Iterable

# Bytes of a code unit, by what the protocol calls a way to count characters.
_UNIT_BYTES = {"utf-8": 1, "utf-16": 2, "utf-32": 4}
_CODECS = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}


class Text:
    """A text whose places are given as the checker does (lines and characters from 1) and as editors do.

    An editor counts lines from 0, and columns from 0 in code units: two of UTF-16 for a character beyond the basic plane. Lines
    end at LF, CRLF and CR, for both.
    """

    def __init__(self, content: str, counting: str = "utf-16") -> None:
        """Take a text, and how the editor counts: `utf-8`, `utf-16` or `utf-32`."""
        self.content = content
        self.counting = counting if counting in _CODECS else "utf-16"

    @cached_property
    def _lines(self) -> Lines:
        return Lines(self.content)

    def line(self, number: int) -> str:
        """Return a line, counted from 1, without its break; empty for one that is not there."""
        start, end = self._span(number)
        return self.content[start:end].rstrip("\r\n")

    def _span(self, number: int) -> tuple[int, int]:
        try:
            start = self._lines.start(number)
        except IndexError:
            return len(self.content), len(self.content)
        try:
            return start, self._lines.start(number + 1)
        except IndexError:
            return start, len(self.content)

    def position(self, line: int, column: int) -> tuple[int, int]:
        """Return the editor's line and character for a line and a column of the checker."""
        before = self.line(line)[: max(0, column - 1)]
        size = len(before.encode(_CODECS[self.counting], "surrogatepass"))
        return line - 1, size // _UNIT_BYTES[self.counting]

    def offset(self, line: int, character: int) -> int:
        """Return the offset of an editor's position; one behind a line's end means its end."""
        start, _ = self._span(line + 1)
        text = self.line(line + 1)
        data = text.encode(_CODECS[self.counting], "surrogatepass")
        before = data[: character * _UNIT_BYTES[self.counting]]
        return start + len(before.decode(_CODECS[self.counting], "ignore"))

    def replaced(self, start: tuple[int, int], end: tuple[int, int], new: str) -> Text:
        """Return the text with what stands between two of the editor's positions replaced."""
        first, last = self.offset(*start), self.offset(*end)
        return Text(self.content[:first] + new + self.content[max(first, last) :], self.counting)

    @property
    def ending(self) -> str:
        """How its lines end: as the first one does."""
        first = self.content[self._span(1)[0] : self._span(1)[1]]
        return first[len(first.rstrip("\r\n")) :] or "\n"


@immutable
class Document:
    """An open file, or one cell of an open notebook, as it is at a time."""

    uri: str
    text: Text
    version: int | None
    language: str = "python"


@immutable
class Cell:
    """A cell of a notebook: whether it is code, and the document that holds its text."""

    uri: str
    is_code: bool


class Opened:
    """What one check looks at: a file or a notebook, its path, and the documents that hold its text."""

    def __init__(self, uri: str, path: Path, *, notebook: bool = False) -> None:
        """Name it."""
        self.uri = uri
        self.path = path
        self.is_notebook = notebook
        self.cells: list[Cell] = []
        self.documents: dict[str, Document] = {}
        self.revision = 0  # counts all changes: those of a notebook's cells are not counted together

    def snapshot(self) -> Opened:
        """Return it as it is now, whatever comes."""
        made = Opened(self.uri, self.path, notebook=self.is_notebook)
        made.cells, made.documents, made.revision = list(self.cells), dict(self.documents), self.revision
        return made

    @property
    def holds_json(self) -> bool:
        """Whether it is a notebook that the editor shows as the text of its file."""
        return not self.is_notebook and self.path.suffix.lower() == NOTEBOOK_SUFFIX

    def data(self) -> bytes:
        """Return what would stand in the file."""
        if not self.is_notebook:
            return encode(self.documents[self.uri].text.content)
        cells: list[dict[str, object]] = []
        for cell in self.cells:
            document = self.documents.get(cell.uri)
            is_python = cell.is_code and (document is None or document.language == "python")
            source = "" if document is None else document.text.content
            cells.append({"cell_type": "code" if is_python else "raw", "metadata": {}, "source": source})
        return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()

    def document_of(self, cell: int | None) -> Document | None:
        """Return the document of a cell (None: of the file)."""
        if cell is None or self.holds_json:
            return self.documents.get(self.uri)
        return self.documents.get(self.cells[cell].uri) if cell < len(self.cells) else None

    def cell_of(self, uri: str) -> int | None:
        """Return the index of a cell's document; None for the file itself."""
        return next((index for index, cell in enumerate(self.cells) if cell.uri == uri), None)


def path_of(uri: str, untitled: Path) -> Path | None:
    """Return the path that a URI names; one in the folder `untitled` for what was never saved; None for what is no file."""
    parts = urlsplit(uri)
    if parts.scheme == "file":
        name = url2pathname(parts.path)
        return Path(f"//{parts.netloc}{name}" if parts.netloc not in ("", "localhost") else name)
    if parts.scheme == "untitled":
        return untitled / (quote(unquote(parts.path).lstrip("/"), safe="") or "untitled")
    return None


def same_uri(one: str, other: str) -> bool:
    """Whether two URIs name the same: editors escape more than need be (`file:///c%3A/…`)."""
    return one == other or unquote(one) == unquote(other)


def find_open(every: Iterable[Opened], path: Path) -> Opened | None:
    """Return what is open of a file."""
    return next((one for one in every if one.path == path), None)
