"""Silencing findings in bulk: a comment with a reason behind each statement that has one."""

from __future__ import annotations

from dataclasses import replace
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

    from decoderonly_checker.diagnostics import Diagnostic
    from decoderonly_checker.source.files import SourceFile


def with_ignores(result: CheckResult, reason: str, known: Iterable[SourceFile] = ()) -> CheckResult:
    """Return a run's findings with fixes that silence them; those about comments have none.

    Args:
        result: What was found.
        reason: What the comments say: one line, without `#`.
        known: Files as they were checked, where that is not how they are on disk.
    """
    sources: dict[str, SourceFile] = {source.shown: source for source in known}
    edits: dict[tuple[str, int | None, int], Edit] = {}
    statements: dict[Diagnostic, tuple[str, int | None, int]] = {}
    for diagnostic in result.diagnostics:
        path, cell = diagnostic.place.path, diagnostic.place.cell
        if diagnostic.code not in findable():
            continue
        try:
            source = sources.get(path) or load_source(Path(path))
        except SourceError:  # changed under our hands
            continue
        sources[path] = source
        if source.cell(cell).embedded:
            continue
        first, _ = _statement(source.cell(cell).original, diagnostic.place.line)
        statements[diagnostic] = (path, cell, first)
    for key in dict.fromkeys(statements.values()):
        codes = sorted({one.code for one, statement in statements.items() if statement == key})
        edits[key] = _edit(sources[key[0]], key[1], key[2], codes, reason)
    found = []
    for diagnostic in result.diagnostics:
        fix = None
        if diagnostic in statements:
            key = statements[diagnostic]
            digest = digest_of(sources[key[0]].data).hex()
            fix = Fix("silence it", Applicability.SAFE, (edits[key],), digest)
        found.append(replace(diagnostic, fix=fix))
    return replace(result, diagnostics=tuple(found))


def _statement(text: str, line: int) -> tuple[int, int]:
    """Return the first and the last line of the logical line that a line belongs to."""
    lines = Lines(text)
    for logical in logical_lines(text):
        last = lines.line(max(logical.start, logical.end - 1))
        if last >= line:
            return lines.line(logical.start), last
    return line, line


def _edit(source: SourceFile, cell: int | None, first: int, codes: list[str], reason: str) -> Edit:
    text = source.cell(cell).original
    lines = Lines(text)
    written = ", ".join(codes)
    for directive in Suppressions.read(text).directives:
        if directive.first == first and directive.span and not directive.noqa and not directive.guard:
            at = directive.span[1]
            content = f"{'' if text[at - 1] == ',' else ','} {written}"
            break
    else:
        _, last = _statement(text, first)
        start = lines.start(last)
        at = start + len(source.cell(cell).lines[last - 1].rstrip())
        content = f"  # decoderonly: ignore[{written}] {reason}".rstrip()
    line = lines.line(at)
    column = at - lines.start(line) + 1
    return Edit(Place(source.shown, line, column, line, column, cell), content)
