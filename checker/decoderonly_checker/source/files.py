"""Source files as the analysis sees them: cells of text whose trees are parsed on first use."""

from __future__ import annotations

import codecs
import os
import re
import tokenize
from dataclasses import field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import FileError
from decoderonly_checker.immutable import record
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.scan import split_lines

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Container, Mapping

    import libcst
    from libcst.metadata import CodeRange

    from decoderonly_checker.source.ancestors import Ancestors
    from decoderonly_checker.source.lazy import LazyTree

PYTHON_SUFFIXES = frozenset({".py", ".pyi", ".pyw"})
NOTEBOOK_SUFFIX = ".ipynb"
MARKDOWN_SUFFIXES = frozenset({".md", ".markdown", ".qmd", ".rmd"})
SUFFIXES = PYTHON_SUFFIXES | {NOTEBOOK_SUFFIX} | MARKDOWN_SUFFIXES

_LEADING_FORM_FEED = late_pattern(r"^[ \t]*\x0c[ \t\x0c]*", re.MULTILINE)


class SourceError(Exception):
    """A file that cannot be read at all; `error` says why in one line."""

    def __init__(self, error: FileError) -> None:
        """Wrap the one-line error."""
        super().__init__(f"{error.path}: {error.message}")
        self.error = error


class DifferenceError(Exception):
    """The tree that was made from Python's own, and libcst's tree of the same text, are not the same."""


@record
class Cell:
    """One piece of code: a whole `.py` file (`index` None) or one code cell of a notebook.

    Attributes:
        index: 0-based position among all cells of the notebook; None for a file.
        text: What is parsed. Same lines as `original`; magics and shell lines are replaced.
        original: What the user wrote, for excerpts.
        shown: The file's name in messages.
        shifts: Columns by which a line of `text` was moved left against `original`, by 1-based line.
        unused: Functions and classes of the top level that need not be parsed to begin with.
        optional: Perhaps in another language (an unknown cell magic): not parsing is no error.
        embedded: `original` is text with code in it: only `text` may be read as code.
        ranges: The spans of the nodes of `tree`, once somebody has asked for one.
        foreign: Whether nodes were made from Python's tree that do not fit libcst's: they belong to no tree any more, and
            what they gave must be found again.
    """

    index: int | None
    text: str
    original: str
    shown: str = ""
    shifts: Mapping[int, int] = field(default_factory=dict)
    optional: bool = False
    embedded: bool = False
    unused: Container[str] = ()
    ranges: Mapping[libcst.CSTNode, CodeRange] | None = field(default=None, repr=False)
    foreign: bool = field(default=False, repr=False)
    _known: ast.Module | None = field(default=None, repr=False)
    _parsed: bool = field(default=False, repr=False)
    _tree: libcst.Module | LazyTree | None = field(default=None, repr=False)
    _error: FileError | None = field(default=None, repr=False)

    def take_statements(self) -> ast.Module | None:
        """Return Python's own tree of the text, once (it is large); None where there is none."""
        self._parse()
        known, self._known = self._known, None
        return known

    @property
    def started(self) -> libcst.Module | None:
        """The tree as far as it is needed to begin with: functions may still lack their bodies (see `load`)."""
        self._parse()
        from decoderonly_checker.source.lazy import LazyTree

        return self._tree.root if isinstance(self._tree, LazyTree) else self._tree

    def load(self, node: libcst.FunctionDef | libcst.Lambda) -> None:
        """Make the body of a function of the tree, if it is not there yet. One that cannot be is said in `error`.

        Raises:
            DifferenceError: As `tree`.
        """
        self._grow(lambda tree: tree.load(node))

    @property
    def whole(self) -> libcst.Module | None:
        """The tree with all functions; it may look in another way than the text (see `tree`).

        Raises:
            DifferenceError: As `tree`.
        """
        self._grow(lambda tree: tree.whole())
        return self.started

    @property
    def tree(self) -> libcst.Module | None:
        """The whole tree, with places, whitespace and comments, parsed on first use; None where the text does not parse.

        Raises:
            DifferenceError: What was made before is not libcst's tree of the text. It is that from now on; see `foreign`.
        """
        self._grow(lambda tree: tree.complete())
        return self.started

    @property
    def dressed(self) -> bool:
        """Whether the nodes look like the text already: else they have no whitespace, and no redundant parentheses."""
        from decoderonly_checker.source.lazy import LazyTree

        return not isinstance(self._tree, LazyTree) or self._tree.dressed

    def code_of(self, node: libcst.CSTNode) -> str:
        """Return the code of a node of the tree, as it is written.

        Raises:
            DifferenceError: As `tree`.
        """
        import libcst

        from decoderonly_checker.source.lazy import LazyTree
        from decoderonly_checker.source.plain import says_all

        self._parse()
        if isinstance(self._tree, LazyTree) and isinstance(node, libcst.FunctionDef | libcst.Lambda):
            code = self._tree.code_of(node)
            if code:
                return code
        if not self.dressed and not says_all(node):
            _ = self.tree
        return libcst.Module([]).code_for_node(node)

    def _grow(self, work: Callable[[LazyTree], object]) -> None:
        self._parse()
        from decoderonly_checker.source.lazy import LazyTree

        tree = self._tree
        if not isinstance(tree, LazyTree):
            return
        try:
            self._refused(lambda: work(tree))
        except DifferenceError:
            self.plainly()
            raise

    def plainly(self) -> None:
        """Have libcst's parser make the tree, now or when it is needed."""
        if self.foreign:
            return
        self.foreign = True
        if self._parsed:
            from decoderonly_checker.source.parse import parse

            self._tree = self.ranges = None
            self.__dict__.pop("ancestors", None)
            self._refused(lambda: self._keep(parse(self.text)))

    @cached_property
    def ancestors(self) -> Ancestors | None:
        """What stands around the nodes of the tree; None where there is none."""
        from decoderonly_checker.source.ancestors import Ancestors

        return None if self.whole is None else Ancestors(self.whole)

    @property
    def error(self) -> FileError | None:
        """Why the text does not parse, as far as is known; parses what is outside of functions."""
        self._parse()
        return self._error

    @property
    def commented(self) -> str:
        """The code with its comments, line by line as the user wrote it where all of that is code."""
        return self.text if self.embedded else self.original

    @cached_property
    def lines(self) -> list[str]:
        """The original lines, without their breaks."""
        return split_lines(self.original)

    def _parse(self) -> None:
        if self._parsed:
            return
        self._parsed = True
        # They bring libcst, whose import takes longest: `benchmarks/checker_speed.py --part startup`.
        from decoderonly_checker.source.lazy import LazyTree
        from decoderonly_checker.source.parse import parse
        from decoderonly_checker.source.syntax import statements

        known = self._known = statements(self.text)
        self._refused(
            lambda: self._keep(
                parse(self.text) if known is None or self.foreign else LazyTree(self.text, known, self.unused)
            )
        )

    def _keep(self, tree: libcst.Module | LazyTree) -> None:
        self._tree = tree

    def _refused(self, work: Callable[[], object]) -> None:
        """Do some parsing, and keep why it failed."""
        from decoderonly_checker.source.parse import ParseError

        try:
            work()
        except ParseError as problem:
            if not self.optional:
                self._error = FileError(self.shown, problem.message, problem.line, self.index)


