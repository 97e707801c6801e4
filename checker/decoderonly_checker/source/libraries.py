"""Copies of libraries whose behaviour is known: their own code is not followed."""

# ruff: noqa: PTH113, PTH118, PTH120 - strings instead of Path objects: this runs for every import

from __future__ import annotations

import os.path
from functools import cache

_LIBRARY = "transformers"
_MARK = f"{os.sep}{_LIBRARY}{os.sep}"
# Where distributions are installed side by side: one imports another as a library.
INSTALLED = frozenset({"site-packages", "dist-packages"})


def library_package(path: str) -> str | None:
    """Return the folder of the known library that a file is part of, None where it is of none."""
    end = path.find(_MARK)
    while end >= 0:
        folder = path[: end + len(_MARK) - 1]
        if _is_outermost_package(folder):
            return folder
        end = path.find(_MARK, end + 1)
    return None


@cache
def _is_outermost_package(folder: str) -> bool:
    outer = os.path.dirname(folder)
    return os.path.isfile(os.path.join(folder, "__init__.py")) and not os.path.isfile(
        os.path.join(outer, "__init__.py")
    )
