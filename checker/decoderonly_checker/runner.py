"""One run: files found, filtered, analysed, findings silenced, counted and put in order."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from decoderonly_checker.config import PROJECT_MARKERS, Settings, load_settings, selects
from decoderonly_checker.diagnostics import CheckResult, Confidence, Diagnostic, FileError, Severity
from decoderonly_checker.discovery import find_files
from decoderonly_checker.patterns import Patterns
from decoderonly_checker.source.files import (
    NOTEBOOK_SUFFIX,
    SourceError,
    SourceFile,
    load_source,
    read_bytes,
    shown_path,
)
from decoderonly_checker.source.imports import ImportReach
from decoderonly_checker.source.prefilter import may_matter
from decoderonly_checker.source.syntax import syntax_error
from decoderonly_checker.suppress import Suppressions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from decoderonly_checker.cache import Cache

# Files that cannot matter are still looked over for syntax errors, but not generated data of megabytes.
_MAX_SYNTAX_CHECK = 1_000_000


class AnalyserLike(Protocol):
    """What the runner needs of an analyser; one is made for each group of files under the same settings.

    `errors` holds what went wrong inside the analysis, file by file.
    """

    errors: list[FileError]

    def analyse(self, sources: Sequence[SourceFile]) -> list[Diagnostic]:
        """Return the findings of files that are looked at together."""
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
    cache: Cache | None = None,  # noqa: ARG001 - results are not kept yet
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

    Raises:
        SettingsError: Only with `settings=None`: a settings file is wrong.
    """
    run = _Run(settings, confidence, analyser)
    errors: list[FileError] = []
    files: dict[Path, Settings] = {}
    for path in map(Path, paths):
        governing = run.settings_for(path)
        found, missing = find_files([path], governing, force_exclude=force_exclude)
        errors += missing
        for file in found if narrow is None else narrow(found, governing):
            files.setdefault(file, governing)
    for done, file in enumerate(sorted(files, key=lambda path: path.parts), start=1):
        run.add_file(file, files[file])
        if progress is not None:
            progress(done, len(files))
    return run.result(errors)


def check_source(
    text: str | bytes,
    path: Path | str,
    settings: Settings | Callable[[Path], Settings] | None = None,
    *,
    confidence: Confidence | None = None,
    analyser: Callable[[Settings], AnalyserLike] | None = None,
) -> CheckResult:
    """Check text as if it stood at a path, which need not exist; imports are resolved from there.

    Args:
        text: The file's content.
        path: Names the file in messages; its suffix says whether it is a notebook.
        settings: As for `check_paths`.
        confidence: As for `check_paths`.
        analyser: As for `check_paths`.

    Raises:
        SettingsError: Only with `settings=None`: a settings file is wrong.
    """
    run = _Run(settings, confidence, analyser)
    path = Path(path)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    run.add_file(path.absolute(), run.settings_for(path), data)
    return run.result([])


class _Run:
    """What gathers in one run."""

    def __init__(
        self,
        settings: Settings | Callable[[Path], Settings] | None,
        confidence: Confidence | None,
        make_analyser: Callable[[Settings], AnalyserLike] | None,
    ) -> None:
        self._settings = settings
        self._confidence = confidence
        self._make_analyser = make_analyser or _real_analyser
        self._groups: dict[int, tuple[Settings, list[SourceFile]]] = {}
        self._reaches: dict[Path, ImportReach] = {}
        self._settings_of_folder: dict[Path, Settings] = {}
        self._found: list[Diagnostic] = []
        self._errors: list[FileError] = []
        self._checked: list[str] = []
        self._skipped: list[str] = []
        self._governing: dict[str, tuple[Path, Settings, bytes | None]] = {}
        self._silence: dict[str, _Silence] = {}

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

    def add_file(self, path: Path, settings: Settings, data: bytes | None = None) -> None:
        """Check one file; what goes wrong becomes an error of that file."""
        shown = shown_path(path)
        self._governing[shown] = (path, settings, data)
        try:
            data = read_bytes(path) if data is None else data
            source = load_source(path, data)
            if not self._matters(path, data, settings):
                self._skipped.append(shown)
                self._errors += _plain_errors(source)
                return
            self._checked.append(shown)
            self._errors += source.errors
            if any(cell.tree is not None for cell in source.cells):
                self._groups.setdefault(id(settings), (settings, []))[1].append(source)
        except SourceError as problem:
            self._errors.append(problem.error)
        except Exception as problem:
            self._errors.append(FileError(shown, _internal_error(problem)))

    def _analyse(self, settings: Settings, sources: list[SourceFile]) -> None:
        """Look at files together; if that fails, one by one: no file takes the others along."""
        try:
            analyser = self._make_analyser(settings)
            found = analyser.analyse([*sources, *callers_of(sources, settings, self._reach(settings))])
        except Exception as problem:
            if len(sources) == 1:
                deep = isinstance(problem, RecursionError)
                reason = "nests too deep to be analysed" if deep else _internal_error(problem)
                self._errors.append(FileError(sources[0].shown, reason))
                return
            for source in sources:
                self._analyse(settings, [source])
            return
        self._found += found
        self._errors += analyser.errors

    def result(self, errors: Iterable[FileError]) -> CheckResult:
        """Analyse what was added and sum up."""
        for settings, sources in self._groups.values():
            self._analyse(settings, sources)
        shown: list[Diagnostic] = []
        suppressed = hidden = 0
        for diagnostic in _without_duplicates(self._found):
            governing = self._governing.get(diagnostic.place.path)
            if governing is None:
                continue  # a module that was followed, but not asked about
            path, settings, data = governing
            lowest = self._confidence or settings.min_confidence
            name = diagnostic.place.path
            if name not in self._silence:
                self._silence[name] = _Silence(path, settings, data)
            if self._silence[name].covers(diagnostic):
                suppressed += 1
            elif diagnostic.confidence.rank < lowest.rank:
                hidden += 1
            else:
                shown.append(diagnostic)
        every_error = dict.fromkeys([*errors, *self._errors])
        return CheckResult(
            diagnostics=tuple(shown),
            errors=tuple(sorted(every_error, key=lambda e: (e.path, e.cell or 0, e.line or 0, e.message))),
            checked=tuple(self._checked),
            skipped=tuple(self._skipped),
            suppressed=suppressed,
            hidden=hidden,
        )

    def _matters(self, path: Path, data: bytes, settings: Settings) -> bool:
        if may_matter(data, notebook=path.suffix.lower() == NOTEBOOK_SUFFIX):
            return True
        return self._reach(settings).reaches(path, data)

    def _reach(self, settings: Settings) -> ImportReach:
        return self._reaches.setdefault(settings.root, ImportReach(settings.root))


