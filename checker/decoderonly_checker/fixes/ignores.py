"""Silencing findings in bulk: a comment with a reason behind each statement that has one."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.cache import digest_of
from decoderonly_checker.diagnostics import Applicability, CheckResult, Edit, Fix, Place
from decoderonly_checker.rules import findable
from decoderonly_checker.source.files import SourceError, load_source
from decoderonly_checker.source.scan import Lines, logical_lines
from decoderonly_checker.suppress import Suppressions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decoderonly_checker.source.files import SourceFile


class _Text:
    """The code of a file or cell: its statements, and the comments among them that silence."""

    def __init__(self, source: SourceFile, cell: int | None) -> None:
        self.source = source
        self.cell = cell
        self.embedded = source.cell(cell).embedded
        self._text = source.cell(cell).original
        self._lines = Lines(self._text)
        self._ends: list[int] = []  # the last line of each logical line, and
        self._begins: list[int] = []  # its first one
        for logical in logical_lines(self._text):
            self._begins.append(self._lines.line(logical.start))
            self._ends.append(self._lines.line(max(logical.start, logical.end - 1)))
        self._directives = {
            directive.first: directive
            for directive in reversed(Suppressions.read(self._text).directives)
            if directive.span and not directive.noqa and not directive.guard
        }

    def statement(self, line: int) -> tuple[int, int]:
        """Return the first and the last line of the logical line that a line belongs to."""
        at = bisect_left(self._ends, line)
        return (self._begins[at], self._ends[at]) if at < len(self._ends) else (line, line)

    def edit(self, first: int, codes: Iterable[str], reason: str) -> Edit:
        """Return the change that silences rules in the statement that begins on a line."""
        written = ", ".join(codes)
        directive = self._directives.get(first)
        if directive is not None and directive.span is not None:
            at = directive.span[1]
            content = f"{'' if self._text[at - 1] == ',' else ','} {written}"
        else:
            _, last = self.statement(first)
            start = self._lines.start(last)
            at = start + len(self._physical[last - 1].rstrip())
            content = f"  # decoderonly: ignore[{written}] {reason}".rstrip()
        line = self._lines.line(at)
        column = at - self._lines.start(line) + 1
        return Edit(Place(self.source.shown, line, column, line, column, self.cell), content)

    @cached_property
    def _physical(self) -> list[str]:
        return self.source.cell(self.cell).lines


def with_ignores(result: CheckResult, reason: str, known: Iterable[SourceFile] = ()) -> CheckResult:
    """Return a run's findings with fixes that silence them; those about comments have none.

    Args:
        result: What was found.
        reason: What the comments say: one line, without `#`.
        known: Files as they were checked, where that is not how they are on disk.
    """
    sources: dict[str, SourceFile] = {source.shown: source for source in known}
    texts: dict[tuple[str, int | None], _Text] = {}
    statements: dict[int, tuple[_Text, int]] = {}
    codes: dict[tuple[_Text, int], set[str]] = {}
    for number, diagnostic in enumerate(result.diagnostics):
        path, cell = diagnostic.place.path, diagnostic.place.cell
        if diagnostic.code not in findable():
            continue
        try:
            source = sources.get(path) or load_source(Path(path))
        except SourceError:  # changed under our hands
            continue
        sources[path] = source
        if (path, cell) not in texts:
            texts[path, cell] = _Text(source, cell)
        text = texts[path, cell]
        if not text.embedded:
            key = statements[number] = (text, text.statement(diagnostic.place.line)[0])
            codes.setdefault(key, set()).add(diagnostic.code)
    digests = {path: digest_of(source.data).hex() for path, source in sources.items()}
    edits = {key: key[0].edit(key[1], sorted(found), reason) for key, found in codes.items()}
    found = []
    for number, diagnostic in enumerate(result.diagnostics):
        fix = None
        if number in statements:
            edit = edits[statements[number]]
            fix = Fix("silence it", Applicability.SAFE, (edit,), digests[diagnostic.place.path])
        found.append(replace(diagnostic, fix=fix))
    return replace(result, diagnostics=tuple(found))
