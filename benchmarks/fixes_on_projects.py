"""Holds all fixes to their laws on real code: `python benchmarks/fixes_on_projects.py FOLDER`, a folder of projects.

Each project is copied, checked, fixed (`--fix --unsafe-fixes`) and checked again. Broken is a file that no longer
parses, a code that is reported more often than before, a fix that is left or was refused. The originals are not touched.
"""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any


def main() -> int:
    """Fix copies and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--diffs", type=Path, help="Write what changed to this file.")
    options = parser.parse_args()
    totals: Counter[str] = Counter()
    broken: list[str] = []
    for project in sorted(path for path in options.folder.iterdir() if path.is_dir()):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / project.name
            shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
            problems = _fix(copy, totals, options.diffs)
        broken += [f"{project.name}: {problem}" for problem in problems]
        print(project.name, dict(totals), *problems, sep="\n  " if problems else " ", flush=True)
    print(
        f"{totals['fixed']} of {totals['findings']} findings fixed in {totals['files']} files; broken: {len(broken)}"
    )
    for problem in broken:
        print(problem)
    return 1 if broken else 0


def _check(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "decoderonly_checker", "check", "--no-cache", "--no-respect-gitignore"]
    return subprocess.run([*command, *options, "."], cwd=folder, capture_output=True, text=True, check=False)


def _fix(folder: Path, totals: Counter[str], diffs: Path | None) -> list[str]:
    before: list[dict[str, Any]] = json.loads(_check(folder, "--output-format", "json").stdout or "[]")
    wanted = [found for found in before if found["fix"]]
    totals["projects"] += 1
    totals["findings"] += len(before)
    if not wanted:
        return []
    files = {found["path"] for found in wanted}
    parsed = {path for path in files if _parses(folder / path)}
    if diffs is not None:
        with diffs.open("a", encoding="utf-8") as file:
            file.write(f"### {folder.name}\n{_check(folder, '--diff', '--unsafe-fixes').stdout}\n")
    done = _check(folder, "--fix", "--unsafe-fixes", "--output-format", "json")
    after: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    more = Counter(found["code"] for found in after) - Counter(found["code"] for found in before)
    totals["files"] += len(files)
    totals["fixed"] += len(before) - len(after)
    for found in wanted:
        totals[found["code"]] += 1
    problems = [f"{path} no longer parses" for path in sorted(parsed) if not _parses(folder / path)]
    problems += [f"{number} more {code}" for code, number in more.items()]
    problems += [f"{found['path']}:{found['line']}: a fix is left" for found in after if found["fix"]]
    problems += [line for line in done.stderr.splitlines() if "not fixed" in line or "internal error" in line]
    return problems


def _parses(path: Path) -> bool:
    try:
        ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
