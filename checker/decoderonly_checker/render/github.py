"""Annotations of GitHub Actions: commands on standard output.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.render.places import in_words
from decoderonly_checker.render.width import safe

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import CheckResult, Diagnostic, FileError

_SHOWN = 10  # https://github.com/orgs/community/discussions/26680


def render_github(result: CheckResult) -> str:
    """Write errors, then warnings, a command a line: of each kind GitHub shows the first ten of a step, and this says so."""
    found = sorted(result.diagnostics, key=lambda one: one.severity is not Severity.ERROR)
    lines = [_finding(diagnostic) for diagnostic in found if diagnostic.severity is Severity.ERROR]
    lines += [_error(error) for error in result.errors]
    more = max(0, len(lines) - _SHOWN)
    warnings = [_finding(diagnostic) for diagnostic in found if diagnostic.severity is not Severity.ERROR]
    more += max(0, len(warnings) - _SHOWN)
    lines += warnings
    if more:
        said = f"{len(lines)} in all, and {more} of them without an annotation: the log of this step has them all."
        lines.append(_command("notice", {"title": "decoderonly"}, said))
    return "".join(line + "\n" for line in lines)


def _finding(diagnostic: Diagnostic) -> str:
    place = diagnostic.place
    where = {"file": place.path}
    message = safe(diagnostic.message)
    if place.cell is None:
        where |= {"line": str(place.line), "endLine": str(place.end_line)}
        if place.line == place.end_line:  # columns are refused otherwise
            where |= {"col": str(place.column), "endColumn": str(place.end_column)}
    else:
        message = f"{in_words(place)}: {message}"
    lines = [
        message,
        *(
            f"{word}: {safe(text)}"
            for word, text in (("effect", diagnostic.effect), ("help", diagnostic.help))
            if text
        ),
    ]
    title = f"{diagnostic.code} {diagnostic.name}"
    return _command(str(diagnostic.severity), {"title": title, **where}, "\n".join(lines))


def _error(error: FileError) -> str:
    where = {"file": error.path}
    if error.line is not None and error.cell is None:
        where["line"] = str(error.line)
    return _command("error", {"title": "decoderonly", **where}, safe(error.message))


def _command(level: str, properties: dict[str, str], message: str) -> str:
    listed = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{level} {listed}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
