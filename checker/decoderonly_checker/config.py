"""Settings: `[tool.decoderonly]` of pyproject.toml, or decoderonly.toml, at the checked path or above."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.immutable import immutable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_SELECT = ("DLM",)
DEFAULT_TIMEOUT = 30.0
DEFAULT_INCLUDE = ("*.py", "*.pyi", "*.pyw", "*.ipynb")
MARKDOWN_INCLUDE = ("*.md", "*.markdown", "*.qmd", "*.rmd")
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
        include_markdown: Take Markdown files, too: their Python blocks are checked.
        exclude: Patterns (as in .gitignore) of files and folders to leave out.
        extend_exclude: Added to `exclude`.
        respect_gitignore: Leave out what git ignores.
        per_file_ignores: Pattern of files -> rules to silence there.
        severity: Rules -> how bad their findings are, instead of what the rules say.
        require_ignore_reason: Report comments that silence and do not say why.
        baseline: Where the findings of before are counted, absolute; None for no baseline.
        known_models: Dotted names of classes and functions that make models -> what these generate.
        known_tokenizers: Dotted names of classes and functions that make tokenizers -> how these are set up.
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
    include_markdown: bool = False
    exclude: tuple[str, ...] = DEFAULT_EXCLUDE
    extend_exclude: tuple[str, ...] = ()
    respect_gitignore: bool = True
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    severity: Mapping[str, Severity] = field(default_factory=dict)
    require_ignore_reason: bool = False
    baseline: Path | None = None
    known_models: Mapping[str, str] = field(default_factory=dict)
    known_tokenizers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
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

    def severity_of(self, code: str, name: str, usual: Severity) -> Severity:
        """How bad a finding of a rule is here: as the selector says that means the rule most exactly."""
        chosen, best = usual, -1
        for selector, severity in self.severity.items():
            strength = _strength(selector, code, name)
            if strength > best:
                chosen, best = severity, strength
        return chosen


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
        SettingsError: A file on the way that speaks of this tool is not readable TOML.
    """
    start = Path(os.path.abspath(start))  # noqa: PTH100 - symlinks stay as the user named them
    folder = start if start.is_dir() else start.parent
    for parent in (folder, *folder.parents):
        for name in CONFIG_NAMES:
            candidate = parent / name
            if candidate.is_file() and _may_hold_settings(candidate) and _table(candidate) is not None:
                return candidate
    return None


def _may_hold_settings(source: Path) -> bool:
    """Whether a settings file need be read as TOML: that takes longer than to look a file over that holds nothing."""
    if source.name != "pyproject.toml":
        return True
    try:
        return b"decoderonly" in source.read_bytes()
    except OSError:
        return True  # whoever reads it will say what is wrong


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
        raise SettingsError(f"{shown_path(source)}: tool.decoderonly must be a table, not {type_name(table)}")
    return table


def _parse(table: Mapping[str, Any], source: Path, known: Mapping[str, str]) -> Settings:
    from decoderonly_checker.config_keys import KEYS, Where, nearest_key
    from decoderonly_checker.source.files import shown_path

    shown = shown_path(source)
    prefix = "tool.decoderonly." if source.name == "pyproject.toml" else ""
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in KEYS:
            raise SettingsError(f"{shown}: unknown setting {prefix}{key}{nearest_key(key)}")
        where = Where(f"{shown}: {prefix}{key}", source.parent, known)
        values[key.replace("-", "_")] = KEYS[key].read(value, where)
    return Settings(root=source.parent, source=source, **values)


def parse_timeout(value: Any, where: str) -> float:
    """Read a number of seconds; 0 means no limit.

    Raises:
        SettingsError: Anything else; `where` names the option or key.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{where} must be a number of seconds, not {type_name(value)}")
    if not 0 <= value < math.inf:
        raise SettingsError(f"{where} must be a number of seconds, or 0 for no limit, not {value}")
    return float(value)


def parse_confidence(value: Any, where: str) -> Confidence:
    """Read `certain`, `likely` or `possible`.

    Raises:
        SettingsError: Anything else; `where` names the option or key.
    """
    accepted = [str(item) for item in Confidence]
    if not isinstance(value, str):
        raise SettingsError(f"{where} must be one of {', '.join(accepted)}, not {type_name(value)}")
    try:
        return Confidence(value.lower())
    except ValueError:
        raise SettingsError(f'{where} must be one of {", ".join(accepted)}, not "{value}"') from None


def type_name(value: Any) -> str:
    """What TOML calls a value, with its article."""
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
