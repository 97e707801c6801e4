"""Several JSON reports as one: `python -m pytest_decoderonly.reporting a.json b.json --output all.html`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_decoderonly.reporting import files
from pytest_decoderonly.reporting.run import ReportError, merged


def main(arguments: list[str] | None = None) -> int:
    """Read, merge, write.

    Returns:
        The exit status: 0, or 2 where a report cannot be read or written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m pytest_decoderonly.reporting",
        description="Merge JSON reports of --decoderonly-report into one, as JSON or as a page.",
    )
    parser.add_argument(
        "reports", metavar="REPORT.json", type=Path, nargs="+", help="Reports of single runs."
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, required=True, action="append", help="A .html or .json file."
    )
    given = parser.parse_args(arguments)
    for target in given.output:
        problem = files.problem_with(target)
        if problem:
            parser.error(f"--output {target}: {problem}")
    try:
        run = merged([files.read(path) for path in given.reports])
        for target in given.output:
            files.write(run, target)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
