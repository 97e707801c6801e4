"""Checks input in processes that may hang, crash or be killed, and says what became of each."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.connection import Connection

    from inputs import Corpus, Files

OWN_MEMORY = 6 * 2**30  # address space of a worker: what needs more must not take the machine along
JOBS_A_WORKER = 400
# What makes the checker look closer at a file that it would otherwise leave alone.
_LET_IN = dict.fromkeys((".py", ".pyi"), b"\nmodel.generate(tokenizer(x))\n")
_PLACE = re.compile(r'File "[^"]*decoderonly_checker/([^"]+)", line (\d+),? in (\w+)')


@dataclass(frozen=True)
class Limits:
    """What one input may take: seconds of processor time, and MB at the peak of its process."""

    seconds: float = 10.0
    memory: float = 1000.0

    @property
    def hard(self) -> float:
        """Seconds after which a process is killed; the checker should have given up long before."""
        return 3 * self.seconds + 5


@dataclass(frozen=True)
class Job:
    """One input: to be made (kind, seed, number), given as files, or a copy of a file as it is."""

    name: str
    kind: str
    made_of: tuple[str, int, int] | None = None
    files: Files | None = None
    path: Path | None = None


@dataclass
class Outcome:
    """What became of one input.

    `problem` is None where all went as it should; else `signature` says the same for the same mistake.
    """

    job: Job
    seconds: float = 0.0
    memory: float = 0.0
    parsed: bool = False
    refused: list[str] = field(default_factory=list)
    findings: int = 0
    problem: str | None = None
    signature: str = ""
    files: Files = field(default_factory=dict)


def judge(paths: list[Path], root: Path, limits: Limits, outcome: Outcome) -> None:
    """Check paths as the command does, twice, and note what is wrong with that."""
    from decoderonly_checker import check_paths
    from decoderonly_checker.config import Settings
    from decoderonly_checker.diagnostics import Confidence
    from decoderonly_checker.render import FORMATS, render
    from decoderonly_checker.render.text import error_line, summary
    from decoderonly_checker.source.excerpts import Excerpts

    settings = Settings(root=root, timeout=limits.seconds, min_confidence=Confidence.POSSIBLE, exclude=())
    begin = time.process_time()
    try:
        result = check_paths(paths, settings)
        outcome.seconds = time.process_time() - begin
        again = check_paths(paths, settings) if outcome.seconds < limits.seconds / 5 else result
        for name in FORMATS:
            render(result, name, Excerpts(), color=name == "full", width=80)
        lines = [error_line(error) for error in result.errors] + [summary(result)]
    except (Exception, SystemExit) as problem:
        outcome.seconds = outcome.seconds or time.process_time() - begin
        outcome.problem = traceback.format_exc()
        outcome.signature = f"{type(problem).__name__} {_where(outcome.problem)}"
        return
    outcome.refused = [error.message for error in result.errors]
    outcome.parsed = bool(result.checked) and not result.errors
    outcome.findings = len(result.diagnostics)
    internal = [message for message in outcome.refused if "internal error" in message]
    if internal:
        _note(outcome, internal[0], re.sub(r"'.*'|\".*\"|0x\w+|: .*? \(", " ", internal[0])[:120])
    elif any("\n" in line for line in lines):
        _note(outcome, f"more than one line: {lines!r}", "more than one line")
    elif again != result:
        _note(
            outcome, f"another result the second time:\n{result}\n{again}", "another result the second time"
        )
    elif outcome.seconds > 1.5 * limits.seconds + 1:
        _note(outcome, f"took {outcome.seconds:.1f} s, with a limit of {limits.seconds:g} s", "slow")


def _note(outcome: Outcome, problem: str, signature: str) -> None:
    outcome.problem, outcome.signature = problem, signature


def _where(trace: str) -> str:
    """The last of our own functions in a traceback."""
    places = _PLACE.findall(trace)
    return f"in {places[-1][0]} {places[-1][2]}" if places else ""


def _peak(reset: bool = False) -> float:
    """The most memory that this process has held since the last reset, in MB (for good where Linux is missing)."""
    if sys.platform == "linux":
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        status = Path("/proc/self/status").read_text(encoding="ascii")
        found = re.search(r"VmHWM:\s*(\d+)", status)
        if found:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


def work(pipe: Connection, folder: Path, corpus: Corpus | None, limits: Limits, planted: bool) -> None:
    """The life of a worker: take a job, tell when it is made, tell what came of it."""
    import inputs

    if planted:
        from planted import plant

        plant()
    _make_ready()
    resource.setrlimit(resource.RLIMIT_AS, (OWN_MEMORY, OWN_MEMORY))
    trace = (folder / "trace.txt").open("w")
    faulthandler.enable(trace)
    faulthandler.register(signal.SIGXCPU, trace, chain=True)
    while True:
        job: Job | None = pipe.recv()
        if job is None:
            return
        outcome = Outcome(job)
        if job.path is not None:
            outcome.files = {
                f"main{job.path.suffix}": job.path.read_bytes() + _LET_IN.get(job.path.suffix, b"")
            }
        elif job.made_of is not None:
            assert corpus is not None
            outcome.files = inputs.make(corpus, *job.made_of)
        else:
            outcome.files = job.files or {}
        root = folder / "input"
        write(outcome.files, root)
        paths = [root]
        pipe.send("made")
        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = int(used.ru_utime + used.ru_stime + limits.hard) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (hard, resource.RLIM_INFINITY))
        _peak(reset=True)
        judge(paths, root, limits, outcome)
        outcome.memory = _peak()
        if outcome.problem is None and outcome.memory > limits.memory:
            _note(outcome, f"took {outcome.memory:.0f} MB, with a limit of {limits.memory:g} MB", "memory")
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        pipe.send(outcome)


def _make_ready() -> None:
    """Import what the checker imports when it is needed: the first input shall not pay for that."""
    from decoderonly_checker import analysis, runner  # noqa: F401
    from decoderonly_checker.flow import interpreter, project  # noqa: F401
    from decoderonly_checker.rules import codes, load_all

    load_all(codes())


def write(files: Files, root: Path) -> None:
    """Put files into a folder that holds nothing else, marked as a project."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / "decoderonly.toml").touch()
    for name, data in files.items():
        (root / name).write_bytes(data)


