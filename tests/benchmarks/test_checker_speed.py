"""The speed benchmark is honest: the same inputs everywhere, no crashed run counted, tables true to the numbers.

Nothing is timed here.
"""

# ruff: noqa: ARG005 - tools and progress take what they do not need

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from speed.environments import NotInstalled, Peer, program, read_peers
from speed.generated import long_file, small_files
from speed.jobs import Bench
from speed.measuring import Run, interleave, run
from speed.parts import prepared
from speed.report import page, show
from speed.results import Line, Part, Row, TreeResult, read, save
from speed.tools import OURS, TOOLS, Seen, Tool, ToolFailed, judged
from speed.trees import Tree, generated

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
BY_NAME = {tool.name: tool for tool in TOOLS}


@pytest.fixture
def bench(tmp_path):
    peers = tmp_path / "peers.txt"
    peers.write_text("no-such-tool-of-ours==1.0\n")
    return Bench(
        scratch=tmp_path,
        peers=peers,
        environments=tmp_path / "environments",
        trees=[],
        tools=[tool.name for tool in TOOLS],
        rounds=None,
        patience=60.0,
        quick=True,
    )


# The inputs


def test_generated_files_are_the_same_in_every_process():
    code = (
        "import hashlib; from speed.generated import *; "
        "print(hashlib.sha256(repr([*small_files(120).items(), long_file(20_000)]).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(BENCHMARKS)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    here = repr([*small_files(120).items(), long_file(20_000)]).encode()
    assert digests == {hashlib.sha256(here).hexdigest() + "\n"}


def test_more_small_files_leave_the_first_as_they_are():
    many = list(small_files(400).items())
    assert many[:150] == list(small_files(150).items())
    assert len(dict(many)) == 400
    lengths = [text.count("\n") for _, text in many if text]
    assert min(lengths) >= 5
    assert max(lengths) <= 60
    generating = sum(".generate(" in text for _, text in many)
    assert 0.1 < generating / len(many) < 0.3
    for _, text in many:
        ast.parse(text)


@pytest.mark.parametrize("size", [1_500, 16_384, 200_000])
def test_a_long_file_is_as_long_as_asked_and_defines_nothing_twice(size):
    text = long_file(size)
    assert size <= len(text) < size + 2_000
    names = [node.name for node in ast.parse(text).body if hasattr(node, "name")]
    assert len(names) == len(set(names))


def test_peers_are_pinned(tmp_path):
    assert {tool.peer for tool in TOOLS} - {None} == set(read_peers(BENCHMARKS / "peers.txt"))
    (tmp_path / "peers.txt").write_text("ruff>=0.12\n")
    with pytest.raises(ValueError, match=r"peers.txt:1: 'ruff>=0.12' has no version; write NAME==VERSION"):
        read_peers(tmp_path / "peers.txt")


# Runs


def test_memory_is_that_of_all_processes_and_cpu_too(tmp_path):
    work = "data = bytearray(b'x') * 100_000_000\nimport time; end = time.process_time() + 0.2\n"
    work += "while time.process_time() < end: pass\ntime.sleep(0.3)"
    code = (
        f"import subprocess, sys\nwork = {work!r}\n"
        "children = [subprocess.Popen([sys.executable, '-c', work]) for _ in range(2)]\n"
        "sys.exit(max(child.wait() for child in children))"
    )
    done = run([sys.executable, "-c", code], tmp_path)
    assert done.code == 0, done.stderr
    assert done.peak > 200_000_000
    assert done.cpu >= 0.4


def test_a_run_that_takes_too_long_is_ended_with_its_children(tmp_path):
    child = "import time, pathlib; time.sleep(3); pathlib.Path('survived').touch()"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    done = run([sys.executable, "-c", code], tmp_path, limit=0.5)
    assert done.stopped
    with pytest.raises(ToolFailed, match=r"stopped after \d+ s"):
        judged(BY_NAME["flake8"], done, 1)
    subprocess.run([sys.executable, "-c", "import time; time.sleep(3)"], check=True)
    assert not (tmp_path / "survived").exists()


def test_rounds_take_turns_and_change_order():
    order = []
    interleave(["a", "b", "c"], lambda name: order.append(name) or 0.1, 3, lambda text: None)
    assert "".join(order) == "abcbcacab"


def test_long_runs_are_repeated_less_and_failed_ones_not_at_all():
    order = []
    seconds = {"quick": 1.0, "long": 20.0, "endless": 200.0, "broken": -1.0}
    interleave([*seconds], lambda name: order.append(name) or seconds[name], 7, lambda text: None)
    assert {name: order.count(name) for name in seconds} == {"quick": 7, "long": 3, "endless": 1, "broken": 1}


def ended(code=0, stdout="", stderr=""):
    return Run(1.0, 1.0, 1, code, stdout, stderr)


@pytest.mark.parametrize(
    ("tool", "ran", "seen"),
    [
        ("ruff", ended(1, "a.py:1:8: F401 `os` imported but unused\nFound 1 error.\n"), Seen(25)),
        ("ruff", ended(1, "a.py:1:6: invalid-syntax: expected `)`\nFound 1 error.\n"), Seen(25, 1)),
        (OURS, ended(0, "No findings in 24 files (1 skipped: no language-model calls).\n"), Seen(25)),
        (OURS, ended(1, "x\n2 errors in 1 file (20 files checked, 5 skipped: none).\n"), Seen(25)),
        (OURS, ended(2, "No findings in 25 files. 1 file could not be checked in full.\n"), Seen(25, 1)),
        ("flake8", ended(1, "a.py:1:1: E902 X\na.py:2:1: E999 Y\n25         total files processed\n"), Seen(25, 1)),
        ("semgrep, one pattern", ended(0, '{"errors": [], "paths": {"scanned": ["a", "b"]}}'), Seen(2)),
        ("Fixit", ended(1, "a.py@5:2 X: y\n", "25 files checked, 5 files with errors"), Seen(25)),
        ("Fixit", ended(2, "b.py: EXCEPTION: Syntax Error @ 1:1.\n", "25 files checked, 1 file with errors"), Seen(25, 1)),
        ("TorchFix", ended(0, "", "Finished checking 20 files.\n"), Seen(20)),
    ],
)  # fmt: skip
def test_what_the_tools_say_when_they_have_looked_at_all_files(tool, ran, seen):
    assert judged(BY_NAME[tool], ran, seen.files) == seen
    if tool != "ruff":  # it counts none: the benchmark asks for its list of files
        with pytest.raises(ToolFailed, match=rf"looked at {seen.files} files instead of {seen.files + 1}"):
            judged(BY_NAME[tool], ran, seen.files + 1)


@pytest.mark.parametrize("tool", BY_NAME)
@pytest.mark.parametrize(
    "ran",
    [
        ended(0),
        ended(-11),
        ended(2, "", "Traceback (most recent call last):\n  File 'x'\nKeyError: 'a'\n"),
        ended(1, "", "error: internal error: KeyError; please report it with the lines above\n"),
        ended(127, "", "no such program\n"),
    ],
    ids=["says nothing", "segmentation fault", "traceback", "internal error", "not found"],
)
def test_a_crash_is_never_a_fast_run(tool, ran):
    with pytest.raises(ToolFailed):
        judged(BY_NAME[tool], ran, 25)


def test_our_checker_is_run_for_real_and_its_count_believed(bench, tmp_path):
    tree = generated(12, tmp_path)
    row = Row(OURS)
    job = bench.job(BY_NAME[OURS], row, tree.folder, tree.target, 12)
    assert job.once() > 0
    assert (row.files, row.unread, len(row.walls), row.note) == (12, 0, 1, "")
    assert row.peaks[0] > 10_000_000
    wrong = bench.job(BY_NAME[OURS], Row(OURS), tree.folder, tree.target, 13)
    assert wrong.once() < 0
    assert wrong.row.note == "looked at 12 files instead of 13"
    assert bench.failures == [f"{OURS} on generated-12: looked at 12 files instead of 13"]


def test_a_tool_that_crashes_in_a_later_round_loses_all_its_runs(bench, tmp_path):
    flaky = tmp_path / "flaky.py"
    flaky.write_text(
        "import pathlib, sys\nseen = pathlib.Path('seen')\n"
        "if seen.exists():\n    raise KeyError('lost')\nseen.touch()\nprint('3 total files processed')\n"
    )
    tool = Tool("flaky", None, lambda target, cache: [], BY_NAME["flake8"].seen)
    bench._ours = [sys.executable, str(flaky)]
    bench._help = ""
    row = Row("flaky")
    job = bench.job(tool, row, tmp_path, ".", 3)
    interleave(["flaky"], lambda name: job.once(), 5, lambda text: None)
    assert row.wall is None
    assert row.note == "flake8 did not finish, exit code 1: KeyError: 'lost'"


def test_a_peer_that_cannot_be_installed_stands_in_the_table(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NotInstalled, match="no-such-tool-of-ours"):
        program(Peer(("no-such-tool-of-ours==1.0",)), tmp_path)
    tool = Tool("Nobody", "no-such-tool-of-ours", lambda target, cache: [target], BY_NAME["Fixit"].seen)
    row = Row("Nobody")
    assert bench.job(tool, row, tmp_path, ".", 1) is None
    assert row.note.startswith(
        "not available: ERROR: No matching distribution found for no-such-tool-of-ours"
    )
    shown = show("trees", part(trees=[TreeResult("tree", 1, 1_000_000, [row])]))
    assert "| Nobody [1] | - | - | - | - | - | 0 |" in shown
    assert f"1. Nobody: {row.note}." in shown
    assert len(bench.failures) == 1


def test_what_would_take_too_long_is_extrapolated_by_bytes_and_says_so(bench, tmp_path):
    counter = tmp_path / "counter.py"
    counter.write_text(
        "import pathlib, sys, time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
        "files = [f for f in pathlib.Path(sys.argv[1]).rglob('*.py') if b'torch' in f.read_bytes()]\n"
        "print(len(files), 'total files processed')\n"
    )
    bench._ours, bench._help, bench.patience = [sys.executable, str(counter)], "", 5.0
    tool = Tool(
        "slow", None, lambda target, cache: [target], BY_NAME["flake8"].seen, slow=True, only=b"torch"
    )
    for name, text in (
        ("part/a.py", "import torch\n"),
        ("b.py", "import torch  # " + "x" * 1_285),
        ("c.py", "x"),
    ):
        path = tmp_path / "tree" / "all" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tree = Tree("tree", tmp_path / "tree", "all", sample="all/part")
    row = Row("slow")
    assert prepared(bench, tool, tree, row) is None
    assert row.estimated
    assert row.files == 1
    assert row.cpu > 100 * 0.3  # 13 bytes of 1,314 were read in at least 0.3 s
    assert row.wall == pytest.approx(row.cpu / len(os.sched_getaffinity(0)))
    assert row.note.startswith("ran on all/part only (1 files, 0.0 MB: ")
    bench.patience = 10_000.0
    row = Row("slow")
    job = prepared(bench, tool, tree, row)
    assert (row.walls, row.estimated, row.note) == ([], False, "")
    assert job.once() > 0
    assert row.files == 2


# The tables


def part(**given):
    machine = {"processor": "P", "cores": "2", "memory": "8 GiB", "system": "Linux 6", "python": "3.11.7"}
    return Part(machine, {OURS: "0.1.0", "ruff": "0.17.6"}, "2026-11-23", **given)


def parts():
    ruff = Row("ruff", [2.0, 1.0, 4.0], [3.0, 3.0, 3.0], [50_000_000] * 3, 2_860)
    ours = Row(OURS, [5.0, 6.0, 5.0], [9.0, 9.5, 9.0], [310_000_000, 290_000_000, 1], 2_860, unread=1)
    slow = Row("Fixit", [1_234.0], [2_468.0], [200_000_000], 25, note="ran on part", estimated=True)
    dead = Row("TorchFix", note="TorchFix did not finish, exit code 1")
    line = Line(OURS, "KB", [16, 32, 64], [Row("16", [1.5]), Row("32", [2.5]), Row("64", [4.5])], 0.5)
    cut = Line(
        "ruff", "KB", [16, 32, 64], [Row("16", [1.5]), Row("32", [2.5]), Row("64", note="stopped")], 0.5
    )
    rows = [Row("`python -c pass`", [0.02]), Row('`python -c "import libcst"`', [0.2])]
    rows += [Row("`decoderonly check`: one file", [0.28, 0.25, 0.31], [0.2, 0.2, 0.2])]
    return {
        "trees": part(trees=[TreeResult("transformers", 2_860, 52_800_000, [ruff, ours, slow, dead])]),
        "startup": part(rows=rows),
        "scaling": part(lines=[line, cut]),
    }


def test_table_of_a_tree():
    assert (
        show("trees", parts()["trees"])
        == """\
**transformers**: 2,860 files, 52.8 MB

| tool | wall | to ruff | processor | memory | files | runs |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
| ruff | 2.00 s (1.00 s) | 1.00 | 3.00 s | 50 MB | 2,860 | 3 |
| decoderonly | 5.00 s (5.00 s) | 2.50 | 9.00 s | 310 MB | 2,860, 1 not parsed | 3 |
| Fixit [1] | about 1,234 s | about 617 | about 2,468 s | 200 MB | 25 | 0 |
| TorchFix [2] | - | - | - | - | - | 0 |

1. Fixit: ran on part.
2. TorchFix: TorchFix did not finish, exit code 1."""
    )


def test_tables_of_start_and_growth():
    assert show("startup", parts()["startup"]).splitlines()[-1] == (
        "| `decoderonly check`: one file | 280 ms | 250 ms | 200 ms | +260 ms | 1.40 |"
    )
    assert show("scaling", parts()["scaling"]).splitlines() == [
        "| KB | 16 | 32 | 64 | exponent | last doubling |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| decoderonly | 1.50 s | 2.50 s | 4.50 s | 1.00 | x 1.80 |",
        "| ruff | 1.50 s | 2.50 s | - | - | - |",
        "",
        "- ruff, 64 KB: stopped.",
    ]


def test_page_claims_what_the_numbers_say():
    text = page(parts())
    assert (
        "- transformers, without a cache: 2.50 times the wall time of `ruff check --no-cache`, with 310 MB"
        in text
    )
    assert "- transformers, as long as decoderonly without a cache: Fixit 247 times (extrapolated)." in text
    assert "one file: 1.40 times `import libcst`, 260 ms more than `python -c pass`." in text
    assert "- decoderonly, over KB: exponent 1.00; the last doubling takes 1.80 times as long." in text
    assert "--quick`, on small inputs" not in text
    trial = {name: Part(**{**vars(measured), "quick": True}) for name, measured in parts().items()}
    assert "**A trial with `--quick`, on small inputs: not a result.**" in page(trial)


def test_page_needs_all_parts():
    with pytest.raises(ValueError, match="not measured yet: startup, scaling"):
        page({"trees": parts()["trees"]})


def test_results_are_kept_and_damage_is_told(tmp_path):
    file = tmp_path / "kept" / "results.json"
    save(parts(), file)
    assert read(file) == parts()
    file.write_text('{"version": 0, "parts": {}}')
    with pytest.raises(ValueError, match=r"results of another version \(0\)"):
        read(file)
    file.write_text("[")
    with pytest.raises(ValueError, match="holds no results of this program"):
        read(file)


def test_plot_is_the_same_for_the_same_numbers(tmp_path):
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib (dependency group benchmarks)")
    from speed.plot import draw

    for name in ("one.svg", "two.svg"):
        draw(parts(), tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text()
    for words in ("about 1,234 s", "hatched: extrapolated", "failed or not available", "exponent 1.00"):
        assert words in drawn.replace("<!-- ", "").replace(" -->", "")
