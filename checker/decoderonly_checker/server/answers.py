"""From findings to what the protocol has for them: diagnostics, pages to hover over, code actions."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from lsprotocol import types

from decoderonly_checker.diagnostics import Applicability, Severity
from decoderonly_checker.fixes.apply import choose, edited, parses
from decoderonly_checker.fixes.run import is_wanted
from decoderonly_checker.render.page import page_of
from decoderonly_checker.render.places import in_words
from decoderonly_checker.rules import load
from decoderonly_checker.server.checks import absolute, ignore_of
from decoderonly_checker.server.documents import Document, Text, find_open
from decoderonly_checker.source.files import MARKDOWN_SUFFIXES, SourceError, load_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from decoderonly_checker.diagnostics import Diagnostic, Edit, FileError, Fix, Place
    from decoderonly_checker.server.checks import Checked
    from decoderonly_checker.server.documents import Opened

SOURCE = "decoderonly"
FIX_ALL = "source.fixAll.decoderonly"
_SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
}
_TOP = types.Range(types.Position(0, 0), types.Position(0, 0))


class Answers:
    """What there is to say of one file or notebook as it was at one time.

    Attributes:
        file: The file as it was.
        problem: Why there are no findings, if that is no merit of the code.
    """

    def __init__(
        self, checked: Checked, others: Sequence[Opened], counting: str, *, related: bool = True
    ) -> None:
        """Take what came out of a check.

        Args:
            checked: That.
            others: What else the editor shows.
            counting: How it counts characters.
            related: Whether it shows the places that led to a finding.
        """
        self.file = checked.file
        self.problem = checked.problem
        self._result = checked.result
        self._others = [one for one in others if one.uri != self.file.uri]
        self._counting = counting
        self._related = related
        self._elsewhere: dict[tuple[str, int | None], tuple[str, Text] | None] = {}

    @cached_property
    def by_document(self) -> dict[str, list[tuple[types.Diagnostic, Diagnostic | None]]]:
        """What to show in each document, and the finding that it is about (None: it could not be checked)."""
        shown: dict[str, list[tuple[types.Diagnostic, Diagnostic | None]]] = {
            uri: [] for uri in self.file.documents
        }
        for found in self._result.diagnostics:
            document = self.file.document_of(found.place.cell)
            if document is not None:
                shown[document.uri].append((self._diagnostic(found, document), found))
        for error in self._result.errors:
            document = self.file.document_of(error.cell)
            if document is not None:
                shown[document.uri].append((_error(error, document, self.file), None))
        return shown

    def _diagnostic(self, found: Diagnostic, document: Document) -> types.Diagnostic:
        lines = [found.message]
        if self.file.holds_json:
            lines = [f"{in_words(found.place)}: {found.message}"]
        lines += [
            f"{word}: {text}" for word, text in (("effect", found.effect), ("help", found.help)) if text
        ]
        related = None
        if self._related:
            related = [
                types.DiagnosticRelatedInformation(location, one.message)
                for one in found.related
                if (location := self._location(one.place)) is not None
            ]
        return types.Diagnostic(
            range=self._range(document, found.place),
            message="\n".join(lines),
            severity=_SEVERITIES[found.severity],
            code=found.code,
            source=SOURCE,
            related_information=related or None,
        )

    def _range(self, document: Document, place: Place) -> types.Range:
        return _TOP if self.file.holds_json else range_of(document.text, place)

    def _location(self, place: Place) -> types.Location | None:
        known = self._text_at(place)
        if known is None:
            return None
        uri, text = known
        is_text = place.cell is None or uri in self.file.documents
        return types.Location(uri, range_of(text, place) if is_text and not self.file.holds_json else _TOP)

    def _text_at(self, place: Place) -> tuple[str, Text] | None:
        """Return the document that holds a place, and its text: an open one, else the file on disk."""
        key = (place.path, place.cell)
        if key not in self._elsewhere:
            path = absolute(place.path)
            open_ = find_open([self.file, *self._others], path)
            document = None if open_ is None else open_.document_of(place.cell)
            if document is not None:
                self._elsewhere[key] = (document.uri, document.text)
            else:
                try:
                    text = load_source(path).cell(place.cell).original
                    self._elsewhere[key] = (path.as_uri(), Text(text, self._counting))
                except (SourceError, KeyError):
                    self._elsewhere[key] = None
        return self._elsewhere[key]

    def hover(self, uri: str, position: types.Position, *, markdown: bool = True) -> types.Hover | None:
        """Return the pages of the rules whose findings stand at a position."""
        at = (position.line, position.character)
        codes: dict[str, types.Range] = {}
        for shown, found in self.by_document.get(uri, ()):
            if found is not None and _begin(shown.range) <= at <= _end(shown.range):
                codes.setdefault(found.code, shown.range)
        if not codes:
            return None
        pages = "\n\n---\n\n".join(page_of(load(code)) for code in codes)
        kind = types.MarkupKind.Markdown if markdown else types.MarkupKind.PlainText
        return types.Hover(types.MarkupContent(kind, pages), next(iter(codes.values())))

    def actions(
        self, uri: str, span: types.Range, only: Sequence[str] | None, *, versioned: bool
    ) -> list[types.CodeAction]:
        """Return what can be done about the findings in a range.

        Args:
            uri: The document.
            span: The range.
            only: The kinds that are asked for; all but those that fix everything, if None.
            versioned: Whether the editor knows edits that belong to a version of a document.
        """
        made: list[types.CodeAction] = []
        if self.file.holds_json:
            return made  # its edits are those of cells
        if _asked(types.CodeActionKind.QuickFix.value, only):
            for shown, found in self.by_document.get(uri, ()):
                if found is not None and _touch(shown.range, span):
                    made += self._quick_fixes(shown, found, versioned=versioned)
        if _asked(FIX_ALL, only):
            edits = self._safe_edits(uri)
            if edits:
                made.append(
                    types.CodeAction(
                        "decoderonly: make all safe fixes",
                        FIX_ALL,
                        edit=self._workspace_edit(edits, versioned=versioned),
                    )
                )
        return made

    def _quick_fixes(
        self, shown: types.Diagnostic, found: Diagnostic, *, versioned: bool
    ) -> Iterator[types.CodeAction]:
        ignore = ignore_of(found, self.file.path, self.file.data())
        wanted: list[tuple[str, Fix, bool]] = []
        if found.fix is not None and found.fix.applicability is not Applicability.DISPLAY:
            safe = found.fix.applicability is Applicability.SAFE
            title = f"{found.code}: {found.fix.message}" + ("" if safe else " (unsafe: look at it)")
            wanted.append((title, found.fix, safe))
        if ignore is not None:
            wanted.append((f"{found.code}: silence it with a comment", ignore, False))
        for title, fix, preferred in wanted:
            edit = self._workspace_edit(fix.edits, versioned=versioned)
            if edit is not None:
                yield types.CodeAction(
                    title,
                    types.CodeActionKind.QuickFix,
                    diagnostics=[shown],
                    is_preferred=preferred or None,
                    edit=edit,
                )

    def _safe_edits(self, uri: str) -> list[Edit]:
        """Return the edits of the safe fixes that can be made together in a document."""
        here = [
            found
            for _, found in self.by_document.get(uri, ())
            if found is not None and is_wanted(found, unsafe=False)
        ]
        cell = self.file.cell_of(uri)
        own = [
            found
            for found in here
            if found.fix is not None
            and all(
                absolute(edit.place.path) == self.file.path and edit.place.cell == cell
                for edit in found.fix.edits
            )
        ]
        chosen = [found for every in choose(own).values() for found in every]
        return list(
            dict.fromkeys(edit for found in chosen if found.fix is not None for edit in found.fix.edits)
        )

    def _workspace_edit(self, edits: Iterable[Edit], *, versioned: bool) -> types.WorkspaceEdit | None:
        """Return edits as the editor takes them; None where the outcome would not be Python."""
        texts: dict[str, Text] = {}
        of_document: dict[str, list[Edit]] = {}
        for edit in edits:
            known = self._text_at(edit.place)
            if known is None:
                return None
            texts[known[0]] = known[1]
            of_document.setdefault(known[0], []).append(edit)
        changes: dict[str, list[types.TextEdit]] = {}
        for uri, own in of_document.items():
            text = texts[uri]
            place = own[0].place
            python = place.cell is None and absolute(place.path).suffix.lower() not in MARKDOWN_SUFFIXES
            if python and not parses(edited(text.content, own)):
                return None
            changes[uri] = [
                types.TextEdit(range_of(text, edit.place), edit.content.replace("\n", text.ending))
                for edit in own
            ]
        if not versioned:
            return types.WorkspaceEdit(changes=dict(changes))
        versions = {
            uri: one.version for each in (self.file, *self._others) for uri, one in each.documents.items()
        }
        return types.WorkspaceEdit(
            document_changes=[
                types.TextDocumentEdit(
                    types.OptionalVersionedTextDocumentIdentifier(uri, versions.get(uri)), made
                )
                for uri, made in changes.items()
            ]
        )


def range_of(text: Text, place: Place) -> types.Range:
    """Return a place as the editor counts."""
    return types.Range(
        types.Position(*text.position(place.line, place.column)),
        types.Position(*text.position(place.end_line, place.end_column)),
    )


def _error(error: FileError, document: Document, file: Opened) -> types.Diagnostic:
    """Return what says that a file, or a cell, could not be checked: what is not known is no mistake of the code."""
    span = _TOP
    if error.line is not None and not file.holds_json:
        line = document.text.line(error.line)
        end = document.text.position(error.line, len(line) + 1)
        span = types.Range(types.Position(error.line - 1, 0), types.Position(*end))
    return types.Diagnostic(
        range=span,
        message=f"not checked: {error.message}",
        severity=types.DiagnosticSeverity.Information,
        source=SOURCE,
    )


def _asked(kind: str, only: Sequence[str] | None) -> bool:
    """Whether a kind of action is asked for; a kind's beginning means all that it begins."""
    if only is None:
        return True
    return any(word in (kind, "") or kind.startswith(f"{word}.") for word in only)


def _begin(span: types.Range) -> tuple[int, int]:
    return span.start.line, span.start.character


def _end(span: types.Range) -> tuple[int, int]:
    return span.end.line, span.end.character


def _touch(one: types.Range, other: types.Range) -> bool:
    return _begin(one) <= _end(other) and _begin(other) <= _end(one)
