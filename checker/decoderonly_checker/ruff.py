"""What a project's settings of ruff do to comments that are for this checker."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_NAMES = (".ruff.toml", "ruff.toml", "pyproject.toml")
_OURS = "DLM"


def hint_about_noqa(path: Path) -> str | None:
    """Return a line about `# noqa: DLM…` in a file that ruff is set up to look at, where ruff may delete it; None if not.

    Ruff calls codes that it does not know invalid (RUF102), and deletes them when it fixes, unless they are listed as external:
    https://docs.astral.sh/ruff/settings/#lint_external.
    """
    return _hint(path.parent)


@cache
def _hint(folder: Path) -> str | None:
    for parent in (folder, *folder.parents):
        for name in _NAMES:
            table = _ruff_table(parent / name)
            if table is None:
                continue
            lint = table.get("lint")
            listed = [table.get("external"), lint.get("external") if isinstance(lint, dict) else None]
            words = [word for one in listed if isinstance(one, list) for word in one if isinstance(word, str)]
            if any(word and (word.startswith(_OURS) or _OURS.startswith(word)) for word in words):
                return None
            from decoderonly_checker.source.files import shown_path

            key = "lint.external" if name != "pyproject.toml" else "tool.ruff.lint.external"
            return f'{shown_path(parent / name)}: ruff deletes "# noqa: DLM…" comments unless {key} = ["DLM"]'
    return None


def _ruff_table(file: Path) -> dict[str, Any] | None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

    try:
        held: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # ruff itself will say so
    if file.name != "pyproject.toml":
        return held
    tool = held.get("tool")
    table = tool.get("ruff") if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None
