"""Runs the Markdown specifications in `specs/`.

Every heading with code blocks is one case. A block is a file, named in its first line (`# file: app/model.py`; `main.py` without
one). `# error: [DLM101]` at the end of a line says that this line is reported with that code; nothing else may be.
A file named `.ipynb` is a notebook, whose cells begin at lines of `# %%`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.runner import check_paths

if TYPE_CHECKING:
    from decoderonly_checker.diagnostics import Diagnostic

Spot = tuple[str, int | None, int, str]  # file, cell, line, code

SPECS = Path(__file__).with_name("specs")
_HEADING = re.compile(r"^(#{1,6})\s+(.*)$")
_EXPECTED = re.compile(r"#\s*error:\s*\[(DLM\d{3}(?:,\s*DLM\d{3})*)\]")
_FILE = re.compile(r"^#\s*file:\s*(\S+)\s*$")


def cases(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Return the cases of one specification: title, and text by file name."""
    found: list[tuple[str, dict[str, str]]] = []
    title, files, block = "", {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        heading = _HEADING.match(line) if block is None else None
        if heading:
            if files:
                found.append((title, files))
            title, files = heading[2], {}
        elif line.startswith("```python"):
            block = []
        elif line.startswith("```") and block is not None:
            name = _FILE.match(block[0]) if block else None
            files[name[1] if name else "main.py"] = "\n".join(block) + "\n"
            block = None
        elif block is not None:
            block.append(line)
    if files:
        found.append((title, files))
    return found


def write(files: dict[str, str], root: Path) -> set[Spot]:
    """Write the files of a case below `root` and return what must be reported in them."""
    expected: set[Spot] = set()
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = re.split(r"(?m)^# %%\n", text)[1:] if path.suffix == ".ipynb" else None
        path.write_text(text if cells is None else notebook(cells), encoding="utf-8")
        for cell, part in enumerate([text] if cells is None else cells):
            for number, line in enumerate(part.splitlines(), 1):
                match = _EXPECTED.search(line)
                codes = match[1].split(",") if match else ()
                expected |= {(name, None if cells is None else cell, number, code.strip()) for code in codes}
    return expected


def notebook(cells: list[str]) -> str:
    """Return a notebook of code cells."""
    made = [
        {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
        for cell in cells
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def spot(diagnostic: Diagnostic) -> Spot:
    """Return where a diagnostic points, in the form of `write`."""
    place = diagnostic.place
    return place.path, place.cell, place.line, diagnostic.code


ALL = [
    pytest.param(files, id=f"{path.stem}: {title}")
    for path in sorted(SPECS.glob("*.md"))
    for title, files in cases(path)
]


@pytest.mark.parametrize("files", ALL)
def test_reports_exactly_the_marked_lines(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = write(files, tmp_path)
    result = check_paths([tmp_path], Settings())
    assert not result.errors
    assert {spot(d) for d in result.diagnostics} == expected


def test_every_specification_is_read() -> None:
    assert len(ALL) >= 40
    assert any("error:" in text for param in ALL for text in param.values[0].values())
