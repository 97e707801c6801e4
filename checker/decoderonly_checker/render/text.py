"""Text for people: the line of code, a caret under it, the facts that led there, what happens, what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Applicability, Severity
from decoderonly_checker.immutable import immutable
from decoderonly_checker.render.width import Layout, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from decoderonly_checker.diagnostics import CheckResult, Diagnostic, FileError, Place
    from decoderonly_checker.source.excerpts import Excerpts

_CODES = {"red": "31", "yellow": "33", "blue": "34", "cyan": "36", "green": "32", "bold": "1"}


@immutable
class _Mark:
    """Something to underline."""

    place: Place
    label: str
    primary: bool


class Text:
    """Draws findings."""

    def __init__(
        self, excerpts: Excerpts, *, color: bool = False, links: bool = False, width: int | None = None
    ) -> None:
        """Draw with lines from `excerpts`, in ANSI colours or none, with links or none, cut to `width` columns or not."""
        self._excerpts = excerpts
        self._color = color
        self._links = links
        self._width = width

    def full(self, diagnostic: Diagnostic) -> str:
        """The whole report of one finding, ending in a line break."""
        severity = self._severity(diagnostic)
        marks = [_Mark(diagnostic.place, diagnostic.label, primary=True)]
        marks += [_Mark(item.place, item.message, primary=False) for item in diagnostic.related]
        here = [mark for mark in marks if _file(mark.place) == _file(diagnostic.place)]
        elsewhere: dict[tuple[str, int | None], list[_Mark]] = {}
        for mark in marks:
            if _file(mark.place) != _file(diagnostic.place):
                elsewhere.setdefault(_file(mark.place), []).append(mark)
        gutter = max(2, *(len(str(mark.place.line)) for mark in marks))
        title = self._paint(f"{diagnostic.severity}[{diagnostic.code}]", severity, "bold")
        sure = "" if diagnostic.confidence.rank == 2 else f"  ({diagnostic.confidence})"
        lines = [f"{title}{self._paint(':', 'bold')} {self._paint(safe(diagnostic.message), 'bold')}{sure}"]
        lines += self._excerpt("-->", diagnostic.place, here, gutter, severity)
        for others in elsewhere.values():
            lines += self._excerpt(":::", others[0].place, others, gutter, severity)
        equals = self._paint("=", "blue", "bold")
        notes = self._notes(diagnostic)
        lines += [f"{' ' * gutter} {equals} {self._paint(key + ':', 'bold')} {value}" for key, value in notes]
        return "\n".join(lines) + "\n"

    def concise(self, diagnostic: Diagnostic) -> str:
        """One finding on one line, with the places in other files that led to it."""
        severity = self._paint(str(diagnostic.severity), self._severity(diagnostic), "bold")
        code = self._paint(diagnostic.code, self._severity(diagnostic), "bold")
        line = f"{self._location(diagnostic.place)}: {severity} {code} {safe(diagnostic.message)}"
        for item in diagnostic.related:
            if item.place.path != diagnostic.place.path:
                line += f" [{safe(item.message.split(';')[0])}: {safe(item.place.path)}:{item.place.line}]"
        return line + "\n"

    def _notes(self, diagnostic: Diagnostic) -> Iterable[tuple[str, str]]:
        if diagnostic.effect:
            yield "effect", safe(diagnostic.effect)
        if diagnostic.help:
            available = f" (fix available, {diagnostic.fix.applicability})" if diagnostic.fix else ""
            yield "help", safe(diagnostic.help) + available
        yield "see", f"decoderonly rule {diagnostic.code}"

    def _excerpt(
        self, arrow: str, place: Place, marks: Sequence[_Mark], gutter: int, severity: str
    ) -> list[str]:
        source = self._excerpts.lines(place.path, place.cell)
        bar = self._paint("|", "blue", "bold")
        empty = f"{' ' * gutter} {bar}"
        lines = [f"{' ' * gutter}{self._paint(arrow, 'blue', 'bold')} {self._location(place)}"]
        if arrow == "-->":
            lines.append(empty)
        before: int | None = None
        for number in sorted({mark.place.line for mark in marks}):
            if before is not None and number > before + 2:
                lines.append("...")
            before = number
            on_line = [mark for mark in marks if mark.place.line == number]
            on_line.sort(key=lambda mark: (not mark.primary, mark.place.column))
            if number > len(source):  # the file has changed since, or is gone: the places still tell
                lines += [f"{empty} {safe(m.label)} (line {number})" for m in on_line if m.label]
                continue
            lines += self._marked_line(source[number - 1], number, on_line, gutter, severity)
        lines.append(empty)
        return lines

    def _marked_line(
        self, line: str, number: int, marks: Sequence[_Mark], gutter: int, severity: str
    ) -> list[str]:
        bar = self._paint("|", "blue", "bold")
        code = line.rstrip()
        room = None if self._width is None else self._width - gutter - 3
        layout = Layout(code, marks[0].place.column - 1, room)
        lines = [f"{self._paint(f'{number:>{gutter}}', 'blue', 'bold')} {bar} {layout.text}".rstrip()]
        for mark in marks:
            end = mark.place.end_column - 1 if mark.place.end_line == number else len(code)
            before, size = layout.span(mark.place.column - 1, end)
            label = f" {safe(mark.label)}" if mark.label else ""
            drawn = ("^" if mark.primary else "-") * size + label
            styles = (severity, "bold") if mark.primary else ("blue",)
            lines.append(f"{' ' * gutter} {bar} {' ' * before}{self._paint(drawn, *styles)}")
        return lines

    def _location(self, place: Place) -> str:
        """The place, on terminals a link to its file (OSC 8), which those that know none leave out."""
        if not self._links:
            return location(place)
        from pathlib import Path

        return f"\x1b]8;;{Path(place.path).absolute().as_uri()}\x1b\\{location(place)}\x1b]8;;\x1b\\"

    def _severity(self, diagnostic: Diagnostic) -> str:
        return "red" if diagnostic.severity is Severity.ERROR else "yellow"

    def _paint(self, text: str, *styles: str) -> str:
        if not self._color or not text:
            return text
        return f"\x1b[{';'.join(_CODES[style] for style in styles)}m{text}\x1b[0m"


def _file(place: Place) -> tuple[str, int | None]:
    return (place.path, place.cell)


def location(place: Place) -> str:
    """`path:line:column`, for a notebook `path:cell N:line:column`, where the first cell is cell 1."""
    cell = "" if place.cell is None else f"cell {place.cell + 1}:"
    return f"{safe(place.path)}:{cell}{place.line}:{place.column}"


def error_line(error: FileError) -> str:
    """`error: path: reason`, for standard error."""
    cell = "" if error.cell is None else f"cell {error.cell + 1}:"
    line = "" if error.line is None else f"{error.line}:"
    where = f"{safe(error.path)}:{cell}{line}"
    return f"error: {where.rstrip(':')}: {safe(' '.join(error.message.split()))}"


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def fixed_line(cured: int, files: int) -> str:
    """How much was fixed."""
    return f"Fixed {count(cured, 'finding')} in {count(files, 'file')}." if cured else "Nothing was fixed."


def silenced_line(silenced: int, files: int, left: int) -> str:
    """How much was silenced by new comments."""
    text = (
        f"Silenced {count(silenced, 'finding')} in {count(files, 'file')}."
        if silenced
        else "Nothing to silence."
    )
    return text + (f" {count(left, 'finding')} about comments left." if left else "")


def fixable(result: CheckResult, fixing: bool) -> str:
    """How many fixes there are, to be put behind the summary; nothing for none.

    Args:
        result: What was found.
        fixing: The fixes that were asked for have been made.
    """
    kinds = [diagnostic.fix.applicability for diagnostic in result.diagnostics if diagnostic.fix is not None]
    safe, unsafe = kinds.count(Applicability.SAFE), kinds.count(Applicability.UNSAFE)
    if fixing:
        safe = 0  # it was refused, which is told as an error
    if safe:
        return f" {count(safe, 'fix', 'fixes')} with --fix" + (
            f", {unsafe} more with --unsafe-fixes." if unsafe else "."
        )
    return f" {count(unsafe, 'fix', 'fixes')} with --fix --unsafe-fixes." if unsafe else ""


def summary(result: CheckResult, changed_since: str | None = None) -> str:
    """The last line of a run: how much was found and looked at; an empty run says why it is empty.

    Args:
        result: What was found.
        changed_since: The revision, where only changed files were asked for.
    """
    looked = len(result.checked)
    passed = len(result.skipped)
    errors = sum(diagnostic.severity is Severity.ERROR for diagnostic in result.diagnostics)
    warnings = len(result.diagnostics) - errors
    files = len({diagnostic.place.path for diagnostic in result.diagnostics})
    skipped = f"{passed} skipped: no language-model calls"
    if errors or warnings:
        found = ", ".join(
            count(number, noun) for number, noun in ((errors, "error"), (warnings, "warning")) if number
        )
        checked = f"{count(looked, 'file')} checked" + (f", {skipped}" if passed else "")
        text = f"{found} in {count(files, 'file')} ({checked})."
    elif looked:
        text = f"No findings in {count(looked, 'file')}" + (f" ({skipped})." if passed else ".")
    elif passed:
        text = f"No language-model calls in {count(passed, 'file')}: nothing to check."
    elif result.errors:
        text = "Nothing was checked."
    elif changed_since is not None:
        text = f"No Python files or notebooks changed since {safe(changed_since)}: nothing to check."
    else:
        text = "No Python files or notebooks found: nothing to check."
    failed = len({error.path for error in result.errors})
    if failed:
        text += f" {count(failed, 'file')} could not be checked in full."
    if result.suppressed:
        text += f" {count(result.suppressed, 'finding')} silenced by comments or settings."
    if result.baselined:
        text += f" {count(result.baselined, 'finding')} of before in the baseline."
    if result.gone:
        text += f" {result.gone} of the baseline {'is' if result.gone == 1 else 'are'} gone: decoderonly baseline prune."
    if result.hidden:
        text += f" {count(result.hidden, 'finding')} of low confidence hidden (--confidence possible)."
    return text
