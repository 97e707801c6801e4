"""The file behind the cache: one SQLite database that many processes may read and write, and that may be damaged.

Whatever is found in it is doubted: a value carries a checksum over its key, and a database that is not exactly of this
shape counts as empty and is begun anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

DAY = 86_400  # seconds
KEEP = 30 * DAY
LIMIT = 200_000_000  # bytes of the database
# Deleting goes below the limit by this much, so that it is rare.
_LEAVE = 0.75
_WAIT = 5.0  # seconds for another process to finish writing; it needs milliseconds
_NO_DELETING_OPEN_FILES = os.name == "nt"
_CHUNK = 500  # keys in one statement; old builds of SQLite take 999

_SCHEMA = (
    "CREATE TABLE entries (kind TEXT, key BLOB, value BLOB, used INTEGER)",
    "CREATE UNIQUE INDEX places ON entries (kind, key)",
    "CREATE TABLE pruned (at INTEGER)",
)


_BUSY = "another process is writing to it"


class StoreError(Exception):
    """The database cannot be used now; the text is one line, without the file's name."""


class _DamagedError(StoreError):
    """The database is not one, or not ours: it may be replaced."""


class _BusyError(StoreError):
    """Another process holds it for longer than a write takes."""


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


class Store:
    """Values under (kind, key) in one file. Not to be used by two threads at once, nor behind a fork."""

    def __init__(self, file: Path) -> None:
        """Name the database; nothing is opened before it is needed."""
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._damaged = False
        self._stale: set[tuple[str, bytes]] = set()

    @property
    def stale(self) -> bool:
        """Whether entries were read that are to be marked as used."""
        return bool(self._stale)

    def read(self, kind: str, keys: Iterable[bytes], now: int) -> dict[bytes, bytes]:
        """Return what is there.

        Args:
            kind: What the values are.
            keys: Which are wanted.
            now: Seconds since the epoch.

        Raises:
            StoreError: The database is damaged, busy or cannot be read.
        """
        if self._damaged or not self._file.exists():
            return {}
        wanted = set(keys)
        seed = crc32(kind.encode())
        found: dict[bytes, bytes] = {}
        stale: list[tuple[str, bytes]] = []
        with self._noticing_damage(), self._telling():
            connection = self._connect(create=False)
            if not _shape(connection):
                return {}  # another process is about to create it
            for key, value, used in _rows(connection, kind, wanted):
                found[key] = _opened(seed, key, value)
                if not isinstance(used, int) or abs(now - used) > DAY:
                    stale.append((kind, key))
        self._stale.update(stale)
        return found

    def write(self, entries: Mapping[tuple[str, bytes], bytes], now: int) -> None:
        """Add entries, mark those that were read as used and drop what is old, in one transaction.

        Args:
            entries: What to add or replace.
            now: Seconds since the epoch.

        Raises:
            StoreError: The database is busy or cannot be written, the disk is full. Nothing was written then.
            OSError: It is damaged, and the system refuses to delete it.
        """
        if not self._damaged:
            try:
                self._write(entries, now)
            except _DamagedError:
                pass
            else:
                return
        self.remove()
        self._write(entries, now)

    def _write(self, entries: Mapping[tuple[str, bytes], bytes], now: int) -> None:
        with self._noticing_damage(), self._telling():
            if self._opened != _identity(self._file):
                self.close()  # replaced by another process; SQLite would not write to the one that has gone
            connection = self._connect(create=True)
            # The file shrinks when entries are dropped. Has a say only before the first table is made.
            connection.execute("PRAGMA auto_vacuum = FULL")
            # A crash of the machine may damage the file; that is noticed. A crash of this process does not.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not _shape(connection):
                    for statement in _SCHEMA:
                        connection.execute(statement)
                connection.executemany(
                    "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
                    (
                        (kind, key, _sealed(crc32(kind.encode()), key, value), now)
                        for (kind, key), value in entries.items()
                    ),
                )
                connection.executemany(
                    "UPDATE entries SET used = ? WHERE kind = ? AND key = ?",
                    ((now, kind, key) for kind, key in self._stale),
                )
                _prune(connection, now)
                connection.execute("COMMIT")
            except BaseException:  # also Ctrl-C: a transaction that stays open locks the others out
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        self._stale.clear()

    def remove(self) -> None:
        """Delete the database, unless another process has replaced it since this one opened it.

        Raises:
            StoreError: Another process writes to it.
            OSError: The system refuses.
        """
        try:
            with _locked(self._file.parent), self._exclusive():
                # Others may have it open: SQLite does not write to a file that has gone.
                if self._opened is None or self._opened == _identity(self._file):
                    if _NO_DELETING_OPEN_FILES:
                        self.close()
                    # First the journal: it would be played back into the next database.
                    for file in (*leftovers(self._file), self._file):
                        file.unlink(missing_ok=True)
        finally:
            self.close()
        self._damaged = False

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keep others from writing meanwhile, where the file is a database."""
        try:
            with self._telling():
                self._connect(create=False).execute("BEGIN EXCLUSIVE")
        except _BusyError:
            raise
        except StoreError:
            pass  # no database, or none that lets itself be opened: nobody writes to it
        yield

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection, self._opened = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _connect(self, *, create: bool) -> sqlite3.Connection:
        if self._connection is None:
            if self._file.is_symlink():
                raise StoreError(f"{self._file.name} is a symbolic link")
            if self._file.is_dir():
                raise StoreError(f"{self._file.name} is a folder")
            self._opened = _identity(self._file)
            self._connection = sqlite3.connect(
                f"{self._file.as_uri()}?mode={'rwc' if create else 'rw'}",
                uri=True,
                timeout=_WAIT,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.text_factory = bytes  # damaged text may not be UTF-8
        return self._connection

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what SQLite raises into one of our errors."""
        try:
            yield
        except sqlite3.OperationalError as problem:  # busy, full, read-only, not to be opened
            said = _one_line(problem)  # Python 3.10 does not tell the code
            if "locked" in said:
                raise _BusyError(_BUSY) from problem
            # Two fields of a damaged header are taken for the wish of a later version of SQLite.
            if "unsupported file format" in said or ("readonly" in said and self._may_be_written()):
                raise _DamagedError(said) from problem
            raise StoreError(said) from problem
        except sqlite3.ProgrammingError:
            raise  # a mistake of ours
        except (sqlite3.Error, MemoryError, OverflowError, UnicodeError) as problem:
            raise _DamagedError(_one_line(problem)) from problem

    def _may_be_written(self) -> bool:
        """Whether the system lets us write to the file that is open."""
        there = self._opened == _identity(self._file)
        return there and os.access(self._file, os.W_OK) and os.access(self._file.parent, os.W_OK)

    @contextlib.contextmanager
    def _noticing_damage(self) -> Iterator[None]:
        try:
            yield
        except _DamagedError:
            self._damaged = True
            raise


