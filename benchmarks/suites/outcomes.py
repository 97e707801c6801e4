"""A pytest plugin that writes what became of each test, one JSON object a line, to the file in `SUITE_OUTCOMES`.

JUnit files lack what is needed here: the type of an error, and anything at all where the run was cut off.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

_VARYING = re.compile(r"0x[0-9a-f]+|/tmp/\S+|pytest-\d+|\d+(\.\d+)?(e[+-]?\d+)?")
_LONGEST = 300


def _write(line: dict[str, Any]) -> None:
    with Path(os.environ["SUITE_OUTCOMES"]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write what is not the passing of a setup or a teardown, and what the guard noted."""
    if report.when != "call" and report.passed:
        return
    crash = getattr(report.longrepr, "reprcrash", None)
    error = crash.message if crash is not None else str(report.longrepr or "")
    ours = "DecoderOnlyError[" in report.longreprtext
    lines = error.strip().splitlines()
    _write(
        {
            "id": report.nodeid,
            "when": report.when,
            "outcome": "xfail" if hasattr(report, "wasxfail") else report.outcome,
            "error": _VARYING.sub("#", lines[0] if lines else "")[:_LONGEST],
            "by_guard": ours and "Traceback" not in report.longreprtext.split("DecoderOnlyError[")[0],
            "found": sorted({text for name, text in report.user_properties if name == "decoderonly"}),
            "text": report.longreprtext if ours else "",
            "sections": [text for name, text in report.sections if name == "decoderonly"],
        }
    )


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write what could not be collected."""
    if report.failed:
        _write({"id": report.nodeid, "when": "collect", "outcome": "error", "error": "", "found": []})


def pytest_warning_recorded(warning_message: Any, nodeid: str) -> None:
    """Write the guard's warnings: hazards, and faults of its own."""
    if warning_message.category.__name__ == "DecoderOnlyWarning":
        _write({"id": nodeid, "when": "warning", "text": str(warning_message.message)})
