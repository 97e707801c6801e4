"""`--watch`: the same check again whenever files change, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from decoderonly_checker.cache import cache_folder
from decoderonly_checker.config import (
    CONFIG_NAMES,
    DEFAULT_EXCLUDE,
    DEFAULT_INCLUDE,
    Settings,
    SettingsError,
    project_root,
    read_settings,
)
from decoderonly_checker.patterns import Patterns

if TYPE_CHECKING:
    from decoderonly_checker.cli.job import Job

# Between two looks at whether Ctrl-C was pressed; also what the first look takes.
_LOOK_MS = 200
# Changes that come this soon after each other are one: an editor writes, renames and touches.
_TOGETHER_MS = 100


def watch(job: Job) -> None:
    """Check, wait for changes, check again; returns when interrupted.

    What is wrong with settings is shown, and may be mended while this runs.

    Raises:
        SettingsError: watchfiles is not installed, or the system does not let it watch.
    """
    try:
        import watchfiles
    except ImportError:
        raise SettingsError('--watch needs watchfiles: pip install "pytest-decoderonly[watch]"') from None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            folders = _folders(job)
            try:
                changes = watchfiles.watch(
                    *folders,
                    watch_filter=None,
                    rust_timeout=_LOOK_MS,
                    yield_on_timeout=True,
                    step=_TOGETHER_MS,
                    ignore_permission_denied=True,
                )
                next(changes)  # from here on it watches: what changes during the first check is not missed
            except FileNotFoundError:  # gone since we looked
                time.sleep(_LOOK_MS / 1000)
                continue
            except OSError as problem:
                raise SettingsError(f"--watch: {problem.strerror or problem}") from None
            with contextlib.closing(changes):
                while _folders(job) == folders:
                    _check(job)
                    matters = _Relevance(job)
                    next(found for found in changes if any(matters(path) for _, path in found))


def _check(job: Job) -> None:
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        click.clear()
    try:
        job.run()
    except SettingsError as problem:
        click.echo(f"error: {problem}", err=True)
    if not job.quiet:
        click.echo("Watching for changes; Ctrl-C ends it.", err=True)


def _folders(job: Job) -> list[Path]:
    """What to watch: the folders asked about, and the projects around them, where what they import stands."""
    wanted: set[Path] = set()
    for folder in _asked_folders(job):
        wanted |= {folder, _settings(job, folder).root}
    if job.overrides.config is not None:
        wanted.add(_existing_folder(job.overrides.config))
    return sorted(folder for folder in wanted if wanted.isdisjoint(folder.parents))


def _asked_folders(job: Job) -> list[Path]:
    return [_existing_folder(path) for path in job.paths or (Path(),)]


def _existing_folder(path: Path) -> Path:
    """The folder itself, or the nearest above that is there."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as they are named
    return next(folder for folder in (absolute, *absolute.parents) if folder.is_dir())


def _settings(job: Job, folder: Path) -> Settings:
    """The settings for a folder; where these are wrong, defaults for the place where they can be mended."""
    with contextlib.suppress(SettingsError):
        return job.overrides.of(folder)
    for parent in (folder, *folder.parents):
        for name in CONFIG_NAMES:
            if (parent / name).is_file():
                try:
                    read_settings(parent / name)
                except SettingsError:
                    return Settings(root=parent)
    return Settings(root=project_root(folder))


class _Relevance:
    """Whether a changed path may change what is found; logs and data that a program writes do not."""

    def __init__(self, job: Job) -> None:
        self._named = {os.path.abspath(path) for path in job.paths}  # noqa: PTH100
        if job.overrides.config is not None:
            self._named.add(os.path.abspath(job.overrides.config))  # noqa: PTH100
        self._skipped = Patterns(DEFAULT_EXCLUDE)
        every = [_settings(job, folder) for folder in _asked_folders(job)]
        self._caches = [
            Path(os.path.abspath(cache_folder(settings.root, job.cache_dir, settings.cache_dir)))  # noqa: PTH100
            for settings in every
        ]
        self._roots = [
            (settings.root, Patterns([*DEFAULT_INCLUDE, *settings.include], folded=True))
            for settings in every
        ]
        self._roots += [(folder, Patterns(DEFAULT_INCLUDE, folded=True)) for folder in _asked_folders(job)]
        # Some systems name what changed without the links that lead there.
        self._roots += [(root.resolve(), include) for root, include in self._roots if root.resolve() != root]

    def __call__(self, path: str) -> bool:
        if any(Path(path).is_relative_to(cache) for cache in self._caches):
            return False  # a check writes there
        return path in self._named or any(
            self._counts(Path(path), root, include) for root, include in self._roots
        )

    def _counts(self, path: Path, root: Path, include: Patterns) -> bool:
        if not path.is_relative_to(root) or path == root:
            return False
        relative = path.relative_to(root)
        *folders, name = relative.parts
        if any(folder.startswith(".") for folder in folders) or self._skipped.covers(relative.as_posix()):
            return False
        if name in CONFIG_NAMES or name == ".gitignore":
            return True
        if name.startswith("."):
            return False
        if include.verdict(relative.as_posix(), name, is_folder=False):
            return True
        # A folder that came, or one that went: of what is gone only the name is left.
        return path.is_dir() if path.exists() else not path.suffix
