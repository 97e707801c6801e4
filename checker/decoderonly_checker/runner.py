"""One run: files found, filtered, analysed, findings silenced, counted and put in order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from decoderonly_checker.config import Settings, load_settings
from decoderonly_checker.diagnostics import (
    CheckResult,
    Confidence,
    Diagnostic,
    FileError,
    Silenced,
    without_duplicates,
)
from decoderonly_checker.discovery import find_files
from decoderonly_checker.plan import Contents, begin_plan, project_files
from decoderonly_checker.source.files import (
    MARKDOWN_SUFFIXES,
    SourceError,
    SourceFile,
    encode,
    load_source,
    read_bytes,
    shown_path,
)
from decoderonly_checker.work import Workers, telling_names

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence

    from decoderonly_checker.baseline import Counts
    from decoderonly_checker.cache import Cache
    from decoderonly_checker.comments import Comments
    from decoderonly_checker.plan import Plan, Unit
    from decoderonly_checker.remembered import Remembered
    from decoderonly_checker.source.selection import Scan
    from decoderonly_checker.surroundings import Surroundings
    from decoderonly_checker.work import Outcome


class AnalyserLike(Protocol):
    """What the runner needs of an analyser; one is made for each group of files that are looked at together.

    `errors` holds what went wrong inside the analysis, file by file, `read` the bytes of the modules that were followed into,
    `missed` the files that would have been, had they been there; `hurried` says that some file took too long.
    """

    errors: list[FileError]
    read: dict[Path, bytes]
    missed: list[str]
    hurried: bool

    def analyse(
        self, sources: Sequence[SourceFile], idle: Mapping[Path, Container[str]] | None = None
    ) -> list[Diagnostic]:
        """Return the findings of files that are looked at together.

        Args:
            sources: The files.
            idle: The names of a file's top level that are known to lead to no finding by themselves.
        """
        ...


def check_paths(
    paths: Iterable[Path | str],
    settings: Settings | Callable[[Path], Settings] | None = None,
    *,
    confidence: Confidence | None = None,
    force_exclude: bool = False,
    narrow: Callable[[list[Path], Settings], list[Path]] | None = None,
    progress: Callable[[int, int], None] | None = None,
    analyser: Callable[[Settings], AnalyserLike] | None = None,
    cache: Cache | None = None,
    jobs: int | None = 1,
    use_baseline: bool = True,
    unsaved: Mapping[str, bytes] | None = None,
) -> CheckResult:
    """Check files and folders.

    Only findings placed in these files are reported; modules that they import are read as far as needed.

    Args:
        paths: Files and folders.
        settings: What to check, or a function that says what governs a path (a folder). If None, each path is
            governed by the nearest settings file at it or above it.
        confidence: Hide findings below it, instead of `settings.min_confidence`.
        force_exclude: Leave out excluded files even where they are named.
        narrow: Picks among the files found below a path those to check, by the settings that govern it.
        progress: Called as the run goes on with the number of files done and of files in all.
        analyser: Makes the analyser; the real one by default.
        cache: What earlier runs found out; read and added to, and left open.
        jobs: Processes at most; as many as there are processors if None. More than one only where this process has no
            threads, as they are forked on Linux, and where its main module can be imported again elsewhere.
        use_baseline: Leave out the findings of before, where settings name a baseline.
        unsaved: By absolute path the bytes of files that are to be taken instead of those on disk.

    Raises:
        SettingsError: A baseline is wrong; with `settings=None`: a settings file is.
    """
    run = _Run(settings, confidence, analyser, use_baseline)
    errors: list[FileError] = []
    files: dict[Path, Settings] = {}
    for path in map(Path, paths):
        governing = run.settings_for(path)
        found, missing = find_files([path], governing, force_exclude=force_exclude)
        errors += missing
        for file in found if narrow is None else narrow(found, governing):
            files.setdefault(file, governing)
    ordered = sorted(files, key=lambda path: path.parts)
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, len(ordered))

    for governing in {id(one): one for one in files.values()}.values():
        mine = [file for file in ordered if files[file] is governing]
        run.check(mine, governing, tell, cache, unsaved, jobs=jobs)
    return run.result(errors)


def check_source(
    text: str | bytes,
    path: Path | str,
    settings: Settings | Callable[[Path], Settings] | None = None,
    *,
    confidence: Confidence | None = None,
    analyser: Callable[[Settings], AnalyserLike] | None = None,
    around: Surroundings | None = None,
    use_baseline: bool = True,
) -> CheckResult:
    """Check text as if it stood at a path, which need not exist; imports are resolved from there.

    Args:
        text: The file's content.
        path: Names the file in messages; its suffix says whether it is a notebook.
        settings: As for `check_paths`.
        confidence: As for `check_paths`.
        analyser: As for `check_paths`.
        around: The files around, as those know them who check again and again.
        use_baseline: As for `check_paths`.

    Raises:
        SettingsError: A baseline is wrong; with `settings=None`: a settings file is.
    """
    run = _Run(settings, confidence, analyser, use_baseline, around)
    path = Path(path)
    data = text if isinstance(text, bytes) else encode(text)
    run.check([path.absolute()], run.settings_for(path), given={str(path.absolute()): data})
    return run.result([])


def check_sources(
    texts: Mapping[Path, bytes],
    settings: Settings,
    *,
    analyser: Callable[[Settings], AnalyserLike] | None = None,
    around: Surroundings | None = None,
) -> CheckResult:
    """Check several texts together, as `check_source` does one.

    Args:
        texts: By absolute path what stands there.
        settings: What governs all of them.
        analyser: As for `check_paths`.
        around: As for `check_source`.

    Raises:
        SettingsError: A baseline is wrong.
    """
    run = _Run(settings, None, analyser, around=around)
    given = {str(path): data for path, data in texts.items()}
    run.check(sorted(texts, key=lambda path: path.parts), settings, given=given)
    return run.result([])


class _Run:
    """What gathers in one run."""

    def __init__(
        self,
        settings: Settings | Callable[[Path], Settings] | None,
        confidence: Confidence | None,
        make_analyser: Callable[[Settings], AnalyserLike] | None,
        use_baseline: bool = True,
        around: Surroundings | None = None,
    ) -> None:
        self._settings = settings
        self._use_baseline = use_baseline
        self._around = around
        self._confidence = confidence
        self._make_analyser = make_analyser
        self._settings_of_folder: dict[Path, Settings] = {}
        self._found: list[Diagnostic] = []
        self._errors: list[FileError] = []
        self._checked: list[str] = []
        self._skipped: list[str] = []
        self._governing: dict[str, tuple[Path, Settings, bytes | None]] = {}
        self._comments: dict[str, Comments] = {}
        self._silencing: dict[str, None] = {}
        self._baselines: dict[Path, Counts] = {}

    def settings_for(self, path: Path) -> Settings:
        """The settings that govern a path."""
        if isinstance(self._settings, Settings):
            return self._settings
        folder = path if path.is_dir() else path.parent
        if folder not in self._settings_of_folder:
            self._settings_of_folder[folder] = (self._settings or load_settings)(folder)
        settings = self._settings_of_folder[folder]
        # One object for one settings file, so that its files share an analyser.
        for known in self._settings_of_folder.values():
            if known == settings:
                return known
        return settings

    def check(
        self,
        files: Sequence[Path],
        settings: Settings,
        tell: Callable[[int], None] = lambda _: None,
        cache: Cache | None = None,
        given: Mapping[str, bytes] | None = None,
        *,
        jobs: int | None = 1,
    ) -> None:
        """Check the files that are governed by the same settings.

        Args:
            files: Absolute paths.
            settings: What governs them.
            tell: Called with the number of files that are done, again and again.
            cache: What earlier runs found out.
            given: The bytes of files that need not be on disk.
            jobs: Processes at most; as many as there are processors if None.
        """
        names = [str(path) for path in files]
        for path in files:
            self._governing[shown_path(path)] = (path, settings, (given or {}).get(str(path)))
        if settings.baseline is not None and self._use_baseline and settings.baseline not in self._baselines:
            from decoderonly_checker.baseline import read

            self._baselines[settings.baseline] = read(settings.baseline)
        around = self._around
        contents = Contents(given)
        if around is not None:
            contents = Contents({**around.unsaved, **(given or {})}, around.loader)
        project = project_files(names, settings) if around is None else around.project(names, settings)
        remembered = None
        if cache is not None and not cache.forgets:
            from decoderonly_checker.remembered import Remembered

            remembered = Remembered(cache, settings, names, project, contents)
        known = None if remembered is None else remembered.run()
        if known is not None:
            plan, outcome = known
            self._take(plan, outcome)
            tell(len(names))
            return
        workers = Workers(self._make_analyser, contents, jobs, telling_names(settings))
        try:
            self._check(names, project, settings, contents, workers=workers, remembered=remembered, tell=tell)
        finally:
            workers.close()

    def _check(
        self,
        names: Sequence[str],
        project: Sequence[str],
        settings: Settings,
        contents: Contents,
        *,
        workers: Workers,
        remembered: Remembered | None,
        tell: Callable[[int], None],
    ) -> None:
        def scan(paths: Iterable[str]) -> dict[str, Scan]:
            wanted = list(paths)
            if self._around is not None:
                return self._around.scan(wanted, settings, among=names, work=workers.scan)
            if remembered is None:
                return workers.scan(wanted)
            found = remembered.scans(wanted)
            fresh = workers.scan(path for path in wanted if path not in found)
            remembered.keep_scans(fresh)
            return {**found, **fresh}

        plan, units = begin_plan(names, project, str(settings.root), contents, scan)
        known: list[tuple[Unit, Outcome]] = []

        def unknown() -> Iterator[Unit]:
            for unit in units:
                held = None if remembered is None else remembered.unit(unit)
                if held is None:
                    yield unit
                else:
                    known.append((unit, held))
            tell(len(plan.skipped) + len(plan.unread))

        outcomes: list[Outcome] = []
        asked = set(names)
        for unit, outcome in workers.analyse(unknown(), settings):
            if remembered is not None and outcome.steady:
                remembered.keep_unit(unit, outcome)
            outcomes.append(outcome)
            tell(sum(path in asked for path in unit.files))
        for unit, outcome in known:
            outcomes.append(outcome)
            tell(sum(path in asked for path in unit.files))
        if remembered is not None and all(outcome.steady for outcome in outcomes):
            remembered.keep_run(plan, outcomes)
        self._take(plan, *outcomes)

    def _take(self, plan: Plan, *outcomes: Outcome) -> None:
        """Add what came out of a plan."""
        # A helper that does nothing by itself is checked where it is called.
        called = {found.place.path for outcome in outcomes for found in outcome.found}
        skipped = [shown_path(path) for path in plan.skipped]
        self._checked += [shown_path(path) for path in plan.checked]
        self._checked += [path for path in skipped if path in called]
        self._skipped += [path for path in skipped if path not in called]
        self._silencing.update((shown_path(path), None) for path in plan.silencing)
        for path in plan.unread:
            try:
                read_bytes(Path(path))
            except SourceError as problem:  # noqa: PERF203 - one file after the other
                self._errors.append(problem.error)
        for outcome in outcomes:
            self._found += outcome.found
            self._errors += [error for error in outcome.errors if error.path in self._governing]

    def result(self, errors: Iterable[FileError]) -> CheckResult:
        """Sum up what was found."""
        every_error = dict.fromkeys([*errors, *self._errors])
        left: list[tuple[Diagnostic, Settings]] = []
        silenced: list[tuple[Silenced, Settings]] = []
        for diagnostic in without_duplicates(self._found):
            known = self._governing.get(diagnostic.place.path)
            if known is None:
                continue  # a module that was followed, but not asked about
            by = self._comments_of(diagnostic.place.path).silenced(diagnostic)
            if by is not None:
                silenced.append((by, known[1]))
            else:
                left.append((diagnostic, known[1]))
        about = [
            (diagnostic, self._governing[diagnostic.place.path][1])
            for diagnostic in self._about_comments({error.path for error in every_error})
        ]
        left += about
        suppressed = len(silenced)
        left, baselined, gone = self._without_baseline(left, {error.path for error in every_error})
        silenced += [
            (Silenced(one, "baseline", "was there before, and is in the baseline"), settings)
            for one, settings in baselined
        ]

        def shows(diagnostic: Diagnostic, settings: Settings) -> bool:
            return diagnostic.confidence.rank >= (self._confidence or settings.min_confidence).rank

        shown = [_with_severity(one, settings) for one, settings in left if shows(one, settings)]
        kept_quiet = [
            replace(one, diagnostic=_with_severity(one.diagnostic, settings))
            for one, settings in silenced
            if shows(one.diagnostic, settings)
        ]
        return CheckResult(
            diagnostics=tuple(sorted(shown, key=lambda diagnostic: diagnostic.sort_key)),
            errors=tuple(sorted(every_error, key=lambda e: (e.path, e.cell or 0, e.line or 0, e.message))),
            checked=tuple(sorted(self._checked)),
            skipped=tuple(sorted(self._skipped)),
            suppressed=suppressed,
            hidden=len(left) - len(shown),
            baselined=len(baselined),
            gone=gone,
            hints=tuple(dict.fromkeys(self._hints())),
            silenced=tuple(sorted(kept_quiet, key=lambda one: one.diagnostic.sort_key)),
        )

    def _hints(self) -> Iterator[str]:
        for comments in self._comments.values():
            yield from comments.hints()
        for shown, (path, _, data) in self._governing.items():
            if path.suffix.lower() in MARKDOWN_SUFFIXES:
                try:
                    left_out = load_source(path, data).left_out
                except SourceError:  # among the errors
                    continue
                if left_out:
                    blocks = "a Python block" if left_out == 1 else f"{left_out} Python blocks"
                    yield f"{shown}: {blocks} left out, as what is there does not parse"

    def _comments_of(self, name: str) -> Comments:
        found = self._comments.get(name)
        if found is None:
            from decoderonly_checker.comments import Comments  # most runs find nothing

            path, settings, data = self._governing[name]
            found = self._comments[name] = Comments(path, settings, data)
        return found

    def _about_comments(self, failed: Container[str]) -> Iterator[Diagnostic]:
        """Yield what is to be said of comments that silence, now that it is known what they silenced."""
        if not self._silencing:
            return
        from decoderonly_checker.comments import findings_about

        for name in self._silencing:
            comments = self._comments_of(name)
            for diagnostic in findings_about(comments, complete=name not in failed):
                if not comments.ignores(diagnostic.code, diagnostic.name):
                    yield diagnostic

    def _without_baseline(
        self, found: list[tuple[Diagnostic, Settings]], failed: Container[str]
    ) -> tuple[list[tuple[Diagnostic, Settings]], list[tuple[Diagnostic, Settings]], int]:
        """Return the findings that no baseline covers, those that one does, and how many of those of before are gone."""
        files = {settings.baseline for _, settings, _ in self._governing.values()} - {None}
        if not files or not self._use_baseline:
            return found, [], 0
        from decoderonly_checker import baseline
        from decoderonly_checker.rules import codes

        left: list[tuple[Diagnostic, Settings]] = []
        covered: list[tuple[Diagnostic, Settings]] = []
        gone = 0
        for file in {settings.baseline: None for _, settings, _ in self._governing.values()}:
            mine = [(one, settings) for one, settings in found if settings.baseline == file]
            if file is None:
                left += mine
                continue
            old = self._baselines[file]
            counted = [
                (self._governing[one.place.path][0], one)
                for one, settings in mine
                if one.confidence.rank >= settings.min_confidence.rank
            ]
            now = baseline.count(counted, file)
            fine = {key for key, number in now.items() if number <= old[key]}
            for one, settings in mine:
                key = baseline.name_of(self._governing[one.place.path][0], file), one.code
                if key in fine and one.confidence.rank >= settings.min_confidence.rank:
                    covered.append((one, settings))
                else:
                    left.append((one, settings))
            for shown, (path, settings, _) in self._governing.items():
                if settings.baseline == file and shown not in failed:
                    name = baseline.name_of(path, file)
                    for code in settings.enabled(codes()):
                        gone += max(0, old[name, code] - now[name, code])
        return left, covered, gone


def _with_severity(diagnostic: Diagnostic, settings: Settings) -> Diagnostic:
    severity = settings.severity_of(diagnostic.code, diagnostic.name, diagnostic.severity)
    return diagnostic if severity is diagnostic.severity else replace(diagnostic, severity=severity)
