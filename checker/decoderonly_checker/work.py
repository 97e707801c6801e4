"""The work of a run that takes time, done here or spread over processes: looking files over, and analysing them."""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
from contextlib import contextmanager
from dataclasses import field
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Diagnostic, FileError
from decoderonly_checker.immutable import record
from decoderonly_checker.plan import Contents, make_plan, project_files
from decoderonly_checker.source.files import SourceError, SourceFile, load_source, shown_path
from decoderonly_checker.source.selection import Scan, scan
from decoderonly_checker.source.words import ALL, suffice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future, ProcessPoolExecutor

    from decoderonly_checker.config import Settings
    from decoderonly_checker.plan import Unit
    from decoderonly_checker.runner import AnalyserLike

# A process must be started, and import libcst before it analyses: that must pay.
_MANY_FILES = 400
_MUCH_CODE = 400_000  # bytes
_CHUNK = 100  # files
_GARBAGE = 2_000_000  # bytes of code after which what is left of it is collected


@record
class Outcome:
    """What came out of a unit.

    Attributes:
        found: Findings, also in files that nobody asked about.
        errors: What went wrong, file by file.
        read: The modules beyond the unit's files that were read, with their digests (b"": could not be).
        missed: Files that were looked for as modules and not there.
        steady: The same would come out again: nothing took too long or ended its process.
    """

    found: list[Diagnostic] = field(default_factory=list)
    errors: list[FileError] = field(default_factory=list)
    read: dict[str, bytes] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    steady: bool = True


class Workers:
    """Does work in this process, or in as many as there are processors where that pays."""

    def __init__(
        self,
        make_analyser: Callable[[Settings], AnalyserLike] | None,
        contents: Contents,
        jobs: int | None = None,
        telling: frozenset[bytes] = frozenset(),
    ) -> None:
        """Take what the work is done with.

        Args:
            make_analyser: Makes the analyser; None for the real one. Another one is used in this process alone.
            contents: Gives bytes.
            jobs: Processes at most; as many as there are processors if None.
            telling: Names that make a file matter: see `telling_names`.
        """
        self._telling = telling
        self._make = make_analyser
        self._contents = contents
        self._jobs = 1 if make_analyser is not None else jobs or _processors()
        self._pool: ProcessPoolExecutor | None = None

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def scan(self, paths: Iterable[str]) -> dict[str, Scan]:
        """Look files over."""
        names = list(paths)
        if self._jobs == 1 or len(names) < _MANY_FILES:
            return {path: _scan(path, self._contents, self._telling) for path in names}
        chunks = [names[i : i + _CHUNK] for i in range(0, len(names), _CHUNK)]
        found: dict[str, Scan] = {}
        try:
            pool = self._started()
            for made in pool.map(_scan_chunk, chunks, repeat(self._telling), repeat(self._contents)):
                found.update(made)
            if any(suffice(one.words) for one in found.values()):
                # While this process plans, the others have nothing to do yet.
                for _ in range(self._jobs):
                    pool.submit(_make_ready)
        except _broken():
            self.close()
        for path in names:
            if path not in found:
                found[path] = _scan(path, self._contents, self._telling)
        return found

    def analyse(self, units: Iterable[Unit], settings: Settings) -> Iterator[tuple[Unit, Outcome]]:
        """Analyse units, in any order; the first are under way while the others are still to come."""
        coming = iter(units)
        first: list[Unit] = []
        weight = 0
        if self._jobs > 1:
            for unit in coming:
                first.append(unit)
                weight += unit.weight
                if len(first) > 1 and weight >= _MUCH_CODE:
                    yield from self._spread(chain(first, coming), settings)
                    return
        with _collecting_seldom():
            for unit in chain(first, coming):
                outcome = analyse_unit(unit, settings, self._contents, self._make)
                _garbage.add(unit.weight)
                yield unit, outcome

    def _spread(self, units: Iterator[Unit], settings: Settings) -> Iterator[tuple[Unit, Outcome]]:
        from concurrent.futures import as_completed

        made: list[Unit] = []
        left: dict[int, None] = {}
        waiting: dict[Future[Outcome], int] = {}
        try:
            for unit in units:
                number = len(made)
                made.append(unit)
                left[number] = None
                # One that dies early breaks the pool for those that are still to be handed over.
                waiting[self._started().submit(_analyse, unit, settings, self._contents)] = number
            for done in as_completed(waiting):
                number = waiting.pop(done)
                outcome = done.result()
                del left[number]
                yield made[number], outcome
        except _broken():
            # A process died (out of memory, a crash in native code): what is left is done one by one, to see on which.
            self.close()
            for unit in chain([made[number] for number in left], units):
                yield unit, self._alone(unit, settings)

    def _alone(self, unit: Unit, settings: Settings) -> Outcome:
        pool = _pool(1)
        try:
            return pool.submit(_analyse, unit, settings, self._contents).result()
        except _broken():
            reason = "the analysis of this file ended its process (out of memory?): skipped"
            return Outcome(
                errors=[FileError(shown_path(Path(path)), reason) for path in unit.files], steady=False
            )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = _pool(self._jobs)
        return self._pool


def _processors() -> int:
    processes = sys.modules.get("multiprocessing.process")
    if processes is not None and processes.current_process().daemon:
        return 1  # it may start none
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def _pool(jobs: int) -> ProcessPoolExecutor:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # A fork is ready at once. Elsewhere than on Linux it is not safe, and processes are started afresh.
    context = get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)


def _broken() -> type[Exception]:
    from concurrent.futures.process import BrokenProcessPool

    return BrokenProcessPool


