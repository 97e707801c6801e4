"""Runs rules' examples as they stand, and keeps what was measured on them."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import linecache
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkpoints import SMOLLM2, Checkpoint, Checkpoints
from decoderonly_checker import rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from decoderonly_checker.rules.base import Rule

    from pytest_decoderonly.runtime import Finding

    Measure = Callable[["Programs"], tuple[str, str]]
    Drive = Callable[["Program"], object]

FAMILIES = ("inputs", "outputs", "losses", "scores")
ROOT = Path(__file__).parents[2]
MEASURED = Path(rules.__file__).parent / "measured.json"
PAGE = ROOT / "docs" / "reference" / "evidence.md"
REPORTS = Path(__file__).with_name("guard_reports.json")
"""What the guard says of each bad example, for the rules' pages of the documentation."""


@dataclass(frozen=True)
class Evidence:
    """How one rule's harm and cure are measured: on which checkpoints, by which function."""

    code: str
    checkpoints: Mapping[str, Checkpoint]
    measure: Measure

    @property
    def model(self) -> str:
        """What was measured on, as rule pages say it."""
        return " and ".join(dict.fromkeys(c.model for c in self.checkpoints.values()))


# What no test can run. DLM207 is about a service: its examples were run once with openai's own client (2.x) against
# basaran 0.21.1, a server of the same API, which needs transformers 4.36 and so cannot stand beside the one tested here.
BY_HAND = {
    "DLM207": {
        "model": f"{SMOLLM2} behind a server of the same API (once, by hand)",
        "bad": "the answer to `The capital of France is` is `The capital of France is Paris, which is where most of the`",
        "good": "the answer is ` Paris.\\n- 301`",
    }
}

_EVIDENCE: dict[str, Evidence] = {}
_DRIVES: dict[str, Drive] = {}


def evidence(code: str, **checkpoints: Checkpoint) -> Callable[[Measure], Measure]:
    """Register a function that measures a rule. It asserts the harm and the cure, and puts them in words.

    Args:
        code: The rule.
        **checkpoints: What the names that the examples load lead to; `/`, `-` and `.` of a name are left out.
    """

    def register(measure: Measure) -> Measure:
        if code in _EVIDENCE:
            raise ValueError(f"{code}: two functions measure it")
        _EVIDENCE[code] = Evidence(code, _by_full_name(code, checkpoints), measure)
        return measure

    return register


def drive(*codes: str) -> Callable[[Drive], Drive]:
    """Register what takes a program's rows to a model, where its measure does not: the guard sees them only there."""

    def register(function: Drive) -> Drive:
        _DRIVES.update(dict.fromkeys(codes, function))
        return function

    return register


