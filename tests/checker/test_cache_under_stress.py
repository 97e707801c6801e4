"""The cache among other processes, killed ones, damaged files and disks that refuse: real processes and real files."""

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import decoderonly_checker
import pytest
from decoderonly_checker.cache import Cache, clear, key_of
from hypothesis import given, settings
from hypothesis import strategies as st

STORE = "decoderonly-1.sqlite"
HOME = Path(decoderonly_checker.__file__).parent.parent
NOBODY = 65534
# What every child has at hand: a value that tells its key, so that a wrong one is noticed wherever it is read.
PRELUDE = """
import json, os, random, resource, signal, sys, time
from pathlib import Path
from decoderonly_checker.cache import Cache, key_of

def key(*parts):
    return key_of(*map(str, parts))

def value(key):
    return key * 20
"""


def key(*parts):
    return key_of(*map(str, parts))


def value(key):
    return key * 20


def start(program, *arguments, **options):
    """Start a child; its standard output is one JSON object."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        **options,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    return json.loads(out)


def filled(folder, count=40):
    with Cache.open(folder) as cache:
        cache.put("file", {key("old", n): value(key("old", n)) for n in range(count)})
    assert cache.problem is None
    return folder


def read(folder, keys):
    """What a new cache says of keys, checked for wrong values."""
    with Cache.open(folder) as cache:
        found = cache.get("file", keys)
    assert all(found[k] == value(k) for k in found)
    return found


OLD = [key("old", n) for n in range(40)]
NEW = {key("new", n): value(key("new", n)) for n in range(40)}


def works_again(folder):
    """A store that was damaged is begun anew by the next run that has something to write, and is sound then."""
    with Cache.open(folder) as cache:
        cache.get("file", OLD)
        cache.put("file", NEW)
    assert cache.problem is None
    assert read(folder, NEW) == NEW
    check_sound(folder)


def check_sound(folder):
    """SQLite itself finds no fault, and nothing lies about."""
    with contextlib.closing(sqlite3.connect(folder / STORE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert {file.name for file in folder.iterdir()} == {".gitignore", "CACHEDIR.TAG", STORE}


WORKER = """
folder, me, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()  # all begin at once
problems, wrong = [], 0
for number in range(rounds):
    with Cache.open(folder) as cache:
        keys = [key("shared", number, n) for n in range(50)] + [key(me, earlier, 0) for earlier in range(number)]
        found = cache.get("file", keys)
        wrong += sum(found[k] != value(k) for k in found)
        wrong += sum(key(me, earlier, 0) not in found for earlier in range(number)) if sys.argv[4] == "calm" else 0
        mine = [key(me, number, n) for n in range(20)]
        cache.put("file", {k: value(k) for k in [*keys[:50], *mine]})
    problems += [cache.problem] if cache.problem else []
print(json.dumps({"problems": problems, "wrong": wrong}))
"""


def test_two_dozen_readers_and_writers(tmp_path):
    folder = tmp_path / "cache"
    workers = [start(WORKER, folder, f"w{n}", 6, "calm") for n in range(24)]
    for worker in workers:  # they begin when all have been told
        worker.stdin.write("go\n")
        worker.stdin.flush()
    results = [finish(worker) for worker in workers]
    assert results == [{"problems": [], "wrong": 0}] * 24
    every = [key("shared", number, n) for number in range(6) for n in range(50)]
    every += [key(f"w{me}", number, n) for me in range(24) for number in range(6) for n in range(20)]
    assert len(read(folder, every)) == len(every)
    check_sound(folder)


def test_readers_and_writers_while_the_store_is_damaged_and_deleted(tmp_path):
    folder = tmp_path / "cache"
    workers = [start(WORKER, folder, f"w{n}", 25, "chaos") for n in range(6)]
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    chance = random.Random(5)  # noqa: S311
    harm = 0
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.02)
        with contextlib.suppress(OSError):
            what = chance.randrange(4)
            if what == 0:
                shutil.rmtree(folder)
            elif what == 1:
                os.truncate(folder / STORE, chance.randrange(20_000))
            else:
                with (folder / STORE).open("r+b") as file:
                    file.seek(chance.randrange(20_000))
                    file.write(chance.randbytes(200))
            harm += 1
    assert harm > 10
    assert [finish(worker)["wrong"] for worker in workers] == [0] * 6
    works_again_or_goes_on(folder)


KILLED = """
class Fatal(dict):
    def items(self):
        for number, item in enumerate(super().items()):
            if number == 15_000:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item

