"""Files that are written whole or not at all. Imports nothing but the standard library."""

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


def check_writable(path: Path) -> None:
    """Find out, before the work is done, whether `write_whole` will find its place; leaves nothing behind.

    Raises:
        OSError: It will not.
    """
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder", str(path))
    if path.exists() and not path.is_file():
        return
    beside = _beside(Path(os.path.realpath(path)))
    beside.touch()
    beside.unlink()


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}")
