"""The checker as a flake8 plugin: flake8 imports this, and nothing else does.

flake8 shows its plugins one file at a time, while a finding may need several. So the files of a run are checked together before
it begins, as `decoderonly check` would do; what comes alone (an editor's standard input) is checked with what is around it.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from decoderonly_checker.version import installed_version

if TYPE_CHECKING:
    import argparse
    import ast
    from collections.abc import Iterator, Sequence

    from decoderonly_checker.diagnostics import CheckResult, Diagnostic, FileError
    from decoderonly_checker.surroundings import Surroundings

_FAILED = "DLM000"  # in the place of a rule's code: a file could not be checked


class Plugin:
    """What flake8 calls, once for each file."""

    name = "decoderonly"
    version = installed_version() or "0"

    _wanted: ClassVar[bool] = True
    _known: ClassVar[dict[str, list[Diagnostic | FileError]]] = {}
    _around: ClassVar[Surroundings | None] = None

    def __init__(self, tree: ast.AST, filename: str, lines: Sequence[str]) -> None:
        """Take a file.

        Args:
            tree: Unused: it lacks what fixes and comments need. flake8 gives it to plugins that it asks once a file.
            filename: Its path, or what `--stdin-display-name` says.
            lines: Its lines with their breaks.
        """
        del tree
        self._path = Path(filename).absolute()
        self._lines = lines

    @classmethod
    def parse_options(cls, options: argparse.Namespace) -> None:
        """Check the files that flake8 was given, if it will show anything of ours."""
        from decoderonly_checker.rules import findable

        cls._known = {}
        cls._wanted = _shows(options, [*findable(), _FAILED])
        paths = [Path(name) for name in options.filenames or ["."] if name != "-"]
        if cls._wanted and (len(paths) > 1 or any(path.is_dir() for path in paths)):
            with _one_line():
                _keep(_check(paths), cls._known)

    def run(self) -> Iterator[tuple[int, int, str, type[Plugin]]]:
        """Yield line, column (from 0), code and message of each finding."""
        if not self._wanted:
            return
        found = self._known.get(str(self._path))
        for one in self._check_alone() if found is None else found:
            line, column, text = _told(one)
            yield line, column, text, type(self)

    def _check_alone(self) -> list[Diagnostic | FileError]:
        from decoderonly_checker.config import load_settings
        from decoderonly_checker.discovery import is_excluded
        from decoderonly_checker.runner import check_source
        from decoderonly_checker.surroundings import Surroundings

        cls = type(self)
        cls._around = around = cls._around or Surroundings()
        with _one_line():
            settings = load_settings(self._path)
            if is_excluded(self._path, settings):
                return []
            result = check_source("".join(self._lines), self._path, settings, around=around)
        return [*result.diagnostics, *result.errors]


@contextmanager
def _one_line() -> Iterator[None]:
    """End flake8 with one line where settings are wrong."""
    from flake8.exceptions import ExecutionError

    from decoderonly_checker.config import SettingsError

    try:
        yield
    except SettingsError as problem:
        raise ExecutionError(str(problem)) from None


def _shows(options: argparse.Namespace, codes: Sequence[str]) -> bool:
    """Whether `select` and `ignore` leave anything of some codes."""
    from flake8.style_guide import Decision, DecisionEngine

    engine = DecisionEngine(options)
    return any(engine.decision_for(code) is Decision.Selected for code in codes)


def _check(paths: Sequence[Path]) -> CheckResult:
    from decoderonly_checker.cache import Cache, cache_folder
    from decoderonly_checker.config import load_settings
    from decoderonly_checker.runner import check_paths

    settings = load_settings(paths[0] if paths[0].is_dir() else paths[0].parent)
    with Cache.open(cache_folder(settings.root, None, settings.cache_dir)) as cache:
        return check_paths(
            [path for path in paths if path.exists()], force_exclude=True, cache=cache, jobs=None
        )


def _keep(result: CheckResult, known: dict[str, list[Diagnostic | FileError]]) -> None:
    """Sort a result by absolute path; files without findings are known, too."""
    for name in (*result.checked, *result.skipped):
        known.setdefault(str(Path(name).absolute()), [])
    for found in result.diagnostics:
        known.setdefault(str(Path(found.place.path).absolute()), []).append(found)
    for error in result.errors:
        known.setdefault(str(Path(error.path).absolute()), []).append(error)


def _told(one: Diagnostic | FileError) -> tuple[int, int, str]:
    from decoderonly_checker.diagnostics import Diagnostic

    if isinstance(one, Diagnostic):
        return one.place.line, one.place.column - 1, f"{one.code} {one.message}"
    return one.line or 1, 0, f"{_FAILED} not checked: {one.message}"
