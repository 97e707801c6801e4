"""Whose line is this? The user's own line is the innermost frame that belongs to no installed package."""

from __future__ import annotations

import enum
import linecache
import sys
import sysconfig
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType, FrameType

_GUARD = str(Path(__file__).parent)
_OWN = str(Path(__file__).parents[1])
_STDLIB = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")})
_INSTALLED = ("site-packages", "dist-packages")
# Wherever they are installed: editable, vendored, on PYTHONPATH.
_LIBRARIES = frozenset({"torch", "transformers"})
# A tokenizer's or processor's own methods call each other: they pass a user's call on, they do not make one.
_PASSING = ("tokenization_", "processing_", "image_processing_")


class Owner(enum.Enum):
    """Who wrote a frame's code."""

    USER = "user"
    LIBRARY = "library"
    TOKENIZER = "tokenizer"
    OURS = "ours"
    GUARD = "guard"


@dataclass(frozen=True)
class CallPlace:
    """The line of the user's code that made a call."""

    path: str
    line: int
    function: str
    code: CodeType | None = None
    instruction: int = -1

    @cached_property
    def end_line(self) -> int:
        """Last line of the call's expression (the first one where Python does not say, before 3.11)."""
        exact = self._exact
        return max(self.line, exact[1]) if exact is not None else self.line

    @cached_property
    def columns(self) -> tuple[int, int]:
        """First column of the call's expression and the one behind its last, from 1, in characters.

        Those of the line's text where Python does not say.
        """
        exact = self._exact
        if exact is None or exact[0] != self.line:
            text = linecache.getline(self.path, self.line).rstrip()
            return len(text) - len(text.lstrip()) + 1, len(text) + 1
        first, last = (linecache.getline(self.path, number).encode() for number in exact[:2])
        return (
            len(first[: exact[2]].decode(errors="replace")) + 1,
            len(last[: exact[3]].decode(errors="replace")) + 1,
        )

    @cached_property
    def _exact(self) -> tuple[int, int, int, int] | None:
        """Lines and columns, in bytes, of the expression, as the compiler kept them (Python 3.11 and later)."""
        positions = getattr(self.code, "co_positions", None)
        if positions is None or self.instruction < 0:
            return None
        line, end_line, column, end_column = next(
            islice(positions(), self.instruction // 2, None), (None, None, None, None)
        )
        if line is None or end_line is None or column is None or end_column is None:
            return None
        return line, end_line, column, end_column

    @property
    def shown_path(self) -> str:
        """Relative to the working directory where the file lies below it, with POSIX separators; `In[3]` in a notebook."""
        cell = _notebook_cell(self.path)
        if cell is not None:
            return cell
        path = Path(self.path)
        try:
            return path.relative_to(Path.cwd()).as_posix()
        except (ValueError, OSError):
            return path.as_posix()

    @property
    def source(self) -> str:
        """The source line, without indentation; empty where the source cannot be read."""
        return linecache.getline(self.path, self.line).strip()

    def __str__(self) -> str:
        return f"{self.shown_path}:{self.line} in {self.function}"

    def __reduce__(self) -> tuple[type[CallPlace], tuple[str, int, str]]:
        return CallPlace, (self.path, self.line, self.function)  # code does not go to another process


@dataclass(frozen=True)
class Caller:
    """Where a guarded call came from.

    `place` is the user's own line, None where no frame of this thread is the user's. `direct` says that the
    user's code made the call itself, with no library in between. `ours` says that this package made it, for
    a check of its own.
    """

    place: CallPlace | None
    direct: bool
    ours: bool


def caller(depth: int = 1) -> Caller:
    """Return who made the call that is `depth` frames above the calling function."""
    frame: FrameType | None = sys._getframe(depth + 1)
    direct = True
    while frame is not None:
        owner = _owner(frame.f_code.co_filename, frame.f_globals.get("__name__", ""))
        if owner is Owner.USER:
            return Caller(_place(frame), direct, ours=False)
        if owner is Owner.OURS:
            return Caller(None, direct=False, ours=True)
        if owner is Owner.LIBRARY:
            direct = False
        frame = frame.f_back
    return Caller(None, direct=False, ours=False)


def user_places(limit: int = 4, depth: int = 1) -> tuple[CallPlace, ...]:
    """Return the lines of the user's code that are waiting for a call, from the innermost outwards."""
    frame: FrameType | None = sys._getframe(depth + 1)
    found: list[CallPlace] = []
    while frame is not None and len(found) < limit:
        if _owner(frame.f_code.co_filename, frame.f_globals.get("__name__", "")) is Owner.USER:
            found.append(_place(frame))
        frame = frame.f_back
    return tuple(found)


_places: dict[tuple[int, int], CallPlace] = {}
_MOST_PLACES = 4096


def _place(frame: FrameType) -> CallPlace:
    """Return the line that a frame is at; the same object each time, as a loop comes by often."""
    code = frame.f_code
    key = (id(code), frame.f_lasti)
    known = _places.get(key)
    if known is not None and known.code is code:
        return known
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    name = getattr(code, "co_qualname", code.co_name)  # 3.11 and later know the class as well
    found = _places[key] = CallPlace(code.co_filename, frame.f_lineno, _short(name), code, frame.f_lasti)
    return found


def _notebook_cell(path: str) -> str | None:
    """Return what IPython calls the cell whose code it keeps under a file name of its own making."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    name_of = getattr(getattr(get_shell() if get_shell else None, "compile", None), "format_code_name", None)
    found = name_of(path) if name_of is not None else None
    return str(found[1]) if found else None


def _short(qualified: str) -> str:
    return qualified.replace("<locals>.", "")


@lru_cache(maxsize=4096)
def _owner(filename: str, module: str) -> Owner:
    if filename.startswith("<"):
        # <string>, <stdin>, <doctest …>, <ipython-input-…> hold what a user typed; <frozen …> is the
        # standard library.
        return Owner.LIBRARY if filename.startswith(("<frozen", "<__array", "<attrs")) else Owner.USER
    if filename.startswith(_GUARD):
        return Owner.GUARD
    if filename.startswith(_OWN):
        return Owner.OURS
    path = Path(filename)
    library = module.partition(".")[0]
    if library in _LIBRARIES:
        return Owner.TOKENIZER if path.name.startswith(_PASSING) else Owner.LIBRARY
    for marker in _INSTALLED:
        if marker in path.parts:
            package = path.parts[len(path.parts) - path.parts[::-1].index(marker) :]
            return Owner.USER if _is_project(package[0]) else Owner.LIBRARY
    if filename.startswith(_STDLIB):
        return Owner.LIBRARY
    return Owner.USER


@lru_cache(maxsize=1024)
def _is_project(package: str) -> bool:
    """Whether an installed package is the project under test itself, installed by tox or nox."""
    try:
        return any((Path.cwd() / folder / package / "__init__.py").is_file() for folder in (".", "src"))
    except OSError:
        return False
