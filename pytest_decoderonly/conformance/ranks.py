"""Several processes that hold one model together, as `torchrun` starts them: the first reports, the others follow."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.conformance.outcome import Outcome, Verdict

_NAME = "decoderonly-ranks"
_WRONG: tuple[Verdict, ...] = ("failed", "error")


def rank() -> int:
    """Return which process this is, 0 for the one that reports."""
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def world() -> int:
    """Return how many processes `torchrun` started; 1 without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1
    return int(os.environ.get("WORLD_SIZE", "1"))


def register(config: pytest.Config) -> None:
    """Compare what the processes find, and silence every one but the first."""
    if world() > 1:
        config.pluginmanager.register(Ranks(config), _NAME)
    if rank():
        config.pluginmanager.register(Follower(), "decoderonly-follower")


class Follower:
    """A process that runs what the first one runs, and says nothing."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Take the terminal away, before anything is written to it; other plugins may still ask for it."""
        reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter._tw._file = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - until the process ends

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Leave it to the first process to fail: torchrun ends all others as soon as one fails, that one may be writing."""
        if session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            session.exitstatus = pytest.ExitCode.OK


class Ranks:
    """Keeps what this process found, and holds it against the others when the run ends.

    All processes must come to that end: what they hand over goes through torch.distributed, if the model has set that up.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._mine: list[Outcome] = []
        self.others: dict[str, list[tuple[int, Verdict, str]]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep an outcome."""
        from pytest_decoderonly.conformance.outcome import outcome_of

        found = outcome_of(report)
        if found is not None:
            self._mine.append(found)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Say where another process came to another verdict; the run fails where one of them failed."""
        torch = sys.modules.get("torch")
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not ended or torch is None or not torch.distributed.is_initialized():
            return
        found: list[dict[str, tuple[Verdict, str]]] = [{} for _ in range(world())]
        torch.distributed.all_gather_object(
            found, {one.item: (one.verdict, one.seen.partition("\n")[0]) for one in self._mine}
        )
        for one in self._mine:
            others = [
                (number, *theirs[one.item]) for number, theirs in enumerate(found) if one.item in theirs
            ]
            if any(verdict != one.verdict for _, verdict, _ in others):
                self.others[one.item] = others
        self._tell(session)

    def _tell(self, session: pytest.Session) -> None:
        from pytest_decoderonly.summary import summary_of

        for item, others in self.others.items():
            summary_of(self._config).add("model", f"{item}   {_said(others)}")
            if session.exitstatus == pytest.ExitCode.OK and any(
                verdict in _WRONG for _, verdict, _ in others
            ):
                session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _said(others: Sequence[tuple[int, Verdict, str]]) -> str:
    return "; ".join(f"process {number} says {verdict}: {seen}" for number, verdict, seen in others)


def agreed(config: pytest.Config, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes with the worst verdict of all processes, and a note where they are not of one mind."""
    ranks = config.pluginmanager.get_plugin(_NAME)
    if ranks is None:
        return list(outcomes)
    return [_worst(one, ranks.others[one.item]) if one.item in ranks.others else one for one in outcomes]


def _worst(mine: Outcome, others: Sequence[tuple[int, Verdict, str]]) -> Outcome:
    said = _said(others)
    wrong = next(
        (verdict for verdict in reversed(_WRONG) if any(verdict == one for _, one, _ in others)), None
    )
    noted = replace(mine, notes=(*mine.notes, said))
    if wrong is None or mine.verdict in _WRONG:
        return noted
    return replace(
        noted, verdict=wrong, seen=said, text=f"{mine.model}: the processes are not of one mind\n{said}"
    )