cache = Cache.open(Path(sys.argv[1]))
assert len(cache.get("file", [key("old", n) for n in range(40)])) == 40
cache._entries = Fatal({("file", key("killed", n)): value(key("killed", n)) for n in range(20_000)})
cache._entries |= {("file", key("old", n)): b"changed" for n in range(40)}
cache.close()
"""


def test_killed_in_the_middle_of_a_write(tmp_path):
    folder = filled(tmp_path / "cache")
    process = start(KILLED, folder)
    assert process.wait(timeout=60) == -signal.SIGKILL, process.stderr.read()
    journal = folder / (STORE + "-journal")
    assert journal.stat().st_size > 0  # it was on its way to the disk
    assert len(read(folder, OLD)) == 40
    assert read(folder, [key("killed", n) for n in range(100)]) == {}
    assert not journal.exists()
    works_again(folder)
    assert len(read(folder, OLD)) == 40


AT_RANDOM = """
number = 0
while True:
    with Cache.open(Path(sys.argv[1])) as cache:
        cache.put("file", {key("batch", number, n): value(key("batch", number, n)) for n in range(3000)})
    number += 1
    print(number, flush=True)
"""


def test_killed_at_any_moment(tmp_path):
    folder = tmp_path / "cache"
    chance = random.Random(7)  # noqa: S311
    for _ in range(8):
        process = start(AT_RANDOM, folder)
        process.stdout.readline()
        time.sleep(chance.random() * 0.15)
        process.kill()
        told = process.communicate()[0].split()
        whole = 1 + len(told)
        for number in range(whole + 1):
            found = read(folder, [key("batch", number, n) for n in range(3000)])
            # What was said to be written is there; the one under way is there as a whole or not at all.
            assert len(found) in ((3000,) if number < whole else (0, 3000))
        journal = folder / (STORE + "-journal")
        if journal.exists():
            # Its header comes last, before the database is touched: the next writer takes it away.
            assert journal.read_bytes()[:1] in (b"", b"\0")
    works_again(folder)


def damage(data, how):
    if how == "garbage":
        return random.Random(1).randbytes(len(data))  # noqa: S311
    if how == "text":
        return b"version https://git-lfs.github.com/spec/v1\n"
    if how == "empty":
        return b""
    if how == "header only":
        return data[:100]
    if how == "cut inside a page":
        return data[: len(data) // 2 + 17]
    if how == "cut between pages":
        return data[: len(data) // 4096 // 2 * 4096]
    if how == "zeros behind the header":
        return data[:4096] + bytes(len(data) - 4096)
    if how == "for a later version":
        return data[:18] + b"\5" + data[19:]
    if how == "of a later format":
        return data[:47] + b"\5" + data[48:]
    if how == "no text":
        return data.replace(b"at INTEGER", b"at\xffINTEGER")
    if how == "a value changed":
        found = data.index(value(OLD[7]))
        return data[:found] + b"?" + data[found + 1 :]
    raise AssertionError(how)


HOWS = "garbage,text,empty,header only,cut inside a page,cut between pages,zeros behind the header,"
HOWS += "for a later version,of a later format,no text,a value changed"


@pytest.mark.parametrize("how", HOWS.split(","))
def test_a_damaged_store(tmp_path, how):
    folder = filled(tmp_path / "cache")
    store = folder / STORE
    store.write_bytes(damage(store.read_bytes(), how))
    with Cache.open(folder) as cache:
        found = cache.get("file", OLD)
        assert found == ({} if how != "for a later version" else {key: value(key) for key in OLD})
        assert cache.get("file", OLD) == found
    assert cache.problem is None or "\n" not in cache.problem
    works_again(folder)


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
    cut=st.none() | st.floats(0, 1),
)
def test_no_change_of_bytes_gives_a_wrong_value(tmp_path_factory, changes, cut):
    folder = filled(tmp_path_factory.mktemp("cache") / "cache")
    data = bytearray((folder / STORE).read_bytes())
    for where, what in changes:
        place = int(where * (len(data) - len(what)))
        data[place : place + len(what)] = what
    (folder / STORE).write_bytes(data[: None if cut is None else int(cut * len(data))])
    read(folder, OLD)
    works_again_or_goes_on(folder)
    shutil.rmtree(folder.parent)


def works_again_or_goes_on(folder):
    """Damage that no read and no write meets stays; what is read is right all the same."""
    with Cache.open(folder) as cache:
        cache.get("file", OLD)
        cache.put("file", NEW)
    assert cache.problem is None
    assert read(folder, NEW) in (NEW, {})
    read(folder, OLD)


@pytest.mark.parametrize("schema", ["CREATE TABLE entries (key, value)", "CREATE TABLE mine (x)"])
@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_another_database(tmp_path, schema, mode):
    folder = filled(tmp_path / "cache")
    (folder / STORE).unlink()
    with contextlib.closing(sqlite3.connect(folder / STORE)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute(schema)
        connection.commit()
    assert read(folder, OLD) == {}
    works_again(folder)


def test_values_of_other_types(tmp_path):
    folder = filled(tmp_path / "cache")
    with contextlib.closing(sqlite3.connect(folder / STORE)) as connection:
        connection.execute("UPDATE entries SET value = 5 WHERE key = ?", (OLD[3],))
        connection.commit()
    assert read(folder, OLD) == {}
    works_again(folder)


def test_a_folder_in_place_of_the_store(tmp_path):
    folder = filled(tmp_path / "cache")
    (folder / STORE).unlink()
    (folder / STORE).mkdir()
    (folder / STORE / "kept").touch()
    with Cache.open(folder) as cache:
        assert cache.get("file", OLD) == {}
        cache.put("file", NEW)
    assert cache.problem == f"cache {folder}: {STORE} is a folder"
    assert (folder / STORE / "kept").exists()


def test_a_link_in_place_of_the_store(tmp_path):
    folder = filled(tmp_path / "cache")
    (folder / STORE).unlink()
    other = tmp_path / "precious"
    other.write_bytes(b"kept")
    (folder / STORE).symlink_to(other)
    with Cache.open(folder) as cache:
        assert cache.get("file", OLD) == {}
        cache.put("file", NEW)
    assert cache.problem == f"cache {folder}: {STORE} is a symbolic link"
    assert clear(folder) > 0
    assert (other.read_bytes(), folder.exists()) == (b"kept", False)


@pytest.mark.parametrize("what", ["file", "link to nothing", "below a file"])
def test_no_folder_to_be_made(tmp_path, what):
    folder = tmp_path / "cache"
    if what == "link to nothing":
        folder.symlink_to(tmp_path / "gone")
    else:
        folder.write_bytes(b"kept")
    folder = folder / "deeper" if what == "below a file" else folder
    with Cache.open(folder) as cache:
        assert cache.problem.endswith("is not a folder")
        cache.put("file", NEW)
        assert cache.get("file", NEW) == {}
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]


def test_names_that_are_no_paths(tmp_path):
    for folder in (Path("a\0b"), tmp_path / ("x" * 300), tmp_path / "/".join("y" * 200 for _ in range(40))):
        with Cache.open(folder) as cache:
            cache.put("file", NEW)
            cache.get("file", NEW)
        assert cache.problem is not None
        assert cache.problem.count("\n") == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["with space", "q?x=1&mode=memory#f", "100%41", "ünï", "\udcff"])
def test_names_that_mean_something_in_addresses(tmp_path, name):
    folder = filled(tmp_path / name)
    check_sound(folder)
    assert len(read(folder, OLD)) == 40


FILL = """
with Cache.open(Path(sys.argv[1])) as cache:
    cache.put("file", {key("old", n): value(key("old", n)) for n in range(40)})
