"""Run the checker and `pytest --decoderonly-checks` on both twins, and print what each of them found.

Exit status 0 when the faulty twin was caught and the corrected one was left alone, 1 otherwise.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
PROPERTY = "./properties/property[@name='decoderonly']"
FINDING = re.compile(r"(?P<code>DLM\d+) (?P<path>.+?):(?P<line>\d+)\b")

Place = tuple[str, int, str]


def heading(text: str) -> None:
    """Print a line that separates what follows from what stands above."""
    print(f"\n{'#' * 8} {text}\n", flush=True)


def run_checker(twin: Path) -> tuple[int, dict[Place, str]]:
    """Show the checker's report; return its exit status and the rules' names by place."""
    heading(f"{twin.name}$ decoderonly check")
    command = [str(BIN / "decoderonly"), "check"]
    status = subprocess.run(command, cwd=twin, check=False).returncode
    command += ["--output-format", "json"]
    data = subprocess.run(command, cwd=twin, check=False, capture_output=True, text=True)
    if data.returncode not in (0, 1):
        sys.exit(f"demo: the checker could not do its work: {data.stderr.strip()}")
    found = json.loads(data.stdout)
    return status, {(item["path"], item["line"], item["code"]): item["name"] for item in found}


def run_tests(twin: Path) -> tuple[int, set[Place]]:
    """Show the run of the twin's own tests; return pytest's exit status and what the guard found."""
    heading(f"{twin.name}$ pytest --decoderonly-checks")
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "--decoderonly-checks", "-q", "-p", "no:cacheprovider"]
        status = subprocess.run([*command, f"--junitxml={report}"], cwd=twin, check=False).returncode
        if not report.exists():
            sys.exit(f"demo: pytest ended with {status} and left no report")
        tests = ElementTree.parse(report).iter("testcase")
        # The checker's own items carry findings too; those are counted from its own report.
        watched = [test for test in tests if test.get("name") != "decoderonly-static"]
        values = [entry.get("value", "") for test in watched for entry in test.iterfind(PROPERTY)]
        found = [FINDING.match(value) for value in values]
        return status, {(match["path"], int(match["line"]), match["code"]) for match in found if match}


def main() -> int:
    """Run everything, then print one line a finding."""
    results = {name: (run_checker(HERE / name), run_tests(HERE / name)) for name in ("faulty", "corrected")}
    heading("what was found")
    for name, ((_, by_checker), (_, by_guard)) in results.items():
        places = sorted(by_checker.keys() | by_guard)
        print(f"{name}: {len(places) or 'no'} finding{'' if len(places) == 1 else 's'}")
        rules = {code: rule for (_, _, code), rule in by_checker.items()}
        for place in places:
            path, line, code = place
            seen = " and ".join(
                seer for seer, found in (("checker", by_checker), ("guard", by_guard)) if place in found
            )
            print(f"  {f'{path}:{line}':<32} {code}  {rules.get(code, ''):<26} {seen}")
    sys.stdout.flush()
    (checked, _), (tested, _) = results["faulty"]
    caught = checked == 1 and tested == 1
    (checked, by_checker), (tested, by_guard) = results["corrected"]
    silent = checked == 0 and tested == 0 and not by_checker and not by_guard
    if not caught:
        print("demo: expected findings on the faulty twin", file=sys.stderr)
    if not silent:
        print("demo: expected none on the corrected twin", file=sys.stderr)
    return 0 if caught and silent else 1


if __name__ == "__main__":
    sys.exit(main())
