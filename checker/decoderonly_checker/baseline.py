"""The findings of before: counted by file and code, so that only new ones show while an old project is being mended.

Counts survive moved lines. Where a file has more findings of a code than were counted, all of that code are shown there: which
of them is the new one, nobody can tell.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoderonly_checker.config import SettingsError
from decoderonly_checker.source.files import os_reason, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from decoderonly_checker.diagnostics import Diagnostic

DEFAULT_NAME = "decoderonly-baseline.json"
_VERSION = 1
# Of a file (relative to the baseline's folder, with `/`) and a code.
Counts = Counter[tuple[str, str]]


def name_of(file: Path, baseline: Path) -> str:
    """Return what a file is called in a baseline."""
    try:
        relative = os.path.relpath(file, baseline.parent)
    except ValueError:  # another drive
        return file.as_posix()
    return Path(relative).as_posix()


def count(found: Iterable[tuple[Path, Diagnostic]], baseline: Path) -> Counts:
    """Count findings, each with the absolute path of its file."""
    return Counter((name_of(path, baseline), diagnostic.code) for path, diagnostic in found)


def read(baseline: Path) -> Counts:
    """Read a baseline.

    Raises:
        SettingsError: It is not there, or none; in one line that says where.
    """
    shown = shown_path(baseline)
    try:
        held = json.loads(baseline.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{shown}: there is no such baseline; `decoderonly baseline create` makes it"
        ) from None
    except OSError as problem:
        raise SettingsError(f"{shown}: {os_reason(problem)}") from problem
    except (ValueError, RecursionError) as problem:
        raise SettingsError(f"{shown}: not valid JSON: {str(problem).splitlines()[0]}") from problem
    if not isinstance(held, dict) or not isinstance(held.get("findings"), dict):
        raise SettingsError(f'{shown}: is not a baseline: there is no "findings"')
    if held.get("version") != _VERSION:
        raise SettingsError(f"{shown}: is a baseline of version {held.get('version')!r}; this is {_VERSION}")
    counts: Counts = Counter()
    for name, codes in held["findings"].items():
        if not isinstance(codes, dict):
            raise SettingsError(f'{shown}: findings."{name}" must be an object of code: number')
        for code, number in codes.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise SettingsError(
                    f'{shown}: findings."{name}".{code} must be a number from 1 on, not {number!r}'
                )
            counts[name, code] = number
    return counts


def write(baseline: Path, counts: Mapping[tuple[str, str], int]) -> None:
    """Write a baseline, sorted and a line an entry, so that branches merge; a reader never sees half of it.

    Raises:
        SettingsError: It cannot be written.
    """
    findings: dict[str, dict[str, int]] = {}
    for (name, code), number in sorted(counts.items()):
        if number > 0:
            findings.setdefault(name, {})[code] = number
    held: dict[str, Any] = {"version": _VERSION, "findings": findings}
    beside = baseline.with_name(f".{baseline.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8", newline="\n")
        beside.replace(baseline)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        raise SettingsError(f"{shown_path(baseline)}: {os_reason(problem)}") from problem


def pruned(
    old: Counts, found: Counts, looked_at: Iterable[str], codes: Iterable[str], baseline: Path
) -> Counts:
    """Return what is left of a baseline: of the files looked at no more than was found, of files that are gone nothing.

    Args:
        old: The baseline.
        found: What a run has found.
        looked_at: The files that were checked to their end, as a baseline names them.
        codes: The rules that ran.
        baseline: Its file.
    """
    names, ran = set(looked_at), set(codes)
    left: Counts = Counter()
    for (name, code), number in old.items():
        if name in names and code in ran:
            left[name, code] = min(number, found[name, code])
        elif (baseline.parent / name).exists():
            left[name, code] = number
    return +left
