"""What was measured, as tables, as a page and as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speed.tools import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from speed.results import Line, Part, TreeResult

PAGE, PLOT = "checker-speed.md", "checker-speed.svg"
_PASS, _LIBCST = "`python -c pass`", '`python -c "import libcst"`'

_INTRO = """# How fast the checker is

Side by side with linters on the same files, on one machine, in one run. What counts are the ratios; seconds are those of
this machine. This page and its plot are written by

    python benchmarks/checker_speed.py --part all --write
"""

_TREES_TEXT = """## Whole trees

The Python files of the installed transformers and trl packages, and a generated project of small files of which three in ten
have to do with language models. Each tool was called as on a command line, in turns, up to 7 times (3 where a run
takes over 10 s, once where it takes over a minute); files are in the page cache, and ruff and this checker had a run
before that does not count. *Wall* is the median (the
best run in brackets), *processor* the time of all processes of a run together, *memory* the highest sum of their
resident memory, sampled every 10 ms, where pages that processes share count in each.

ruff runs `check --isolated` with its default rules, flake8 with its own, both with one line a finding; Fixit and TorchFix
with their default rules; semgrep with one local rule, `generate()` without `attention_mask`; this checker with all its
rules. They do not look for the same things: the table says what a run costs, not what it is worth. *Warm* is
a run on a cache that an earlier run has filled, nothing having changed; ruff
keeps only files without findings there. A run counts only if its exit code and its own words
show that it looked at all the files (TorchFix leaves out those without the word `torch`).
"""

_STARTUP_TEXT = """## One file

From the command line to the exit, median of {runs} runs in turns.
"""

_SCALING_TEXT = """## Growth

