"""Settings: `[tool.decoderonly]` of pyproject.toml, or decoderonly.toml, at the checked path or above."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoderonly_checker.diagnostics import Confidence
from decoderonly_checker.immutable import immutable
from decoderonly_checker.patterns import PatternError, check_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_SELECT = ("DLM",)
DEFAULT_TIMEOUT = 30.0
DEFAULT_INCLUDE = ("*.py", "*.pyi", "*.pyw", "*.ipynb")
DEFAULT_EXCLUDE = (
    ".bzr",
    ".decoderonly_cache",
    ".direnv",
    ".eggs",
    ".git",
    ".hg",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    "__pycache__",
    "__pypackages__",
    "_build",
    "build",
    "dist",
    "node_modules",
    "site-packages",
    "venv",
)
PROJECT_MARKERS = ("pyproject.toml", "decoderonly.toml", "setup.py", "setup.cfg", ".git")
CONFIG_NAMES = ("decoderonly.toml", "pyproject.toml")


class SettingsError(Exception):
    """Settings or a selection that make no sense; the text is one line and names the file or option."""


@immutable
class Settings:
    """What to check and how.

    Attributes:
        root: What patterns are relative to, and where the project's modules are looked up: the folder of the
            settings file, else the nearest folder with a project's marks in it, else where the search began.
        source: The settings file; None for defaults.
        select: Rules to run: codes, prefixes of codes, names, or `ALL`.
        ignore: Rules not to run; the longer selector wins, `ignore` wins a tie.
        extend_select: Added to `select`.
        include: Patterns (as in .gitignore, but capitals do not count) of the files to take from folders.
        exclude: Patterns (as in .gitignore) of files and folders to leave out.
        extend_exclude: Added to `exclude`.
        respect_gitignore: Leave out what git ignores.
        per_file_ignores: Pattern of files -> rules to silence there.
        min_confidence: Findings below it are counted, not shown.
        timeout: Seconds of processor time that the analysis of one file may take; 0 for no limit.
        models: Models for the pytest plugin's conformance suite.
        cache_dir: Where results are remembered, absolute; None for `.decoderonly_cache` in the root.
    """

    root: Path = field(default_factory=Path.cwd)
    source: Path | None = None
    select: tuple[str, ...] = DEFAULT_SELECT
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    include: tuple[str, ...] = DEFAULT_INCLUDE
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    respect_gitignore: bool = True
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    min_confidence: Confidence = Confidence.LIKELY
    timeout: float = DEFAULT_TIMEOUT
    models: tuple[str, ...] = ()
    cache_dir: Path | None = None

    def enabled(self, known: Mapping[str, str]) -> list[str]:
        """The codes to run, in order.

        Args:
            known: Every rule: code -> name.
        """
        selected = (*self.select, *self.extend_select)
        chosen = []
        for code, name in known.items():
            wanted = max((_strength(selector, code, name) for selector in selected), default=-1)
            unwanted = max((_strength(selector, code, name) for selector in self.ignore), default=-1)
            if wanted > unwanted:
                chosen.append(code)
        return sorted(chosen)


def selects(selector: str, code: str, name: str) -> bool:
    """Whether a selector (code, prefix of one, name, `ALL`) means a rule."""
    return _strength(selector, code, name) >= 0


def _strength(selector: str, code: str, name: str) -> int:
    """How exactly a selector means a rule: -1 not at all, up to the length of a code."""
    if selector.upper() == "ALL":
        return 0
    if selector.lower() == name:
        return len(code)
    return len(selector) if selector and code.startswith(selector.upper()) else -1


def check_selectors(selectors: Iterable[str], known: Mapping[str, str], where: str) -> None:
    """Refuse selectors that mean no rule.

    Args:
        selectors: What the user wrote.
        known: Every rule: code -> name.
        where: Option or settings key, for the message.

    Raises:
        SettingsError: With the nearest names.
    """
    for selector in selectors:
        if (
            not any(selects(selector, code, name) for code, name in known.items())
            and selector.upper() != "ALL"
        ):
            raise SettingsError(f'{where}: unknown rule "{selector}"{nearest_rule(selector, known)}')


def nearest_rule(word: str, known: Mapping[str, str]) -> str:
    """`; did you mean …?` for a rule that does not exist, or a list of what does."""
    import difflib

    names = {name: code for code, name in known.items()}
    close = difflib.get_close_matches(word.upper(), list(known), n=len(known), cutoff=0.65)
    # Codes are typed from the left: one that begins alike is nearer than one with the same figures elsewhere.
    close.sort(key=lambda code: not code.startswith(word.upper()[:4]))
    del close[3:]
    close += difflib.get_close_matches(word.lower(), list(names), n=2, cutoff=0.6)
    if close:
        return f"; did you mean {_either([f'{c} ({known[c]})' if c in known else c for c in close])}?"
    return "; `decoderonly rule --all` lists the rules"


def _either(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " or " + items[-1]


def find_settings_file(start: Path) -> Path | None:
    """The settings file that governs a path: the nearest one in its folder or above.

    A pyproject.toml without `[tool.decoderonly]` is passed over; decoderonly.toml wins over it in one folder.

    Raises:
        SettingsError: A file on the way is not readable TOML.
    """
    start = Path(os.path.abspath(start))  # noqa: PTH100 - symlinks stay as the user named them
    folder = start if start.is_dir() else start.parent
    for parent in (folder, *folder.parents):
        for name in CONFIG_NAMES:
            candidate = parent / name
            if candidate.is_file() and _table(candidate) is not None:
                return candidate
    return None


def load_settings(start: Path, known: Mapping[str, str] | None = None) -> Settings:
    """Load the settings that govern a path; defaults where no file has any.

    Args:
        start: A file or folder under check.
        known: Every rule, code -> name; those of the package if None.

    Raises:
        SettingsError: One line that names the file, the key and what is accepted.
    """
    source = find_settings_file(start)
    if source is None:
        return Settings(root=project_root(start))
    return read_settings(source, known)


def project_root(start: Path) -> Path:
    """The folder of the project that a path belongs to: the nearest with a project's marks, else the path's own folder.

    Without marks, the working directory counts where the path lies below it.
    """
    absolute = Path(os.path.abspath(start))  # noqa: PTH100
    folder = absolute if absolute.is_dir() else absolute.parent
    for parent in (folder, *folder.parents):
        if any((parent / marker).exists() for marker in PROJECT_MARKERS):
            return parent
    here = Path.cwd()
    return here if folder.is_relative_to(here) else folder


def read_settings(source: Path, known: Mapping[str, str] | None = None) -> Settings:
    """Read one settings file (`[tool.decoderonly]` of a pyproject.toml, else the top level).

    Raises:
        SettingsError: As `load_settings`; also if the file does not exist.
    """
    table = _table(source)
    if known is None:
        from decoderonly_checker.rules import codes  # the rules know settings too

        known = codes()
    return _parse(table or {}, source, known)


def _table(source: Path) -> dict[str, Any] | None:
    """The settings table of a file; None for a pyproject.toml that has none."""
    from decoderonly_checker.source.files import os_reason, shown_path

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

    try:
        document: dict[str, Any] = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as problem:
        raise SettingsError(f"{shown_path(source)}: {os_reason(problem)}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise SettingsError(
            f"{shown_path(source)}: not valid TOML: {str(problem).splitlines()[0]}"
        ) from problem
    if source.name != "pyproject.toml":
        return document
    tool = document.get("tool")
    table = tool.get("decoderonly") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise SettingsError(
            f"{shown_path(source)}: tool.decoderonly must be a table, not {_type_name(table)}"
        )
    return table


def _parse(table: Mapping[str, Any], source: Path, known: Mapping[str, str]) -> Settings:
    from decoderonly_checker.source.files import shown_path

    where = shown_path(source)
    prefix = "tool.decoderonly." if source.name == "pyproject.toml" else ""
    values: dict[str, Any] = {}
    for key, value in table.items():
        full = f"{where}: {prefix}{key}"
        if key in ("select", "ignore", "extend-select"):
            values[key] = _strings(value, full)
            check_selectors(values[key], known, full)
        elif key in ("include", "exclude", "extend-exclude", "models"):
            values[key] = _strings(value, full)
            if key != "models":
                _check_patterns(values[key], full)
            if key == "include":
                _check_file_patterns(values[key], full)
        elif key == "respect-gitignore":
            if not isinstance(value, bool):
                raise SettingsError(f"{full} must be true or false, not {_type_name(value)}")
            values[key] = value
        elif key == "per-file-ignores":
            values[key] = _per_file(value, full, known)
        elif key == "min-confidence":
            values[key] = parse_confidence(value, full)
        elif key == "timeout":
            values[key] = parse_timeout(value, full)
        elif key == "cache-dir":
            values[key] = _folder(value, full, source.parent)
        else:
            raise SettingsError(f"{where}: unknown setting {prefix}{key}{_nearest_key(key)}")
    arguments = {key.replace("-", "_"): value for key, value in values.items()}
    return Settings(root=source.parent, source=source, **arguments)


_KEYS = (
    "select",
    "ignore",
    "extend-select",
    "include",
    "exclude",
    "extend-exclude",
    "respect-gitignore",
    "per-file-ignores",
    "min-confidence",
    "models",
    "timeout",
    "cache-dir",
)


def _nearest_key(key: str) -> str:
    import difflib

    close = difflib.get_close_matches(key.replace("_", "-").lower(), _KEYS, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; known settings: {', '.join(sorted(_KEYS))}"


def _strings(value: Any, full: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise SettingsError(f"{full} must be a list of strings, not {_type_name(value)}")
    for item in value:
        if not isinstance(item, str):
            raise SettingsError(f"{full} must be a list of strings, but holds {_type_name(item)}: {item!r}")
    return tuple(value)


def parse_timeout(value: Any, where: str) -> float:
    """Read a number of seconds; 0 means no limit.

    Raises:
        SettingsError: Anything else; `where` names the option or key.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{where} must be a number of seconds, not {_type_name(value)}")
    if not 0 <= value < math.inf:
        raise SettingsError(f"{where} must be a number of seconds, or 0 for no limit, not {value}")
    return float(value)


