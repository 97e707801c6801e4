"""Markdown: the Python blocks of a file as one text, whose lines stay where they are.

Blocks are read in order and share their names, as the cells of a notebook do: tutorials go on from block to block.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import FileError
from decoderonly_checker.source.files import Cell, SourceError
from decoderonly_checker.source.notebook import replace_magics
from decoderonly_checker.source.syntax import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

_LANGUAGES = frozenset({"python", "py", "python3", "ipython", "ipython3"})
MISSING = "markdown-it-py reads Markdown, and is not installed: pip install 'pytest-decoderonly[markdown]'"


def read_markdown(data: bytes, shown: str) -> tuple[Cell, int]:
    """Return a file's Python blocks as one cell, and how many blocks were left out, as they are no Python.

    Raises:
        SourceError: Not UTF-8, or the parser is not installed.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        reason = f"is not utf-8: byte 0x{data[problem.start]:02x} cannot be decoded"
        raise SourceError(FileError(shown, reason, data.count(b"\n", 0, problem.start) + 1)) from problem
    # The parser counts lines as the rest of this does only where nothing else than these breaks them.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    code = [""] * len(lines)
    shifts: dict[int, int] = {}
    left_out = 0
    try:
        blocks = list(_blocks("\n".join(lines)))
    except ImportError as problem:
        raise SourceError(FileError(shown, MISSING)) from problem
    for begin, block in blocks:
        whole, _ = replace_magics("\n".join(block))
        if not _parses(whole):
            left_out += 1
            continue
        for number, line in enumerate(whole.split("\n"), start=begin):
            if not line.strip():
                continue  # nothing but the breaks of lines counts there
            code[number] = line
            # Where Markdown takes a part of a tab for indentation, the columns are counted from what stands behind it.
            at = lines[number].find(line.lstrip())
            if at >= 0:
                shifts[number + 1] = at - (len(line) - len(line.lstrip()))
    return Cell(
        None, "\n".join(code), text, shown, {n: by for n, by in shifts.items() if by}, embedded=True
    ), left_out


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of each Python block, without what indents or quotes it, and the 0-based number of the first."""
    if "```" not in text and "~~~" not in text:
        return
    from markdown_it import MarkdownIt  # few runs read Markdown

    for token in MarkdownIt("commonmark").parse(text):
        language = token.info.strip().strip("{}.").split(" ")[0].split("{")[0].split(",")[0].lower()
        if token.type == "fence" and token.map and language in _LANGUAGES:
            lines = token.content.split("\n")
            if token.content:
                yield token.map[0] + 1, lines if lines[-1] else lines[:-1]


def _parses(code: str) -> bool:
    try:
        with quiet():
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
