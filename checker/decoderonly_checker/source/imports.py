"""Which files import which, told from their bytes."""

# ruff: noqa: PTH112, PTH113, PTH118, PTH120 - strings instead of Path objects: this runs for every file

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING

from decoderonly_checker.late import late_pattern
from decoderonly_checker.source.libraries import library_package

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

# Behind the line break that comes before, which `re` is quick to look for; `^` it would try everywhere.
_FROM = late_pattern(rb"\n[ \t]*from[ \t]+([.\w]+)[ \t]+import[ \t]*(\([^)]*\)|[^\n;\\]*(?:\\\n[^\n;\\]*)*)")
_IMPORT = late_pattern(
    rb"\n[ \t]*import[ \t]+([\w.]+(?:[ \t]+as[ \t]+\w+)?(?:[ \t]*,[ \t]*[\w.]+(?:[ \t]+as[ \t]+\w+)?)*)"
)
# A whole statement, with the line break before it.
IMPORT = late_pattern(_FROM.pattern + b"|" + _IMPORT.pattern)
_INLINE = late_pattern(rb"[;:][ \t]*((?:from|import)[ \t]+[^\n;]+)")
# The same for one sign: `re` is quick to look for a literal, a set of them it tries everywhere.
_INLINES = tuple(late_pattern(sign + _INLINE.pattern.partition(b"]")[2]) for sign in (b";", b":"))
_NAMES = late_pattern(rb"(\w+)(?:[ \t]+as[ \t]+\w+)?")
EVERYTHING = b"*"  # what `from module import *` imports


def imports_of(code: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names that code imports, each behind its module, dots and all.

    For a module that is imported whole, its last part is the name; b"*" for all that a module holds.

    Args:
        code: What `code_of` leaves of a file.
    """
    if b"import" not in code:
        return
    code = b"\n" + code
    if any(inline.search(code) for inline in _INLINES):
        code += b"\n" + b"\n".join(_INLINE.findall(code))
    for module, names in _FROM.findall(code):
        if b"*" in names:
            yield module, EVERYTHING
        else:
            for name in _NAMES.findall(names):
                yield module, name
    for modules in _IMPORT.findall(code):
        for entry in modules.split(b","):
            module = entry.split()[0]
            yield module, module.rpartition(b".")[2]


class ImportPaths:
    """Finds the files behind imports, as Python and people who start scripts from any folder do."""

    def __init__(self, root: str, *, gone: Collection[str] = ()) -> None:
        """Look for modules beside the importing file, in the folders above it up to `root`, and in `src`.

        Args:
            root: Where the search ends.
            gone: Files to take as being there, to tell who imported them.
        """
        self._root = root
        self._known: dict[str, bool] = dict.fromkeys(gone, True)
        self._gone = tuple(gone)
        self._roots: dict[tuple[str, str], bool] = {}
        self._places: dict[tuple[str, bytes], tuple[str, ...]] = {}

    def targets(self, path: str, imports: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
        """Yield the files that a file imports; of a known library that it is part of, none."""
        folder = os.path.dirname(path)
        library = library_package(path) is not None
        for module, name in imports:
            if library and module.startswith(b"."):
                continue
            places = self._places.get((folder, module))
            if places is None:
                places = self._places[folder, module] = tuple(self._places_of(folder, module))
            if places:
                inner, bare = name.decode("ascii", "replace"), not module.strip(b".")
                for place in places:
                    yield from self._below(place, inner, bare=bare)

    def _places_of(self, folder: str, module: bytes) -> Iterator[str]:
        """Yield where a module may be that a file in a folder imports from, without a suffix."""
        text = module.decode("ascii", "replace")
        inner = text.lstrip(".")
        parts = inner.split(".") if inner else []
        for base in self._bases(folder, len(text) - len(inner)):
            if not parts or self._begins(base, parts[0]):
                yield os.path.join(base, *parts)

    def _bases(self, folder: str, dots: int) -> Iterator[str]:
        if dots:
            for _ in range(dots - 1):
                folder = os.path.dirname(folder)
            yield folder
            return
        yield folder
        while folder != self._root and folder.startswith(self._root + os.sep):
            folder = os.path.dirname(folder)
            yield folder
        yield os.path.join(self._root, "src")

    def _begins(self, base: str, first: str) -> bool:
        """Whether a folder holds a module or a folder of that name: of most that is imported, it does not."""
        known = self._roots.get((base, first))
        if known is None:
            start = os.path.join(base, first)
            known = self._roots[base, first] = (
                os.path.isdir(start)
                or os.path.isfile(start + ".py")
                or any(path == start + ".py" or path.startswith(start + os.sep) for path in self._gone)
            )
        return known

    def _below(self, module: str, name: str, *, bare: bool) -> Iterator[str]:
        if not bare and self._is_file(module + ".py"):
            yield module + ".py"
        if self._is_file(os.path.join(module, "__init__.py")):
            yield os.path.join(module, "__init__.py")
        for inner in (os.path.join(module, name + ".py"), os.path.join(module, name, "__init__.py")):
            if self._is_file(inner):
                yield inner

    def _is_file(self, path: str) -> bool:
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = os.path.isfile(path) and library_package(path) is None
        return known
