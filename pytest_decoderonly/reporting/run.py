"""What a report says: plain data, independent of pytest and of a format."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pytest_decoderonly.conformance.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERSION = 1
Catcher = Literal["static", "guard"]
CATCHERS: tuple[Catcher, ...] = ("static", "guard")


class ReportError(Exception):
    """A report that cannot be read or written; the message is one line that names it."""


@dataclass(frozen=True)
class Found:
    """A finding of the checker or of the guard.

    Attributes:
        catcher: Who found it.
        item: The id of the test or item in which it was found.
        finding: The finding itself, with the fields of the checker's JSON (docs/reference/json.md).
        text: The report that the terminal shows; empty for the guard's, whose test failed with it.
    """

    catcher: Catcher
    item: str
    finding: Mapping[str, Any]
    text: str = ""


@dataclass(frozen=True)
class Unchecked:
    """A file that could not be checked, and why."""

    path: str
    message: str
    line: int | None = None
    cell: int | None = None


@dataclass(frozen=True)
class Environment:
    """Where a run was made.

    Attributes:
        command: The command line, fit for a shell.
        python: Version of Python.
        platform: System and processor.
        packages: Versions by name of what is installed of the packages that matter.
        processes: How many processes took part.
        seed: The seed that another plugin set for this run, None where none did: the suite draws nothing at random.
    """

    command: str
    python: str
    platform: str
    packages: Mapping[str, str]
    processes: int = 1
    seed: int | None = None


@dataclass
class Run:
    """One run of pytest, or several merged into one.

    Attributes:
        started: Date and time (UTC, ISO 8601).
        seconds: Wall time.
        environments: Where it was made, one for each run that was merged.
        selected: How many items were to run; None where that is not known.
        ran: How many did.
        interrupted: Why the run ended before its end; empty where it did not.
        exit_status: The exit status of pytest, the worst of several.
        tests: How many of the project's own tests passed, failed and so on, by pytest's words.
        outcomes: What the items of the conformance suite found.
        findings: What the checker and the guard found.
        unchecked: Files that could not be checked.
    """

    started: str
    environments: list[Environment]
    seconds: float = 0.0
    selected: int | None = None
    ran: int = 0
    interrupted: str = ""
    exit_status: int = 0
    tests: Counter[str] = field(default_factory=Counter)
    outcomes: list[Outcome] = field(default_factory=list)
    findings: list[Found] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the run as JSON values, as `schema.json` describes them."""
        return {
            "version": VERSION,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "environments": [dataclasses.asdict(environment) for environment in self.environments],
            "items": {"selected": self.selected, "ran": self.ran},
            "interrupted": self.interrupted,
            "exit_status": self.exit_status,
            "tests": dict(sorted(self.tests.items())),
            "outcomes": [outcome.as_dict() for outcome in self.outcomes],
            "findings": [dataclasses.asdict(found) for found in self.findings],
            "unchecked": [dataclasses.asdict(one) for one in self.unchecked],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Run:
        """Return the run that `as_dict` made `data` of.

        Raises:
            ReportError: It is of another version, or no report.
        """
        version = data.get("version") if isinstance(data, dict) else None
        if version != VERSION:
            raise ReportError(f"version: expected {VERSION}, got {version!r}")
        try:
            return cls(
                started=data["started"],
                seconds=data["seconds"],
                environments=[Environment(**one) for one in data["environments"]],
                selected=data["items"]["selected"],
                ran=data["items"]["ran"],
                interrupted=data["interrupted"],
                exit_status=data["exit_status"],
                tests=Counter(data["tests"]),
                outcomes=[Outcome.from_dict(one) for one in data["outcomes"]],
                findings=[Found(**one) for one in data["findings"]],
                unchecked=[Unchecked(**one) for one in data["unchecked"]],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ReportError(f"is no report: {type(error).__name__}: {error}") from error


def merged(runs: Iterable[Run]) -> Run:
    """Return several runs as one: all that they found, the earliest start, the sum of their times.

    The same finding in two runs (one checker, two jobs) stands once.

    Raises:
        ValueError: There is none.
    """
    several = list(runs)
    if not several:
        raise ValueError("runs: must hold at least one")
    first = min(several, key=lambda run: run.started)
    whole = Run(started=first.started, environments=[])
    known: set[str] = set()
    for run in several:
        for environment in run.environments:
            if environment not in whole.environments:
                whole.environments.append(environment)
        whole.seconds += run.seconds
        whole.ran += run.ran
        whole.tests.update(run.tests)
        whole.exit_status = max(whole.exit_status, run.exit_status)
        whole.outcomes += run.outcomes
        for found in run.findings:
            if repr(found) not in known:
                known.add(repr(found))
                whole.findings.append(found)
        whole.unchecked += [one for one in run.unchecked if one not in whole.unchecked]
    if all(run.selected is not None for run in several):
        whole.selected = sum(run.selected or 0 for run in several)
    whole.interrupted = "; ".join(dict.fromkeys(run.interrupted for run in several if run.interrupted))
    return whole
