"""SARIF 2.1.0, for code scanning. The one renderer that knows rules: the format carries their pages along.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html; of it, what code scanning shows:
https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from decoderonly_checker.diagnostics import Severity
from decoderonly_checker.render.places import fingerprints, in_words, uri_of

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import CheckResult, Diagnostic, FileError, Fix, Place, Silenced
    from decoderonly_checker.source.excerpts import Excerpts

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning"}
# What code scanning sorts alerts by; of 100 in SARIF's own `rank`.
_RANKS = {"certain": 90.0, "likely": 70.0, "possible": 30.0}


def render_sarif(result: CheckResult, excerpts: Excerpts) -> str:
    """Write a run as one SARIF log, ASCII only, ending in a line break; what `result.silenced` holds as suppressed results."""
    from decoderonly_checker.version import installed_version

    version = installed_version()
    silenced = {id(one.diagnostic): one for one in result.silenced}
    every = list(result.diagnostics)
    if silenced:
        every = sorted((*every, *(one.diagnostic for one in result.silenced)), key=lambda one: one.sort_key)
    codes = sorted({diagnostic.code for diagnostic in every})
    run = {
        "tool": {
            "driver": {
                "name": "decoderonly",
                **({"version": version} if version else {}),
                "rules": [_rule(code) for code in codes],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not result.errors,
                "toolExecutionNotifications": [_notification(error) for error in result.errors],
            }
        ],
        "results": [
            {
                **_result(diagnostic, codes.index(diagnostic.code), print_),
                **({"suppressions": _suppressions(silenced.get(id(diagnostic)))} if silenced else {}),
            }
            for diagnostic, print_ in zip(every, fingerprints(every, excerpts), strict=True)
        ],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _rule(code: str) -> dict[str, Any]:
    from decoderonly_checker.render.page import references_of
    from decoderonly_checker.rules import load

    rule = load(code)
    summary = rule.documentation.partition("\n")[0]
    page = f"{rule.documentation}\n\n{references_of(rule)}"
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": summary},
        "fullDescription": {"text": summary},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"tags": ["correctness", "language-models"]},
    }


def _result(diagnostic: Diagnostic, index: int, fingerprint: str) -> dict[str, Any]:
    lines = [
        diagnostic.message,
        *([f"Effect: {diagnostic.effect}"] if diagnostic.effect else []),
        *([f"Help: {diagnostic.help}"] if diagnostic.help else []),
    ]
    made: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": index,
        "level": _LEVELS[diagnostic.severity],
        "rank": _RANKS[str(diagnostic.confidence)],
        "message": {"text": "\n".join(lines)},
        "locations": [_location(diagnostic.place)],
        "partialFingerprints": {"decoderonly/v1": fingerprint},
        "properties": {"confidence": str(diagnostic.confidence)},
    }
    if diagnostic.related:
        steps = [(item.place, item.message) for item in diagnostic.related]
        made["relatedLocations"] = [
            {**_location(place), "id": number, "message": {"text": message}}
            for number, (place, message) in enumerate(steps)
        ]
        # The same as a path to walk along: it ends at the finding.
        steps.append((diagnostic.place, diagnostic.label or diagnostic.message))
        walk = [{"location": {**_location(place), "message": {"text": text}}} for place, text in steps]
        made["codeFlows"] = [{"threadFlows": [{"locations": walk}]}]
    if diagnostic.fix is not None and diagnostic.place.cell is None:
        made["fixes"] = [_fix(diagnostic.fix)]
    return made


def _suppressions(silenced: Silenced | None) -> list[dict[str, str]]:
    """Return what silences a result: in its own file, or elsewhere. An empty list says that it is known that nothing does."""
    if silenced is None:
        return []
    kind = "inSource" if silenced.by == "comment" else "external"
    return [{"kind": kind, **({"justification": silenced.reason} if silenced.reason else {})}]


def _location(place: Place) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": _artifact(place.path)}
    if place.cell is None:
        physical["region"] = _region(place)
        return {"physicalLocation": physical}
    # Lines of a notebook's cell are not those of the file: they are named, and no region is claimed.
    return {
        "physicalLocation": physical,
        "logicalLocations": [{"name": in_words(place), "kind": "member"}],
    }


def _artifact(path: str) -> dict[str, Any]:
    uri = uri_of(path)
    return {"uri": uri} if uri.startswith("file:") else {"uri": uri, "uriBaseId": "%SRCROOT%"}


def _region(place: Place) -> dict[str, int]:
    return {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
    }


def _fix(fix: Fix) -> dict[str, Any]:
    changes: dict[str, list[dict[str, Any]]] = {}
    for edit in fix.edits:
        changes.setdefault(edit.place.path, []).append(
            {"deletedRegion": _region(edit.place), "insertedContent": {"text": edit.content}}
        )
    return {
        "description": {"text": fix.message},
        "artifactChanges": [
            {"artifactLocation": _artifact(path), "replacements": replacements}
            for path, replacements in changes.items()
        ],
    }


def _notification(error: FileError) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": _artifact(error.path)}
    if error.line is not None and error.cell is None:
        location["region"] = {"startLine": error.line}
    return {
        "level": "error",
        "message": {"text": error.message},
        "locations": [{"physicalLocation": location}],
    }
