"""What the installed plugin adds to the start of a pytest run that does not ask for it.

Runs `pytest` on one empty test in fresh processes, in turns with and without the plugin
(`-p no:decoderonly`; all other installed plugins are switched off in both), so that a busy machine slows
both alike. Compares the medians of wall time and of processor time, and shows what such a run imports.

    python benchmarks/plugin_startup.py [--pairs 40]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

HEAVY = ("torch", "transformers", "libcst", "click", "pathspec")
LIMIT_MS = 5.0
SHOW_IMPORTS = """
import sys

def pytest_unconfigure():
    names = [name for name in sys.modules if name.startswith(("pytest_decoderonly", "decoderonly_checker"))]
    print("\\nours:", " ".join(sorted(names)))
    print("heavy:", " ".join(name for name in HEAVY if name in sys.modules) or "none")
"""


def main() -> int:
    """Measure, print, and return 1 where the plugin adds more than the limit or imports a library."""
    parser = argparse.ArgumentParser(description="Measure what the plugin adds to pytest's start.")
    parser.add_argument("--pairs", type=int, default=40, help="runs with and without (default: 40 each)")
    pairs = parser.parse_args().pairs
    others = [entry.name for entry in metadata.entry_points(group="pytest11") if entry.name != "decoderonly"]
    base = [part for name in others for part in ("-p", f"no:{name}")]
    kinds = {"without the plugin": [*base, "-p", "no:decoderonly"], "with the plugin": base}
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "test_empty.py").write_text("def test_empty():\n    pass\n")
        (project / "pytest.ini").write_text("[pytest]\n")
        for number in range(-2, pairs):
            for kind in sorted(kinds, reverse=bool(number % 2)):
                times = timed(project, *kinds[kind])
                if number >= 0:  # the first runs write byte code and fill the disk's cache
                    taken[kind].append(times)
        (project / "conftest.py").write_text(f"HEAVY = {HEAVY!r}\n{SHOW_IMPORTS}")
        shown = run(project, "-s", *base).stdout
    print(f"{pairs} pairs of runs, Python {sys.version.split()[0]}, pytest {metadata.version('pytest')}")
    best = {kind: 1000 * min(wall for wall, _ in rows) for kind, rows in taken.items()}
    medians = {
        kind: [1000 * statistics.median(row) for row in zip(*rows, strict=True)]
        for kind, rows in taken.items()
    }
    for kind, (wall, processor) in medians.items():
        print(
            f"{kind:<20} median wall {wall:7.1f} ms   processor {processor:7.1f} ms   best wall {best[kind]:7.1f} ms"
        )
    wall, processor = (
        b - a for a, b in zip(medians["without the plugin"], medians["with the plugin"], strict=True)
    )
    print(f"{'added':<20} median wall {wall:7.1f} ms   processor {processor:7.1f} ms   limit {LIMIT_MS} ms")
    print("imported by a run without --decoderonly-checks:")
    print("\n".join(f"  {line}" for line in shown.splitlines() if line.startswith(("ours:", "heavy:"))))
    return int(wall > LIMIT_MS or "heavy: none" not in shown)


def timed(project: Path, *arguments: str) -> tuple[float, float]:
    """Return wall and processor seconds of one run in a fresh process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run(project, *arguments)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on the project and insist that it passed."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)


if __name__ == "__main__":
    sys.exit(main())