@record
class SourceFile:
    """A file under check.

    Attributes:
        path: Absolute path (of standard input: the path that it was said to have).
        shown: The name in messages: relative to the working directory where it is below it, POSIX separators.
        cells: Code cells in order; one for a `.py` file.
        encoding: How the bytes were decoded.
        data: The bytes as read.
        left_out: Python blocks of a Markdown file that do not parse, and were left out.
    """

    path: Path
    shown: str
    cells: list[Cell]
    encoding: str = "utf-8"
    data: bytes = field(default=b"", repr=False)
    left_out: int = 0

    @property
    def errors(self) -> list[FileError]:
        """The syntax errors of the cells; parses them."""
        return [cell.error for cell in self.cells if cell.error is not None]

    def cell(self, index: int | None) -> Cell:
        """The cell with a notebook index (None: the file itself).

        Raises:
            KeyError: There is no code cell with this index.
        """
        for cell in self.cells:
            if cell.index == index:
                return cell
        raise KeyError(index)


def shown_path(path: Path | str) -> str:
    """Name a path the way messages do: relative to the working directory if below it, with `/`."""
    absolute = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow symlinks and print another name
    if os.sep != "/":
        try:
            return Path(absolute).relative_to(Path.cwd()).as_posix()
        except ValueError:
            return Path(absolute).as_posix()
    here = os.getcwd()  # noqa: PTH109 - strings, as this runs for every file
    if absolute == here:
        return "."
    return absolute.removeprefix(here if here.endswith("/") else here + "/")


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        SourceError: It cannot be read; the message is one line.
    """
    try:
        return path.read_bytes()
    except OSError as problem:
        raise SourceError(FileError(shown_path(path), os_reason(problem))) from problem


def os_reason(problem: OSError) -> str:
    """Say in a few words why the system refused."""
    if isinstance(problem, FileNotFoundError):
        return "no such file or directory"
    if isinstance(problem, PermissionError):
        return "permission denied"
    if isinstance(problem, IsADirectoryError):
        return "is a directory, not a file"
    return (problem.strerror or str(problem) or type(problem).__name__).lower()


def load_source(path: Path, data: bytes | None = None) -> SourceFile:
    """Load a `.py`, `.pyi`, `.ipynb` or `.md` file; nothing is parsed yet.

    Args:
        path: The file. Its suffix decides how it is read; anything but notebooks and Markdown is read as Python.
        data: Its bytes, where they are at hand already or come from elsewhere (standard input).

    Raises:
        SourceError: The file cannot be read, is binary, is not in its encoding, or is broken JSON.
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - as in shown_path
    shown = shown_path(absolute)
    if data is None:
        data = read_bytes(absolute)
    if absolute.suffix.lower() == NOTEBOOK_SUFFIX:
        from decoderonly_checker.source.notebook import read_notebook  # most runs see no notebook

        return SourceFile(absolute, shown, read_notebook(data, shown), "utf-8", data)
    if absolute.suffix.lower() in MARKDOWN_SUFFIXES:
        from decoderonly_checker.source.markdown import read_markdown

        cell, left_out = read_markdown(data, shown)
        return SourceFile(absolute, shown, [cell], "utf-8", data, left_out)
    text, encoding = decode(data, shown)
    parsed, shifts = _without_form_feeds(text)
    return SourceFile(absolute, shown, [Cell(None, parsed, text, shown, shifts)], encoding, data)