Time over the number of files of the generated project, and over the length of a single generated program, in which every
function has to do with a language model and one in ten is wrong. The exponent is the slope of the logarithms, after
subtracting what a run on one small relevant file takes; 1 is linear. *Last doubling* is the time of the largest size by that of
the one before, nothing subtracted.
"""


def show(name: str, part: Part) -> str:
    """The tables of one part, in Markdown."""
    return {"trees": _show_trees, "startup": _show_startup, "scaling": _show_scaling}[name](part)


def page(parts: dict[str, Part]) -> str:
    """The whole page.

    Raises:
        ValueError: A part has not been measured.
    """
    missing = [name for name in ("trees", "startup", "scaling") if name not in parts]
    if missing:
        raise ValueError(f"the page needs all parts; not measured yet: {', '.join(missing)}")
    runs = max((len(row.walls) for row in parts["startup"].rows), default=0)
    blocks = [
        _INTRO,
        _circumstances(parts),
        "## Ratios\n\n" + _ratios(parts),
        f"![Wall time of all tools, and growth]({PLOT})",
        _TREES_TEXT,
        _show_trees(parts["trees"]),
        _STARTUP_TEXT.format(runs=runs),
        _show_startup(parts["startup"]),
        _SCALING_TEXT,
        _show_scaling(parts["scaling"]),
    ]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def write_page(parts: dict[str, Part], folder: Path) -> list[Path]:
    """Write the page and the plot.

    Returns:
        The files written.

    Raises:
        ValueError: A part has not been measured.
        RuntimeError: matplotlib is missing.
        OSError: They cannot be written.
    """
    from speed.plot import draw

    text = page(parts)
    folder.mkdir(parents=True, exist_ok=True)
    draw(parts, folder / PLOT)
    (folder / PAGE).write_text(text, encoding="utf-8")
    return [folder / PAGE, folder / PLOT]


def _circumstances(parts: dict[str, Part]) -> str:
    machines = {tuple(part.machine.items()) for part in parts.values()}
    days = sorted({part.day for part in parts.values()})
    machine = parts["trees"].machine
    where = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}, "
        f"Python {machine['python']}"
    )
    lines = [f"Measured on {' and '.join(days)}: {where}."]
    if len(machines) > 1:
        lines.append("**The parts come from different machines.**")
    if any(part.quick for part in parts.values()):
        lines.append("**A trial with `--quick`, on small inputs: not a result.**")
    versions = {name: version for part in parts.values() for name, version in part.versions.items()}
    lines.append(
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + "."
    )
    return "\n".join(lines)


def _ratios(parts: dict[str, Part]) -> str:
    """What is claimed, each from one run."""
    lines = [line for tree in parts["trees"].trees for line in _tree_ratios(tree)]
    rows = {row.name: row for row in parts["startup"].rows}
    none, libcst = rows[_PASS].wall, rows[_LIBCST].wall
    lines += [
        f"{row.name}: {row.wall / libcst:.2f} times `import libcst`, {1000 * (row.wall - none):.0f} ms more than "
        "`python -c pass`."
        for row in parts["startup"].rows
        if row.name.startswith(f"`{OURS}") and row.wall and none and libcst
    ]
    lines += [
        f"{line.name}, over {line.unit}: exponent {_exponent(line)}; "
        f"the last doubling takes {_or_dash(line.last_doubling, _ratio)} times as long."
        for line in parts["scaling"].lines
        if line.exponent is not None and line.name.startswith(OURS)
    ]
    return "\n".join(f"- {line}" for line in lines)


def _tree_ratios(tree: TreeResult) -> list[str]:
    rows = {row.name: row for row in tree.rows if row.wall}
    lines = []
    for name, what in ((OURS, "without a cache"), (f"{OURS}, warm", "warm")):
        if "ruff" in rows and name in rows:
            ratio = (rows[name].wall or 0.0) / (rows["ruff"].wall or 1.0)
            memory = f", with {_megabytes(rows[name].peak or 0)} of memory at most"
            lines.append(
                f"{tree.name}, {what}: {ratio:.2f} times the wall time of `ruff check --no-cache`{memory}."
            )
    ours = rows[OURS].wall if OURS in rows else None
    slower = [
        f"{row.name} {_ratio(row.wall / ours)} times{' (extrapolated)' if row.estimated else ''}"
        for row in rows.values()
        if ours and row.wall and not row.name.startswith((OURS, "ruff"))
    ]
    if slower:
        lines.append(f"{tree.name}, as long as {OURS} without a cache: {', '.join(slower)}.")
    return lines


def _show_trees(part: Part) -> str:
    return "\n\n".join(_show_tree(tree) for tree in part.trees)


def _show_tree(tree: TreeResult) -> str:
    ruff = next((row.wall for row in tree.rows if row.name == "ruff"), None)
    notes: list[str] = []
    lines = []
    for row in tree.rows:
        name = row.name
        if row.note:
            notes.append(f"{len(notes) + 1}. {row.name}: {row.note}.")
            name += f" [{len(notes)}]"
        about = "about " if row.estimated else ""
        best = "" if row.estimated or len(row.walls) < 2 else f" ({_seconds(min(row.walls))})"
        unread = f", {row.unread} not parsed" if row.unread else ""
        ratio = row.wall / ruff if row.wall and ruff else None
        lines.append(
            (
                name,
                "-" if row.wall is None else f"{about}{_seconds(row.wall)}{best}",
                "-" if ratio is None else f"{about}{_ratio(ratio)}",
                "-" if row.cpu is None else f"{about}{_seconds(row.cpu)}",
                "-" if row.peak is None else _megabytes(row.peak),
                "-" if row.files is None else f"{row.files:,}{unread}",
                "0" if row.estimated else str(len(row.walls)),
            )
        )
    head = ("tool", "wall", "to ruff", "processor", "memory", "files", "runs")
    title = f"**{tree.name}**: {tree.files:,} files, {tree.size / 1e6:.1f} MB"
    return "\n\n".join([title, _table(head, lines), *(["\n".join(notes)] if notes else [])])


def _show_startup(part: Part) -> str:
    rows = {row.name: row for row in part.rows}
    none, libcst = rows[_PASS].wall, rows[_LIBCST].wall
    notes = [f"- {row.name}: {row.note}." for row in part.rows if row.note]
    lines = [
        (
            row.name,
            _or_dash(row.wall, lambda wall: f"{1000 * wall:.0f} ms"),
            _or_dash(min(row.walls, default=None), lambda wall: f"{1000 * wall:.0f} ms"),
            _or_dash(row.cpu, lambda cpu: f"{1000 * cpu:.0f} ms"),
            _or_dash(none and row.wall and row.wall - none, lambda more: f"{1000 * more:+.0f} ms"),
            _or_dash(libcst and row.wall and row.wall / libcst, lambda ratio: f"{ratio:.2f}"),
        )
        for row in part.rows
    ]
    head = ("command", "wall", "best", "processor", "to `pass`", "to `import libcst`")
    return "\n\n".join([_table(head, lines), *(["\n".join(notes)] if notes else [])])


def _show_scaling(part: Part) -> str:
    blocks = []
    for unit in dict.fromkeys(line.unit for line in part.lines):
        lines = [line for line in part.lines if line.unit == unit]
        body = [_growth(line) for line in lines]
        head = (unit, *(f"{size:,}" for size in lines[0].sizes), "exponent", "last doubling")
        blocks.append(_table(head, body))
        notes = [
            f"- {line.name}, {row.name} {unit}: {row.note}."
            for line in lines
            for row in line.rows
            if row.note
        ]
        if notes:
            blocks.append("\n".join(notes))
    return "\n\n".join(blocks)


def _growth(line: Line) -> tuple[str, ...]:
    times = (_or_dash(row.wall, _seconds) for row in line.rows)
    return (line.name, *times, _exponent(line), _or_dash(line.last_doubling, lambda times: f"x {times:.2f}"))


def _exponent(line: Line) -> str:
    if line.exponent is None:
        return "-"
    largest = max(size for size, row in zip(line.sizes, line.rows, strict=True) if row.wall is not None)
    upto = f" (up to {largest:,} {line.unit})" if largest != line.sizes[-1] else ""
    return f"{line.exponent:.2f}{upto}"


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in head[1:]))
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _or_dash(value: float | None, text: Callable[[float], str]) -> str:
    return "-" if value is None else text(value)


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def _ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB"
