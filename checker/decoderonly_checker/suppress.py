"""Comments that silence: `# decoderonly: ignore[DLM101] reason`, `# noqa`, `# decoderonly: skip-file`.

Pure text, so that the runtime guard reads the same comments of a file that it never parses.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import replace
from typing import TYPE_CHECKING

from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.scan import Comment, Lines, logical_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_CODES = r"[A-Za-z][\w-]*(?:[ \t]*,[ \t]*[A-Za-z][\w-]*)*(?:[ \t]*,)?"
_IGNORE = late_pattern(
    r"\#[ \t]*decoderonly:[ \t]*ignore"
    rf"(?:[ \t]*\[[ \t]*(?P<codes>{_CODES})[ \t]*\]|(?![\w\[-]|[ \t]*\[))"
    r"(?P<reason>[^#]*)",
    re.IGNORECASE,
)
_SKIP_FILE = late_pattern(r"\#[ \t]*decoderonly:[ \t]*skip-file(?![\w-])(?P<reason>[^#]*)", re.IGNORECASE)
# As flake8 and ruff read it: codes are separated by commas or blanks and end where a word is no code.
_NOQA = late_pattern(
    r"\#[ \t]*noqa(?![\w-])"
    r"(?:[ \t]*:[ \t]*(?P<codes>[A-Z]+[0-9]+(?:(?:[ \t]+(?:,[ \t]*)?|,[ \t]*)[A-Z]+[0-9]+)*))?"
    r"(?P<reason>[^#]*)",
    re.IGNORECASE,
)
# Among the codes: the comment is there for the runtime guard, not for the checker.
_GUARD = "GUARD"


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
        guard: Whether it is there for the runtime guard alone (`ignore[DLM101, guard]`).
        start: Offset of its `#`.
        end: Offset behind its reason.
        span: Offsets of the codes as they are written; None where there are none.
        comment: Offsets of the comment that it stands in.
        alone: Whether that comment has a line of its own.
    """

    line: int
    first: int
    last: int
    codes: tuple[str, ...]
    reason: str = ""
    noqa: bool = False
    guard: bool = False
    start: int = 0
    end: int = 0
    span: tuple[int, int] | None = None
    comment: tuple[int, int] = (0, 0)
    alone: bool = False

    def means(self, code: str, name: str = "") -> bool:
        """Whether it silences a code (or the rule's name)."""
        return not self.codes or any(means(word, code, name) for word in self.codes)


def means(word: str, code: str, name: str) -> bool:
    """Whether a word of a comment, in upper case, means a rule: its code, the beginning of it, or its name."""
    return code.upper().startswith(word) or word == name.upper()


class Suppressions:
    """The directives of one text: a file, or one cell of a notebook.

    `dangling` are those with no statement to cover, `skips` those that skip the file.
    """

    def __init__(
        self,
        directives: list[Directive],
        skip_file: bool,
        dangling: Iterable[Directive] = (),
        skips: Iterable[Directive] = (),
    ) -> None:
        """Keep directives; `skip_file` silences the whole file (all cells of a notebook)."""
        self.directives = sorted(directives, key=lambda directive: directive.first)
        self.skip_file = skip_file
        self.dangling = tuple(dangling)
        self.skips = tuple(skips)
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
        dangling: list[Directive] = []
        skips: list[Directive] = []
        for logical in logical_lines(text):
            if logical.empty and not logical.comments:
                continue
            first = lines.line(logical.start)
            last = lines.line(max(logical.start, logical.end - 1))
            if not logical.empty:
                directives += [replace(one, first=first, last=last) for one in waiting]
                waiting = []
            for comment in logical.comments:
                for one, skip in _read(comment, lines.line(comment.start), first, last):
                    if skip:
                        skips.append(one)
                    elif not logical.empty:
                        directives.append(one)
                    else:
                        (dangling if one.noqa else waiting).append(one)
        return cls(directives, bool(skips), (*dangling, *waiting), skips)

    def covers(self, code: str, line: int, name: str = "", *, guard: bool = False) -> bool:
        """Whether a finding of `code` at a 1-based line is silenced; `guard`: one of the runtime guard."""
        return self.skip_file or next(self.matches(code, line, name, guard=guard), None) is not None

    def matches(self, code: str, line: int, name: str = "", *, guard: bool = False) -> Iterator[Directive]:
        """Yield the directives that silence a finding."""
        for index in range(bisect_right(self._firsts, line) - 1, -1, -1):
            directive = self.directives[index]
            if directive.first + self._reach < line:
                return
            if directive.last >= line and directive.means(code, name) and (guard or not directive.guard):
                yield directive


def _read(comment: Comment, line: int, first: int, last: int) -> Iterator[tuple[Directive, bool]]:
    """Yield what a comment says, and whether that is to skip the file."""
    span = (comment.start, comment.start + len(comment.text))
    patterns = [(_IGNORE, False, False), (_NOQA, True, False)]
    if comment.alone:
        patterns.append((_SKIP_FILE, False, True))
    for pattern, noqa, skip in patterns:
        for match in pattern.finditer(comment.text):
            if skip and match.start() > 0:
                continue
            written = None if skip else match["codes"]
            codes = _codes(written)
            one = Directive(
                line,
                first,
                last,
                tuple(code for code in codes if code != _GUARD),
                match["reason"].strip(),
                noqa,
                _GUARD in codes,
                comment.start + match.start(),
                comment.start + match.end(),
                None
                if written is None
                else (comment.start + match.start("codes"), comment.start + match.end("codes")),
                span,
                comment.alone,
            )
            yield one, skip


def _codes(text: str | None) -> tuple[str, ...]:
    return tuple(code.upper() for code in re.split(r"[,\s]+", text or "") if code)
