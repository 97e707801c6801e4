"""Runs the test suites of real projects without and with the guard: `python benchmarks/guard_on_suites.py CLONES [NAME ...]`.

CLONES is a folder with a git clone of each project (`--clone` makes them). Which tests of which revision run is said in
`suites/suites.toml`; a suite that `needs` other versions than are installed is left out, and named. Checkpoints of the hub are
replaced by tiny ones (`suites/standins.py`). Each suite runs twice: with the plugin off, and with `--decoderonly-checks
--decoderonly-guard=error`. The results are compared test by test; a test that differs runs twice more, to tell what the guard
changed from what is different at each run. Every finding must have been judged in `suites/judged.toml`. Exit code 1: a result
changed, the guard failed, or a finding is a false alarm or not judged.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

HERE = Path(__file__).resolve().parent
SUITES = HERE / "suites"
PAGE = HERE.parent / "docs" / "reference" / "guard-on-suites.md"
_CHECKED = re.compile(r"^guard +(\d+) calls? checked", re.MULTILINE)
_HEADS = [
    "suite",
    "transformers",
    "calls checked",
    "passed",
    "failed",
    "skipped",
    "passed, guarded",
    "changed",
]
_HEADS += ["unsteady", "guard fails", "places", "time"]
GUARDED = ("--decoderonly-checks", "--decoderonly-guard=error", "-p", "no:decoderonly-static")


_INTRO = """# The guard on the tests of real projects

Written by `python benchmarks/guard_on_suites.py CLONES --page`, from the outcomes of
`python benchmarks/guard_on_suites.py CLONES --clone`. That runs the tests that
[suites.toml](../../benchmarks/suites/suites.toml) names twice each: with the plugin off, and with
`--decoderonly-checks --decoderonly-guard=error`. Checkpoints and data sets of the hub are replaced by tiny ones of the
same architecture, with random weights ([standins.py](../../benchmarks/suites/standins.py)): tests that rest on a real
vocabulary, on real sizes or on files that have no stand-in fail in both runs, and are compared like the rest, by the
text of their error. A test that differs between the two runs is run once more without the guard; where that differs as
well it counts as unsteady. Suites of the list that were not run to their end both ways are not shown; those that need another
transformers were run in an environment of their own.
Time is processor time with the guard over without, of whole runs with their imports, each once, on a busy machine: a
hint, no measurement ([guard_overhead.py](../../benchmarks/guard_overhead.py) measures).

