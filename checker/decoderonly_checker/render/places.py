"""How machines are told where a finding is: URIs, byte columns, fingerprints that survive moved lines."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from decoderonly_checker.diagnostics import Diagnostic, Place
    from decoderonly_checker.source.excerpts import Excerpts


def uri_of(path: str) -> str:
    """A path as a URI: relative ones stay so (below the root of the sources, as hosts expect), others begin with `file:`."""
    pure = PurePath(path)
    if pure.is_absolute():
        return pure.as_uri()
    if ".." in pure.parts:
        return Path(path).absolute().resolve().as_uri()
    return quote(pure.as_posix().encode("utf-8", "surrogateescape"))


def in_words(place: Place) -> str:
    """`line 3`, in a notebook `cell 2, line 3`, where the first cell is cell 1."""
    line = f"line {place.line}"
    return line if place.cell is None else f"cell {place.cell + 1}, {line}"


def byte_column(lines: Sequence[str], line: int, column: int) -> int:
    """A column of characters as one of bytes in UTF-8, both from 1."""
    text = lines[line - 1] if line <= len(lines) else ""
    return len(text[: column - 1].encode("utf-8", "surrogatepass")) + 1 + max(0, column - 1 - len(text))


def fingerprints(diagnostics: Iterable[Diagnostic], excerpts: Excerpts) -> Iterator[str]:
    """Yield a text for each finding that stays the same when lines move: from path, code and the line's own text.

    Where a file has equal lines with equal findings, they are counted.
    """
    seen: dict[tuple[str, str, str], int] = {}
    for diagnostic in diagnostics:
        place = diagnostic.place
        lines = excerpts.lines(place.path, place.cell)
        text = "".join(lines[place.line - 1].split()) if place.line <= len(lines) else ""
        key = (place.path, diagnostic.code, text)
        number = seen[key] = seen.get(key, 0) + 1
        data = "\0".join((*key, str(number))).encode("utf-8", "surrogatepass")
        yield hashlib.sha256(data).hexdigest()[:32]
