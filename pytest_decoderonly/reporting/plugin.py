"""Gathers what a run found and writes it down when the run ends, however it ends.

What an item found leaves its process as attributes of pytest's report, which xdist carries to the controller; the
files are written there.
"""

from __future__ import annotations

import platform
import shlex
import signal
import threading
import time
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from pytest_decoderonly import options
from pytest_decoderonly.conformance import ranks
from pytest_decoderonly.conformance.outcome import Outcome, outcome_of
from pytest_decoderonly.reporting import files
from pytest_decoderonly.reporting.run import Environment, Found, ReportError, Run, Unchecked
from pytest_decoderonly.runtime.plugin import findings_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from types import FrameType

PACKAGES = (
    "pytest-decoderonly",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "trl",
    "pytest",
    "pytest-xdist",
)
_FOUND = "decoderonly_found"
_UNCHECKED = "decoderonly_unchecked"
_SUITE = "decoderonly::"
_STATIC = "::decoderonly-static"
_SIGTERM_STATUS = 128 + signal.SIGTERM  # as a shell tells it


def register(config: pytest.Config) -> None:
    """Set the report to work where one is asked for.

    Raises:
        pytest.UsageError: A file that no report can be written to.
    """
    targets = options.report_files(config)
    if not targets:
        return
    config.pluginmanager.register(Messenger(), "decoderonly-report-messenger")
    if hasattr(config, "workerinput"):
        return
    if ranks.rank():  # another process writes
        targets = {}
    for where, path in targets.items():
        problem = files.problem_with(path)
        if problem:
            raise pytest.UsageError(f"{where}: {problem}")
    config.pluginmanager.register(Writer(config, list(targets.values())), "decoderonly-report-writer")


class Messenger:
    """Puts findings onto pytest's reports, in the process where the item ran."""

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add what the static check said of a file."""
        report = yield
        if call.excinfo is not None:
            from pytest_decoderonly.static import StaticFindings

            if isinstance(call.excinfo.value, StaticFindings):
                _add_static(report, item, call.excinfo.value)
        return report


def _add_static(report: pytest.TestReport, item: pytest.Item, found: Any) -> None:
    from decoderonly_checker.render.json import as_object

    from pytest_decoderonly.static import render

    result = found.result
    setattr(
        report,
        _FOUND,
        [
            {
                "catcher": "static",
                "item": item.nodeid,
                "finding": as_object(diagnostic),
                "text": render(replace(result, diagnostics=(diagnostic,), errors=())),
            }
            for diagnostic in result.diagnostics
        ],
    )
    setattr(
        report,
        _UNCHECKED,
        [asdict(Unchecked(one.path, one.message, one.line, one.cell)) for one in result.errors],
    )


class Writer:
    """Keeps the run, and writes it at the end."""

    def __init__(self, config: pytest.Config, targets: list[Path]) -> None:
        self._config = config
        self._targets = targets
        self._began = time.perf_counter()
        self._run = Run(started=_now(), environments=[])
        self._done: set[str] = set()
        self._broken_collection = 0
        self._lines: list[str] = []
        self._before: Any = None
        self._terminated = False

    def pytest_sessionstart(self) -> None:
        """End in order when a cluster's scheduler ends the job: it sends SIGTERM, and pytest does not listen to it."""
        if threading.current_thread() is threading.main_thread():
            with suppress(ValueError, AttributeError):
                if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                    self._before = signal.signal(signal.SIGTERM, _terminated)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note how many items are to run; the controller of xdist collects none itself."""
        if session.items:
            self._run.selected = len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Note how many items are to run on the workers, each of which collects all."""
        self._run.selected = len(ids)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count what could not be collected."""
        self._broken_collection += report.failed

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a report carries."""
        self._done.add(report.nodeid)
        for found in getattr(report, _FOUND, ()):
            self._run.findings.append(Found(**found))
        for one in getattr(report, _UNCHECKED, ()):
            self._run.unchecked.append(Unchecked(**one))
        self._run.findings += [Found("guard", report.nodeid, one) for one in findings_of(report)]
        outcome = outcome_of(report)
        if outcome is not None:
            self._run.outcomes.append(outcome)
        elif report.nodeid.startswith(_SUITE):
            if report.failed and report.when != "teardown":
                self._run.outcomes.append(_lost(report))
        elif not report.nodeid.endswith(_STATIC):
            word = self._config.hook.pytest_report_teststatus(report=report, config=self._config)[0]
            if word:
                self._run.tests[word] += 1

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note who ended the run."""
        self._terminated = isinstance(excinfo.value, _TerminatedError)
        text = str(excinfo.value).strip()
        self._run.interrupted = text or f"interrupted ({excinfo.typename})"

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that a plugin broke the run."""
        self._run.interrupted = f"internal error: {excinfo.exconly()}"

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        if self._terminated:
            session.exitstatus = _SIGTERM_STATUS
        run = self._run
        run.ran = len(self._done)
        run.outcomes = ranks.agreed(self._config, run.outcomes)
        run.seconds = time.perf_counter() - self._began
        run.environments = [_environment(self._config)]
        run.interrupted = run.interrupted or self._why(session)
        run.exit_status = int(session.exitstatus)
        for target in self._targets:
            self._write(target, session)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the report is."""
        for line in self._lines:
            terminalreporter.write_sep("-", line)

    def _write(self, target: Path, session: pytest.Session) -> None:
        try:
            files.write(self._run, target)
            self._lines.append(f"decoderonly report: {target}")
        except ReportError as error:
            self._lines.append(f"decoderonly report: ERROR {error}")
            # A report that was asked for and is missing must not look like success.
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def _why(self, session: pytest.Session) -> str:
        """Say why items that were selected did not run; empty where all did."""
        if session.shouldfail or session.shouldstop:
            return str(session.shouldfail or session.shouldstop)
        if self._broken_collection and session.exitstatus == pytest.ExitCode.INTERRUPTED:
            return f"{self._broken_collection} error{'s' * (self._broken_collection > 1)} during collection"
        selected = self._run.selected or 0
        if len(self._done) < selected and not self._config.getoption("collectonly", default=False):
            return f"{selected - len(self._done)} of {selected} items did not run"
        return ""


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM; no `Exception` as pytest's own `Exit` is, which the handlers around a model would take for the model's."""


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise _TerminatedError("terminated (SIGTERM)")


def _lost(report: pytest.TestReport) -> Outcome:
    """Return the outcome of an item that could not say what it found: its process died, or the suite failed."""
    _, model, *check = report.nodeid.split("::")
    text = report.longreprtext
    return Outcome(
        model=model,
        spec="",
        check="::".join(check).partition("[")[0],
        item=report.nodeid,
        verdict="error",
        seen=next((line for line in reversed(text.splitlines()) if line.strip()), "no reason is known"),
        seconds=report.duration,
        text=text,
    )


def _environment(config: pytest.Config) -> Environment:
    packages = {}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    seed = config.getoption("randomly_seed", default=None)
    return Environment(
        command=shlex.join(["pytest", *map(str, config.invocation_params.args)]),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.release()}, {platform.machine()}",
        packages=packages,
        processes=max(ranks.world(), len(config.getoption("tx", default=None) or ())),
        seed=seed if isinstance(seed, int) else None,
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
