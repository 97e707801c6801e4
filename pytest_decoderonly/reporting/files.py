"""Where a report goes: which files, whether they can be written, and how."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING

from decoderonly_checker.source.files import os_reason
from decoderonly_checker.written import unwritable, write_whole

from pytest_decoderonly.reporting.run import ReportError, Run

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".html", ".json")
_INSTALL = "pip install 'pytest-decoderonly[report]'"


def problem_with(path: Path) -> str:
    """Say why no report can be written to a file, before the run begins; empty where one can."""
    if path.suffix not in SUFFIXES:
        return f"expected a file name that ends in {' or '.join(SUFFIXES)}"
    if path.suffix == ".html" and importlib.util.find_spec("jinja2") is None:
        return f"a page needs jinja2: {_INSTALL}"
    return unwritable(path)


def write(run: Run, path: Path) -> None:
    """Write a run's report, in the format that the file's suffix names; whole or not at all.

    Raises:
        ReportError: It cannot be written.
    """
    text = as_json(run) if path.suffix == ".json" else _as_page(run)
    try:
        write_whole(path, text.encode("utf-8"))
    except OSError as problem:
        raise ReportError(f"{path}: cannot be written: {os_reason(problem)}") from problem


def read(path: Path) -> Run:
    """Read a JSON report.

    Raises:
        ReportError: It cannot be read, or is none.
    """
    try:
        return Run.from_dict(json.loads(path.read_bytes()))
    except OSError as problem:
        raise ReportError(f"{path}: cannot be read: {os_reason(problem)}") from problem
    except (ValueError, RecursionError) as problem:
        raise ReportError(f"{path}: is not JSON: {problem}") from problem
    except ReportError as problem:
        raise ReportError(f"{path}: {problem}") from problem


def as_json(run: Run) -> str:
    """Return the run as indented JSON, ASCII only, ending in a line break."""
    return json.dumps(run.as_dict(), indent=1, allow_nan=False) + "\n"


def _as_page(run: Run) -> str:
    from pytest_decoderonly.reporting.html import as_page

    return as_page(run)
