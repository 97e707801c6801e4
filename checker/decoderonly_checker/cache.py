"""What the checker remembers between runs: bytes under a kind and a key. Whoever uses it decides what they mean."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from decoderonly_checker.cache_store import Store

FOLDER = ".decoderonly_cache"
VARIABLE = "DECODERONLY_CACHE_DIR"
# Another shape of the file gets another name: versions of this tool may share a folder.
_STORE = "decoderonly-1.sqlite"
_MARKS = {
    "CACHEDIR.TAG": (
        "Signature: 8a477f597d28d172789f06886806bc55\n"
        "# This folder is a cache of pytest-decoderonly's checker. It can be deleted: `decoderonly clean`.\n"
    ),
    ".gitignore": "# Made by pytest-decoderonly.\n*\n",
}


class CacheError(Exception):
    """A cache that cannot be deleted; the text is one line and names the folder."""


class Cache:
    """Remembers results between runs: bytes under (kind, key).

    A cache never fails: one that cannot be used remembers nothing, and `problem` says why in one line. It may be
    shared with any number of processes, each with a `Cache` of its own; a fork of this process has no part in it.
    """

    def __init__(self, folder: Path | None = None, problem: str | None = None) -> None:
        """Use `Cache.open`."""
        self.problem = problem
        self._folder = None if problem else folder
        self._store: Store | None = None
        self._entries: dict[tuple[str, bytes], bytes] = {}
        self._process = os.getpid()

    @classmethod
    def open(cls, folder: Path | None) -> Cache:
        """Open the cache in a folder, which is made when there is something to write.

        Args:
            folder: The folder; None for a cache that remembers nothing.
        """
        if folder is None:
            return cls()
        try:
            folder = Path(os.path.abspath(folder))  # noqa: PTH100 - symlinks stay as the user named them
            reason = _reason_against(folder)
        except (OSError, ValueError) as problem:
            reason = _os_reason(problem)
        return cls(folder, None if reason is None else f"cache {folder}: {reason}")

    @property
    def forgets(self) -> bool:
        """Whether it remembers nothing."""
        return self._folder is None

    def get(self, kind: str, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Return those that are there, those put before `close` among them."""
        wanted = list(dict.fromkeys(keys))
        if self._folder is None or self._process != os.getpid():
            return {}
        found = {key: self._entries[kind, key] for key in wanted if (kind, key) in self._entries}
        with self._forgiving():
            if self._store is None and not (self._folder / _STORE).exists():
                return found
            found |= self._opened().read(kind, (key for key in wanted if key not in found), int(time.time()))
        return found

    def put(self, kind: str, entries: Mapping[bytes, bytes]) -> None:
        """Remember entries; they are written by `close`."""
        if self._folder is not None and self._process == os.getpid():
            self._entries.update({(kind, key): value for key, value in entries.items()})

    def close(self) -> None:
        """Write what was put, in one transaction, and drop what was not used for long. The cache is empty then."""
        folder, entries, self._entries = self._folder, self._entries, {}
        if folder is None or self._process != os.getpid():
            return
        with self._forgiving():
            if entries or (self._store is not None and self._store.stale):
                _prepare(folder)
                self._opened().write(entries, int(time.time()))
                self.problem = None
        if self._store is not None:
            self._store.close()
        self._folder = self._store = None

    def __enter__(self) -> Cache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what was put, also behind an interrupted run: each result stands for itself."""
        self.close()

    def _opened(self) -> Store:
        if self._store is None:
            from decoderonly_checker.cache_store import Store  # brings sqlite3

            assert self._folder is not None  # noqa: S101 - for mypy
            self._store = Store(self._folder / _STORE)
        return self._store

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """Turn what goes wrong into `problem`."""
        try:
            yield
        except Exception as problem:
            self.problem = f"cache {self._folder}: {_os_reason(problem)}"


def cache_folder(root: Path, asked: Path | None, setting: Path | None = None) -> Path:
    """Where the cache of a project lies.

    Args:
        root: The project's folder.
        asked: What `--cache-dir` says; it wins over the variable `DECODERONLY_CACHE_DIR`.
        setting: What the setting `cache-dir` says; the last to be asked.
    """
    named = os.environ.get(VARIABLE)
    return asked or (Path(named) if named else None) or setting or root / FOLDER


def clear(folder: Path) -> int:
    """Delete a cache: what the cache wrote, and the folder if nothing else is in it.

    Returns:
        How many bytes were deleted; 0 where there is no cache.

    Raises:
        CacheError: A run is writing to it, or the system refuses.
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - as in Cache.open
    deleted = 0
    try:
        if not folder.is_dir():
            return 0
        ours = [file for file in sorted(folder.iterdir()) if _wrote(file)]
        sizes = {file: file.lstat().st_size for file in ours}
        if any(_is_store(file.name) for file in ours):
            from decoderonly_checker.cache_store import Store

            Store(folder / _STORE).remove()
        for file in ours:
            file.unlink(missing_ok=True)
            deleted += sizes[file]
        if ours and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
    except Exception as problem:
        raise CacheError(f"cache {folder}: {_os_reason(problem)}") from problem
    return deleted


