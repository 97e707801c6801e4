"""Reviewdog's diagnostic format: https://github.com/reviewdog/reviewdog/tree/master/proto/rdf. Its columns count bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from decoderonly_checker.render.places import byte_column, in_words

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import CheckResult, Diagnostic, Place
    from decoderonly_checker.source.excerpts import Excerpts


def render_rdjson(result: CheckResult, excerpts: Excerpts) -> str:
    """Write findings and errors as one `DiagnosticResult`, ASCII only, ending in a line break."""
    found = [_diagnostic(diagnostic, excerpts) for diagnostic in result.diagnostics]
    found += [
        {
            "message": error.message,
            "location": {
                "path": error.path,
                **({"range": {"start": {"line": error.line}}} if error.line and error.cell is None else {}),
            },
            "severity": "ERROR",
        }
        for error in result.errors
    ]
    return json.dumps({"source": {"name": "decoderonly"}, "diagnostics": found}, indent=2) + "\n"


def _diagnostic(diagnostic: Diagnostic, excerpts: Excerpts) -> dict[str, Any]:
    place = diagnostic.place
    lines = [
        diagnostic.message,
        *(
            f"{word}: {text}"
            for word, text in (("effect", diagnostic.effect), ("help", diagnostic.help))
            if text
        ),
    ]
    if place.cell is not None:
        lines[0] = f"{in_words(place)}: {lines[0]}"
    made: dict[str, Any] = {
        "message": "\n".join(lines),
        "location": _location(place, excerpts),
        "severity": str(diagnostic.severity).upper(),
        "code": {"value": diagnostic.code},
    }
    related = [
        {"message": item.message, "location": _location(item.place, excerpts)} for item in diagnostic.related
    ]
    if related:
        made["related_locations"] = related
    if diagnostic.fix is not None and place.cell is None:
        own = [edit for edit in diagnostic.fix.edits if edit.place.path == place.path]
        if len(own) == len(diagnostic.fix.edits):  # suggestions cannot reach into other files
            made["suggestions"] = [
                {"range": _range(edit.place, excerpts), "text": edit.content} for edit in own
            ]
    return made


def _location(place: Place, excerpts: Excerpts) -> dict[str, Any]:
    if place.cell is not None:  # lines of a cell are not those of the file
        return {"path": place.path}
    return {"path": place.path, "range": _range(place, excerpts)}


def _range(place: Place, excerpts: Excerpts) -> dict[str, Any]:
    lines = excerpts.lines(place.path, place.cell)
    return {
        "start": {"line": place.line, "column": byte_column(lines, place.line, place.column)},
        "end": {"line": place.end_line, "column": byte_column(lines, place.end_line, place.end_column)},
    }
