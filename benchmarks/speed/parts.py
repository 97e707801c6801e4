"""The three parts of the benchmark."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from speed.generated import long_file, small_files
from speed.jobs import Job, say
from speed.measuring import interleave, run
from speed.results import Line, Part, Row, TreeResult, new_part
from speed.tools import OURS, Seen, ToolFailed
from speed.trees import Tree, generated, installed

if TYPE_CHECKING:
    from speed.jobs import Bench
    from speed.measuring import Run
    from speed.tools import Tool

TREES = ("transformers", "trl", "small")
_LONGEST = 300.0  # seconds of one run that is to show growth
_RELEVANT = long_file(1_500)
_FINDING = """from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
inputs = tokenizer("Hello", return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=20)
print(tokenizer.decode(output[0]))
"""


def trees(bench: Bench) -> Part:
    """All tools on all trees."""
    part = new_part(bench.versions(), quick=bench.quick)
    for name in bench.trees:
        tree = _tree(name, bench)
        files, size = tree.files()
        say(f"{tree.name}: {files:,} files, {size / 1e6:.1f} MB")
        rows = []
        jobs = {}
        for tool in bench.chosen():
            rows.append(Row(tool.name))
            job = prepared(bench, tool, tree, rows[-1])
            if job is not None:
                jobs[tool.name] = job
        interleave([*jobs], lambda name, jobs=jobs: jobs[name].once(), bench.most(7, 2), say)  # type: ignore[misc]
        part.trees.append(TreeResult(tree.name, files, size, rows))
        shutil.rmtree(tree.folder)
    return part


def _tree(name: str, bench: Bench) -> Tree:
    if name == "transformers":
        if bench.quick:
            return installed("transformers", bench.scratch, below="generation")
        return installed("transformers", bench.scratch, sample="generation")
    if name == "trl":
        return installed("trl", bench.scratch, below="rewards" if bench.quick else "")
    return generated(200 if bench.quick else 5_000, bench.scratch)


def prepared(bench: Bench, tool: Tool, tree: Tree, row: Row) -> Job | None:
    """Warm a tool up and fill its cache; None if it is not to be run on the whole tree."""
    expected, _ = tree.files(holding=tool.only)
    job = bench.job(tool, row, tree.folder, tree.target, expected)
    if job is None:
        return None
    if tool.peer == "ruff":  # it counts no files, so it is asked once
        asked = [job.command[0], "check", "--isolated", "--show-files", tree.target]
        shown = run(asked, tree.folder).stdout
        found = sum(line.endswith(".py") for line in shown.splitlines())
        if found != expected:
            bench.fail(row, tree.name, f"finds {found} files instead of {expected}")
            return None
    if not tool.slow:
        return job if job.warm_up() else None
    return None if tree.sample is not None and _extrapolated(bench, tool, tree, row) else job


def _extrapolated(bench: Bench, tool: Tool, tree: Tree, row: Row) -> bool:
    """Whether the tool is too slow for the tree, or fails: its row is filled by its run on the sample."""
    sample = tree.sample or tree.target
    files, size = tree.files(sample, holding=tool.only)
    _, whole = tree.files(holding=tool.only)
    job = bench.job(tool, row, tree.folder, sample, files)
    if job is None or job.once() < 0:
        return True
    taken, used = row.walls.pop(), row.cpus.pop()
    # As if it spread over all cores without loss: rather too fast than too slow.
    cpu = used * whole / size
    wall = cpu / len(os.sched_getaffinity(0))
    say(f"  {tool.name} on {sample}: {taken:.1f} s, so {wall:.0f} s on the whole")
    if wall <= bench.patience:
        row.peaks.clear()
        return False
    row.walls, row.cpus, row.estimated = [wall], [cpu], True
    row.note = (
        f"ran on {sample} only ({files} files, {size / 1e6:.1f} MB: {taken:.1f} s, {used:.1f} s of processor); "
        f"that processor time by bytes ({whole / 1e6:.1f} MB), spread over all cores without loss"
    )
    return True


def startup(bench: Bench) -> Part:
    """What one file costs, from the command line to its exit."""
    part = new_part(bench.versions(), quick=bench.quick)
    folder = bench.scratch / "startup"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "startup"\nversion = "0"\n')
    rejected = next(text for text in small_files(50).values() if "class " in text and not _telling(text))
    for name, text in (("relevant", _RELEVANT), ("finding", _FINDING), ("rejected", rejected)):
        (folder / name).mkdir()
        (folder / name / "app.py").write_text(text)
    jobs = []
    for code in ("pass", "import libcst"):
        shown = f"`python -c {code}`" if code == "pass" else f'`python -c "{code}"`'
        part.rows.append(Row(shown))
        command = [sys.executable, "-c", code]
        jobs.append(Job(bench, part.rows[-1], command, folder, _passed, 60.0, memory=False))
    asked = (
        (OURS, "relevant", f"a relevant file of {_RELEVANT.count(chr(10))} lines"),
        (f"{OURS}, warm", "relevant", "the same, from the cache"),
        (OURS, "finding", "a file of 7 lines with a finding"),
        (OURS, "rejected", "a file without model code"),
        (f"{OURS}, warm", "rejected", "the same, with a cache"),
        ("ruff", "relevant", "a relevant file"),
    )
    for tool_name, target, shown in asked:
        for tool in bench.chosen(tool_name):
            words = "ruff check --no-cache" if tool.peer else "decoderonly check"
            row = Row(f"`{words}`: {shown}")
            part.rows.append(row)
            job = bench.job(tool, row, folder, f"{target}/app.py", 1)
            if job is not None:
                job.memory = False
                if target == "rejected":
                    job.judge = _skipped
                jobs.append(job)
    ready = {job.row.name + str(number): job for number, job in enumerate(jobs) if job.warm_up()}
    interleave([*ready], lambda name: ready[name].once(), bench.most(40, 5), lambda text: None)  # noqa: ARG005
    return part


def _telling(text: str) -> bool:
    return any(word in text for word in ("model", "token", "padding", "import ."))


def _skipped(run: Run) -> Seen:
    if run.code or "No language-model calls in 1 file" not in run.stdout:
        raise ToolFailed(
            f"exit code {run.code}, and the file was not passed over: {run.stdout.strip()[-200:]}"
        )
    return Seen(1)


def _passed(run: Run) -> Seen:
    if run.code:
        raise ToolFailed(f"exit code {run.code}: {run.stderr.strip()[-200:]}")
    return Seen(0)


def scaling(bench: Bench) -> Part:
    """Seconds over the number of files and over the length of one file."""
    part = new_part(bench.versions(), quick=bench.quick)
    numbers = [50, 100, 200, 400] if bench.quick else [250, 500, 1_000, 2_000, 4_000, 8_000]
    kilobytes = [16, 32, 64, 128] if bench.quick else [16, 32, 64, 128, 256, 512, 1_024, 2_048]
    part.lines += _lines("files", numbers, [generated(number, bench.scratch) for number in numbers], bench)
    singles = [_single(f"app-{size}k", long_file(size * 1_024), bench) for size in kilobytes]
    part.lines += _lines("KB", kilobytes, singles, bench)
    return part


def _single(name: str, text: str, bench: Bench) -> Tree:
    folder = bench.scratch / name
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "0"\n')
    (folder / "app.py").write_text(text)
    return Tree(name, folder, "app.py")


def _lines(unit: str, sizes: list[int], inputs: list[Tree], bench: Bench) -> list[Line]:
    """The times of ours and of ruff over growing inputs, and over one small file to begin with."""
    lines = []
    first = _single("app-small", _RELEVANT, bench)  # relevant: the start includes the import of libcst
    for tool in bench.chosen(OURS, f"{OURS}, warm", "ruff"):
        say(f"{tool.name} over {unit}")
        jobs = {}
        rows = []
        for name, tree in zip(("start", *sizes), (first, *inputs), strict=True):
            row = Row(str(name))
            rows.append(row)
            expected = 1 if tree.target.endswith(".py") else tree.files()[0]
            if any(smaller.note for smaller in rows):
                row.note = "not run, as a smaller one failed"
                continue
            job = bench.job(tool, row, tree.folder, tree.target, expected)
            if job is None:
                continue
            job.limit = min(job.limit, _LONGEST)
            if job.warm_up():
                jobs[row.name] = job
        interleave([*jobs], lambda name, jobs=jobs: jobs[name].once(), bench.most(5, 2), say)  # type: ignore[misc]
        lines.append(Line(tool.name, unit, sizes, rows[1:], rows[0].wall or 0.0))
    return lines
