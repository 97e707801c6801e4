"""One check of what an editor holds: settings, surroundings, findings, and the comments that would silence them."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from decoderonly_checker.config import Settings, SettingsError, load_settings
from decoderonly_checker.diagnostics import CheckResult
from decoderonly_checker.discovery import is_excluded
from decoderonly_checker.immutable import immutable
from decoderonly_checker.runner import check_sources
from decoderonly_checker.source.files import MARKDOWN_SUFFIXES, SourceError, load_source, shown_path
from decoderonly_checker.surroundings import Surroundings
from decoderonly_checker.work import internal_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from decoderonly_checker.analysis import Analyser
    from decoderonly_checker.diagnostics import Diagnostic, Fix
    from decoderonly_checker.server.documents import Opened
    from decoderonly_checker.source.files import SourceFile


_log = logging.getLogger(__name__)


@immutable
class Checked:
    """What came out for one of the files: findings, or why there are none, in one line."""

    file: Opened
    result: CheckResult
    problem: str = ""


class Checks:
    """Checks again and again, one at a time, and keeps what stays the same in between."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._around = Surroundings(keep_parsed=True)
        self._settings: dict[Path, Settings] = {}

    def forget(self) -> None:
        """Read settings and walk folders anew: files have changed, come or gone."""
        self._settings.clear()
        self._around.forget_files()

    def settings(self, path: Path) -> Settings:
        """Return what governs a file.

        Raises:
            SettingsError: A settings file is wrong.
        """
        folder = path.parent
        known = self._settings.get(folder)
        if known is None:
            known = self._settings[folder] = load_settings(folder)
        return known

    def check(
        self, files: Sequence[Opened], unsaved: Mapping[str, bytes], stop: Callable[[], bool]
    ) -> list[Checked]:
        """Check what an editor shows; files under the same settings together.

        Args:
            files: What to check.
            unsaved: By path what the editor shows of all files, these among them.
            stop: Asked again and again whether to give up.

        Raises:
            Stopped: It was to give up.
        """
        done: list[Checked] = []
        groups: list[tuple[Settings, dict[Path, Opened]]] = []
        for file in files:
            try:
                settings = self.settings(file.path)
            except SettingsError as problem:
                done.append(Checked(file, CheckResult(), str(problem)))
                continue
            markdown = file.path.suffix.lower() in MARKDOWN_SUFFIXES
            if is_excluded(file.path, settings) or (markdown and not settings.include_markdown):
                done.append(Checked(file, CheckResult()))
                continue
            group = next((members for governing, members in groups if governing == settings), None)
            if group is None:
                group = {}
                groups.append((settings, group))
            group[file.path] = file
        self._around.unsaved = unsaved
        self._around.begin()
        for settings, group in groups:
            result, reason = self._check(group, settings, unsaved, stop)
            done += [Checked(file, _about(result, path), reason) for path, file in group.items()]
        return done

    def _check(
        self,
        files: Iterable[Path],
        settings: Settings,
        unsaved: Mapping[str, bytes],
        stop: Callable[[], bool],
    ) -> tuple[CheckResult, str]:
        def load(path: Path) -> SourceFile:
            return load_source(path, unsaved.get(str(path)))

        def analyser(governing: Settings) -> Analyser:
            from decoderonly_checker.analysis import Analyser
            from decoderonly_checker.rules import codes, load_all

            rules = load_all(governing.enabled(codes()))
            return Analyser(rules, [governing.root], governing.timeout, governing, stop=stop, load=load)

        texts = {path: unsaved[str(path)] for path in files}
        try:
            return check_sources(texts, settings, analyser=analyser, around=self._around), ""
        except SettingsError as problem:  # a baseline
            return CheckResult(), str(problem)
        except Exception as problem:
            _log.exception("a check failed")
            return CheckResult(), internal_error(problem)


def _about(result: CheckResult, path: Path) -> CheckResult:
    """Return what a result says of one of its files."""
    shown = shown_path(path)
    return CheckResult(
        diagnostics=tuple(one for one in result.diagnostics if one.place.path == shown),
        errors=tuple(error for error in result.errors if error.path == shown),
    )


def absolute(shown: str) -> Path:
    """Return the file that a finding names."""
    return Path(os.path.abspath(shown))  # noqa: PTH100 - links stay


def ignore_of(diagnostic: Diagnostic, path: Path, data: bytes) -> Fix | None:
    """Return the change that silences a finding with a comment; None where there is none."""
    from decoderonly_checker.fixes.ignores import with_ignores

    try:
        source = load_source(path, data)
    except SourceError:
        return None
    (made,) = with_ignores(CheckResult((diagnostic,)), "", [source]).diagnostics
    return made.fix


def warm_up() -> None:
    """Import what the first check needs."""
    from decoderonly_checker.analysis import Analyser  # noqa: F401
    from decoderonly_checker.flow.interpreter import Interpreter  # noqa: F401
    from decoderonly_checker.rules import load_all

    load_all()