def decode(data: bytes, shown: str) -> tuple[str, str]:
    """Decode Python source as Python does: byte order mark, then the PEP 263 cookie, then UTF-8.

    Raises:
        SourceError: A NUL byte, an unknown encoding, bytes that are not in the encoding.
    """
    nul = data.find(b"\0")
    if nul >= 0:
        reason = "is binary or UTF-16: it holds a NUL byte"
        raise SourceError(FileError(shown, reason, data.count(b"\n", 0, nul) + 1))
    try:
        # Python knows three kinds of line breaks, `readline` one.
        begin = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data
        encoding, _ = tokenize.detect_encoding(BytesIO(begin).readline)
    except SyntaxError as problem:
        # detect_encoding decodes the first two lines already, and then says little about where it failed.
        if "encoding problem" in str(problem):
            reason = "starts with a UTF-8 byte order mark, but its coding line names another encoding"
            raise SourceError(FileError(shown, reason, 1)) from problem
        if "invalid or missing encoding" not in str(problem):
            raise SourceError(FileError(shown, str(problem).split(" for ")[0], 1)) from problem
        encoding = "utf-8"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        byte = f"byte 0x{data[problem.start]:02x}"
        reason = f"is not {encoding}: {byte} cannot be decoded (declare the encoding, PEP 263)"
        raise SourceError(FileError(shown, reason, line)) from problem
    except (UnicodeError, LookupError, ValueError) as problem:
        raise SourceError(FileError(shown, f"cannot be decoded as {encoding}", 1)) from problem
    return text.removeprefix(codecs.BOM_UTF8.decode("utf-8")), encoding


def encode(text: str) -> bytes:
    """Return Python source as the bytes of its file: in the encoding that it declares, in UTF-8 where it cannot be."""
    data = text.encode("utf-8", "surrogatepass")
    if b"coding" not in data[:1000]:
        return data
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(data.replace(b"\r", b"\n")).readline)
        return data if encoding.startswith("utf-8") else text.encode(encoding)
    except (SyntaxError, UnicodeError, LookupError, ValueError):
        return data


def _without_form_feeds(text: str) -> tuple[str, dict[int, int]]:
    """Take form feeds out of indentation: Python counts columns anew behind one, and so does the parser."""
    if "\x0c" not in text:
        return text, {}
    lines: list[str] = []
    shifts: dict[int, int] = {}
    for number, line in enumerate(re.split(r"(?<=\n)|(?<=\r)(?!\n)", text), start=1):
        match = _LEADING_FORM_FEED.match(line)
        if match is None:
            lines.append(line)
            continue
        cut = match.group().rindex("\x0c") + 1
        lines.append(line[cut:])
        shifts[number] = cut
    return "".join(lines), shifts
