"""The part of a file's bytes that is code: what the quick tests of whole projects look at."""

from __future__ import annotations

import codecs
import os.path
import re

from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.files import PYTHON_SUFFIXES, SUFFIXES

# What may follow the first character of a string or comment.
_TRIPLE = (
    rb"""(?<=")""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*\"\"\"|(?<=')''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"""
)
_SHORT = rb"""(?<=")[^"\\\n]*(?:\\.[^"\\\n]*)*"|(?<=')[^'\\\n]*(?:\\.[^'\\\n]*)*'"""
# What nothing closes is kept, to the end of the file or line: to look at it again from each quote within would take for ever.
_OPEN_TRIPLE = rb"""(?<=")"".*|(?<=')''.*"""
_OPEN_SHORT = rb"""[^\\\n]*(?:\\.[^\\\n]*)*\n?"""
# An f-string holds code; what stands in other triple quotes is documentation or text.
_UNFORMATTED = rb"""(?<![fFtT]["'])(?<![fFtT][rR]["'])(?:""" + _TRIPLE + b")"


def _pattern(gone: bytes, *kept: bytes) -> re.Pattern[bytes]:
    """One scan over strings and comments, so that a quote in one does not open the other.

    It begins with a set of characters, which `re` looks for without trying each alternative at each place.
    """
    strings = b"|".join((*kept, _OPEN_TRIPLE, _SHORT, _OPEN_SHORT))
    return late_pattern(rb"""["'#](?:(?<=#)[^\n]*|""" + gone + b"|(" + strings + b"))", re.DOTALL)


_NOT_CODE = _pattern(_TRIPLE), _pattern(_UNFORMATTED, _TRIPLE)
# The first group is what stands in triple quotes and is left out.
_WITH_LINES = _pattern(b"(" + _TRIPLE + b")"), _pattern(b"(" + _UNFORMATTED + b")", _TRIPLE)
# A string that holds no code, behind those that do. One that nothing closes ends with its line, so that it is read once.
_PLAIN = rb"""\"[^"\\\n]*(?:\\.[^"\\\n]*)*(\"?)|'[^'\\\n]*(?:\\.[^'\\\n]*)*('?)"""
_STRING = late_pattern(
    rb"""(\b(?:[fFtT][rR]?|[rR][fFtT])(?:\"{3}(?s:.*?)\"{3}|'{3}(?s:.*?)'{3}|""" + _PLAIN + rb"))|" + _PLAIN
)
# Quotes that may open an f-string, told by what stands before them: `re` is quick to look for what begins with a literal.
_SIGNS = tuple(
    late_pattern(quotes + rb"(?:(?<=[fFtTR]" + quotes + rb")|(?<=[fFtT]r" + quotes + b"))")
    for quotes in (b'"""', b"'''")
)
_COOKIE = late_pattern(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_OTHER_SUFFIXES = SUFFIXES - PYTHON_SUFFIXES
_PREFIXES = frozenset((b"f", b"F", b"t", b"T", b"r", b"R"))


def code_of(data: bytes) -> bytes:
    """Return a module's bytes without its comments, what stands in triple quotes (but f-strings), and prose.

    Strings of one word stay: `getattr(model, "generate")` is code. Where quotes do not pair up, more is kept.
    """
    return _code(data)


def code_of_file(data: bytes, name: str = "") -> bytes | None:
    """Return the code of a file as `code_of` does; None where the bytes do not show it.

    Args:
        data: The file's bytes.
        name: Its name, whose suffix says whether it is a notebook or Markdown.
    """
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - this runs for every file
    if suffix not in _OTHER_SUFFIXES:
        return code_of(data) if _words_are_ascii(data) else None
    from decoderonly_checker.source.files import NOTEBOOK_SUFFIX, SourceError

    try:
        if suffix == NOTEBOOK_SUFFIX:
            from decoderonly_checker.source.notebook import read_notebook  # most projects have none

            cells = read_notebook(data, "")
        else:
            from decoderonly_checker.source.markdown import read_markdown

            cells = [read_markdown(data, "")[0]]
    except SourceError:
        return None  # whoever reads it will say what is wrong
    return b"\n".join(code_of(cell.text.encode("utf-8", "surrogatepass")) for cell in cells)


def without_strings(code: bytes) -> bytes:
    """Return code without the strings that hold none; f-strings stay."""
    return _STRING.sub(_code_in_string, code)


def _code_in_string(match: re.Match[bytes]) -> bytes:
    closed = match[4] or match[5]
    return match[0] if match[1] or not closed else b""


def code_lines(text: str) -> list[str]:
    """Return the lines of a module's text as `code_of` leaves them; there are as many as in the text."""
    code = _code(text.encode("utf-8", "surrogatepass"), keep_lines=True)
    return code.decode("utf-8", "surrogatepass").split("\n")


def _code(data: bytes, *, keep_lines: bool = False) -> bytes:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    pattern = (_WITH_LINES if keep_lines else _NOT_CODE)[any(sign.search(data) for sign in _SIGNS)]
    whole = data.endswith(b"\n")
    # `sub` would call a function for each match. Between two pieces of code stand the groups of what is not code.
    parts = pattern.split(data if whole else data + b"\n")
    groups = pattern.groups
    for i in range(groups, len(parts), groups + 1):
        text = parts[i]
        if text is None:
            parts[i] = b""
        elif text.endswith(b"\n"):
            parts[i] = b'"' + text  # nothing closes it
        elif b" " in text and parts[i - groups][-1:] not in _PREFIXES:
            parts[i] = b'""' + b"\n" * text.count(b"\n") if keep_lines else b'""'
        else:
            parts[i] = text[-1:] + text  # the quote that opens it
    if keep_lines:
        for i in range(1, len(parts), groups + 1):
            parts[i] = b"\n" * (parts[i] or b"").count(b"\n")
    code = b"".join(parts)
    return code if whole else code[:-1]


def _words_are_ascii(data: bytes) -> bool:
    """Whether the declared encoding writes telling words as ASCII does (UTF-7 need not, for one)."""
    for line in data[:1000].split(b"\n", 2)[:2]:
        match = _COOKIE.match(line) if b"coding" in line else None
        if match is not None:
            try:
                name = codecs.lookup(match.group(1).decode("ascii")).name
                return name != "utf-7" and "generate".encode(name) == b"generate"
            except (LookupError, UnicodeError):
                return False
    return True
