"""Look for input that the checker cannot take.

python tests/fuzz/fuzz.py --minutes 10                     # mutations of the specs and of transformers' generation/
python tests/fuzz/fuzz.py --minutes 10 --seed 7 FOLDER …   # of other code
python tests/fuzz/fuzz.py --as-is FOLDER …                 # every file of it as it is, each alone

Every input is checked twice in a process of its own. It must end in time, in bounded memory, with the same result both
times, without an exception, and what cannot be checked must be told in one line. What fails is made small and kept.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import inputs
from shrink import shrink
from workers import Job, Limits, Outcome, Pool

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHRINK_SECONDS = 90.0


@dataclass
class Tally:
    """What is counted for one kind of input."""

    inputs: int = 0
    parsed: int = 0
    refused: int = 0
    findings: int = 0
    overdue: int = 0
    wrong: int = 0
    hangs: int = 0
    slowest: float = 0.0
    memory: float = 0.0
    slowest_name: str = ""

    def add(self, outcome: Outcome) -> None:
        """Count one input."""
        self.inputs += 1
        self.parsed += outcome.parsed
        self.refused += bool(outcome.refused)
        self.findings += outcome.findings
        self.overdue += any("skipped (see --timeout)" in message for message in outcome.refused)
        self.hangs += outcome.signature in ("hang", "slow")
        self.wrong += outcome.problem is not None and outcome.signature not in ("hang", "slow")
        if outcome.seconds > self.slowest:
            self.slowest, self.slowest_name = outcome.seconds, outcome.job.name
        self.memory = max(self.memory, outcome.memory)


@dataclass
class Report:
    """What came out of a run."""

    kinds: dict[str, Tally] = field(default_factory=dict)
    mistakes: Counter[str] = field(default_factory=Counter)
    first: dict[str, Outcome] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one input."""
        self.kinds.setdefault(outcome.job.kind, Tally()).add(outcome)
        if outcome.problem is not None:
            self.mistakes[outcome.signature] += 1
            self.first.setdefault(outcome.signature, outcome)

    def table(self) -> str:
        """The counts, a line for each kind and one for all."""
        head = (
            "kind",
            "inputs",
            "parsed",
            "told",
            "found",
            "overdue",
            "wrong",
            "hangs",
            "slowest s",
            "peak MB",
        )
        rows = [head]
        total = Tally(memory=max((tally.memory for tally in self.kinds.values()), default=0.0))
        total.slowest = max((tally.slowest for tally in self.kinds.values()), default=0.0)
        for tally in self.kinds.values():
            for name in ("inputs", "parsed", "refused", "findings", "overdue", "wrong", "hangs"):
                setattr(total, name, getattr(total, name) + getattr(tally, name))
        for name, tally in (*sorted(self.kinds.items()), ("all", total)):
            counts = (
                tally.inputs,
                tally.parsed,
                tally.refused,
                tally.findings,
                tally.overdue,
                tally.wrong,
                tally.hangs,
            )
            rows.append((name, *map(str, counts), f"{tally.slowest:.1f}", f"{tally.memory:.0f}"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
        )


def endless(seed: int, minutes: float, kinds: list[str]) -> Iterator[Job]:
    """Inputs until the time is up."""
    end = time.monotonic() + 60 * minutes
    for number in itertools.count():
        if time.monotonic() > end:
            return
        kind = kinds[number % len(kinds)] if kinds else inputs.choose(seed, number)
        yield Job(f"{kind}-{seed}-{number}", kind, made_of=(kind, seed, number))


def as_they_are(folders: list[Path]) -> Iterator[Job]:
    """Every file below folders."""
    for folder in folders:
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            if path.suffix in (".py", ".pyi", ".ipynb") and path.is_file():
                yield Job(str(path), "as it is", path=path)


def keep(report: Report, folder: Path, pool: Pool | None) -> None:
    """Write the first input of every mistake, made small."""
    for number, (signature, outcome) in enumerate(report.first.items(), start=1):
        place = folder / f"failure-{number}"
        place.mkdir(parents=True, exist_ok=True)
        files = outcome.files
        if pool is not None and files:
            files = shrink(outcome, pool, _SHRINK_SECONDS)
        for name, data in files.items():
            (place / name).write_bytes(data)
        text = f"{signature}\n{outcome.job.name}\n\n{outcome.problem}\n"
        (place / "problem.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
        print(f"{report.mistakes[signature]} x {signature}: {place} ({outcome.job.name})", flush=True)


def default_folders() -> list[Path]:
    """The specs, which are full of what the checker looks at, and transformers' `generation/`."""
    folders = [inputs.SPECS]
    found = importlib.util.find_spec("transformers")  # does not import it
    if found is not None and found.origin is not None:
        folders.append(Path(found.origin).parent / "generation")
    return folders


def main() -> int:
    """Run, print what came out; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="code to start from")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long to go on (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="other inputs for another seed (default: 0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument(
        "--kinds", default="", metavar="KIND,…", help=f"only these of {', '.join(inputs.KINDS)}"
    )
    parser.add_argument("--as-is", action="store_true", help="check the files of the folders as they are")
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="processor time for an input (default: 10)"
    )
    parser.add_argument("--memory", type=float, default=1000.0, help="MB for an input (default: 1000)")
    parser.add_argument(
        "--out", type=Path, default=None, metavar="FOLDER", help="where failing inputs are kept"
    )
    arguments = parser.parse_args()
    kinds = [kind for kind in arguments.kinds.split(",") if kind]
    unknown = sorted({*kinds} - {*inputs.KINDS})
    if unknown:
        parser.error(f"--kinds: unknown {', '.join(unknown)}; known: {', '.join(inputs.KINDS)}")
    generated = not arguments.as_is and (not kinds or "generated" in kinds)
    if generated and importlib.util.find_spec("hypothesmith") is None:
        others = ",".join(kind for kind in inputs.KINDS if kind != "generated")
        parser.error(f"generated modules need hypothesmith: pip install hypothesmith, or --kinds {others}")
    missing = [str(folder) for folder in arguments.folders if not folder.exists()]
    if missing:
        parser.error(f"no such file or folder: {', '.join(missing)}")
    out = arguments.out or Path(tempfile.mkdtemp(prefix="decoderonly-fuzz-"))
    limits = Limits(arguments.seconds, arguments.memory)
    folders = [folder.absolute() for folder in arguments.folders] or default_folders()
    corpus = None if arguments.as_is else inputs.Corpus(folders)
    jobs = as_they_are(folders) if arguments.as_is else endless(arguments.seed, arguments.minutes, kinds)
    report = Report()
    begin = last = time.monotonic()
    with tempfile.TemporaryDirectory() as work, Pool(Path(work), limits, arguments.workers, corpus) as pool:
        try:
            for outcome in pool.run(jobs):
                report.add(outcome)
                if outcome.problem is not None:
                    print(f"{outcome.job.name}: {outcome.signature}", flush=True)
                if time.monotonic() - last > 60:
                    last = time.monotonic()
                    print(f"… {sum(tally.inputs for tally in report.kinds.values())} inputs", flush=True)
        except KeyboardInterrupt:
            print("interrupted; this is what came out so far")
        print(report.table())
        print(f"{time.monotonic() - begin:.0f} s with {arguments.workers} workers, seed {arguments.seed}")
        for name, tally in sorted(report.kinds.items()):
            print(f"slowest of {name}: {tally.slowest_name} ({tally.slowest:.1f} s)")
        keep(report, out, pool)
    return 1 if report.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
