"""Files that options name to be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.config import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def check_writable(file: Path, option: str = "--output-file") -> None:
    """Refuse a place where nothing can be written, before minutes are spent on a run.

    Raises:
        SettingsError: In one line.
    """
    from decoderonly_checker.written import unwritable

    why = unwritable(file)
    if why:
        raise SettingsError(f"{option}: {file}: {why}")


def write_report(file: Path, content: str | bytes, option: str = "--output-file") -> None:
    """Write a report; a reader never sees half of it.

    Raises:
        SettingsError: It cannot be written.
    """
    from decoderonly_checker.source.files import os_reason
    from decoderonly_checker.written import write_whole

    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    try:
        write_whole(file, data)
    except OSError as problem:
        raise SettingsError(f"{option}: {file}: {os_reason(problem)}") from problem
