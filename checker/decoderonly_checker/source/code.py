"""The part of a file's bytes that is code: what the quick tests of whole projects look at."""

from __future__ import annotations

import re

_TRIPLE = rb"""\"\"\"[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*\"\"\"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"""
_REST = rb"""|("[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')|#[^\n]*"""
# An f-string holds code; what stands in other triple quotes is documentation or text. Slower, and seldom needed.
_UNFORMATTED = rb"(?<![fFtT])(?<![fFtT][rR])(?:" + _TRIPLE + b")"
# One scan over strings and comments, so that a quote in one does not open the other. Its last group is a short string.
_NOT_CODE = re.compile(_TRIPLE + _REST, re.DOTALL), re.compile(_UNFORMATTED + _REST, re.DOTALL)
# The first group is what stands in triple quotes.
_WITH_LINES = tuple(re.compile(b"(" + triple + b")" + _REST, re.DOTALL) for triple in (_TRIPLE, _UNFORMATTED))
_SIGNS = (
    *(b'f"""', b"f'''", b'F"""', b"F'''", b't"""', b"t'''", b'T"""', b"T'''"),
    *(b'fr"""', b"fr'''", b'tr"""', b"tr'''", b'R"""', b"R'''", b'Fr"""', b"Fr'''"),
)


_PREFIXES = frozenset((b"f", b"F", b"t", b"T", b"r", b"R"))


def code_of(data: bytes) -> bytes:
    """Return a module's bytes without its comments, what stands in triple quotes (but f-strings), and prose.

    Strings of one word stay: `getattr(model, "generate")` is code. Where quotes do not pair up, more is kept.
    """
    return _code(data)


def code_lines(text: str) -> list[str]:
    """Return the lines of a module's text as `code_of` leaves them; there are as many as in the text."""
    code = _code(text.encode("utf-8", "surrogatepass"), keep_lines=True)
    return code.decode("utf-8", "surrogatepass").split("\n")


def _code(data: bytes, *, keep_lines: bool = False) -> bytes:
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    pattern = (_WITH_LINES if keep_lines else _NOT_CODE)[any(sign in data for sign in _SIGNS)]
    # `sub` would call a function for each match. Between two pieces of code stand the groups of what is not code.
    parts = pattern.split(data)
    groups = pattern.groups
    for i in range(groups, len(parts), groups + 1):
        text = parts[i]
        if text is None:
            parts[i] = b""
        elif b" " in text and parts[i - groups][-1:] not in _PREFIXES:
            parts[i] = b'""' + b"\n" * text.count(b"\n") if keep_lines else b'""'
    if keep_lines:
        for i in range(1, len(parts), groups + 1):
            parts[i] = b"\n" * (parts[i] or b"").count(b"\n")
    return b"".join(parts)