def _per_file(value: Any, full: str, known: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise SettingsError(f"{full} must be a table of pattern = [rules], not {_type_name(value)}")
    ignores = {}
    for pattern, rules in value.items():
        here = f'{full}."{pattern}"'
        ignores[pattern] = _strings(rules, here)
        check_selectors(ignores[pattern], known, here)
        _check_patterns([pattern], full)
    return ignores


def _folder(value: Any, full: str, base: Path) -> Path:
    if not isinstance(value, str):
        raise SettingsError(f"{full} must be a string, not {_type_name(value)}")
    if not value or "\0" in value:
        raise SettingsError(f"{full} must name a folder, not {value!r}")
    try:
        # abspath, as resolve() would name another folder where there are links
        return Path(os.path.abspath(base / Path(value).expanduser()))  # noqa: PTH100
    except RuntimeError as problem:
        raise SettingsError(f"{full}: no home folder is known for {value!r}") from problem


def _check_patterns(patterns: Iterable[str], full: str) -> None:
    for pattern in patterns:
        try:
            check_pattern(pattern)
        except PatternError as problem:  # noqa: PERF203 - the message names the pattern
            raise SettingsError(f'{full}: "{pattern}" is not a pattern as in .gitignore') from problem


def _check_file_patterns(patterns: Iterable[str], full: str) -> None:
    for pattern in patterns:
        if pattern.endswith("/"):
            raise SettingsError(f'{full}: "{pattern}" names a folder; for its files write "{pattern}**/*.py"')


def parse_confidence(value: Any, where: str) -> Confidence:
    """Read `certain`, `likely` or `possible`.

    Raises:
        SettingsError: Anything else; `where` names the option or key.
    """
    accepted = [str(item) for item in Confidence]
    if not isinstance(value, str):
        raise SettingsError(f"{where} must be one of {', '.join(accepted)}, not {_type_name(value)}")
    try:
        return Confidence(value.lower())
    except ValueError:
        raise SettingsError(f'{where} must be one of {", ".join(accepted)}, not "{value}"') from None


def _type_name(value: Any) -> str:
    for kind, name in (
        (bool, "a boolean"),
        (str, "a string"),
        (int, "an integer"),
        (float, "a number"),
        (list, "a list"),
        (dict, "a table"),
    ):
        if isinstance(value, kind):
            return name
    return "a date or time"