def digest_of(data: bytes) -> bytes:
    """Return what tells one content from another: 16 bytes."""
    digest = _blake2b()
    digest.update(data)
    return digest.digest()


def _blake2b() -> hashlib.blake2b:
    try:
        from _blake2 import blake2b  # as in hashlib, which loads OpenSSL too
    except ImportError:
        from hashlib import blake2b
    return blake2b(digest_size=16)


def key_of(*parts: bytes | str) -> bytes:
    """Digest parts so that no other parts give the same: `("ab", "c")`, `("a", "bc")` and `(b"ab", "c")` differ."""
    digest = _blake2b()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(b"%c%d:" % (b"s" if isinstance(part, str) else b"b", len(data)))
        digest.update(data)
    return digest.digest()


@functools.cache
def tool_version() -> bytes:
    """Tell builds of the checker apart: its version and files, those of libcst, and Python's version."""
    import importlib.util

    package = Path(__file__).parent
    libcst = importlib.util.find_spec("libcst")  # finds it, and imports nothing
    parser = Path(libcst.origin).parent if libcst is not None and libcst.origin else None
    parts = [sys.version, *_names(package.parent, "pytest_decoderonly-"), *_states(package)]
    if parser is not None:
        # Installers name the version in a folder beside the package; files in place are told by their times.
        parts += [*_names(parser.parent, "libcst-"), *_states(parser, deep=False)]
    return key_of(*parts)


def _names(folder: Path, start: str) -> list[str]:
    try:
        return sorted(file.name for file in folder.iterdir() if file.name.lower().startswith(start))
    except OSError:
        return []


def _states(folder: Path, *, deep: bool = True) -> list[str]:
    """Name, size and time of every file of a package, tables among them."""
    found = []
    pending = [str(folder)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    if deep and entry.name != "__pycache__":
                        pending.append(entry.path)
                else:
                    status = entry.stat()
                    found.append(f"{entry.path[len(str(folder)) :]} {status.st_size} {status.st_mtime_ns}")
    return sorted(found)


def _reason_against(folder: Path) -> str | None:
    """Why a folder may not be used, as far as can be told without writing."""
    if os.path.lexists(folder):
        if not folder.is_dir():
            return "is not a folder"
        if not _is_mine(folder.stat()):
            return "belongs to another user"
        strange = any(not _is_own_name(file.name) for file in folder.iterdir())
        if strange and not _wrote(folder / "CACHEDIR.TAG"):
            return "holds other files"  # a folder of the user's would be hidden from git
        return None
    parent = next(parent for parent in folder.parents if os.path.lexists(parent))
    if not parent.is_dir():
        return f"{parent} is not a folder"
    status = parent.stat()
    if not _is_mine(status) and not status.st_mode & stat.S_ISVTX:  # such as /tmp
        return f"{parent} belongs to another user"
    return None if os.access(parent, os.W_OK | os.X_OK) else "permission denied"


def _is_mine(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def _is_own_name(name: str) -> bool:
    return name in _MARKS or _is_store(name) or (name.startswith("decoderonly-") and name.endswith(".tmp"))


def _is_store(name: str) -> bool:
    return name.removesuffix("-journal").removesuffix("-wal").removesuffix("-shm") == _STORE


def _wrote(file: Path) -> bool:
    """Whether a file is the cache's own, by its name and, where the name may be another's too, its content."""
    if file.name not in _MARKS:
        return _is_own_name(file.name)
    try:
        return file.read_bytes() == _MARKS[file.name].encode()
    except OSError:
        return False


def _prepare(folder: Path) -> None:
    """Make the folder, and mark it as what neither git nor backups keep."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in _MARKS.items():
        if not os.path.lexists(folder / name):
            # Never half a file, however the run ends.
            draft = folder / f"decoderonly-{os.getpid()}.tmp"
            try:
                draft.write_bytes(text.encode())
                draft.replace(folder / name)
            finally:
                draft.unlink(missing_ok=True)


def _os_reason(problem: Exception) -> str:
    from decoderonly_checker.source.files import os_reason

    if isinstance(problem, OSError):
        return os_reason(problem)
    return " ".join(str(problem).split()) or type(problem).__name__
