"""One self-contained page: no script, no address that is loaded, everything escaped."""

from __future__ import annotations

import functools
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.conformance.outcome import VERDICTS
from pytest_decoderonly.reporting import charts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Template

    from pytest_decoderonly.conformance.outcome import Outcome
    from pytest_decoderonly.reporting.run import Found, Run

SIGNS = {"passed": "✓", "failed": "✗", "not applicable": "-", "error": "!"}
_GRAVITY = ("not applicable", "passed", "error", "failed")
# What would move, hide or turn around the text of the page: controls, half a surrogate pair, marks of direction.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
    "|[\U000e0000-\U000e007f]"
)

# A row as assertions.report.draw makes it: a head, then one sign a position.
_ROW = re.compile(r"(row \S+\s+)([_=x|.]+)")
_SIGNS = re.compile(r"_+|=+|x+|\|+|\.+")
_KINDS = {"_": "padding", "=": "equal", "x": "wrong"}


@dataclass
class Cell:
    """All items of one check of one model."""

    check: str
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """The gravest verdict of the items."""
        return max((one.verdict for one in self.outcomes), key=_GRAVITY.index)

    @property
    def sign(self) -> str:
        """A sign that stands beside the verdict's words."""
        return SIGNS[self.verdict]

    @property
    def count(self) -> str:
        """How many items have that verdict, of how many; empty where there is one."""
        bad = sum(one.verdict == self.verdict for one in self.outcomes)
        total = len(self.outcomes)
        return "" if total == 1 else str(total) if bad == total else f"{bad}/{total}"


@dataclass
class Model:
    """All items of one model, by check."""

    name: str
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def outcomes(self) -> list[Outcome]:
        """The items in their order."""
        return [one for cell in self.cells.values() for one in cell.outcomes]

    @property
    def counts(self) -> Counter[str]:
        """How many items have which verdict."""
        return Counter(one.verdict for one in self.outcomes)

    @property
    def seconds(self) -> float:
        """What its items took, wall time."""
        return sum(one.seconds for one in self.outcomes)

    @property
    def where(self) -> str:
        """Devices and dtypes that it ran on."""
        found = dict.fromkeys(
            " on ".join(filter(None, (one.dtype, one.device)))
            for one in self.outcomes
            if one.device or one.dtype
        )
        return ", ".join(found)

    @property
    def specs(self) -> str:
        """How it was asked for."""
        return ", ".join(dict.fromkeys(one.spec for one in self.outcomes if one.spec))


def as_page(run: Run) -> str:
    """Return the page of a run as HTML text."""
    models = by_model(run.outcomes)
    counts = Counter(outcome.verdict for outcome in run.outcomes)
    return _template().render(
        run=run,
        models=models,
        checks=list(dict.fromkeys(outcome.check for outcome in run.outcomes)),
        counts=[(verdict, SIGNS[verdict], counts[verdict]) for verdict in VERDICTS if counts[verdict]],
        wrong=[
            (f"m{i}c{j}", model, cell)
            for i, model in enumerate(models)
            for j, cell in enumerate(model.cells.values())
            if cell.verdict in ("failed", "error")
        ],
        times=times(run.outcomes),
    )


@functools.cache
def _template() -> Template:
    from importlib import resources

    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pytest_decoderonly.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        charts=charts,
        signs=SIGNS,
        seconds=seconds_text,
        percent=lambda share: f"{100 * share:.2f}%",
        by_code=by_code,
        pieces=pieces,
        again=again,
        style=(resources.files("pytest_decoderonly.reporting") / "templates" / "style.css").read_text(
            "utf-8"
        ),
    )
    return environment.get_template("report.html.j2")


def by_model(outcomes: Sequence[Outcome]) -> list[Model]:
    """Group outcomes by model and check, each in the order in which it first came."""
    models: dict[str, Model] = {}
    for outcome in outcomes:
        model = models.setdefault(outcome.model, Model(outcome.model))
        model.cells.setdefault(outcome.check, Cell(outcome.check)).outcomes.append(outcome)
    return list(models.values())


def by_code(findings: Sequence[Found]) -> dict[str, list[Found]]:
    """Group findings by code, codes in order."""
    groups: dict[str, list[Found]] = {}
    for found in sorted(findings, key=lambda one: str(one.finding.get("code", ""))):
        groups.setdefault(str(found.finding.get("code", "?")), []).append(found)
    return groups


def times(outcomes: Sequence[Outcome]) -> list[tuple[str, float, float]]:
    """Return what each check took: name, seconds, share of all; the longest first."""
    spent: dict[str, float] = {}
    for outcome in outcomes:
        spent[outcome.check] = spent.get(outcome.check, 0.0) + outcome.seconds
    whole = sum(spent.values())
    if whole <= 0:
        return []
    longest = sorted(spent.items(), key=lambda one: one[1], reverse=True)
    return [(name, value, value / whole) for name, value in longest]


def again(outcome: Outcome) -> str:
    """Return the command that runs an item again."""
    given = [f"--decoderonly-model={outcome.spec}"] if outcome.spec else []
    return shlex.join(["pytest", "--decoderonly-checks", *given, outcome.item])


def pieces(line: str) -> list[tuple[str, str]]:
    """Split a drawn row into signs of one kind each, so that each can have a colour; other lines are one piece."""
    match = _ROW.fullmatch(line)
    if match is None:
        return [("", line)]
    head, signs = match.groups()
    return [("", head), *((_KINDS.get(run[0], ""), run) for run in _SIGNS.findall(signs))]


def seconds_text(value: float) -> str:
    """Return `0.03 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if value < 10:
        return f"{value:.2f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def visible(text: str) -> str:
    """Return text in which nothing is unseen: control characters and marks of direction become escapes."""
    return _UNSEEN.sub(lambda match: ascii(match.group())[1:-1], text.replace("\r\n", "\n"))


def _finalized(value: Any) -> Any:
    """Every value passes here on its way into the page, before it is escaped; markup was made by the template."""
    if value is None:
        return ""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return visible(value)
    return value
