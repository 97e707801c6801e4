"""Writing fixes: a file is changed as a whole or not at all, and only where it still is what was checked."""

from __future__ import annotations

import ast
import codecs
import os
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.cache import digest_of
from decoderonly_checker.fixes.notebooks import NotebookError, Replacement, replaced, rewritten
from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.files import NOTEBOOK_SUFFIX, SourceError, load_source
from decoderonly_checker.source.notebook import replace_magics
from decoderonly_checker.source.scan import split_lines
from decoderonly_checker.source.syntax import quiet
from decoderonly_checker.written import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from decoderonly_checker.diagnostics import Diagnostic, Edit
    from decoderonly_checker.source.files import Cell, SourceFile

_Position = tuple[int, int, int]  # cell, line, column
_LINE = late_pattern(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")


@immutable
class Change:
    """A file's bytes before and after fixes, and which findings they cure.

    `texts` holds the code before and after, of a notebook that of each changed cell, by its index.
    """

    path: str
    before: bytes
    after: bytes
    cured: tuple[Diagnostic, ...]
    texts: tuple[tuple[int | None, str, str], ...] = ()


class FixError(Exception):
    """A file that cannot be fixed, and why, in one line."""


def choose(diagnostics: Iterable[Diagnostic]) -> dict[str, list[Diagnostic]]:
    """Return by file the findings whose fixes can be made together: where two touch, the first one is made.

    A fix whose edits lie in several files is left out: half of it would be worse than none.
    """
    chosen: dict[str, list[Diagnostic]] = {}
    taken: dict[str, list[tuple[_Position, _Position]]] = {}
    made: set[tuple[Edit, ...]] = set()
    for diagnostic in diagnostics:
        if diagnostic.fix is None:
            continue
        edits = diagnostic.fix.edits
        paths = {edit.place.path for edit in edits}
        if len(paths) != 1:
            continue
        (path,) = paths
        if edits in made:
            chosen[path].append(diagnostic)  # one change cures both
            continue
        spans = [_span(edit) for edit in edits]
        if any(
            start <= end_ and begin_ <= end for start, end in spans for begin_, end_ in taken.get(path, ())
        ):
            continue
        made.add(edits)
        taken.setdefault(path, []).extend(spans)
        chosen.setdefault(path, []).append(diagnostic)
    return chosen


def _span(edit: Edit) -> tuple[_Position, _Position]:
    place = edit.place
    cell = -1 if place.cell is None else place.cell
    return (cell, place.line, place.column), (cell, place.end_line, place.end_column)


def change(path: str, diagnostics: Sequence[Diagnostic], data: bytes | None = None) -> Change:
    """Return what a file becomes; nothing is written.

    Args:
        path: The file, as findings name it.
        diagnostics: Those of its findings whose fixes are to be made.
        data: Its bytes, where they are not those on disk.

    Raises:
        FixError: It cannot be read, or would no longer be what it is but for the fixes.
    """
    try:
        source = load_source(Path(path), data)
    except SourceError as problem:
        raise FixError(problem.error.message) from problem
    digest = digest_of(source.data).hex()
    if any(diagnostic.fix is not None and diagnostic.fix.digest != digest for diagnostic in diagnostics):
        raise FixError("has changed since it was checked: left alone")
    edits = {
        edit for diagnostic in diagnostics if diagnostic.fix is not None for edit in diagnostic.fix.edits
    }
    texts = []
    for cell in source.cells:
        mine = [edit for edit in edits if edit.place.cell == cell.index]
        if mine:
            texts.append((cell, mine, edited(cell.original, mine)))
    if sum(len(mine) for _, mine, _ in texts) != len(edits):
        raise FixError("the fix is for code that is not there; please report this")
    for cell, _, after in texts:
        if cell.embedded:
            _check_blocks(source, after)
        else:
            _check_syntax(after if cell.index is None else replace_magics(after)[0])
    changed = (
        _notebook(source, [(cell, mine) for cell, mine, _ in texts])
        if Path(path).suffix.lower() == NOTEBOOK_SUFFIX
        else _file(source, texts[0][2])
    )
    told = tuple((cell.index, cell.original, after) for cell, _, after in texts)
    return Change(path, source.data, changed, tuple(diagnostics), told)


def _check_syntax(text: str) -> None:
    if not parses(text):
        raise FixError("would not parse any more; please report this")


def _check_blocks(source: SourceFile, after: str) -> None:
    """Refuse a text around code in which more than the code would change, or the code no longer be what it is.

    Raises:
        FixError: In one line.
    """
    now = load_source(source.path, after.encode("utf-8", "surrogatepass"))
    if now.left_out != source.left_out or _around(now) != _around(source):
        raise FixError("would change what stands around its code; please report this")
    _check_syntax(now.cells[0].text)


def _around(source: SourceFile) -> list[str]:
    """Return the lines of a text that hold no code."""
    (cell,) = source.cells
    return [line for line, code in zip(cell.lines, split_lines(cell.text), strict=True) if not code.strip()]


def _file(source: SourceFile, after: str) -> bytes:
    """Return a file's bytes with another text."""
    (cell,) = source.cells
    mark = codecs.BOM_UTF8 if source.data.startswith(codecs.BOM_UTF8) else b""
    encoding = "utf-8" if mark else source.encoding
    before = cell.original.encode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")
    if mark + before != source.data:
        raise FixError(f"cannot be written back as {encoding} byte for byte")
    try:
        return mark + after.encode(encoding)
    except UnicodeEncodeError as problem:
        raise FixError(f"the fix cannot be written as {encoding}") from problem


def _notebook(source: SourceFile, edits: Iterable[tuple[Cell, Sequence[Edit]]]) -> bytes:
    """Return a notebook's bytes with edits made in cells."""
    changes = {
        cell.index: _replacements(cell.original, mine) for cell, mine in edits if cell.index is not None
    }
    mark = codecs.BOM_UTF8 if source.data.startswith(codecs.BOM_UTF8) else b""
    try:
        return mark + rewritten(source.data.decode("utf-8-sig"), changes).encode()
    except NotebookError as problem:
        raise FixError(str(problem)) from problem


def parses(text: str) -> bool:
    """Whether Python takes a text."""
    try:
        with quiet():
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with edits made, which must not overlap; line breaks are those of the line that they stand on."""
    return replaced(text, _replacements(text, edits))


def _replacements(text: str, edits: Iterable[Edit]) -> list[Replacement]:
    lines = _LINE.findall(text)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    found = []
    for edit in sorted(edits, key=_span):
        place = edit.place
        start = starts[place.line - 1] + place.column - 1
        end = starts[place.end_line - 1] + place.end_column - 1
        # The last line may have no break of its own.
        ending = _break_of(lines[place.line - 1 : place.line]) or _break_of(lines[:1]) or "\n"
        found.append(Replacement(start, end, edit.content.replace("\n", ending)))
    return found


def _break_of(lines: Sequence[str]) -> str:
    return "".join(line[len(line.rstrip("\r\n")) :] for line in lines)


def write(change: Change) -> None:
    """Write a changed file: at once, with its mode, behind links where it is one.

    Raises:
        FixError: It is not what it was any more, or the system refuses.
    """
    target = Path(os.path.realpath(change.path))
    try:
        if target.read_bytes() != change.before:
            raise FixError("has changed since it was checked: left alone")
        write_whole(target, change.after)
    except OSError as problem:
        from decoderonly_checker.source.files import os_reason

        raise FixError(os_reason(problem)) from problem
