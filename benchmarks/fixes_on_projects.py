"""Holds all fixes to their laws on real code: `python benchmarks/fixes_on_projects.py FOLDER`, a folder of projects.

Each project is copied, checked, fixed (`--fix --unsafe-fixes`), checked and fixed again. Broken is a file that no longer
parses, a notebook of which more than the source of cells has changed, a code that is reported more often than before, a
fix that is left or was refused, a file that the second run changes. The originals are not touched.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
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
    parser.add_argument(
        "--part", type=_part, default=(1, 1), help="Take one part of the projects, as in 2/4."
    )
    options = parser.parse_args()
    first, parts = options.part
    totals: Counter[str] = Counter()
    broken: list[str] = []
    for project in sorted(path for path in options.folder.iterdir() if path.is_dir())[first - 1 :: parts]:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / project.name
            shutil.copytree(project, copy, symlinks=True, ignore=shutil.ignore_patterns(".git"))
            problems = _fix(copy, Path(folder) / "cache", totals, options.diffs)
        broken += [f"{project.name}: {problem}" for problem in problems]
        print(project.name, dict(totals), *problems, sep="\n  " if problems else " ", flush=True)
    print(
        f"{totals['fixed']} of {totals['findings']} findings fixed in {totals['files']} files; broken: {len(broken)}"
    )
    for problem in broken:
        print(problem)
    return 1 if broken else 0


def _part(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    if found is None or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"not a part of all, as in 2/4: {text}")
    return int(found[1]), int(found[2])


def _fix(folder: Path, cache: Path, totals: Counter[str], diffs: Path | None) -> list[str]:
    def check(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "decoderonly_checker", "check", "--no-respect-gitignore", *options]
        command += ["--cache-dir", str(cache), "--output-format", "json", "."]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    before: list[dict[str, Any]] = json.loads(check().stdout or "[]")
    wanted = [found for found in before if found["fix"]]
    totals["projects"] += 1
    totals["findings"] += len(before)
    if not wanted:
        return []
    files = {folder / found["path"] for found in wanted}
    originals = {path: path.read_bytes() for path in files}
    if diffs is not None:
        with diffs.open("a", encoding="utf-8") as file:
            file.write(f"### {folder.name}\n{check('--diff', '--unsafe-fixes').stdout}\n")
    done = check("--fix", "--unsafe-fixes")
    after: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    more = Counter(found["code"] for found in after) - Counter(found["code"] for found in before)
    totals["files"] += len(files)
    totals["fixed"] += len(before) - len(after)
    for found in wanted:
        totals[found["code"]] += 1
        totals[f"{found['code']} {found['fix']['applicability']}"] += 1
    problems = [
        f"{path.relative_to(folder)}: {problem}"
        for path, data in sorted(originals.items())
        if (problem := _harm(path, data)) is not None
    ]
    problems += [f"{number} more {code}" for code, number in more.items()]
    problems += [f"{found['path']}:{found['line']}: a fix is left" for found in after if found["fix"]]
    problems += [line for line in done.stderr.splitlines() if "not fixed" in line or "internal error" in line]
    fixed = {path: path.read_bytes() for path in files}
    check("--fix", "--unsafe-fixes")
    problems += [
        f"{path.relative_to(folder)}: changed again by the second run"
        for path, data in sorted(fixed.items())
        if path.read_bytes() != data
    ]
    return problems


def _harm(path: Path, before: bytes) -> str | None:
    """Say what is wrong with a file that has been fixed; None where nothing is."""
    data = path.read_bytes()
    if path.suffix != ".ipynb":
        return "no longer parses" if _parses(before) and not _parses(data) else None
    try:
        books = [json.loads(text.decode("utf-8-sig")) for text in (before, data)]
    except ValueError:
        return "is no JSON any more"
    for book in books:
        for cell in book.get("cells", ()):
            if cell.get("cell_type") == "code":
                cell["source"] = ""
    return None if books[0] == books[1] else "more than the source of cells has changed"


def _parses(data: bytes) -> bool:
    try:
        ast.parse(data)
    except (SyntaxError, ValueError):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
