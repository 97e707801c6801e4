"""The part of a file's bytes that is code: what the quick tests of whole projects look at."""

from __future__ import annotations

import re

_TRIPLE = rb"""\"\"\"[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*\"\"\"|'''[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'''"""
_REST = rb"""|("[^"\\\n]*(?:\\.[^"\\\n]*)*"|'[^'\\\n]*(?:\\.[^'\\\n]*)*')|#[^\n]*"""
# One scan over strings and comments, so that a quote in one does not open the other.
_NOT_CODE = re.compile(_TRIPLE + _REST, re.DOTALL)
# An f-string holds code; what stands in other triple quotes is documentation or text. Slower, and seldom needed.
_NOT_CODE_OR_FORMATTED = re.compile(rb"(?<![fFtT])(?<![fFtT][rR])(?:" + _TRIPLE + rb")" + _REST, re.DOTALL)
_SIGNS = (
    *(b'f"""', b"f'''", b'F"""', b"F'''", b't"""', b"t'''", b'T"""', b"T'''"),
    *(b'fr"""', b"fr'''", b'tr"""', b"tr'''", b'R"""', b"R'''", b'Fr"""', b"Fr'''"),
)


def code_of(data: bytes) -> bytes:
    """Return a module's bytes without its comments, what stands in triple quotes (but f-strings), and prose.

    Strings of one word stay: `getattr(model, "generate")` is code. Where quotes do not pair up, more is kept.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    formatted = any(sign in data for sign in _SIGNS)
    parts = (_NOT_CODE_OR_FORMATTED if formatted else _NOT_CODE).split(data)
    # Twice as fast as `sub`. Every second part is a string, or None for what is left out.
    for i in range(1, len(parts), 2):
        text = parts[i]
        if text is None:
            parts[i] = b""
        elif b" " in text and parts[i - 1][-1:] not in _PREFIXES:
            parts[i] = b'""'
    return b"".join(parts)


def code_lines(text: str) -> list[str]:
    """Return the lines of a module's text as `code_of` leaves them; there are as many as in the text."""

    def kept(match: re.Match[str]) -> str:
        found = match[1]
        if found is None:
            return "\n" * match[0].count("\n")
        return (
            '""' if " " in found and text[match.start() - 1 : match.start()] not in _TEXT_PREFIXES else found
        )

    pattern = _TEXT_NOT_CODE_OR_FORMATTED if any(sign.decode() in text for sign in _SIGNS) else _TEXT_NOT_CODE
    return pattern.sub(kept, text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")


_PREFIXES = frozenset((b"f", b"F", b"t", b"T", b"r", b"R"))
_TEXT_PREFIXES = frozenset(("f", "F", "t", "T", "r", "R"))
_TEXT_NOT_CODE = re.compile(_NOT_CODE.pattern.decode(), re.DOTALL)
_TEXT_NOT_CODE_OR_FORMATTED = re.compile(_NOT_CODE_OR_FORMATTED.pattern.decode(), re.DOTALL)
