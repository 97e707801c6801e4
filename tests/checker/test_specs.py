"""Runs the Markdown specifications in `specs/`.

Every heading with code blocks is one case. A block is a file, named in its first line (`# file: app/model.py`; `main.py` without
one). `# error: [DLM101]` at the end of a line says that this line is reported with that code; nothing else may be.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.runner import check_paths

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
    expected = set()
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            match = _EXPECTED.search(line)
            if match:
                expected |= {(name, number, code.strip()) for code in match[1].split(",")}
    result = check_paths([tmp_path], Settings())
    assert not result.errors
    assert {(d.place.path, d.place.line, d.code) for d in result.diagnostics} == expected


def test_every_specification_is_read() -> None:
    assert len(ALL) >= 40
    assert any("error:" in text for param in ALL for text in param.values[0].values())
