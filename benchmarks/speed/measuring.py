"""One run of a command: wall time, processor time of all its processes, and their memory together."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PAGE = os.sysconf("SC_PAGE_SIZE")
_INTERVAL = 0.01


@dataclass(frozen=True)
class Run:
    """What one run took (seconds, bytes) and said."""

    wall: float
    cpu: float
    peak: int
    code: int
    stdout: str
    stderr: str
    stopped: bool = False


def run(
    command: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    limit: float = 3600.0,
    memory: bool = True,
) -> Run:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        folder: Where it runs.
        environment: Variables laid over those of this process.
        limit: Seconds after which it is ended with all its processes (`stopped` in the result).
        memory: Sample the memory, every 10 ms; otherwise `peak` is 0.

    Raises:
        OSError: The program cannot be started.
    """
    variables = {**os.environ, **(environment or {})}
    # As where it is installed: the byte code of the first run is there for the others.
    for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
        variables.pop(name, None)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        watch = _Watch(process.pid, limit, memory=memory)
        watch.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            wall = time.perf_counter() - start
            watch.end()
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    cpu = used.ru_utime + used.ru_stime
    return Run(wall, cpu, watch.peak, process.returncode, texts[0], texts[1], watch.stopped)


class _Watch(threading.Thread):
    """Looks at a process from outside while it runs."""

    def __init__(self, pid: int, limit: float, *, memory: bool) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.stopped = False
        self._pid = pid
        self._limit = limit
        self._memory = memory
        self._over = threading.Event()

    def run(self) -> None:
        deadline = time.monotonic() + self._limit
        while not self._over.wait(_INTERVAL if self._memory else min(1.0, self._limit)):
            if self._memory:
                self.peak = max(self.peak, _resident(self._pid))
            if time.monotonic() > deadline and not self._over.is_set():
                self.stopped = True
                os.killpg(self._pid, signal.SIGKILL)
                return

    def end(self) -> None:
        self._over.set()
        self.join()


def _resident(pid: int) -> int:
    """Resident bytes of a process and all below it; pages that they share count in each."""
    total = 0
    pending = [pid]
    while pending:
        folder = f"/proc/{pending.pop()}"
        try:
            with open(f"{folder}/statm", "rb") as file:  # noqa: PTH123 - a hundred times a second
                total += int(file.read().split()[1]) * _PAGE
            for task in os.listdir(f"{folder}/task"):  # noqa: PTH208
                with open(f"{folder}/task/{task}/children", "rb") as file:  # noqa: PTH123
                    pending += map(int, file.read().split())
        except (OSError, IndexError):
            continue  # it has ended
    return total


def repeats(first: float, most: int) -> int:
    """How many runs are worth their time, by the seconds of the first: all of them, three, or this one."""
    if first > 60:
        return 1
    return min(most, 3) if first > 10 else most


def interleave(
    kinds: Sequence[str], once: Callable[[str], float], rounds: int, say: Callable[[str], None]
) -> None:
    """Run each kind `rounds` times at most, in turns, and in another order each time; long ones less often.

    Args:
        kinds: Their names.
        once: Runs one; returns its seconds, or a negative number if it need not be run again.
        rounds: How often.
        say: Told of progress.
    """
    wanted = dict.fromkeys(kinds, rounds)
    for number in range(rounds):
        turn = number % len(kinds) if kinds else 0
        for kind in (*kinds[turn:], *kinds[:turn]):
            if number >= wanted[kind]:
                continue
            seconds = once(kind)
            wanted[kind] = 0 if seconds < 0 else min(wanted[kind], repeats(seconds, rounds))
            say(f"  round {number + 1}: {kind} {'failed' if seconds < 0 else f'{seconds:.2f} s'}")


def environment_needed() -> None:
    """See that this system shows what is measured.

    Raises:
        RuntimeError: It does not.
    """
    own = Path(f"/proc/self/task/{os.getpid()}/children")
    if not own.is_file():
        raise RuntimeError(f"{own} is missing: memory is measured through Linux's /proc")
