"""A finding of the guard, and how it reads: kind, where it happened, where the ids came from, the cure."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_decoderonly.runtime.frames import CallPlace

_SOURCE_WIDTH = 60
_PLACE_WIDTH = 48
_LABEL_WIDTH = 12


class DecoderOnlyWarning(UserWarning):
    """A finding of the guard in mode `warn`, or a fault of the guard itself."""


@dataclass(frozen=True)
class Step:
    """One event of the chain that led to the finding: a label, where, and what happened there."""

    label: str
    place: CallPlace | None
    text: str = ""


@dataclass
class Finding:
    """One mistake at one place.

    `steps` run backwards in time as in a sanitizer's report: where it showed, then where the ids came from.
    `rows` are pictures of offending rows. `count` says how often it happened at this place. A comment
    that silences it may stand at the place or at one of `also_at`.
    """

    code: str
    name: str
    severity: str
    message: str
    place: CallPlace | None
    steps: tuple[Step, ...]
    rows: tuple[tuple[str, str], ...]
    effect: str
    help: str
    count: int = 1
    also_at: tuple[CallPlace, ...] = field(default=(), compare=False)
    origin: str = field(default="", compare=False)

    @property
    def where(self) -> str:
        """The place in one phrase; the origin (a test's name) stands in where no frame was the user's."""
        return (
            str(self.place)
            if self.place is not None
            else (self.origin or "a thread without a frame of yours")
        )

    @property
    def summary(self) -> str:
        """One line for grep: code and place."""
        return f"{self.code} {self.where}"

    def __str__(self) -> str:
        title = "DecoderOnlyError" if self.severity == "error" else "DecoderOnlyWarning"
        lines = [f"{title}[{self.code}]: {self.message}"]
        widest = min(
            _PLACE_WIDTH, max((len(str(step.place)) for step in self.steps if step.place), default=0)
        )
        for step in self.steps:
            place = f"{step.place!s:<{widest}}   " if step.place else ""
            lines.append(_line(step.label, f"{place}{step.text}"))
        lines += [_line(label, picture) for label, picture in self.rows]
        if self.count > 1:
            lines.append(_line("seen", f"{self.count} times at this place"))
        lines += [_line("effect", self.effect), _line("help", self.help)]
        lines.append(f"SUMMARY: {self.summary}")
        return "\n".join(lines)


def warn(finding: Finding, fallback: tuple[str, int]) -> None:
    """Warn of a finding at its place, or at `fallback`, a path and a line, where it has none."""
    place = finding.place
    path, line = (place.path, place.line) if place is not None else fallback
    warning = DecoderOnlyWarning(str(finding))
    try:
        warnings.warn_explicit(warning, category=None, filename=path, lineno=line)
    except DecoderOnlyWarning:
        # Under `-W error` a hazard would end the test or the block; what is to end it is said by the guard's own modes.
        with warnings.catch_warnings():
            warnings.simplefilter("always", DecoderOnlyWarning)
            warnings.warn_explicit(warning, category=None, filename=path, lineno=line)


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL_WIDTH}}  {text}".rstrip()


def shorten(text: str, width: int) -> str:
    """Cut the middle out of a long text, so that its start and its end can be read."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def printable(text: str) -> str:
    """Escape what a terminal would obey: a model's or a user's text is data, not control."""
    return repr(text)[1:-1]


def plural(number: int, noun: str) -> str:
    """Return `1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def call_text(place: CallPlace | None) -> str:
    """Return the source line of a call, shortened; empty where there is none to show."""
    return shorten(place.source, _SOURCE_WIDTH) if place is not None else ""
