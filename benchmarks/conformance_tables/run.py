"""The conformance suite, run in this process on models that are named as on the command line."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_decoderonly.conformance.outcome import Outcome


class Collector:
    """A plugin that keeps what the items of a run found, and the processor seconds that they took."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.seconds = 0.0

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        """Add an item's time up."""
        before = time.process_time()
        yield
        self.seconds += time.process_time() - before

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep an outcome."""
        from pytest_decoderonly.conformance.outcome import outcome_of

        found = outcome_of(report)
        if found is not None:
            self.outcomes.append(found)


def run_suite(specs: Iterable[str], *options: str) -> Collector:
    """Run the suite on models in an empty folder; return what its items found."""
    collector = Collector()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "none").mkdir()
        Path(folder, "pytest.ini").write_text("[pytest]\ndecoderonly_paths = none\n", encoding="utf-8")
        before = Path.cwd()
        os.chdir(folder)
        try:
            models = [f"--decoderonly-model={spec}" for spec in specs]
            pytest.main(
                ["--decoderonly-checks", *models, "-q", "--tb=no", "-p", "no:cacheprovider", *options],
                plugins=[collector],
            )
        finally:
            os.chdir(before)
    return collector
