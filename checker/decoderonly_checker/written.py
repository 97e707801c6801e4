"""Files that are written whole or not at all. Importing it brings nothing but the standard library."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader never sees half of it, through links, with the mode that it had.

    What is no file (`/dev/stdout`, a pipe) is written to as it is.

    Raises:
        OSError: It cannot be written; what was there before is as it was.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    target = Path(os.path.realpath(path))
    beside = _beside(target)
    try:
        beside.write_bytes(data)
        if target.exists():
            beside.chmod(target.stat().st_mode)
        beside.replace(target)
    except BaseException:  # also Ctrl-C: half a file beside the whole one would be left
        beside.unlink(missing_ok=True)
        raise


def unwritable(path: Path) -> str:
    """Say why `write_whole` will not find its place, before the work is done; empty where it will. Leaves nothing behind."""
    try:
        if path.is_dir():
            return "is a folder"
        if path.exists() and not path.is_file():
            return ""
        if not path.absolute().parent.is_dir():
            return f"there is no folder {path.parent}"
        beside = _beside(Path(os.path.realpath(path)))
        beside.touch()
        beside.unlink()
    except OSError as problem:
        from decoderonly_checker.source.files import os_reason

        return os_reason(problem)
    return ""


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}")