def telling_names(settings: Settings) -> frozenset[bytes]:
    """Return the names that make a file matter: those of the models and tokenizers that settings declare."""
    declared = (*settings.known_models, *settings.known_tokenizers)
    return frozenset(name.rpartition(".")[2].encode() for name in declared)


def _scan(path: str, contents: Contents, telling: frozenset[bytes]) -> Scan:
    data = contents.find(path)
    if data is None:
        return Scan(0, 0, readable=False)
    found = scan(data, path)
    if any(name in data for name in telling):
        # No other word need stand there.
        return dataclasses.replace(found, words=ALL, opaque=True)
    return found


def _scan_chunk(paths: Sequence[str], telling: frozenset[bytes], contents: Contents) -> dict[str, Scan]:
    return {path: _scan(path, contents, telling) for path in paths}


class _Garbage:
    """What units leave behind: values and objects in circles. To look for them takes time, so enough must have gathered."""

    def __init__(self) -> None:
        self._weight = 0

    def add(self, weight: int) -> None:
        """Count a unit that is done."""
        self._weight += weight
        if self._weight > _GARBAGE:
            self._weight = 0
            gc.collect()


_garbage = _Garbage()  # of this process


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Keep Python from looking for garbage by itself: it would do so again and again as trees grow, which hold none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _begin() -> None:
    """Make a new process ready."""
    gc.disable()
    gc.freeze()  # what it has from its parent stays


def _make_ready() -> None:
    """Import what an analysis needs."""
    from decoderonly_checker import analysis  # noqa: F401
    from decoderonly_checker.flow import interpreter, project  # noqa: F401
    from decoderonly_checker.rules import codes, load_all

    load_all(codes())


def _analyse(unit: Unit, settings: Settings, contents: Contents) -> Outcome:
    """Analyse a unit in a process of its own."""
    outcome = analyse_unit(unit, settings, contents, None)
    _garbage.add(unit.weight)
    return outcome


def analyse_unit(
    unit: Unit, settings: Settings, contents: Contents, make: Callable[[Settings], AnalyserLike] | None
) -> Outcome:
    """Analyse the files of a unit together; if that fails, one by one: no file takes the others along."""
    outcome = Outcome()
    sources: list[SourceFile] = []
    for path in unit.files:
        try:
            source = contents.source(path, frozenset(unit.unused.get(path, ())))
            if any(cell.started is not None for cell in source.cells):
                sources.append(source)
            outcome.errors += source.errors
        except SourceError as problem:  # noqa: PERF203 - the others go on
            outcome.errors.append(problem.error)
        except Exception as problem:
            outcome.errors.append(FileError(shown_path(Path(path)), internal_error(problem)))
    idle = {Path(path): names for path, names in unit.idle.items()}
    if sources:
        _analyse_sources(sources, idle, settings, make or partial(_real_analyser, contents=contents), outcome)
    outcome.errors += [error for source in sources for error in source.errors if error not in outcome.errors]
    return outcome


def _analyse_sources(
    sources: list[SourceFile],
    idle: Mapping[Path, frozenset[str]],
    settings: Settings,
    make: Callable[[Settings], AnalyserLike],
    outcome: Outcome,
) -> None:
    try:
        analyser = make(settings)
        found = analyser.analyse(sources, idle)
    except Exception as problem:
        if len(sources) == 1:
            deep = isinstance(problem, RecursionError)
            reason = "nests too deep to be analysed" if deep else internal_error(problem)
            outcome.errors.append(FileError(sources[0].shown, reason))
            return
        for source in sources:
            _analyse_sources([source], idle, settings, make, outcome)
        return
    outcome.found += found
    outcome.errors += analyser.errors
    from decoderonly_checker.cache import digest_of

    for path, data in analyser.read.items():
        outcome.read[str(path)] = digest_of(data)
    outcome.missed += analyser.missed
    outcome.steady &= not analyser.hurried


def loaded_together(source: SourceFile, settings: Settings) -> list[SourceFile]:
    """Return a file with those that it is analysed together with: what calls into it, and what it calls."""
    contents = Contents({str(source.path): source.data})
    workers = Workers(None, contents, jobs=1, telling=telling_names(settings))
    names = [str(source.path)]
    plan = make_plan(names, project_files(names, settings), str(settings.root), contents, workers.scan)
    others = [path for unit in plan.units for path in unit.files if path != names[0]]
    return [source, *(load_source(Path(path)) for path in others)]


def relevant_files(names: Sequence[str], settings: Settings) -> list[str]:
    """Return those of some files in which a finding may be made, and those that cannot be read: they will say why."""
    contents = Contents()
    workers = Workers(None, contents, jobs=1, telling=telling_names(settings))
    plan = make_plan(names, project_files(names, settings), str(settings.root), contents, workers.scan)
    return [*plan.checked, *plan.joined, *plan.unread]


def _real_analyser(settings: Settings, contents: Contents) -> AnalyserLike:
    """Make the analyser that settings ask for; modules that it follows into may be other than on disk."""
    from decoderonly_checker.analysis import Analyser  # brings libcst
    from decoderonly_checker.rules import codes, load_all

    def load(path: Path) -> SourceFile:
        return load_source(path, contents.given(str(path)))

    rules = load_all(settings.enabled(codes()))
    return Analyser(rules, [settings.root], settings.timeout, settings, load=load)


def internal_error(problem: Exception) -> str:
    """Say in one line what went wrong inside this tool, and where."""
    import traceback

    frames = traceback.extract_tb(problem.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = " ".join(str(problem).split())[:200]
    return f"internal error: {type(problem).__name__}{where}: {said}; please report"
