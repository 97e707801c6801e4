"""Fixing a project: check, change what can be changed at once, and check again, until nothing is left to change."""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Applicability, FileError
from decoderonly_checker.fixes.apply import Change, FixError, change, choose, write
from decoderonly_checker.immutable import immutable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from decoderonly_checker.diagnostics import CheckResult, Diagnostic

_PASSES = 10  # a fix may touch another; no fix makes room for ten others


@immutable
class Fixed:
    """What is left after fixing, and how much was done: how many findings were cured, in which files."""

    left: CheckResult
    cured: int = 0
    files: tuple[str, ...] = ()


def is_wanted(diagnostic: Diagnostic, *, unsafe: bool) -> bool:
    """Whether a finding's fix is to be made."""
    fix = diagnostic.fix
    return fix is not None and (
        fix.applicability is Applicability.SAFE or (unsafe and fix.applicability is Applicability.UNSAFE)
    )


def fix_all(check: Callable[[], CheckResult], *, unsafe: bool) -> Fixed:
    """Fix files until no fix is left. A file that refuses is left alone, and among the errors of what is left.

    Args:
        check: Checks everything anew.
        unsafe: Make the fixes that people are asked to look at, too.
    """
    cured = 0
    files: dict[str, None] = {}
    refused: dict[str, FileError] = {}
    for number in range(_PASSES + 1):
        left = check()
        if number == _PASSES:
            break
        before = cured
        for made in _written(left, unsafe=unsafe, refused=refused):
            cured += len(made.cured)
            files[made.path] = None
        if cured == before:
            break
    return Fixed(_with_errors(left, refused.values()), cured, tuple(files))


def fix_once(result: CheckResult) -> Fixed:
    """Make the safe fixes of a result; nothing is checked again. What is left are the findings without one."""
    refused: dict[str, FileError] = {}
    made = list(_written(result, unsafe=False, refused=refused))
    cured = {id(diagnostic) for change in made for diagnostic in change.cured}
    left = tuple(diagnostic for diagnostic in result.diagnostics if id(diagnostic) not in cured)
    left_result = dataclasses.replace(result, diagnostics=left)
    files = tuple(change.path for change in made)
    return Fixed(_with_errors(left_result, refused.values()), len(cured), files)


def _written(result: CheckResult, *, unsafe: bool, refused: dict[str, FileError]) -> Iterator[Change]:
    """Yield the changes that were made."""
    for made in _changes(result, unsafe=unsafe, refused=refused):
        try:
            write(made)
        except FixError as problem:
            refused[made.path] = FileError(made.path, f"not fixed: {problem}")
            continue
        yield made


def differences(result: CheckResult, *, unsafe: bool) -> tuple[str, CheckResult]:
    """Return what one pass would change, as a unified diff, and the result with what refused among its errors."""
    refused: dict[str, FileError] = {}
    parts = [_diff(made) for made in _changes(result, unsafe=unsafe, refused=refused)]
    return "".join(parts), _with_errors(result, refused.values())


def _changes(result: CheckResult, *, unsafe: bool, refused: dict[str, FileError]) -> Iterator[Change]:
    wanted = [one for one in result.diagnostics if is_wanted(one, unsafe=unsafe)]
    for path, diagnostics in choose(wanted).items():
        if path in refused:
            continue
        try:
            yield change(path, diagnostics)
        except FixError as problem:
            refused[path] = FileError(path, f"not fixed: {problem}")


def _diff(made: Change) -> str:
    """Return a change as a unified diff; of a notebook one of each cell, as its JSON is nothing to read."""
    return "".join(
        _unified(before, after, made.path if cell is None else f"{made.path}:cell {cell + 1}")
        for cell, before, after in made.texts
    )


def _unified(before: str, after: str, name: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, name
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _with_errors(result: CheckResult, errors: Iterable[FileError]) -> CheckResult:
    more = tuple(errors)
    if not more:
        return result
    return dataclasses.replace(result, errors=(*result.errors, *more))
