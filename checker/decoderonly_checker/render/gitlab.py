"""GitLab's Code Quality report: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.render.places import fingerprints, in_words

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import CheckResult, Diagnostic
    from decoderonly_checker.source.excerpts import Excerpts

_SEVERITIES = {Severity.ERROR: "major", Severity.WARNING: "minor"}


def render_gitlab(result: CheckResult, excerpts: Excerpts) -> str:
    """Write findings and errors as a JSON list, ASCII only, ending in a line break."""
    prints = fingerprints(result.diagnostics, excerpts)
    issues = [_issue(diagnostic, one) for diagnostic, one in zip(result.diagnostics, prints, strict=True)]
    issues += [
        {
            "description": error.message,
            "check_name": "decoderonly",
            "fingerprint": f"{error.path}: {error.message}",
            "severity": "blocker",
            "location": {"path": error.path, "lines": {"begin": error.line or 1}},
        }
        for error in result.errors
    ]
    return json.dumps(issues, indent=2) + "\n"


def _issue(diagnostic: Diagnostic, fingerprint: str) -> dict[str, Any]:
    place = diagnostic.place
    described = f"{diagnostic.message}; {diagnostic.help}" if diagnostic.help else diagnostic.message
    where: dict[str, Any] = {
        "positions": {
            "begin": {"line": place.line, "column": place.column},
            "end": {"line": place.end_line, "column": place.end_column},
        }
    }
    if place.cell is not None:  # lines of a cell are not those of the file
        described = f"{in_words(place)}: {described}"
        where = {"lines": {"begin": 1}}
    return {
        "description": f"{diagnostic.code}: {described}",
        "check_name": diagnostic.code,
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[diagnostic.severity],
        "location": {"path": place.path, **where},
    }
