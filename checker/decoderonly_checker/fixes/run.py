"""Fixing a project: check, change what can be changed at once, and check again, until nothing is left to change."""

from __future__ import annotations

import dataclasses
import difflib
import os
from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Applicability, CheckResult, FileError
from decoderonly_checker.fixes.apply import Change, FixError, change, choose, write
from decoderonly_checker.immutable import immutable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from decoderonly_checker.diagnostics import Diagnostic

PASSES = 10  # a fix may touch another; no fix makes room for ten others


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
    for number in range(PASSES + 1):
        left = check()
        if number == PASSES:
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


@immutable
class Rewritten:
    """What fixes would make of files, and what the last check found.

    `data` holds the bytes of changed files by absolute path; `texts`, by the path that findings name and the index of a
    cell (None of a file that is no notebook), the code before and after.
    """

    left: CheckResult
    cured: int
    data: Mapping[str, bytes]
    texts: Mapping[str, Mapping[int | None, tuple[str, str]]]


def rewrite_all(
    check: Callable[[Mapping[str, bytes]], CheckResult],
    *,
    unsafe: bool,
    given: Mapping[str, bytes] | None = None,
    passes: int = PASSES,
) -> Rewritten:
    """Find out what `fix_all` would make of files, which stay as they are.

    Args:
        check: Checks everything, with other bytes than those on disk for some files, by absolute path.
        unsafe: As for `fix_all`.
        given: Bytes to begin with that are not those on disk.
        passes: How often fixes are made at most: what one makes possible, the next one makes.
    """
    begun = dict(given or {})
    data = dict(begun)
    texts: dict[str, dict[int | None, tuple[str, str]]] = {}
    refused: dict[str, FileError] = {}
    cured = 0
    left = CheckResult()
    for _ in range(passes):
        left = check(data)
        made = list(_changes(left, unsafe=unsafe, refused=refused, data=data))
        for one in made:
            data[os.path.abspath(one.path)] = one.after  # noqa: PTH100 - links stay
            cured += len(one.cured)
            cells = texts.setdefault(one.path, {})
            for cell, before, after in one.texts:
                cells[cell] = cells.get(cell, (before, after))[0], after
        if not made:
            break
    changed = {path: now for path, now in data.items() if begun.get(path) != now}
    return Rewritten(_with_errors(left, refused.values()), cured, changed, texts)


def differences(made: Rewritten) -> str:
    """Return what fixes would change as a unified diff; of a notebook one of each cell, as its JSON is nothing to read."""
    return "".join(
        _unified(before, after, path if cell is None else f"{path}:cell {cell + 1}")
        for path, cells in made.texts.items()
        for cell, (before, after) in sorted(cells.items(), key=lambda item: item[0] or 0)
    )


def _changes(
    result: CheckResult,
    *,
    unsafe: bool,
    refused: dict[str, FileError],
    data: Mapping[str, bytes] | None = None,
) -> Iterator[Change]:
    wanted = [one for one in result.diagnostics if is_wanted(one, unsafe=unsafe)]
    for path, diagnostics in choose(wanted).items():
        if path in refused:
            continue
        try:
            yield change(path, diagnostics, (data or {}).get(os.path.abspath(path)))  # noqa: PTH100 - as above
        except FixError as problem:
            refused[path] = FileError(path, f"not fixed: {problem}")


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
