"""What the checker says: plain data, known to rules, renderers and the pytest plugin alike.

Nothing here imports libcst, so that the plugin and the suppression reader can use it for free.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from decoderonly_checker.immutable import immutable

if TYPE_CHECKING:
    from collections.abc import Iterable


class Severity(str, enum.Enum):
    """How bad a finding is: `error`, the result is wrong; `warning`, wrong for some inputs."""

    ERROR = "error"
    WARNING = "warning"

    def __str__(self) -> str:
        return self.value


class Confidence(str, enum.Enum):
    """How much of the story the code itself shows. `possible` findings are hidden by default."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"

    def __str__(self) -> str:
        return self.value

    @property
    def rank(self) -> int:
        """2 for `certain` down to 0 for `possible`."""
        return {"certain": 2, "likely": 1, "possible": 0}[self.value]

    def at_most(self, other: Confidence) -> Confidence:
        """Return the weaker of the two."""
        return self if self.rank <= other.rank else other


@immutable
class Place:
    """A span of source text. Lines and columns are 1-based; the end is exclusive.

    In a notebook `cell` is the 0-based index among all cells and lines count within the cell.
    """

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    cell: int | None = None


@immutable
class Related:
    """A further place, in any file, with what it contributed to the finding."""

    place: Place
    message: str


class Applicability(str, enum.Enum):
    """Whether a fix may be applied without a look at it."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    DISPLAY = "display"

    def __str__(self) -> str:
        return self.value


@immutable
class Edit:
    """Replace the text of `place` by `content`."""

    place: Place
    content: str


@immutable
class Fix:
    """A change that cures a finding. `digest` is that of the file's bytes that the edits were made for."""

    message: str
    applicability: Applicability
    edits: tuple[Edit, ...]
    digest: str = ""


@immutable
class Diagnostic:
    """One finding.

    `message` says what is there, `effect` what it does to the result, `help` what to do.
    `related` is the chain of facts in program order, each at its own place.
    """

    code: str
    name: str
    severity: Severity
    confidence: Confidence
    place: Place
    message: str
    effect: str
    help: str
    label: str = ""
    related: tuple[Related, ...] = ()
    fix: Fix | None = None

    @property
    def sort_key(self) -> tuple[str, int, int, int, str]:
        """Source order: path, cell, line, column, code."""
        p = self.place
        return (p.path, -1 if p.cell is None else p.cell, p.line, p.column, self.code)


@immutable
class FileError:
    """A file, or a notebook cell, that could not be checked, and why, in one line."""

    path: str
    message: str
    line: int | None = None
    cell: int | None = None


@immutable
class Silenced:
    """A finding that is not shown, and what silences it: "comment" (`reason` as it says), "settings" or "baseline"."""

    diagnostic: Diagnostic
    by: str
    reason: str = ""


@immutable
class CheckResult:
    """What one run found.

    `checked` are the files that were analysed, `skipped` those that hold no language-model code;
    `suppressed` counts findings silenced by a comment or by settings, `hidden` those below the wanted confidence, `baselined`
    those of before; `gone` counts those of before that are no more. `hints` are for people, a line each. `silenced` are the
    findings that would show, were they not silenced by a comment or by settings, or of before.
    """

    diagnostics: tuple[Diagnostic, ...] = ()
    errors: tuple[FileError, ...] = ()
    checked: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    suppressed: int = 0
    hidden: int = 0
    baselined: int = 0
    gone: int = 0
    hints: tuple[str, ...] = ()
    silenced: tuple[Silenced, ...] = ()


def without_duplicates(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Return one finding for a code at a place, the surest, then the gravest, then the one that tells most; in source order."""
    best: dict[tuple[str, Place], Diagnostic] = {}
    for diagnostic in found:
        key = (diagnostic.code, diagnostic.place)
        if key not in best or _weight(diagnostic) > _weight(best[key]):
            best[key] = diagnostic
    return sorted(best.values(), key=lambda diagnostic: diagnostic.sort_key)


def _weight(diagnostic: Diagnostic) -> tuple[int, bool, int, str]:
    grave = diagnostic.severity is Severity.ERROR
    return (diagnostic.confidence.rank, grave, len(diagnostic.related), diagnostic.message)
