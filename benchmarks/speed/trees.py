"""The trees: what is looked at, laid out afresh so that all tools see the same and nothing else."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from speed.generated import small_files, write_files


@dataclass(frozen=True)
class Tree:
    """A folder of Python files.

    Args:
        name: As in the tables.
        folder: Where the tools run.
        target: What they are given, relative to it.
        sample: A folder below, to extrapolate from; None if the whole is small enough.
    """

    name: str
    folder: Path
    target: str
    sample: str | None = None

    def files(self, target: str | None = None, holding: bytes | None = None) -> tuple[int, int]:
        """How many files there are and their bytes; also brings them into the page cache.

        Args:
            target: A folder instead of the whole.
            holding: Only files with this word.
        """
        number = size = 0
        for path in (self.folder / (target or self.target)).rglob("*.py"):
            data = path.read_bytes()
            if holding is None or holding in data:
                number += 1
                size += len(data)
        return number, size


def installed(package: str, scratch: Path, *, below: str = "", sample: str | None = None) -> Tree:
    """A copy of the Python files of an installed package, as the sources of a project.

    Args:
        package: Its import name.
        scratch: Where the copy goes.
        below: Only this folder of the package.
        sample: As of `Tree`.

    Raises:
        LookupError: The package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise LookupError(f"the package {package} is not installed")
    source = Path(spec.origin).parent / below
    name = f"{package}/{below}".rstrip("/")
    folder = _project(scratch, name.replace("/", "-"))
    for path in sorted(source.rglob("*.py")):
        copy = folder / name / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return Tree(name, folder, name, sample and f"{package}/{sample}")


def generated(number: int, scratch: Path) -> Tree:
    """The project of small files, the first so many of it."""
    folder = _project(scratch, f"generated-{number}")
    write_files(small_files(number), folder / "generated")
    return Tree("small generated files", folder, "generated")


def _project(scratch: Path, name: str) -> Path:
    """A folder with the marks of a project: what lies above is nobody's business."""
    folder = scratch / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "0"\n')
    (folder / ".semgrepignore").write_text("")  # or else it leaves tests out
    return folder