"""


@dataclass
class Run:
    """What one run of pytest left: outcomes by test, the guard's findings and faults, processor seconds."""

    outcomes: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    by_guard: set[str] = field(default_factory=set)
    found: dict[str, set[str]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    checked: int = 0
    transformers: str = ""
    cpu: float = 0.0
    cut_off: bool = False

    def count(self) -> Counter[str]:
        """Count tests by what became of them."""
        return Counter(_overall(phases) for phases in self.outcomes.values())


@dataclass
class Compared:
    """One suite, run both ways."""

    name: str
    revision: str
    off: Run
    on: Run
    changed: list[str]
    unsteady: list[str]


def main() -> int:
    """Run, compare, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clones", type=Path)
    parser.add_argument("names", nargs="*", help="Only these suites.")
    parser.add_argument(
        "--clone", action="store_true", help="Clone what is missing, at the revision of the list."
    )
    parser.add_argument("--results", type=Path, help="Folder for the outcomes (default: CLONES/results).")
    parser.add_argument(
        "--page", action="store_true", help=f"Write {PAGE.name} from the kept outcomes; run nothing."
    )
    options = parser.parse_args()
    table = tomllib.loads((SUITES / "suites.toml").read_text(encoding="utf-8"))
    clones: Path = options.clones.resolve()
    results: Path = (options.results or clones / "results").resolve()
    results.mkdir(parents=True, exist_ok=True)
    known = {suite["name"]: suite for suite in table["suites"]}
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"no suite of this name: {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.names or known]
    if not options.page:
        chosen = _runnable(chosen, demanded=bool(options.names))
        if chosen:
            _prepare(table, clones, chosen, clone=options.clone)
        for suite in chosen:
            run_both(suite, clones, results)
    compared = [found for suite in chosen if (found := compare(suite, results)) is not None]
    return report(compared, _judged(), page=options.page)


def _runnable(suites: list[dict[str, Any]], *, demanded: bool) -> list[dict[str, Any]]:
    """Leave out, and say so, what needs other versions of packages; an error where just these suites were asked for."""
    unmet = {suite["name"]: missing for suite in suites if (missing := _unmet(suite.get("needs", ())))}
    for name, missing in unmet.items():
        line = f"{name} is left out: it needs {', '.join(missing)}"
        if demanded:
            raise SystemExit(line)
        print(line)
    return [suite for suite in suites if suite["name"] not in unmet]


def _unmet(needs: Iterable[str]) -> list[str]:
    """Return the requirements that the packages of this environment do not meet."""
    found = [(requirement, _installed(requirement.name)) for requirement in map(Requirement, needs)]
    return [
        f"{requirement} ({version or 'none'} is installed)"
        for requirement, version in found
        if version is None or version not in requirement.specifier
    ]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _prepare(table: dict[str, Any], clones: Path, suites: list[dict[str, Any]], *, clone: bool) -> None:
    for suite in suites:
        folder = clones / suite["name"]
        if not folder.exists() and clone:
            subprocess.run(["git", "clone", "--quiet", suite["url"], str(folder)], check=True)
            subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", suite["revision"]], check=True)
        if not folder.exists():
            raise SystemExit(f"{folder}: no such folder; --clone makes it from {suite['url']}")
    sys.path.insert(0, str(SUITES))
    from standins import build  # type: ignore[import-not-found]

    build(clones / ".hub", table, clones)


def run_both(suite: dict[str, Any], clones: Path, results: Path) -> None:
    """Run a suite without and with the guard, and what differs once more without; keep the outcomes."""
    folder, name = clones / suite["name"], suite["name"]
    off = _pytest(suite, folder, results / f"{name}.off.jsonl", suite["tests"])
    on = _pytest(suite, folder, results / f"{name}.on.jsonl", suite["tests"], *GUARDED)
    different = differing(off, on)
    again = results / f"{name}.again.jsonl"
    again.unlink(missing_ok=True)
    if different:
        second = _pytest(suite, folder, again, sorted(different))
        print(f"{name}: {len(different)} differ, of these without the guard too: ", end="")
        print(len([test for test in different if second.outcomes.get(test) != off.outcomes.get(test)]))


def _pytest(suite: dict[str, Any], folder: Path, kept: Path, tests: list[str], *more: str) -> Run:
    kept.unlink(missing_ok=True)
    paths = [
        str(SUITES),
        str(folder / suite.get("source", ".")),
        str(HERE.parent),
        str(HERE.parent / "checker"),
    ]
    environment = {
        **os.environ,
        "HF_HOME": str(folder.parent / ".hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(paths),
        "SUITE_OUTCOMES": str(kept),
        **suite.get("environment", {}),
    }
    command = [sys.executable, "-m", "pytest", *tests, "-p", "outcomes", "-p", "no:cacheprovider", "-q"]
    command += ["-o", "addopts=", *suite.get("options", []), *more]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cut_off = False
    with tempfile.TemporaryDirectory() as temporary, kept.with_suffix(".log").open("w") as log:
        command += ["--basetemp", f"{temporary}/base"]
        try:
            subprocess.run(
                command,
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=suite.get("timeout", 1800),
                check=False,
            )
        except subprocess.TimeoutExpired:
            cut_off = True
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    revision = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    checked = _CHECKED.search(kept.with_suffix(".log").read_text(encoding="utf-8", errors="replace"))
    end = {"when": "end", "cpu": cpu, "cut_off": cut_off, "revision": revision}
    end |= {"transformers": metadata.version("transformers"), "checked": int(checked[1]) if checked else 0}
    with kept.open("a", encoding="utf-8") as file:
        file.write(json.dumps(end) + "\n")
    run = read(kept)
    if all(when == "collect" for phases in run.outcomes.values() for when, *_ in phases):
        raise SystemExit(f"{suite['name']}: no test ran; see {kept.with_suffix('.log')}")
    print(f"{suite['name']} {kept.suffixes[0]} {dict(run.count())} {cpu:.0f} s", flush=True)
    return run


def read(kept: Path) -> Run:
    """Read the outcomes of one run."""
    run = Run()
    for line in kept.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["when"] == "end":
            run.cpu, run.cut_off = entry["cpu"], entry["cut_off"]
            run.checked, run.transformers = entry.get("checked", 0), entry.get("transformers", "")
        elif entry["when"] == "warning":
            if "the decoderonly guard failed" in entry["text"]:
                run.faults.append(f"{entry['id']}: {entry['text']}")
            else:
                run.texts.setdefault(_summary(entry["text"]), entry["text"])
        else:
            run.outcomes.setdefault(entry["id"], []).append(
                (entry["when"], entry["outcome"], entry.get("error", ""))
            )
            if entry.get("by_guard"):
                run.by_guard.add(entry["id"])
            for summary in entry["found"]:
                run.found.setdefault(summary, set()).add(entry["id"])
            for text in [entry.get("text", ""), *entry.get("sections", [])]:
                for part in text.split("\n\n"):
                    if "SUMMARY: " in part:
                        run.texts.setdefault(_summary(part), part)
    return run


def _summary(text: str) -> str:
    return text.rpartition("SUMMARY: ")[2].strip()


def _overall(phases: list[tuple[str, str, str]]) -> str:
    outcomes = {outcome for _, outcome, _ in phases}
    if any(when != "call" and outcome in ("failed", "error") for when, outcome, _ in phases):
        return "error"
    return next((o for o in ("failed", "skipped", "xfail") if o in outcomes), "passed")


def differing(off: Run, on: Run) -> set[str]:
    """Return the tests that came out another way, where it is not the guard's verdict that did it."""
    ids = set(off.outcomes) | set(on.outcomes)
    return {test for test in ids if off.outcomes.get(test) != on.outcomes.get(test)} - on.by_guard


def compare(suite: dict[str, Any], results: Path) -> Compared | None:
    """Compare the kept outcomes of a suite, test by test; None where a run is missing or broke off."""
    name = suite["name"]
    paths = [results / f"{name}.{kind}.jsonl" for kind in ("off", "on", "again")]
    if not all(path.exists() and '"when": "end"' in path.read_text(encoding="utf-8") for path in paths[:2]):
        return None
    off, on = read(paths[0]), read(paths[1])
    again = read(paths[2]) if paths[2].exists() else Run()
    different = differing(off, on)
    unsteady = {
        test
        for test in different
        if test in again.outcomes and again.outcomes[test] != off.outcomes.get(test)
    }
    if off.cut_off or on.cut_off:
        different &= set(off.outcomes) & set(on.outcomes)
    last = json.loads(paths[1].read_text(encoding="utf-8").splitlines()[-1])
    return Compared(name, last.get("revision", ""), off, on, sorted(different - unsteady), sorted(unsteady))


def _judged() -> list[dict[str, str]]:
    path = SUITES / "judged.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    findings: list[dict[str, str]] = table.get("findings", [])
    return findings


def report(compared: list[Compared], judged: list[dict[str, str]], *, page: bool) -> int:
    """Print what came out; returns 1 where the guard did harm, or a finding is not known to be right."""
    bad = 0
    for suite in compared:
        print(
            f"\n{suite.name} {suite.revision[:10]}  off {dict(suite.off.count())}  on {dict(suite.on.count())}"
        )
        print(f"  processor seconds {suite.off.cpu:.0f} and {suite.on.cpu:.0f}")
        for test in suite.changed:
            print(f"  CHANGED {test}\n    {suite.off.outcomes.get(test)}\n    {suite.on.outcomes.get(test)}")
        for test in suite.unsteady:
            print(f"  different at each run: {test}")
        for fault in suite.on.faults:
            print(f"  FAULT {fault}")
        for summary, tests in sorted(suite.on.found.items()):
            entry = _verdict(suite.name, summary, judged)
            print(f"  {entry['verdict'] if entry else 'NOT JUDGED'}: {summary} ({len(tests)} tests)")
            if entry is None:
                print("    " + suite.on.texts.get(summary, "").replace("\n", "\n    "))
            bad += entry is None or entry["verdict"] != "right"
        bad += len(suite.changed) + len(suite.on.faults)
    if page:
        PAGE.write_text(_page(compared, judged), encoding="utf-8")
    return 1 if bad else 0


def _verdict(suite: str, summary: str, judged: list[dict[str, str]]) -> dict[str, str] | None:
    return next((entry for entry in judged if entry["suite"] == suite and entry["finding"] == summary), None)


def _row(cells: list[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _page(compared: list[Compared], judged: list[dict[str, str]]) -> str:
    """Write the results as Markdown: suites, then findings with what was read in the code."""
    rows, findings = [], []
    for suite in compared:
        off, on = suite.off.count(), suite.on.count()
        cells = [
            f"{suite.name} `{suite.revision[:8]}`",
            suite.on.transformers,
            suite.on.checked,
            off["passed"],
            off["failed"] + off["error"],
            off["skipped"] + off["xfail"],
            on["passed"],
            len(suite.changed),
            len(suite.unsteady),
            len(suite.on.by_guard),
            len(suite.on.found),
            f"{suite.on.cpu / suite.off.cpu:.2f}",
        ]
        rows.append(_row(cells))
        for summary, tests in sorted(suite.on.found.items()):
            entry = _verdict(suite.name, summary, judged)
            verdict, why = (entry["verdict"], entry["why"]) if entry else ("not judged", "")
            findings.append(_row([suite.name, f"`{summary}`", len(tests), verdict, why]))
    false = sum(f"| {word} |" in line for line in findings for word in ("false alarm", "not judged"))
    steady = sum(len(suite.off.outcomes) - len(suite.unsteady) for suite in compared)
    changed = sum(len(suite.changed) for suite in compared)
    return _INTRO + "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| suites | {len(compared)} |",
            f"| tests | {sum(len(suite.off.outcomes) for suite in compared)} |",
            f"| that come out the same at each run without the guard | {steady} |",
            f"| of these with another result under the guard, its own verdict apart | {changed} |",
            f"| faults of the guard | {sum(len(suite.on.faults) for suite in compared)} |",
            f"| places found | {len(findings)} |",
            f"| false alarms, or not judged | {false} |",
            "",
            "## Suites",
            "",
            _row(_HEADS),
            "|---" * len(_HEADS) + "|",
            *rows,
            "",
            "## Findings",
            "",
            "| suite | finding | tests | verdict | what the code says |",
            "|---|---|---|---|---|",
            *findings,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
