"""JSON: one list of objects, or an object a line. The keys are part of the interface: docs/reference/json.md describes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from decoderonly_checker.diagnostics import Diagnostic, Fix, Place


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Write findings as an indented JSON list, ASCII only, ending in a line break."""
    return json.dumps([as_object(diagnostic) for diagnostic in diagnostics], indent=2) + "\n"


def render_json_lines(diagnostics: Iterable[Diagnostic]) -> str:
    """Write findings as JSON objects, one a line, ASCII only."""
    return "".join(json.dumps(as_object(diagnostic)) + "\n" for diagnostic in diagnostics)


def as_object(diagnostic: Diagnostic) -> dict[str, Any]:
    """One finding as JSON values."""
    return {
        "code": diagnostic.code,
        "name": diagnostic.name,
        "severity": str(diagnostic.severity),
        "confidence": str(diagnostic.confidence),
        **_place(diagnostic.place),
        "message": diagnostic.message,
        "effect": diagnostic.effect,
        "help": diagnostic.help,
        "related": [{"message": item.message, **_place(item.place)} for item in diagnostic.related],
        "fix": None if diagnostic.fix is None else _fix(diagnostic.fix),
    }


def _place(place: Place) -> dict[str, Any]:
    return {
        "path": place.path,
        "cell": place.cell,
        "line": place.line,
        "column": place.column,
        "end_line": place.end_line,
        "end_column": place.end_column,
    }


def _fix(fix: Fix) -> dict[str, Any]:
    return {
        "message": fix.message,
        "applicability": str(fix.applicability),
        "edits": [{"content": edit.content, **_place(edit.place)} for edit in fix.edits],
    }
