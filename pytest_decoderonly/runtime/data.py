"""A finding of the guard as plain data: the fields of the checker's JSON, and what only a run knows.

docs/reference/json.md describes the fields.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_decoderonly.runtime.frames import CallPlace
    from pytest_decoderonly.runtime.report import Finding


def as_dict(finding: Finding) -> dict[str, Any]:
    """Return a finding as JSON values.

    The place's keys are None where no frame of the thread was the user's. `related` runs in program order; what has no
    place of its own (the tokenizer's settings) stands in the message of the step that it belongs to.
    """
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity,
        "confidence": "certain",  # it happened
        **_place(finding.place),
        "message": finding.message,
        "effect": finding.effect,
        "help": finding.help,
        "related": _related(finding),
        "fix": None,
        "count": finding.count,
        "test": finding.origin or None,
        "rows": [{"label": label, "text": text} for label, text in finding.rows],
    }


def write_json(findings: Iterable[dict[str, Any]], path: Path) -> None:
    """Write findings as an indented JSON list, ASCII only: the whole file or nothing of it.

    Raises:
        OSError: The file cannot be written.
    """
    from decoderonly_checker.written import write_whole

    write_whole(path, (json.dumps(list(findings), indent=2) + "\n").encode("ascii"))


def _place(place: CallPlace | None) -> dict[str, Any]:
    first, last = place.columns if place is not None else (None, None)
    return {
        "path": place.shown_path if place is not None else None,
        "cell": None,
        "line": place.line if place is not None else None,
        "column": first,
        "end_line": place.end_line if place is not None else None,
        "end_column": last,
    }


def _related(finding: Finding) -> list[dict[str, Any]]:
    found: list[tuple[CallPlace, list[str]]] = []
    for step in finding.steps:
        text = f"{step.label}: {step.text}" if step.text else step.label
        if step.place is not None:
            found.append((step.place, [text]))
        elif found:
            found[-1][1].append(text)
    if found and found[0][0] == finding.place and len(found[0][1]) == 1:
        del found[0]  # the finding itself
    return [{"message": "; ".join(texts), **_place(place)} for place, texts in found[::-1]]
