"""Which cache a command uses."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import click

from decoderonly_checker.cache import VARIABLE, Cache, cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from decoderonly_checker.config import Settings


def folder_of(path: Path) -> Path:
    """The folder by which settings are looked up: the path itself, or the one that it lies in."""
    return path if path.is_dir() else path.parent


@contextlib.contextmanager
def opened_cache(
    path: Path, governing: Callable[[Path], Settings], asked: Path | None, *, tell: bool
) -> Iterator[Cache]:
    """The cache of the project that a path belongs to, closed at the end.

    A cache that cannot be used is no error: a checkout may be read-only. It is told where somebody named its folder.

    Args:
        path: A file or folder under check.
        governing: Says which settings govern a folder.
        asked: What `--cache-dir` says.
        tell: Print a warning on standard error.
    """
    settings = governing(folder_of(path))
    with Cache.open(cache_folder(settings.root, asked, settings.cache_dir)) as cache:
        yield cache
    named = asked or os.environ.get(VARIABLE) or settings.cache_dir
    if cache.problem is not None and named and tell:
        click.echo(f"warning: {cache.problem}", err=True)
