"""What was measured, as it is kept in the JSON file."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VERSION = 1


@dataclass
class Row:
    """One tool on one tree, or one command.

    Args:
        name: The tool.
        walls: Seconds of each run.
        cpus: Processor seconds of each run, all processes together.
        peaks: Highest memory of each run in bytes, all processes together.
        files: What it looked at; None where that is not counted.
        unread: Files that it could not parse.
        note: Why there are no runs, or what is to be known of them.
        estimated: Not run on this tree, but extrapolated.
    """

    name: str
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    files: int | None = None
    unread: int = 0
    note: str = ""
    estimated: bool = False

    @property
    def wall(self) -> float | None:
        """Median of the wall times; None without a run."""
        return statistics.median(self.walls) if self.walls else None

    @property
    def cpu(self) -> float | None:
        """Median of the processor times; None without a run."""
        return statistics.median(self.cpus) if self.cpus else None

    @property
    def peak(self) -> int | None:
        """Highest memory of any run; None without a run."""
        return max(self.peaks, default=0) or None

    def failed(self, reason: str) -> None:
        """Forget the runs: one that is not to be trusted makes the others doubtful."""
        self.walls, self.cpus, self.peaks = [], [], []
        self.files, self.note = None, reason


@dataclass
class TreeResult:
    """All tools on one tree."""

    name: str
    files: int
    size: int
    rows: list[Row]


@dataclass
class Line:
    """A tool's time over a growing number of files or bytes."""

    name: str
    unit: str  # of the sizes: files or KB
    sizes: list[int]
    rows: list[Row]
    start: float  # seconds that it takes for next to nothing

    @property
    def exponent(self) -> float | None:
        """Slope of the logarithms of size and time, without what the start takes; None if too few runs."""
        points = [
            (size, row.wall - self.start)
            for size, row in zip(self.sizes, self.rows, strict=True)
            if row.wall is not None and row.wall > self.start
        ]
        if len(points) < 3:
            return None
        return slope([size for size, _ in points], [seconds for _, seconds in points])

    @property
    def last_doubling(self) -> float | None:
        """By how much the last step of the size multiplies the time, start included; None if it was not run."""
        before, last = (row.wall for row in self.rows[-2:])
        return None if before is None or last is None else last / before


@dataclass
class Part:
    """One part of the benchmark, with the machine that it ran on."""

    machine: dict[str, str]
    versions: dict[str, str]
    day: str
    trees: list[TreeResult] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    quick: bool = False


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent k of seconds = c * size ** k, by least squares on the logarithms."""
    fit = statistics.linear_regression([math.log(x) for x in sizes], [math.log(y) for y in seconds])
    return fit.slope


def new_part(versions: dict[str, str], *, quick: bool) -> Part:
    """An empty part, with what is known of this machine."""
    return Part(machine(), {**_installed_versions(), **versions}, time.strftime("%Y-%m-%d"), quick=quick)


def machine() -> dict[str, str]:
    """Processor, cores, memory, system and Python."""
    cpu = memory = "unknown"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            cpu = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
        memory = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    except (OSError, StopIteration, ValueError):
        pass
    return {
        "processor": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": memory,
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def _installed_versions() -> dict[str, str]:
    names = ("transformers", "trl", "libcst")
    return {
        name: next((found.version for found in metadata.distributions(name=name)), "none") for name in names
    }


def save(parts: dict[str, Part], file: Path) -> None:
    """Write the parts as JSON.

    Raises:
        OSError: The file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    told = {"version": VERSION, "parts": {name: asdict(part) for name, part in parts.items()}}
    file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def read(file: Path) -> dict[str, Part]:
    """Read what `save` wrote; no file, no parts.

    Raises:
        ValueError: It is not a file of results.
        OSError: It cannot be read.
    """
    if not file.exists():
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        version = told["version"]
        parts = {name: _part(part) for name, part in told["parts"].items()} if version == VERSION else {}
    except (ValueError, KeyError, TypeError) as problem:
        raise ValueError(f"{file} holds no results of this program: {problem}") from problem
    if version != VERSION:
        raise ValueError(f"{file} holds results of another version ({version}) of this program: remove it")
    return parts


def _part(told: dict[str, Any]) -> Part:
    part = Part(**told)
    part.rows = [Row(**row) for row in told["rows"]]
    part.trees = [
        TreeResult(**{**tree, "rows": [Row(**row) for row in tree["rows"]]}) for tree in told["trees"]
    ]
    part.lines = [Line(**{**line, "rows": [Row(**row) for row in line["rows"]]}) for line in told["lines"]]
    return part