class _Worker:
    def __init__(self, folder: Path, corpus: Corpus | None, limits: Limits, planted: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=work, args=(other, folder, corpus, limits, planted), daemon=True
        )
        self.process.start()
        other.close()
        self.done = 0
        self.job: Job | None = None
        self.since = time.monotonic()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(2)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


class Pool:
    """Workers; one that dies or does not answer is replaced."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        workers: int = 1,
        corpus: Corpus | None = None,
        *,
        planted: bool = False,
    ) -> None:
        """Work below `folder`; processes start when they are needed. `planted`: with the mistakes of `planted.py`."""
        self._planted = planted
        self._folder = folder
        self._limits = limits
        self._count = workers
        self._corpus = corpus
        self._workers: list[_Worker] = []
        self._started = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Do jobs in any order; those not yet begun are taken from `jobs` one by one."""
        waiting = iter(jobs)
        while True:
            self._hand_out(waiting)
            busy = [worker for worker in self._workers if worker.job is not None]
            if not busy:
                return
            wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in busy:
                outcome = self._look_at(worker)
                if outcome is not None:
                    yield outcome

    def one(self, job: Job) -> Outcome:
        """Do one job."""
        return next(iter(self.run([job])))

    def _hand_out(self, waiting: Iterator[Job]) -> None:
        for worker in [w for w in self._workers if w.job is None and w.done >= JOBS_A_WORKER]:
            worker.stop()
            self._workers.remove(worker)
        while sum(worker.job is not None for worker in self._workers) < self._count:
            job = next(waiting, None)
            if job is None:
                return
            worker = next((w for w in self._workers if w.job is None), None)
            if worker is None:
                self._started += 1
                worker = _Worker(
                    self._folder / f"worker-{self._started}", self._corpus, self._limits, self._planted
                )
                self._workers.append(worker)
            worker.job, worker.since = job, time.monotonic()
            worker.pipe.send(job)

    def _look_at(self, worker: _Worker) -> Outcome | None:
        """The outcome of a worker's job, if it has come to an end in one way or another."""
        try:
            while worker.pipe.poll():
                message: Any = worker.pipe.recv()
                if isinstance(message, Outcome):
                    worker.job = None
                    # What took too much memory may still hold it.
                    worker.done += 1 if message.signature != "memory" else JOBS_A_WORKER
                    return message
                worker.since = time.monotonic()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            return self._lost(worker)
        if time.monotonic() - worker.since > 20 * self._limits.hard:
            worker.process.kill()
            worker.process.join()
            return self._lost(worker, waited=True)
        return None

    def _lost(self, worker: _Worker, *, waited: bool = False) -> Outcome:
        job, code = worker.job, worker.process.exitcode
        assert job is not None
        self._workers.remove(worker)
        worker.stop()
        folder = worker.folder / "input"
        files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "decoderonly.toml"}
        outcome = Outcome(job, files=files)
        trace = (worker.folder / "trace.txt").read_text(encoding="utf-8", errors="replace")
        if waited or code == -signal.SIGXCPU:
            outcome.seconds = self._limits.hard
            _note(outcome, f"no end after {self._limits.hard:g} s\n{trace}", "hang")
        else:
            name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            _note(outcome, f"the process died: {name}\n{trace}", f"died: {name}")
        return outcome
