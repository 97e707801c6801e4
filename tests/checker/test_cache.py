"""The cache alone: what is put is got, a cache that cannot be used remembers nothing, and nothing else is touched."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from decoderonly_checker import cache as caches
from decoderonly_checker import cache_store
from decoderonly_checker.cache import Cache, CacheError, cache_folder, clear, key_of, tool_version
from hypothesis import given, settings
from hypothesis import strategies as st

STORE = "decoderonly-1.sqlite"
KEYS = [key_of(str(number)) for number in range(50)]


def put(folder, entries, kind="file"):
    with Cache.open(folder) as cache:
        cache.put(kind, entries)
    assert cache.problem is None
    return folder


def got(folder, keys=KEYS, kind="file"):
    with Cache.open(folder) as cache:
        return cache.get(kind, keys)


@pytest.fixture
def folder(tmp_path):
    """A cache with something in it."""
    return put(tmp_path / "cache", dict.fromkeys(KEYS[:3], b"three"))


entries = st.dictionaries(st.binary(max_size=20), st.binary(max_size=200), max_size=10)


@settings(deadline=None, max_examples=50)
@given(rounds=st.lists(st.tuples(st.sampled_from(["a", "b", "ä"]), entries), min_size=1, max_size=4))
def test_what_is_put_is_got(tmp_path_factory, rounds):
    folder = tmp_path_factory.mktemp("cache") / "deep" / "er"
    expected = {}
    for kind, some in rounds:
        with Cache.open(folder) as cache:
            cache.put(kind, some)
            expected.setdefault(kind, {}).update(some)
            for known, values in expected.items():  # before it is written
                assert cache.get(known, values) == values
        assert cache.problem is None
    for kind, values in expected.items():
        assert got(folder, [*values, b"not there", b"\0" * 21], kind) == values


parts = st.lists(st.one_of(st.binary(max_size=4), st.text(max_size=4)), max_size=4)


@given(one=parts, other=parts)
def test_keys_are_unambiguous(one, other):
    assert (key_of(*one) == key_of(*other)) == (one == other)


def test_keys_that_look_alike():
    alike = [
        ("ab", "c"),
        ("a", "bc"),
        (b"ab", "c"),
        ("abc",),
        ("", "abc"),
        ("ab", "c", ""),
        ("s2:ab", "c"),
        (),
    ]
    assert len({key_of(*parts) for parts in alike}) == len(alike)
    assert len(key_of("x")) == 16
    assert key_of("\udcff") != key_of(b"\xff")


def test_nothing_is_made_before_something_is_put(tmp_path):
    with Cache.open(tmp_path / "cache") as cache:
        assert cache.get("file", KEYS) == {}
    assert cache.problem is None
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_marked(folder):
    assert {file.name for file in folder.iterdir()} == {".gitignore", "CACHEDIR.TAG", STORE}
    assert (folder / ".gitignore").read_text().endswith("\n*\n")
    assert (folder / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def test_git_does_not_see_it(tmp_path):
    put(tmp_path / ".decoderonly_cache", {b"k": b"v"})
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    status = ["git", "status", "--porcelain", "--untracked-files=all"]
    assert subprocess.run(status, cwd=tmp_path, capture_output=True, check=True).stdout == b""


def test_no_folder_no_memory():
    with Cache.open(None) as cache:
        cache.put("file", {b"k": b"v"})
        assert cache.get("file", [b"k"]) == {}
    assert cache.problem is None


def test_a_closed_cache_is_empty(folder):
    cache = Cache.open(folder)
    assert len(cache.get("file", KEYS)) == 3
    cache.close()
    cache.put("file", {b"k": b"v"})
    assert cache.get("file", [*KEYS, b"k"]) == {}
    cache.close()
    assert got(folder, [b"k"]) == {}


def test_a_run_that_fails_keeps_what_it_found(tmp_path):
    def run():
        with Cache.open(tmp_path / "cache") as cache:
            cache.put("file", {b"k": b"v"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert got(tmp_path / "cache", [b"k"]) == {b"k": b"v"}


def test_a_fork_has_no_part_in_it(folder):
    cache = Cache.open(folder)
    cache.put("file", {b"k": b"v"})
    assert len(cache.get("file", KEYS)) == 3
    child = os.fork()
    if not child:
        forgotten = cache.get("file", KEYS) == {}
        cache.put("file", {b"child": b"v"})
        cache.close()
        os._exit(0 if forgotten else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert got(folder, [b"k", b"child"]) == {}
    cache.close()
    assert cache.problem is None
    assert got(folder, [b"k", b"child"]) == {b"k": b"v"}


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.delenv("DECODERONLY_CACHE_DIR", raising=False)
    assert cache_folder(tmp_path, None) == tmp_path / ".decoderonly_cache"
    assert cache_folder(tmp_path, None, Path("set")) == Path("set")
    monkeypatch.setenv("DECODERONLY_CACHE_DIR", "")
    assert cache_folder(tmp_path, None, Path("set")) == Path("set")
    monkeypatch.setenv("DECODERONLY_CACHE_DIR", "named")
    assert cache_folder(tmp_path, None, Path("set")) == Path("named")
    assert cache_folder(tmp_path, Path("asked"), Path("set")) == Path("asked")


def used(folder):
    with sqlite3.connect(folder / STORE) as connection:
        found = dict(connection.execute("SELECT key, used FROM entries"))
    connection.close()
    return found


def at(monkeypatch, seconds):
    monkeypatch.setattr(caches.time, "time", lambda: seconds)


def test_what_is_not_used_for_long_is_dropped(tmp_path, monkeypatch):
    day, start = 86_400, int(time.time())
    folder = put(tmp_path / "cache", {b"old": b"1", b"read": b"2"})
    at(monkeypatch, start + 20 * day)
    assert got(folder, [b"read"]) == {b"read": b"2"}
    assert used(folder) == {b"old": pytest.approx(start, abs=60), b"read": start + 20 * day}
    at(monkeypatch, start + 32 * day)
    put(folder, {b"new": b"3"})
    assert set(used(folder)) == {b"read", b"new"}
    at(monkeypatch, start + 10 * day)  # a clock that was wrong
    assert got(folder, [b"new"]) == {b"new": b"3"}
    assert used(folder)[b"new"] == start + 10 * day


def test_a_run_that_finds_all_writes_nothing(folder):
    before = (folder / STORE).stat().st_mtime_ns
    assert len(got(folder)) == 3
    assert (folder / STORE).stat().st_mtime_ns == before


def test_too_much_is_cut_down(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_store, "LIMIT", 1_000_000)
    folder, start, sizes = tmp_path / "cache", int(time.time()), []
    for number in range(15):
        at(monkeypatch, start + number)
        put(folder, {key_of(str(number), str(part)): os.urandom(1000) for part in range(100)})
        sizes.append((folder / STORE).stat().st_size)
    assert max(sizes) <= 1_000_000
    assert any(later < sizes[number] - 100_000 for number, later in enumerate(sizes[1:]))
    left = {
        number: len(got(folder, [key_of(str(number), str(p)) for p in range(100)])) for number in range(15)
    }
    assert left[14] == left[13] == left[12] == 100
    assert left[0] == left[1] == left[2] == 0


def test_clear_removes_what_the_cache_wrote_and_no_more(folder, tmp_path):
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert clear(folder) == size
    assert list(tmp_path.iterdir()) == []
    assert clear(folder) == 0
    put(folder, {b"k": b"v"})
    (folder / "mine.txt").write_text("kept")
    (folder / ".gitignore").write_text("mine.txt\n")
    assert clear(folder) > 0
    assert {file.name for file in folder.iterdir()} == {"mine.txt", ".gitignore"}
    assert clear(folder) == 0


def test_clear_says_what_it_cannot(tmp_path):
    folder = tmp_path / "cache"
    (folder / STORE).mkdir(parents=True)
    with pytest.raises(CacheError) as caught:
        clear(folder)
    assert str(caught.value).startswith(f"cache {folder}: ")
    assert "\n" not in str(caught.value)


def test_clear_beside_a_run(folder, monkeypatch):
    reader = Cache.open(folder)
    assert len(reader.get("file", KEYS)) == 3
    reader.put("file", {b"k": b"v"})
    assert clear(folder) > 0
    assert reader.get("file", [*KEYS, b"k"]) == {b"k": b"v"}
    reader.close()
    assert reader.problem is None
    assert got(folder, [*KEYS, b"k"]) == {b"k": b"v"}
    writer = sqlite3.connect(folder / STORE, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr(cache_store, "_WAIT", 0.2)
    with pytest.raises(CacheError, match=r": another process is writing to it$"):
        clear(folder)
    writer.execute("ROLLBACK")
    writer.close()
    assert clear(folder) > 0


def test_a_folder_of_the_users_is_left_alone(tmp_path):
    (tmp_path / "x.py").write_text("")
    with Cache.open(tmp_path) as cache:
        assert cache.problem == f"cache {tmp_path}: holds other files"
        cache.put("file", {b"k": b"v"})
    assert [file.name for file in tmp_path.iterdir()] == ["x.py"]


def test_versions_of_the_tool_differ():
    package = Path(caches.__file__).parent
    program = "import sys; sys.path.insert(0, sys.argv[1]); from decoderonly_checker.cache import tool_version as v; "
    program += "print(v().hex(), 'libcst' in sys.modules)"

    def version(place):
        done = subprocess.run(
            [sys.executable, "-c", program, place], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert version(package.parent) == [tool_version().hex(), "False"]


def test_a_changed_file_of_the_tool_is_another_version(tmp_path):
    import shutil

    package = tmp_path / "decoderonly_checker"
    shutil.copytree(Path(caches.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    program = "import decoderonly_checker.cache as c; print(c.__file__, c.tool_version().hex())"

    def version():
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
        )
        file, shown = done.stdout.split()
        assert file == str(package / "cache.py")
        return shown

    seen = [version()]
    assert version() == seen[0]
    os.utime(package / "rules/base.py", ns=(1, 1))
    seen.append(version())
    table = next((package / "knowledge/data").iterdir())
    table.write_bytes(table.read_bytes() + b"\n")
    seen.append(version())
    (package / "rules/extra.py").write_text("")
    seen.append(version())
    (tmp_path / "pytest_decoderonly-9.9.9.dist-info").mkdir()
    seen.append(version())
    assert len(set(seen)) == 5


@pytest.mark.parametrize("wanted", [1, 30, 700, 1990, 2000])
def test_many_and_few_are_read_alike(tmp_path, wanted):
    keys = [key_of("many", str(number)) for number in range(2000)]
    put(tmp_path / "cache", {key: b"one" + key for key in keys})
    put(tmp_path / "cache", {key: b"two" + key for key in keys[:1000]}, "other")
    asked = keys[-wanted:]
    assert got(tmp_path / "cache", [*asked, b"gone"]) == {key: b"one" + key for key in asked}
    expected = {key: b"two" + key for key in asked if key in keys[:1000]}
    assert got(tmp_path / "cache", asked, "other") == expected
