"""Comments that silence: `# decoderonly: ignore[DLM101] reason`, `# noqa`, `# decoderonly: skip-file`.

Pure text, so that the runtime guard reads the same comments of a file that it never parses.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from decoderonly_checker.immutable import immutable
from decoderonly_checker.source.scan import Lines, logical_lines

_CODES = r"[A-Za-z][\w-]*(?:[ \t]*,[ \t]*[A-Za-z][\w-]*)*(?:[ \t]*,)?"
_IGNORE = re.compile(
    r"\#[ \t]*decoderonly:[ \t]*ignore"
    rf"(?:[ \t]*\[[ \t]*(?P<codes>{_CODES})[ \t]*\]|(?![\w\[-]|[ \t]*\[))"
    r"(?P<reason>[^#]*)",
    re.IGNORECASE,
)
_SKIP_FILE = re.compile(r"\#[ \t]*decoderonly:[ \t]*skip-file(?![\w-])(?P<reason>[^#]*)", re.IGNORECASE)
# As flake8 and ruff read it: codes are separated by commas or blanks and end where a word is no code.
_NOQA = re.compile(
    r"\#[ \t]*noqa(?![\w-])"
    r"(?:[ \t]*:[ \t]*(?P<codes>[A-Z]+[0-9]+(?:(?:[ \t]+(?:,[ \t]*)?|,[ \t]*)[A-Z]+[0-9]+)*))?"
    r"(?P<reason>[^#]*)",
    re.IGNORECASE,
)


@immutable
class Directive:
    """One comment that silences.

    Attributes:
        line: 1-based line of the comment.
        first: First line that it covers.
        last: Last line that it covers.
        codes: Codes, prefixes or names, in upper case; empty for all.
        reason: What stands behind it.
        noqa: Whether it is a `# noqa`.
    """

    line: int
    first: int
    last: int
    codes: tuple[str, ...]
    reason: str = ""
    noqa: bool = False

    def means(self, code: str, name: str = "") -> bool:
        """Whether it silences a code (or the rule's name)."""
        return not self.codes or any(code.upper().startswith(c) or c == name.upper() for c in self.codes)


class Suppressions:
    """The directives of one text: a file, or one cell of a notebook."""

    def __init__(self, directives: list[Directive], skip_file: bool) -> None:
        """Keep directives; `skip_file` silences the whole file (all cells of a notebook)."""
        self.directives = sorted(directives, key=lambda directive: directive.first)
        self.skip_file = skip_file
        self._firsts = [directive.first for directive in self.directives]
        self._reach = max((directive.last - directive.first for directive in directives), default=0)

    @classmethod
    def read(cls, text: str) -> Suppressions:
        """Read the comments of a text. Never fails, whatever the text.

        A comment behind code covers the whole logical line that it stands in; one that stands alone covers
        the next logical line, whatever comments and blank lines stand between. `# noqa` alone covers nothing.
        """
        if "decoderonly:" not in text.lower() and "noqa" not in text.lower():
            return cls([], skip_file=False)
        lines = Lines(text)
        directives: list[Directive] = []
        waiting: list[Directive] = []
        skip = False
        for logical in logical_lines(text):
            if logical.empty and not logical.comments:
                continue
            first = lines.line(logical.start)
            last = lines.line(max(logical.start, logical.end - 1))
            if not logical.empty:
                directives += [Directive(w.line, first, last, w.codes, w.reason) for w in waiting]
                waiting = []
            for comment in logical.comments:
                line = lines.line(comment.start)
                skip = skip or (comment.alone and _SKIP_FILE.match(comment.text) is not None)
                for noqa, pattern in ((False, _IGNORE), (True, _NOQA)):
                    for match in pattern.finditer(comment.text):
                        codes, reason = _codes(match["codes"]), match["reason"].strip()
                        directive = Directive(line, first, last, codes, reason, noqa)
                        if not logical.empty:
                            directives.append(directive)
                        elif not noqa:
                            waiting.append(directive)
        return cls(directives, skip)

    def covers(self, code: str, line: int, name: str = "") -> bool:
        """Whether a finding of `code` at a 1-based line is silenced."""
        return self.skip_file or self.match(code, line, name) is not None

    def match(self, code: str, line: int, name: str = "") -> Directive | None:
        """The directive that silences a finding, if one does."""
        for index in range(bisect_right(self._firsts, line) - 1, -1, -1):
            directive = self.directives[index]
            if directive.first + self._reach < line:
                return None
            if directive.last >= line and directive.means(code, name):
                return directive
        return None


def _codes(text: str | None) -> tuple[str, ...]:
    return tuple(code.upper() for code in re.split(r"[,\s]+", text or "") if code)
