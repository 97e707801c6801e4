"""The section `decoderonly` at the end of a run.

The sub-plugins report here while they work. Under pytest-xdist they do so in the workers: each worker's
part travels in `workeroutput` as plain data, the controller adds the parts up and prints.
"""

from __future__ import annotations

import shlex
from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from pytest_decoderonly import options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

SECTIONS = ("static", "guard", "model")
_LABEL_WIDTH = 10
_WORKER_KEY = "decoderonly_summary"

_summary_key = pytest.StashKey["Summary"]()


class Summary:
    """Lines and counts of one run, by section.

    A sub-plugin that can say its line at once calls `add`. One whose line is a total over the run calls
    `count` while it works and `show` once, with the function that turns the total into lines; only that
    survives a run on several workers as one line.
    """

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, None]] = {section: {} for section in SECTIONS}
        self._counts: dict[str, Counter[str]] = {section: Counter() for section in SECTIONS}
        self._formatters: dict[str, Callable[[Counter[str]], Iterable[str]]] = {}

    def add(self, section: str, line: str) -> None:
        """Add a line to a section; the same line twice (two workers) is shown once.

        Raises:
            ValueError: `section` is none of `SECTIONS`.
        """
        self._of(self._lines, section)[line] = None

    def count(self, section: str, name: str, amount: int = 1) -> None:
        """Add to a total. The name `failed` is known: it counts what a rerun would repeat.

        Raises:
            ValueError: `section` is none of `SECTIONS`.
        """
        self._of(self._counts, section)[name] += amount

    def show(self, section: str, formatter: Callable[[Counter[str]], Iterable[str]]) -> None:
        """Set the function that makes the first lines of a section from its totals.

        Raises:
            ValueError: `section` is none of `SECTIONS`.
        """
        self._of(self._counts, section)
        self._formatters[section] = formatter

    def dump(self) -> dict[str, Any]:
        """Return everything as plain data, fit for xdist's wire."""
        return {
            "lines": {section: list(lines) for section, lines in self._lines.items()},
            "counts": {section: dict(counts) for section, counts in self._counts.items()},
        }

    def merge(self, data: Mapping[str, Any]) -> None:
        """Add what a worker's `dump` holds."""
        for section, lines in data["lines"].items():
            for line in lines:
                self.add(section, line)
        for section, counts in data["counts"].items():
            for name, amount in counts.items():
                self.count(section, name, amount)

    @property
    def failed(self) -> int:
        """How many checks failed, over all sections."""
        return sum(counts["failed"] for counts in self._counts.values())

    def render(self) -> list[str]:
        """Return the section's text, line by line; empty when nothing ran and nothing was found."""
        shown: list[str] = []
        for section in SECTIONS:
            formatter = self._formatters.get(section)
            lines = [*(formatter(self._counts[section]) if formatter else ()), *self._lines[section]]
            for number, line in enumerate(lines):
                shown.append(f"{section if number == 0 else '':<{_LABEL_WIDTH}}{line}".rstrip())
        return shown

    @staticmethod
    def _of(table: dict[str, Any], section: str) -> Any:
        if section not in table:
            raise ValueError(f"unknown section {section!r}: expected one of {', '.join(SECTIONS)}")
        return table[section]


def summary_of(config: pytest.Config) -> Summary:
    """Return the run's summary, made (and its hooks registered) on first use."""
    summary = config.stash.get(_summary_key, None)
    if summary is None:
        summary = config.stash[_summary_key] = Summary()
        config.pluginmanager.register(SummaryPlugin(summary), "decoderonly-summary")
    return summary


class SummaryPlugin:
    """Carries a worker's summary to the controller, and prints it there."""

    def __init__(self, summary: Summary) -> None:
        self._summary = summary

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker of xdist: hand the summary over."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_WORKER_KEY] = self._summary.dump()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """In the controller of xdist: take a worker's summary. A worker that crashed has none."""
        data = (getattr(node, "workeroutput", None) or {}).get(_WORKER_KEY)
        if data is not None:
            self._summary.merge(data)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        """Print the section, on the controller only (workers have no terminal)."""
        lines = self._summary.render()
        if not lines:
            return
        terminalreporter.section("decoderonly")
        for line in lines:
            terminalreporter.write_line(line)
        terminalreporter.write_line("  ".join(map(_version, ("pytest-decoderonly", "transformers", "torch"))))
        if self._summary.failed:
            terminalreporter.write_line(f"rerun failures: {_rerun(config)}")


def _rerun(config: pytest.Config) -> str:
    """Return the command that repeats what failed, with the options that it depends on."""
    return shlex.join(["pytest", "--lf", *options.repeated(config)])


def _version(name: str) -> str:
    try:
        return f"{name} {metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name} not installed"
