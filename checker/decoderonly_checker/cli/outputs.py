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
    from decoderonly_checker import written

    try:
        if file.is_dir():
            raise SettingsError(f"{option}: {file} is a folder")
        if not file.absolute().parent.is_dir():
            raise SettingsError(f"{option}: {file}: there is no folder {file.parent}")
        written.check_writable(file)
    except OSError as problem:
        raise _refused(file, option, problem) from problem


def write_report(file: Path, content: str | bytes, option: str = "--output-file") -> None:
    """Write a report; a reader never sees half of it.

    Raises:
        SettingsError: It cannot be written.
    """
    from decoderonly_checker.written import write_whole

    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    try:
        write_whole(file, data)
    except OSError as problem:
        raise _refused(file, option, problem) from problem


def _refused(file: Path, option: str, problem: OSError) -> SettingsError:
    from decoderonly_checker.source.files import os_reason

    return SettingsError(f"{option}: {file}: {os_reason(problem)}")