print(json.dumps(cache.problem))
"""
FULL = """
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
with Cache.open(Path(sys.argv[1])) as cache:
    found = cache.get("file", [key("old", n) for n in range(40)])
    cache.put("file", {key("new", n): value(key("new", n)) for n in range(5000)})
print(json.dumps({"found": len(found), "problem": cache.problem}))
"""


@pytest.mark.parametrize("limit", [0, 10, 5_000, 100_000])
def test_a_file_that_may_not_grow(tmp_path, limit):
    fresh, folder = tmp_path / "fresh", filled(tmp_path / "cache")
    for place, count in ((folder, 40), (fresh, 0)):
        told = finish(start(FULL, place, limit))
        assert told["found"] == count
        assert told["problem"].startswith(f"cache {place}: ")
        assert "\n" not in told["problem"]
        assert len(read(place, OLD)) == count
        assert not any(file.name.endswith(".tmp") for file in place.iterdir())
        assert read(place, NEW) == {}
        works_again(place)


def can_mount(folder):
    return (
        subprocess.run(
            ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False
        ).returncode
        == 0
    )


@pytest.mark.skipif(
    not shutil.which("unshare"), reason="needs unshare (util-linux) to mount a disk of its own"
)
@pytest.mark.parametrize("options", ["size=300k", "size=4k", "nr_inodes=2"])
def test_a_disk_that_is_full(tmp_path, options):
    if not can_mount(tmp_path):
        pytest.skip("needs the right to mount a tmpfs")
    program = PRELUDE + FULL.replace("resource.setrlimit", "(lambda *_: None)")
    program += (
        "with Cache.open(Path(sys.argv[1])) as cache:\n    assert cache.get('file', [key('new', 1)]) == {}\n"
        "    cache.put('file', {b'k': b'v'})\n"
        "left = [p.name for p in Path(sys.argv[1]).parent.rglob('*') if p.name.endswith(('.tmp', '-journal'))]\n"
        "assert not left, left\n"
    )
    mounted = 'mount -t tmpfs -o "$1" tmpfs "$2" && shift 1 && exec "$@"'
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        mounted.replace("shift 1", "shift 2"),
        "sh",
        options,
        tmp_path,
    ]
    done = subprocess.run(
        [*map(str, command), sys.executable, "-c", program, str(tmp_path / "cache"), "0"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOME)},
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["problem"].startswith(f"cache {tmp_path / 'cache'}: ")


# A child gives up root's rights when all is imported that it needs: the other user may not be able to read this Python.
AS_NOBODY = f"""
import fcntl, hashlib, decoderonly_checker.cache_store, decoderonly_checker.source.files
if os.geteuid() == 0:
    os.chdir("/")
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""