def leftovers(file: Path) -> list[Path]:
    """What SQLite may leave beside a database when a process is killed, or when the file was another one."""
    return [file.with_name(file.name + ending) for ending in ("-journal", "-wal", "-shm")]


def _shape(connection: sqlite3.Connection) -> bool:
    """Whether the tables are there; False for a database without any."""
    found = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if found and found != {statement.encode() for statement in _SCHEMA}:
        raise _DamagedError("it has other tables")
    return bool(found)


def _rows(
    connection: sqlite3.Connection, kind: str, wanted: set[bytes]
) -> Iterator[tuple[bytes, object, object]]:
    """Keys that are wanted and there, with what is stored of them."""
    count = connection.execute("SELECT max(rowid) FROM entries").fetchone()[0] or 0
    if count <= 2 * len(wanted):
        # Quicker than to look up each.
        for row in connection.execute(
            "SELECT key, value, used FROM entries WHERE +kind = ?", (kind,)
        ).fetchall():
            if row[0] in wanted:
                yield row
        return
    keys = sorted(wanted)  # neighbours lie on one page
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        statement = (
            f"SELECT key, value, used FROM entries WHERE kind = ? AND key IN ({','.join('?' * len(chunk))})"  # noqa: S608
        )
        yield from connection.execute(statement, (kind, *chunk)).fetchall()


def _sealed(seed: int, key: bytes, value: bytes) -> bytes:
    """A value with a checksum over its kind (`seed`), key and content before it."""
    return crc32(value, crc32(key, seed)).to_bytes(4, "big") + value


def _opened(seed: int, key: object, sealed: object) -> bytes:
    if not isinstance(key, bytes) or not isinstance(sealed, bytes):
        raise _DamagedError("it holds other types")
    value = sealed[4:]
    if int.from_bytes(sealed[:4], "big") != crc32(value, crc32(key, seed)):
        raise _DamagedError("a checksum is wrong")
    return value


def _prune(connection: sqlite3.Connection, now: int) -> None:
    """Drop what was not used for long (looked for once a day), and what was used least where all is too much."""
    last = connection.execute("SELECT max(at) FROM pruned").fetchone()[0]
    if not isinstance(last, int) or abs(now - last) > DAY:
        connection.execute("DELETE FROM entries WHERE used < ?", (now - KEEP,))
        connection.execute("DELETE FROM pruned")
        connection.execute("INSERT INTO pruned VALUES (?)", (now,))
    if _size(connection) > LIMIT:
        sizes = (
            "SELECT used, total(length(value) + length(key)) FROM entries GROUP BY used ORDER BY used DESC"
        )
        groups = connection.execute(sizes).fetchall()
        room = sum(size for _, size in groups) * _LEAVE * LIMIT / _size(connection)
        for used, size in groups:
            room -= size
            if room < 0:
                connection.execute("DELETE FROM entries WHERE used <= ?", (used,))
                break


def _size(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat(follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one process at a time deletes the database; the lock ends with the process that holds it."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be deleted anyway
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _WAIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as problem:
                if time.monotonic() > deadline:
                    raise _BusyError(_BUSY) from problem
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
