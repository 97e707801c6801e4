"""Jupyter notebooks: code cells as Python text whose lines stay where they are."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from decoderonly_checker.diagnostics import FileError
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.files import Cell, SourceError
from decoderonly_checker.source.scan import read_logical_line, split_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

# Cell magics whose body is Python of this notebook.
_PYTHON_MAGICS = frozenset(
    (
        *("capture", "debug", "heat", "lprun", "memit", "memray", "mprun", "prun"),
        *("pyinstrument", "scalene", "snakeviz", "time", "timeit", "wandb"),
    )
)
# Cell magics whose body is something else, or runs elsewhere, or is only written to a file.
_FOREIGN_MAGICS = frozenset(
    (
        *(
            "!",
            "R",
            "bash",
            "bigquery",
            "cmd",
            "cpp",
            "cython",
            "file",
            "fortran",
            "html",
            "HTML",
            "javascript",
        ),
        *(
            "js",
            "julia",
            "latex",
            "Latex",
            "markdown",
            "perl",
            "pypy",
            "python",
            "python2",
            "python3",
            "ruby",
        ),
        *(
            "script",
            "sh",
            "shell",
            "spark",
            "sql",
            "SVG",
            "svg",
            "sx",
            "system",
            "writefile",
            "writetemplate",
        ),
    )
)
# Line magics that run the Python statement behind them.
_STATEMENT_MAGIC = late_pattern(
    r"(?P<indent>[ \t]*)%(?:time|prun|memit|timeit)(?:[ \t]+-[a-zA-Z]+(?:[ \t]*\d+)?)*[ \t]+(?=[^\s-])"
)
_LINE_MAGIC = late_pattern(r"(?P<indent>[ \t]*)(?:[%!?,;/]|\?\?)")
# What IPython runs without a `%` too, unless a variable has that name ("automagic").
_AUTOMAGIC = late_pattern(
    r"(?P<indent>[ \t]*)(?:pip|conda|mamba|cd|ls|mkdir|rmdir|rm|mv|cp|cat)[ \t]+"
    r"(?:-[A-Za-z]+[ \t]+)?(?!(?:and|else|for|if|in|is|not|or)\b)(?:[A-Za-z_~]|\.\.|\./)"
)
_HELP = late_pattern(r"(?P<indent>[ \t]*)[%\w.*]+(?:\([^()\r\n]*\))?\?{1,2}[ \t]*(?:\#[^\r\n]*)?(?=\r|\n|\Z)")
_ASSIGNED = late_pattern(r"(?P<target>[ \t]*[\w.,* \t\[\]'\"()]+?=[ \t]*)(?:!|%(?=[a-zA-Z]))")
_PHYSICAL_LINE = late_pattern(r"(?:\\(?:\r\n|\r|\n)|[^\r\n])*(?:\r\n|\r|\n)?")
_CELL_MAGIC = late_pattern(r"\s*%%[ \t]*(?P<name>!|\w*)")


def read_notebook(data: bytes, shown: str) -> list[Cell]:
    """Return the Python cells of a notebook; none for a notebook in another language.

    Raises:
        SourceError: Not JSON, or JSON that is no notebook.
    """
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        reason = f"is not utf-8: byte 0x{data[problem.start]:02x} cannot be decoded"
        raise SourceError(FileError(shown, reason, data.count(b"\n", 0, problem.start) + 1)) from problem
    except json.JSONDecodeError as problem:
        what = f"broken JSON, {problem.msg.lower()}" if data.strip() else "it is empty"
        reason = f"is not a notebook: {what}"
        raise SourceError(FileError(shown, reason, problem.lineno)) from problem
    except RecursionError as problem:
        raise SourceError(FileError(shown, "is not a notebook: its JSON nests too deep")) from problem
    cells = _raw_cells(document)
    if cells is None:
        raise SourceError(FileError(shown, "is not a notebook: it has no list of cells"))
    if not _is_python(document):
        return []
    found: list[Cell] = []
    for index, raw in enumerate(cells):
        if not isinstance(raw, dict) or raw.get("cell_type") != "code" or not _is_python_cell(raw):
            continue
        source = raw.get("source", raw.get("input", ""))
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            reason = "is not a notebook: the source of a cell is not text"
            raise SourceError(FileError(shown, reason, cell=index))
        cell = _python_cell(index, source, shown)
        if cell is not None:
            found.append(cell)
    return found


def _raw_cells(document: Any) -> list[Any] | None:
    if not isinstance(document, dict):
        return None
    cells = document.get("cells")
    sheets = document.get("worksheets")
    if cells is None and isinstance(sheets, list):  # format 3, before 2015
        cells = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or ()]
    return cells if isinstance(cells, list) else None


def _is_python(document: dict[str, Any]) -> bool:
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return True
    for key, name in (("kernelspec", "language"), ("language_info", "name")):
        entry = metadata.get(key)
        language = entry.get(name) if isinstance(entry, dict) else None
        if isinstance(language, str):
            return language.lower() in {"python", "ipython", "python3", "mojo"}
    return True


def _is_python_cell(raw: dict[str, Any]) -> bool:
    metadata = raw.get("metadata")
    vscode = metadata.get("vscode") if isinstance(metadata, dict) else None
    language = vscode.get("languageId") if isinstance(vscode, dict) else None
    return language in (None, "python")


def _python_cell(index: int, source: str, shown: str) -> Cell | None:
    magic = _CELL_MAGIC.match(source)
    optional = False
    if magic is not None:
        name = magic.group("name")
        if name in _FOREIGN_MAGICS:
            return None
        optional = name not in _PYTHON_MAGICS
    text, shifts = replace_magics(source)
    return Cell(index, text, source, shown, shifts, optional)


def replace_magics(source: str) -> tuple[str, dict[int, int]]:
    """Replace what only IPython understands; the number of lines stays.

    `%magic`, `!shell`, `?help` become `pass`; `x = !ls` becomes `x = get_ipython()`, whose value nobody
    knows; `%time statement` becomes the statement, and the second result says by how many columns its line
    moved. A `%` inside a bracket or a string is left alone.
    """
    source, shifts = _without_leading_indent(source)
    parts: list[str] = []
    position = 0
    number = 1
    while position < len(source):
        end = position
        statement = _STATEMENT_MAGIC.match(source, position)
        assigned = _ASSIGNED.match(source, position)
        other = _first_match((_LINE_MAGIC, _HELP, _AUTOMAGIC), source, position)
        if statement is not None:
            end = read_logical_line(source, statement.end()).end
            parts.append(statement.group("indent") + source[statement.end() : end])
            moved = statement.end() - position - len(statement.group("indent"))
            shifts[number] = shifts.get(number, 0) + moved
        elif other is not None:
            end = _physical_end(source, position)
            parts.append(_filled(other.group("indent") + "pass", source[position:end]))
        elif assigned is not None:
            end = _physical_end(source, position)
            parts.append(_filled(assigned.group("target") + "get_ipython()", source[position:end]))
        else:
            end = read_logical_line(source, position).end
            parts.append(source[position:end])
        number += len(split_lines(source[position:end])) - 1
        position = end
    return "".join(parts), shifts


def _without_leading_indent(source: str) -> tuple[str, dict[int, int]]:
    """Take the first line's indentation from all lines, as IPython does."""
    indent = next(
        (line[: len(line) - len(line.lstrip())] for line in split_lines(source) if line.strip()), ""
    )
    if not indent:
        return source, {}
    shifts = {
        n: len(indent) for n, line in enumerate(split_lines(source), start=1) if line.startswith(indent)
    }
    return re.sub(rf"(?:(?<=\n)|(?<=\r)(?!\n)|\A){re.escape(indent)}", "", source), shifts


def _first_match(patterns: Iterable[re.Pattern[str]], source: str, position: int) -> re.Match[str] | None:
    return next(filter(None, (pattern.match(source, position) for pattern in patterns)), None)


def _physical_end(source: str, position: int) -> int:
    match = _PHYSICAL_LINE.match(source, position)
    return match.end() if match and match.end() > position else len(source)


def _filled(replacement: str, replaced: str) -> str:
    """The replacement and the line breaks of what it stands for."""
    return replacement + "".join(re.findall(r"\r\n|\r|\n", replaced))
