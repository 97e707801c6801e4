"""How fast the checker is, side by side with linters on the same files: time, memory, and how both grow.

Three parts, each of which can be run alone:

* `trees`: the installed transformers and trl packages and a project of 5,000 small generated files, with ruff,
  flake8, semgrep, Fixit, TorchFix and this checker, without and with a cache.
* `startup`: what one file costs, beside the interpreter's own start and the import of libcst.
* `scaling`: seconds over the number of files and over the length of one file, with the fitted exponent.

The peers are installed by pip into environments of their own (`--environments`), with the versions of
`peers.txt`. What was measured gathers in a JSON file; `--write` makes the page and the plot of it.

    python benchmarks/checker_speed.py --part all --write
    python benchmarks/checker_speed.py --part trees --trees transformers --tools ruff decoderonly

Linux only (memory is read from /proc). `--write` needs matplotlib.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from speed.jobs import Bench
from speed.parts import TREES, scaling, startup, trees
from speed.report import show, write_page
from speed.results import read, save
from speed.tools import TOOLS

_HERE = Path(__file__).resolve().parent
_PARTS = {"trees": trees, "startup": startup, "scaling": scaling}


def main() -> int:
    """Measure what is asked for; 1 if a tool failed, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(description="Measure the checker beside its peers.")
    parser.add_argument("--part", choices=(*_PARTS, "all", "none"), default="all", help="default: all")
    parser.add_argument("--trees", nargs="+", choices=TREES, default=list(TREES), help="only these trees")
    names = [tool.name for tool in TOOLS]
    parser.add_argument(
        "--tools", nargs="+", choices=names, default=names, metavar="TOOL", help=f"of: {'; '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, help="most runs of each command (default: 7; startup: 40)")
    parser.add_argument("--quick", action="store_true", help="small inputs and few runs, to try it out")
    parser.add_argument(
        "--patience",
        type=float,
        default=1200.0,
        metavar="SECONDS",
        help="extrapolate where a run would take longer (default: 1200)",
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "decoderonly-benchmarks"
    parser.add_argument(
        "--environments", type=Path, default=cache, metavar="DIR", help=f"of the peers (default: {cache})"
    )
    results = _HERE.parent / "build" / "checker_speed.json"
    parser.add_argument(
        "--results", type=Path, default=results, metavar="FILE", help="JSON, read and extended"
    )
    parser.add_argument("--write", action="store_true", help="write docs/reference/checker-speed.md and .svg")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    try:
        return _run(options)
    except (OSError, ValueError, LookupError, RuntimeError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    parts = read(options.results)
    failed = False
    with tempfile.TemporaryDirectory(prefix="checker-speed-") as folder:
        bench = Bench(
            scratch=Path(folder),
            peers=_HERE / "peers.txt",
            environments=options.environments.resolve(),
            trees=options.trees,
            tools=options.tools,
            rounds=options.rounds,
            patience=options.patience,
            quick=options.quick,
        )
        for name, measure in _PARTS.items():
            if options.part in {name, "all"}:
                parts[name] = measure(bench)
                save(parts, options.results)
                print("\n" + show(name, parts[name]), flush=True)
        failed = bool(bench.failures)
        for failure in bench.failures:
            print(f"failed: {failure}", file=sys.stderr)
    if options.write:
        for file in write_page(parts, _HERE.parent / "docs" / "reference"):
            print(f"wrote {file}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
