"""What the installed plugin adds to a pytest run that does not ask for it.

Runs pytest on one empty test, in turns with and without the plugin (`-p no:decoderonly`; all other
installed plugins are switched off in both). Each run is a fresh fork of a process that has imported pytest
and nothing else, so that the interpreter's own start does not drown the difference; the plugin itself is
imported anew in each. Compares medians of wall and processor time, and shows what such a run imports.

What pytest does for each installed plugin, whether or not it is switched off, is in neither: it reads the list of the
plugin's files. That is measured by itself, and says something only where the package was installed from a wheel.

    python benchmarks/plugin_startup.py [--pairs 150]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "libcst", "click")
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
    parser.add_argument("--pairs", type=int, default=150, help="runs with and without (default: 150 each)")
    pairs = parser.parse_args().pairs
    others = [entry.name for entry in metadata.entry_points(group="pytest11") if entry.name != "decoderonly"]
    base = ["-q", *(part for name in others for part in ("-p", f"no:{name}"))]
    kinds = {"without": [*base, "-p", "no:decoderonly"], "with": base}
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "test_empty.py").write_text("def test_empty():\n    pass\n")
        (project / "pytest.ini").write_text("[pytest]\n")
        os.chdir(project)
        # As in an environment that was used once: the byte code of the plugin is there.
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(project / "bytecode")
        for number in range(-3, pairs):
            for kind in sorted(kinds, reverse=bool(number % 2)):
                times = timed(kinds[kind])
                if number >= 0:  # the first runs write that byte code
                    taken[kind].append(times)
        (project / "conftest.py").write_text(f"HEAVY = {HEAVY!r}\n{SHOW_IMPORTS}")
        command = [sys.executable, "-m", "pytest", "-s", *base]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    print(f"{pairs} pairs of runs, Python {sys.version.split()[0]}, pytest {pytest.__version__}")
    added = []
    for column, name in enumerate(("wall", "processor")):
        without, with_it = ([1000 * row[column] for row in taken[kind]] for kind in ("without", "with"))
        added.append(statistics.median(with_it) - statistics.median(without))
        print(
            f"{name:<10} without {statistics.median(without):6.1f} ms   with {statistics.median(with_it):6.1f} ms"
            f"   added {added[-1]:4.1f} ms (between the best runs {min(with_it) - min(without):4.1f} ms)"
        )
    number, seconds = listed()
    print(f"list of the distribution's files: {number} of them, {1000 * seconds:.1f} ms of processor at best")
    print(f"limit {LIMIT_MS} ms; imported by a run without --decoderonly-checks:")
    print("\n".join(f"  {line}" for line in shown.splitlines() if line.startswith(("ours:", "heavy:"))))
    return int(min(added) > LIMIT_MS or "heavy: none" not in shown)


def listed() -> tuple[int, float]:
    """Return how many files the distribution has, and the processor seconds that it takes to list them, at best."""
    number, best = 0, float("inf")
    for _ in range(20):
        start = time.process_time()
        number = len(metadata.distribution("pytest-decoderonly").files or [])
        best = min(best, time.process_time() - start)
    return number, best


def timed(arguments: list[str]) -> tuple[float, float]:
    """Return wall and processor seconds of one run in a fork.

    Raises:
        RuntimeError: The run did not pass.
    """
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        os._exit(pytest.main(arguments))
    _, status, used = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"pytest {' '.join(arguments)} ended with {status}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
