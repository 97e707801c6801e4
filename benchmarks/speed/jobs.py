"""What is run again and again, and what is needed for it: programs, environments, a place to work."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from speed.environments import NotInstalled, program, read_peers
from speed.measuring import environment_needed, run
from speed.tools import OURS, TOOLS, Seen, Tool, ToolFailed, judged, launcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from speed.measuring import Run
    from speed.results import Row


@dataclass
class Bench:
    """What was asked for, and the programs that were found for it."""

    scratch: Path
    peers: Path
    environments: Path
    trees: list[str]
    tools: list[str]
    rounds: int | None
    patience: float
    quick: bool
    failures: list[str] = field(default_factory=list)
    _programs: dict[str, Path | str] = field(default_factory=dict)
    _help: str | None = None

    def __post_init__(self) -> None:
        environment_needed()
        self._pins = read_peers(self.peers)
        self._ours = launcher(self.scratch)

    def versions(self) -> dict[str, str]:
        """Of the tools."""
        shown = subprocess.run([*self._ours, "--version"], capture_output=True, text=True, check=True)
        return {OURS: shown.stdout.split()[-1], **{name: peer.version for name, peer in self._pins.items()}}

    def chosen(self, *names: str) -> list[Tool]:
        """The tools that were asked for, or those of these names among them."""
        return [tool for tool in TOOLS if tool.name in self.tools and (not names or tool.name in names)]

    def command(self, tool: Tool, target: str, cache: Path) -> list[str]:
        """The whole command line.

        Raises:
            NotInstalled: The tool is not to be had.
        """
        arguments = tool.command(target, cache)
        if tool.peer is None:
            if "--no-cache" not in self._our_help():  # a version without a cache needs no such option
                arguments = [word for word in arguments if word != "--no-cache"]
            missing = [word for word in arguments if word.startswith("--") and word not in self._our_help()]
            if missing:
                raise NotInstalled(f"this version has no {missing[0]}")
            return [*self._ours, *arguments]
        if tool.peer not in self._programs:
            peer = self._pins[tool.peer]
            say(f"environment of {peer.name} {peer.version}")
            try:
                self._programs[tool.peer] = program(peer, self.environments)
            except NotInstalled as problem:
                self._programs[tool.peer] = str(problem)
        known = self._programs[tool.peer]
        if isinstance(known, str):
            raise NotInstalled(known)
        return [str(known), *arguments]

    def fail(self, row: Row, where: str, reason: str) -> None:
        """Note a failure in its row and for the end of the run."""
        row.failed(reason)
        self.failures.append(f"{row.name} on {where}: {reason}")
        say(f"  {self.failures[-1]}")

    def job(self, tool: Tool, row: Row, folder: Path, target: str, expected: int) -> Job | None:
        """The job of running a tool; None, and a note in the row, where the tool is not to be had."""
        cache = (
            self.scratch
            / "caches"
            / f"{folder.name}-{target.replace('/', '-')}-{tool.name.replace(', ', '-')}"
        )
        try:
            command = self.command(tool, target, cache)
        except NotInstalled as problem:
            self.fail(row, folder.name, f"not available: {problem}")
            return None
        # What was predicted to be short enough may take a little longer.
        limit = 1.5 * self.patience
        return Job(
            self,
            row,
            command,
            folder,
            lambda run: judged(tool, run, expected),
            limit,
            tool.environment(self.scratch),
        )

    def most(self, usual: int, quick: int) -> int:
        """How often a command is run at most."""
        return self.rounds or (quick if self.quick else usual)

    def _our_help(self) -> str:
        if self._help is None:
            shown = subprocess.run(
                [*self._ours, "check", "--help"], capture_output=True, text=True, check=True
            )
            self._help = shown.stdout
        return self._help


@dataclass
class Job:
    """A command whose runs gather in a row.

    Args:
        bench: Told of a failure.
        row: Where the runs go.
        command: The command line.
        folder: Where it runs.
        judge: Reads what it looked at out of its output; raises `ToolFailed`.
        limit: Seconds after which it is stopped.
        environment: Variables that it needs.
        memory: Whether its memory is sampled.
    """

    bench: Bench
    row: Row
    command: list[str]
    folder: Path
    judge: Callable[[Run], Seen]
    limit: float
    environment: dict[str, str] = field(default_factory=dict)
    memory: bool = True

    def once(self) -> float:
        """Run it and keep what came out.

        Returns:
            Seconds; negative, and the reason in the row, if the run is not to be counted.
        """
        try:
            done = run(
                self.command, self.folder, environment=self.environment, limit=self.limit, memory=self.memory
            )
            seen = self.judge(done)
        except (ToolFailed, OSError) as problem:
            self.bench.fail(self.row, self.folder.name, str(problem))
            return -1.0
        self.row.walls.append(done.wall)
        self.row.cpus.append(done.cpu)
        if self.memory:
            self.row.peaks.append(done.peak)
        self.row.files, self.row.unread = seen.files, seen.unread
        return done.wall

    def warm_up(self) -> bool:
        """Run it without counting the run; whether it is worth going on."""
        if self.once() < 0:
            return False
        for kept in (self.row.walls, self.row.cpus, self.row.peaks):
            kept.clear()
        return True


def say(text: str) -> None:
    """Tell of progress, apart from the results."""
    print(text, file=sys.stderr, flush=True)
