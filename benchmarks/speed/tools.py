"""The tools: how each is called, and how its output shows that it did look at the files."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from speed.measuring import Run

OURS = "decoderonly"
_RULE = Path(__file__).with_name("semgrep_rule.yml")


class ToolFailed(Exception):  # noqa: N818 - a result, not a fault of this program
    """A run that must not be counted; the message says why in one line."""


@dataclass(frozen=True)
class Seen:
    """What a run looked at."""

    files: int
    unread: int = 0  # files that it could not parse or gave up on


@dataclass(frozen=True)
class Tool:
    """A way of calling a tool.

    Args:
        name: As in the tables.
        peer: Its name in `peers.txt`; None for this project's own.
        command: Makes the arguments behind the program, from the target and a folder for the cache.
        seen: Reads what it looked at out of its output.
        slow: Seconds a megabyte rather than a fraction of one: no warm-up on the whole tree.
        warm: Runs on the cache that a run before it has left.
        only: Reads only files that hold this word, by its own choice.
        environment: Variables that it needs, from a scratch folder.
    """

    name: str
    peer: str | None
    command: Callable[[str, Path], list[str]]
    seen: Callable[[Run, int], Seen]
    slow: bool = False
    warm: bool = False
    only: bytes | None = None
    environment: Callable[[Path], dict[str, str]] = lambda scratch: {}  # noqa: ARG005


def judged(tool: Tool, run: Run, expected: int) -> Seen:
    """What a run looked at.

    Args:
        tool: Whose run it was.
        run: Its output.
        expected: How many files it should have looked at.

    Raises:
        ToolFailed: It crashed, was stopped, or looked at other than the expected files.
    """
    if run.stopped:
        raise ToolFailed(f"stopped after {run.wall:.0f} s")
    if run.code < 0:
        raise ToolFailed(f"ended by signal {-run.code}")
    seen = tool.seen(run, expected)
    if seen.files != expected:
        raise ToolFailed(f"looked at {seen.files} files instead of {expected}")
    return seen


def _fail(run: Run, what: str) -> ToolFailed:
    said = [line.strip() for line in (run.stderr + "\n" + run.stdout).splitlines() if line.strip()]
    last = f": {said[-1][:160]}" if said else ""
    return ToolFailed(f"{what}, exit code {run.code}{last}")


def _number(run: Run, text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise _fail(run, "no count of files in the output")
    return int(found[1].replace(",", ""))


def _ruff_seen(run: Run, expected: int) -> Seen:
    """It counts no files; that it found them is told once by `--show-files` (`ruff_files`)."""
    if run.code not in {0, 1} or not re.search(r"(?m)^(Found \d+ error|All checks passed)", run.stdout):
        raise _fail(run, "ruff did not finish")
    broken = {line.split(":")[0] for line in run.stdout.splitlines() if ": invalid-syntax:" in line}
    return Seen(expected, len(broken))


def _torchfix_seen(run: Run, expected: int) -> Seen:
    if expected == 0 and run.code == 0 and not run.stderr:
        return Seen(0)  # it ends without a word where no file holds "torch"
    if run.code not in {0, 1}:
        raise _fail(run, "TorchFix did not finish")
    # Exit code 1 means that a file failed; these are in the count.
    return Seen(_number(run, run.stderr, r"Finished checking (\d+) files"), int(run.code == 1))


def _fixit_seen(run: Run, expected: int) -> Seen:  # noqa: ARG001
    if run.code not in {0, 1, 2, 3}:
        raise _fail(run, "Fixit did not finish")
    unread = len(re.findall(r"(?m)^\S.*: EXCEPTION:", run.stdout + run.stderr))
    return Seen(_number(run, run.stderr + run.stdout, r"(\d+) files? (?:checked|clean)"), unread)


def _flake8_seen(run: Run, expected: int) -> Seen:  # noqa: ARG001
    if run.code not in {0, 1} or "Traceback (most recent call last)" in run.stderr:
        raise _fail(run, "flake8 did not finish")
    unread = len(set(re.findall(r"(?m)^(.+?):\d+:\d+: E9(?:02|99) ", run.stdout)))
    return Seen(_number(run, run.stdout, r"(\d+)\s+total files processed"), unread)


def _semgrep_seen(run: Run, expected: int) -> Seen:  # noqa: ARG001
    try:
        told = json.loads(run.stdout)
        scanned = {str(path) for path in told["paths"]["scanned"]}
        unread = {str(error.get("path", "")) for error in told["errors"]} - {""}
    except (ValueError, KeyError, TypeError) as problem:
        raise _fail(run, "semgrep did not finish") from problem
    if run.code != 0 and not unread:
        raise _fail(run, "semgrep did not finish")
    return Seen(len(scanned), len(unread))


def _our_seen(run: Run, expected: int) -> Seen:  # noqa: ARG001
    if run.code not in {0, 1, 2} or "internal error" in run.stderr:
        raise _fail(run, "the checker did not finish")
    last = (run.stdout.strip().splitlines() or [""])[-1]
    checked = re.search(r"\((\d+) files? checked|^No findings in (\d+) file", last)
    skipped = re.search(r"(\d+) skipped|^No language-model calls in (\d+) file", last)
    if checked is None and skipped is None:
        raise _fail(run, "the checker did not finish")
    unread = re.search(r"(\d+) files? could not be checked", last)
    counts = [int(next(filter(None, match.groups()))) for match in (checked, skipped) if match]
    return Seen(sum(counts), int(unread[1]) if unread else 0)


def _ours(target: str, *options: str) -> list[str]:
    return ["check", "--output-format", "concise", *options, target]


def _semgrep(target: str, cache: Path) -> list[str]:  # noqa: ARG001
    # Its limits lifted, so that it looks at every file; nothing goes out.
    quiet = ["--metrics=off", "--disable-version-check", "--oss-only", "--json", "--no-git-ignore"]
    return ["scan", *quiet, "--max-target-bytes=0", "--timeout=120", "--config", str(_RULE), target]


def _semgrep_environment(scratch: Path) -> dict[str, str]:
    return {
        "SEMGREP_SEND_METRICS": "off",
        "SEMGREP_SETTINGS_FILE": str(scratch / "semgrep-settings.yml"),
        "SEMGREP_LOG_FILE": str(scratch / "semgrep.log"),
    }


def our_options(help_text: str) -> tuple[list[str] | None, Callable[[Path], list[str]] | None]:
    """The options for a run without a cache and with one; None where this version has no such option."""
    cold = ["--no-cache"] if "--no-cache" in help_text else []
    if "--cache-dir" in help_text:
        return cold, lambda cache: ["--cache-dir", str(cache)]
    return cold, None


TOOLS = (
    Tool(
        "ruff",
        "ruff",
        lambda target, _: ["check", "--no-cache", "--isolated", "--output-format=concise", target],
        _ruff_seen,
    ),
    Tool(
        "ruff, warm",
        "ruff",
        lambda target, cache: [
            *("check", "--isolated", "--output-format=concise", f"--cache-dir={cache}"),
            target,
        ],
        _ruff_seen,
        warm=True,
    ),
    Tool(OURS, None, lambda target, _: _ours(target, "--no-cache"), _our_seen),
    Tool(
        f"{OURS}, warm",
        None,
        lambda target, cache: _ours(target, "--cache-dir", str(cache)),
        _our_seen,
        warm=True,
    ),
    Tool(
        "flake8",
        "flake8",
        lambda target, _: ["--isolated", "--benchmark", target],
        _flake8_seen,
        slow=True,
    ),
    Tool(
        "semgrep, one pattern",
        "semgrep",
        _semgrep,
        _semgrep_seen,
        slow=True,
        environment=_semgrep_environment,
    ),
    Tool("Fixit", "fixit", lambda target, _: ["lint", target], _fixit_seen, slow=True),
    Tool("TorchFix", "torchfix", lambda target, _: [target], _torchfix_seen, slow=True, only=b"torch"),
)


def launcher(scratch: Path) -> list[str]:
    """Our command as pip installs it: a script that imports what `project.scripts` names, and calls it."""
    script = scratch / OURS
    script.write_text("import sys\nfrom decoderonly_checker.__main__ import command\nsys.exit(command())\n")
    return [sys.executable, str(script)]