def callers_of(sources: list[SourceFile], settings: Settings, reach: ImportReach) -> list[SourceFile]:
    """The files of the project that call into the given ones: a cut may be made there. Nothing is said of them."""
    asked = [source.path for source in sources]
    root = settings.root
    if any((root / marker).exists() for marker in PROJECT_MARKERS):
        others, _ = find_files([root], settings)
    else:
        # No project is to be seen: not all that lies below some folder belongs together.
        others = [file for folder in {path.parent for path in asked} for file in sorted(folder.glob("*.py"))]
    known = set(asked)
    callers: list[SourceFile] = []
    for path in reach.importers(asked, (other for other in others if other not in known)):
        try:
            source = load_source(path)
        except SourceError:
            continue  # it would be reported if it were asked about
        if any(cell.tree is not None for cell in source.cells):
            callers.append(source)
    return callers


def _real_analyser(settings: Settings) -> AnalyserLike:
    from decoderonly_checker.analysis import Analyser  # brings libcst
    from decoderonly_checker.rules import codes, load_all

    return Analyser(load_all(settings.enabled(codes())), [settings.root], settings.timeout)


def _plain_errors(source: SourceFile) -> list[FileError]:
    """Syntax errors of a file that is not worth parsing; the parser is asked only where Python complains."""
    if len(source.data) > _MAX_SYNTAX_CHECK:
        return []
    return [
        cell.error for cell in source.cells if syntax_error(cell.text) is not None and cell.error is not None
    ]


def _internal_error(problem: Exception) -> str:
    frames = traceback.extract_tb(problem.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    said = " ".join(str(problem).split())[:200]
    return f"internal error: {type(problem).__name__}{where}: {said}; please report"


def _without_duplicates(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """One finding for a code at a place: the surest, then the gravest, then the one that tells most."""
    best: dict[tuple[object, ...], Diagnostic] = {}
    for diagnostic in found:
        key = (diagnostic.code, diagnostic.place)
        if key not in best or _weight(diagnostic) > _weight(best[key]):
            best[key] = diagnostic
    return sorted(best.values(), key=lambda diagnostic: diagnostic.sort_key)


def _weight(diagnostic: Diagnostic) -> tuple[int, bool, int, str]:
    grave = diagnostic.severity is Severity.ERROR
    return (diagnostic.confidence.rank, grave, len(diagnostic.related), diagnostic.message)


class _Silence:
    """What silences findings in one file: its comments and `per-file-ignores`."""

    def __init__(self, path: Path, settings: Settings, data: bytes | None) -> None:
        try:
            cells = load_source(path, data).cells
        except SourceError:  # changed under our hands
            cells = []
        self._comments = {cell.index: Suppressions.read(cell.original) for cell in cells}
        self._skip = any(comments.skip_file for comments in self._comments.values())
        self._ignored = _ignored_here(path, settings.root, settings.per_file_ignores)

    def covers(self, diagnostic: Diagnostic) -> bool:
        if self._skip or any(selects(word, diagnostic.code, diagnostic.name) for word in self._ignored):
            return True
        comments = self._comments.get(diagnostic.place.cell)
        return comments is not None and comments.covers(
            diagnostic.code, diagnostic.place.line, diagnostic.name
        )


def _ignored_here(path: Path, root: Path, ignores: Mapping[str, tuple[str, ...]]) -> list[str]:
    if not ignores:
        return []
    try:
        relative = path.relative_to(root).as_posix()
    except ValueError:
        relative = path.name
    return [
        code for pattern, codes in ignores.items() if Patterns([pattern]).covers(relative) for code in codes
    ]