@pytest.fixture
def place():
    """A folder of a user for whom permissions count: root's tests give it to nobody."""
    place = Path(tempfile.mkdtemp(prefix="decoderonly-"))
    give(place)
    yield place
    for folder, _, _ in os.walk(place):
        Path(folder).chmod(0o755)
    shutil.rmtree(place)


def give(place):
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)


def test_a_folder_that_may_only_be_read(place):
    folder = place / "cache"
    told = finish(start(AS_NOBODY + FILL, folder))
    assert told is None
    before = (folder / STORE).read_bytes()
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    told = finish(start(AS_NOBODY + FULL, folder, 10**9))
    assert told["found"] == 40
    assert told["problem"].startswith(f"cache {folder}: ")
    assert (folder / STORE).read_bytes() == before
    # A damaged one cannot be replaced.
    (folder / STORE).chmod(0o644)
    (folder / STORE).write_bytes(b"x" * 5000)
    (folder / STORE).chmod(0o444)
    told = finish(start(AS_NOBODY + FULL, folder, 10**9))
    assert (told["found"], told["problem"]) == (0, f"cache {folder}: permission denied")


def test_a_place_that_may_not_be_written(place):
    place.chmod(0o555)
    told = finish(start(AS_NOBODY + FULL, place / "deep/er", 10**9))
    assert told == {"found": 0, "problem": f"cache {place / 'deep/er'}: permission denied"}
    place.chmod(0o755)
    assert list(place.iterdir()) == []


def test_a_folder_of_another_user(place):
    if os.geteuid() != 0:
        place = Path("/usr")
    with Cache.open(place / "cache") as cache:
        cache.put("file", NEW)
    assert cache.problem == f"cache {place / 'cache'}: {place} belongs to another user"
    assert not (place / "cache").exists()
    with Cache.open(place) as cache:
        cache.put("file", NEW)
    assert cache.problem == f"cache {place}: belongs to another user"
