"""The comments of a file that silence findings: which they covered in a run, and what to say of those that covered none."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from decoderonly_checker.cache import digest_of
from decoderonly_checker.config import selects
from decoderonly_checker.diagnostics import Applicability, Edit, Fix, Place, Silenced
from decoderonly_checker.patterns import Patterns
from decoderonly_checker.ruff import hint_about_noqa
from decoderonly_checker.rules import codes, findable, load
from decoderonly_checker.rules.base import CommentRule
from decoderonly_checker.source.files import SourceError, SourceFile, load_source
from decoderonly_checker.source.scan import Lines
from decoderonly_checker.suppress import Suppressions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from decoderonly_checker.config import Settings
    from decoderonly_checker.diagnostics import Diagnostic
    from decoderonly_checker.source.files import Cell
    from decoderonly_checker.suppress import Directive


class Comments:
    """What silences findings in one file: its comments, and `per-file-ignores`.

    Attributes:
        settings: What governs the file.
        known: All rules: code -> name.
        findable: Those among them whose findings source code shows.
        judged: Those among these that ran.
    """

    def __init__(self, path: Path, settings: Settings, data: bytes | None) -> None:
        """Read the comments of a file.

        Args:
            path: The file.
            settings: What governs it.
            data: Its bytes, where they are not those on disk.
        """
        self.settings = settings
        self.known = codes()
        self._used: set[tuple[int | None, int, str]] = set()
        self._source: SourceFile | None = None
        try:
            self._source = load_source(path, data)
        except SourceError:  # changed under our hands
            cells = []
        else:
            cells = self._source.cells
        self._cells: dict[int | None, Cell] = {cell.index: cell for cell in cells}
        self._lines: dict[int | None, Lines] = {}
        self._read = {cell.index: Suppressions.read(cell.commented) for cell in cells}
        self._skip = any(read.skip_file for read in self._read.values())
        self._ignored = _ignored_here(path, settings.root, settings.per_file_ignores)

    def silenced(self, diagnostic: Diagnostic) -> Silenced | None:
        """Return by what a finding is silenced, and note it; None where it is not."""
        code, name, place = diagnostic.code, diagnostic.name, diagnostic.place
        found = self._read.get(place.cell)
        reasons: list[str] = []
        for directive in () if found is None else found.matches(code, place.line, name):
            reasons.append(directive.reason)
            for word in directive.codes or ("",):
                if not word or selects(word, code, name):
                    self._used.add((place.cell, directive.start, word))
        if self._skip:
            reasons += [directive.reason for _, directive in self.skips()]
        if reasons:
            return Silenced(diagnostic, "comment", next(filter(None, reasons), ""))
        return Silenced(diagnostic, "settings", "per-file-ignores") if self.ignores(code, name) else None

    def ignores(self, code: str, name: str) -> bool:
        """Whether settings silence a rule in this file."""
        return any(selects(word, code, name) for word in self._ignored)

    def hints(self) -> Iterator[str]:
        """Yield what people should know about comments of this file that did their work."""
        if self._source is None:
            return
        for cell, directive in self.directives():
            if directive.noqa and any(self.was_used(cell, directive, word) for word in directive.codes):
                hint = hint_about_noqa(self._source.path)
                if hint is not None:
                    yield hint
                return

    @cached_property
    def _digest(self) -> str:
        return "" if self._source is None else digest_of(self._source.data).hex()

    @property
    def judges_all(self) -> bool:
        """Whether no rule was left out."""
        return len(self.judged) == len(self.findable)

    @property
    def findable(self) -> Mapping[str, str]:  # noqa: D102 - an attribute, said above
        return findable()

    @cached_property
    def judged(self) -> frozenset[str]:  # noqa: D102 - an attribute, said above
        return frozenset(self.settings.enabled(self.known)) & self.findable.keys()

    @property
    def skips_file(self) -> bool:
        """Whether a comment leaves the whole file out."""
        return self._skip

    def directives(self) -> Iterator[tuple[int | None, Directive]]:
        """Yield the comments by cell, in source order, those that cover no statement among them."""
        for cell, read in self._read.items():
            every = (*read.directives, *read.dangling)
            yield from ((cell, one) for one in sorted(every, key=lambda one: one.start))

    def skips(self) -> Iterator[tuple[int | None, Directive]]:
        """Yield the comments that leave the whole file out."""
        for cell, read in self._read.items():
            yield from ((cell, one) for one in read.skips)

    def was_used(self, cell: int | None, directive: Directive, word: str) -> bool:
        """Whether a word of a comment ("": a comment without codes) silenced anything."""
        return (cell, directive.start, word) in self._used

    def place(self, cell: int | None, start: int, end: int) -> Place:
        """Return the place of some text of a cell, given by offsets."""
        one = self._cells[cell]
        lines = self._lines.get(cell)
        if lines is None:
            lines = self._lines[cell] = Lines(one.commented)
        moved = one.shifts if one.embedded else {}
        line, end_line = lines.line(start), lines.line(end)
        return Place(
            one.shown,
            line,
            start - lines.start(line) + 1 + moved.get(line, 0),
            end_line,
            end - lines.start(end_line) + 1 + moved.get(end_line, 0),
            cell,
        )

    def written(self, cell: int | None, start: int, end: int) -> str:
        """Return some text of a cell."""
        return self._cells[cell].commented[start:end]

    def without(self, cell: int | None, directive: Directive, words: set[str]) -> Fix | None:
        """Return the change that takes words out of a comment, and the comment away where none is left."""
        if self._cells[cell].embedded:
            return None
        text = self._cells[cell].original
        start, end, content = directive.start, directive.end, ""
        kept = []
        if directive.span is not None:
            written = [word.strip() for word in text[slice(*directive.span)].replace(",", " ").split()]
            kept = [word for word in written if word.upper() not in words]
        if [word for word in kept if word.upper() != "GUARD"] and directive.span is not None:
            (start, end), content = directive.span, ", ".join(kept)
        else:
            whole = text[directive.comment[0] : start].strip() == "" and end == directive.comment[1]
            if whole and directive.alone:
                while start > 0 and text[start - 1] not in "\r\n":
                    start -= 1
                end += len(text[end : end + 2]) if text[end : end + 2] == "\r\n" else len(text[end : end + 1])
            elif end == directive.comment[1]:
                while start > 0 and text[start - 1] in " \t":
                    start -= 1
        edit = Edit(self.place(cell, start, end), content)
        return Fix(
            "take the comment away" if not content else f"keep {content} alone",
            Applicability.SAFE,
            (edit,),
            self._digest,
        )


def findings_about(comments: Comments, *, complete: bool) -> Iterator[Diagnostic]:
    """Yield what there is to say of a file's comments.

    Args:
        comments: All findings of the file have been put to it.
        complete: The file was checked to its end: what was not found is not there.
    """
    enabled = set(comments.settings.enabled(comments.known))
    for code in sorted(enabled - comments.findable.keys()):
        rule = load(code)
        if isinstance(rule, CommentRule) and (complete or not rule.needs_findings):
            yield from rule.check_comments(comments)


def _ignored_here(path: Path, root: Path, ignores: Mapping[str, tuple[str, ...]]) -> list[str]:
    if not ignores:
        return []
    try:
        relative = path.relative_to(root).as_posix()
    except ValueError:
        relative = path.name
    return [
        code for pattern, codes in ignores.items() if Patterns([pattern]).covers(relative) for code in codes
    ]
