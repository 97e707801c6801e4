"""Several processes that hold one model together, as `torchrun` starts them: the first reports, the others follow."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_decoderonly.conformance.outcome import Outcome


def rank() -> int:
    """Return which process this is, 0 for the one that reports."""
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def world() -> int:
    """Return how many processes `torchrun` started; 1 without it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1
    return int(os.environ.get("WORLD_SIZE", "1"))


def register(config: pytest.Config) -> None:
    """Silence every process but the first."""
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


def agreed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes of this process, with a note where another process came to another verdict.

    All processes must call it; what they hand over goes through torch.distributed, if the model has set that up.
    """
    torch = sys.modules.get("torch")
    if world() == 1 or torch is None or not torch.distributed.is_initialized():
        return list(outcomes)
    verdicts: list[dict[str, str]] = [{}] * world()
    torch.distributed.all_gather_object(verdicts, {one.item: one.verdict for one in outcomes})
    found = []
    for one in outcomes:
        others = [
            f"process {number} says {theirs.get(one.item, 'nothing')}"
            for number, theirs in enumerate(verdicts)
            if theirs.get(one.item) != one.verdict
        ]
        found.append(replace(one, notes=(*one.notes, "; ".join(others))) if others else one)
    return found
