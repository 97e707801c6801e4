"""Which files import which, told from their bytes."""

# ruff: noqa: PTH113, PTH118, PTH120 - strings instead of Path objects: this runs for every file

from __future__ import annotations

import os.path
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Words of a docstring may match too; they resolve to no file.
_FROM = re.compile(rb"\bfrom\s+(\.*)\s*([\w.]*)\s+import\s*(\([^)]*\)|[^\n;]*)")
_IMPORT = re.compile(rb"\bimport\s+([\w. \t,]+)")
_NAME = re.compile(rb"[A-Za-z_]\w*")


class ImportReach:
    """Follows imports between the files of a project, by their bytes."""

    def __init__(self, root: Path, *, gone: Iterable[str] = ()) -> None:
        """Look for modules beside the importing file, in the folders above it up to `root`, and in `src`.

        Args:
            root: Where the search ends.
            gone: Files to take as being there, to tell who imported them.
        """
        self._root = str(root)
        self._files: dict[str, bool] = dict.fromkeys(gone, True)

    def importers(self, asked: Iterable[Path], others: Iterable[Path]) -> list[Path]:
        """Which other files import one of these, directly or through each other: where their functions are called.

        Args:
            asked: Absolute paths of the files in question.
            others: Absolute paths of the files that may import them; one that cannot be read imports nothing.
        """
        importing: dict[str, list[Path]] = {}
        for path in others:
            try:
                data = path.read_bytes()
            except OSError:
                continue
            for target in self._targets(str(path), data):
                importing.setdefault(target, []).append(path)
        found: dict[Path, None] = {}
        pending = [str(path) for path in asked]
        while pending:
            for path in importing.get(pending.pop(), ()):
                if path not in found:
                    found[path] = None
                    pending.append(str(path))
        return sorted(found)

    def _targets(self, path: str, data: bytes) -> Iterator[str]:
        if path.endswith(".ipynb"):
            data = data.replace(b"\\n", b"\n")
        folder = os.path.dirname(path)
        asked: set[tuple[int, str]] = set()
        for match in _FROM.finditer(data):
            dots, module, names = match.groups()
            start = module.decode("utf-8", "replace")
            asked.add((len(dots), start))
            asked.update(
                (len(dots), f"{start}.{name.decode('ascii')}".strip(".")) for name in _NAME.findall(names)
            )
        for match in _IMPORT.finditer(data):
            entries = [entry.split() for entry in match[1].split(b",") if entry.strip()]
            asked.update((0, entry[0].decode("utf-8", "replace")) for entry in entries)
        for dots, dotted in asked:
            yield from self._resolve(folder, dots, dotted)

    def _resolve(self, folder: str, dots: int, dotted: str) -> Iterator[str]:
        if dots:
            for _ in range(dots - 1):
                folder = os.path.dirname(folder)
            folders = [folder]
        else:
            folders = [folder]
            while folders[-1] != self._root and folders[-1].startswith(self._root + os.sep):
                folders.append(os.path.dirname(folders[-1]))
            folders.append(os.path.join(self._root, "src"))
        inner = dotted.replace(".", os.sep)
        for base in folders:
            candidate = os.path.join(base, inner)
            if dotted and self._is_file(candidate + ".py"):
                yield candidate + ".py"
            package = os.path.join(candidate, "__init__.py")
            if self._is_file(package):
                yield package

    def _is_file(self, path: str) -> bool:
        known = self._files.get(path)
        if known is None:
            known = self._files[path] = os.path.isfile(path)
        return known