def _by_full_name(code: str, checkpoints: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """Find the names in the examples' own strings: a checkpoint that no example loads would prove nothing."""
    rule = rules.load(code)
    found = {}
    for text in re.findall(r'"([\w./-]+)"', rule.bad + rule.good):
        short = re.sub(r"\W", "", text)
        if short in checkpoints:
            found[text] = checkpoints[short]
    missing = len(checkpoints) - len(found)
    if missing:
        raise ValueError(
            f"{code}: {missing} of the checkpoints {sorted(checkpoints)} are not in its examples"
        )
    return found


@cache
def all_evidence() -> dict[str, Evidence]:
    """Return each rule's evidence, by code."""
    for family in FAMILIES:
        importlib.import_module(f"measures.{family}")
    return dict(sorted(_EVIDENCE.items()))


@dataclass
class Program:
    """A program that was run: its variables, and what it printed."""

    names: dict[str, Any]
    printed: str

    def __getitem__(self, name: str) -> Any:
        return self.names[name]

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the program."""
        import torch

        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            return self.names[name](*arguments)


def run_source(source: str, name: str) -> Program:
    """Run a program from its first line to its last."""
    import torch

    names: dict[str, Any] = {"__name__": name}
    printed = io.StringIO()
    linecache.cache[f"<{name}>"] = (len(source), None, source.splitlines(keepends=True), f"<{name}>")
    torch.manual_seed(0)
    with contextlib.redirect_stdout(printed):
        exec(compile(source, f"<{name}>", "exec"), names)  # noqa: S102 - our own examples, which is the point
    return Program(names, printed.getvalue())


class Programs:
    """The two programs of a rule, each run when first asked for."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    @cached_property
    def bad(self) -> Program:
        return run_source(self._rule.bad, f"{self._rule.code} bad")

    @cached_property
    def good(self) -> Program:
        return run_source(self._rule.good, f"{self._rule.code} good")


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Work in a folder: a trainer makes its output folder where it is."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _checkpoints(keep: Path | None = None, real: Path | None = None) -> Iterator[Checkpoints]:
    """Let transformers find checkpoints in a cache of ours, quietly, in a working directory of ours."""
    import torch
    from huggingface_hub import constants
    from transformers.utils import logging

    if not constants.HF_HUB_OFFLINE:
        raise RuntimeError("set HF_HUB_OFFLINE=1 before transformers is imported: nothing may be fetched")
    kept = keep and keep.absolute()
    verbosity, cache_folder = logging.get_verbosity(), constants.HF_HUB_CACHE
    bars = logging.is_progress_bar_enabled()
    threads = torch.get_num_threads()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # Small models: where cores are shared, threads that wait for each other cost minutes.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]), _inside(Path(folder)):
        checkpoints = Checkpoints(kept or Path(folder), real)
        constants.HF_HUB_CACHE = str(checkpoints.cache)
        try:
            yield checkpoints
        finally:
            constants.HF_HUB_CACHE = cache_folder
            torch.set_num_threads(threads)
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


class Bench:
    """Measures rules, and keeps what the guard saw meanwhile."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._seen: dict[str, dict[str, list[Finding]]] = {}

    def __call__(self, code: str) -> dict[str, str]:
        """Measure one rule."""
        from pytest_decoderonly.runtime import watch

        how = all_evidence()[code]
        self._checkpoints.serve(how.checkpoints)
        programs = Programs(rules.load(code))
        with watch() as findings:
            bad, good = how.measure(programs)
        seen: dict[str, list[Finding]] = {"bad": [], "good": [], "": []}
        for finding in findings:
            path = finding.place.path if finding.place is not None else ""
            seen[next((which for which in ("bad", "good") if path == f"<{code} {which}>"), "")].append(
                finding
            )
        if code in _DRIVES:
            seen[""] = []  # the measure's own calls of the model
            for which in ("bad", "good"):
                # What a program raises is explained where nobody catches it.
                with contextlib.suppress(ValueError), watch() as findings:
                    _DRIVES[code](getattr(programs, which))
                seen[which] += findings
        self._seen[code] = seen
        return {"model": how.model, "bad": bad, "good": good}

    def seen(self, code: str) -> dict[str, list[Finding]]:
        """Return what the guard found in the bad example, in the good one, and elsewhere."""
        if code not in self._seen:
            self(code)
        return self._seen[code]

    def report(self, code: str) -> str:
        """Return what the guard says of the bad example, which is called example.py; empty where it says nothing.

        Paths of the repository are relative: the same wherever it stands.
        """
        said = "\n\n".join(str(finding) for finding in self.seen(code)["bad"])
        return said.replace(f"<{code} bad>", "example.py").replace(f"{ROOT}{os.sep}", "")


@contextlib.contextmanager
def bench(keep: Path | None = None, real: Path | None = None) -> Iterator[Bench]:
    """Give what measures rules.

    Args:
        keep: Folder for the checkpoints, used again where it has them; else they live as long as the bench.
        real: Folder of the real model, where it has been written.
    """
    with _checkpoints(keep, real) as checkpoints:
        yield Bench(checkpoints)


@contextlib.contextmanager
def running(names: Mapping[str, Checkpoint]) -> Iterator[Callable[[str], Program]]:
    """Give a function that runs a program in which these names lead to checkpoints."""
    with _checkpoints() as checkpoints:
        checkpoints.serve(names)
        yield lambda source: run_source(source, "program")


def stored() -> dict[str, dict[str, str]]:
    """Return what was measured last, as it is shipped."""
    read: dict[str, dict[str, str]] = json.loads(MEASURED.read_text(encoding="utf-8"))
    return read


_NUMBER = re.compile(r"\d+\.\d+")


def same(stored_text: str, measured_text: str) -> bool:
    """Are both the same words, whole numbers included, with fractions within a tenth of each other?"""
    if _NUMBER.sub("#", stored_text) != _NUMBER.sub("#", measured_text):
        return False
    pairs = zip(_NUMBER.findall(stored_text), _NUMBER.findall(measured_text), strict=True)
    return all(abs(float(a) - float(b)) <= 0.1 * max(abs(float(a)), abs(float(b))) for a, b in pairs)


def as_page(results: Mapping[str, Mapping[str, str]]) -> str:
    """Write what was measured as a page of the documentation."""
    lines = [
        "# What was measured",
        "",
        "Each rule has a bad and a good example, shown by `decoderonly rule CODE`. Both are programs. Here is what came out when",
        "they were run as they stand, with the real libraries; only the checkpoint that they name is another one.",
        "`tests/evidence` runs them again and compares. Written by `python tests/evidence/measure.py --write`.",
        "",
        "| rule | | bad example | good example | on |",
        "|---|---|---|---|---|",
    ]
    for code, entry in results.items():
        cells = (code, rules.codes()[code], entry["bad"], entry["good"], entry["model"])
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"
