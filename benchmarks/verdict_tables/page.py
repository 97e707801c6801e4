"""The page of all architectures: what is sound, what is not and why, what could not be built."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from verdict_tables.causes import CAUSES

if TYPE_CHECKING:
    from pathlib import Path

Records = dict[str, dict[str, Any]]

SIGNS = {
    "equal": "=",
    "equal up to rounding": "≈",
    "different": "≠",
    "different by design": "by design",
    "undecided": "?",
}
UNSAFE = ("different", "different by design")
COLUMNS = [
    f"{dtype}/{backend}" for dtype in ("float32", "bfloat16", "float16") for backend in ("eager", "sdpa")
]


def verdicts(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The verdicts of one type, without backends that it does not support."""
    return {key: value for key, value in record["verdicts"].items() if value["verdict"] != "unsupported"}


def different(records: Records) -> dict[str, list[str]]:
    """The types with a verdict "different", by design or not, and in which columns."""
    found: dict[str, list[str]] = {}
    for arch, record in records.items():
        wrong = [key for key, value in verdicts(record).items() if value["verdict"] in UNSAFE]
        if wrong:
            found[arch] = wrong
    return found


def _unexplained(records: Records) -> list[str]:
    """The types that differ, not by design, and whose code nobody has read."""
    return sorted(
        arch
        for arch, columns in different(records).items()
        if arch not in CAUSES
        and any(records[arch]["verdicts"][column]["verdict"] == "different" for column in columns)
    )


def summary(records: Records) -> tuple[str, list[str]]:
    """Return some lines on the whole, and the types whose difference nobody has explained."""
    built = {arch: record for arch, record in records.items() if record["built"]}
    counts = Counter(value["verdict"] for record in built.values() for value in verdicts(record).values())
    wrong = different(built)
    unexplained = _unexplained(built)
    lines = [
        f"{len(built)} of {len(records)} types built",
        "verdicts: " + ", ".join(f"{count} {name}" for name, count in counts.most_common()),
        f"different: {len(wrong)} types ({', '.join(wrong)})",
        f"not explained: {', '.join(unexplained) or 'none'}",
    ]
    stale = sorted(arch for arch in CAUSES if arch in built and arch not in wrong)
    if stale:
        lines.append(f"a cause is given, but nothing differs: {', '.join(stale)}")
    for arch, record in built.items():
        lines += [
            f"undecided: {arch} {key}: {_reasons(value)}"
            for key, value in verdicts(record).items()
            if value["verdict"] == "undecided"
        ]
        if not record["done"]:
            lines.append(f"not finished: {arch}: {record.get('reason')}")
    return "\n".join(lines), unexplained


def _reasons(value: dict[str, Any]) -> str:
    reasons = {
        relation["reason"] for relation in value["relations"].values() if relation["verdict"] == "undecided"
    }
    return "; ".join(sorted(reasons))


def write_page(
    path: Path,
    records: Records,
    versions: dict[str, str],
    *,
    lengths: tuple[int, ...],
    short: tuple[int, ...],
) -> None:
    """Write the Markdown page."""
    built = {arch: record for arch, record in records.items() if record["built"]}
    parts = [
        _head(records, built, versions, lengths),
        _unsafe(built),
        _right(built, short),
        _undecided(built),
        _missing({arch: record for arch, record in records.items() if not record["built"]}),
        _all(built),
    ]
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def _head(records: Records, built: Records, versions: dict[str, str], lengths: tuple[int, ...]) -> str:
    counts = Counter(value["verdict"] for record in built.values() for value in verdicts(record).values())
    wrong = different(built)
    unexplained = _unexplained(built)
    largest = max(record["parameters"] for record in built.values()) / 1e6
    clean = counts["equal"] + counts["equal up to rounding"]
    unsafe = sum(counts[name] for name in UNSAFE)
    rounding, bugs = _range(built)
    return f"""# Every causal LM type of transformers

The verdicts of the battery behind `assert_batch_equals_single` on all {len(records)} model types of transformers
{versions["transformers"]} that have a causal LM class. {len(built)} are built tiny by `tiny_decoder`, from their own
configuration classes, with at most {largest:.1f} million parameters; three left-padded rows of {lengths[0]}, {lengths[1]} and
{lengths[2]} tokens go through `generate` (prompt and cached steps), in three dtypes and with two attention backends,
on a CPU with torch {versions["torch"].split("+")[0]}. Written by `python benchmarks/architectures.py --write`.

| | |
|---|---|
| types built | {len(built)} of {len(records)} |
| verdicts | {sum(counts.values())} (type, dtype, backend; where the type supports the backend) |
| equal, or equal up to rounding | {clean} |
| different | {unsafe}, of {len(wrong)} types; the cause of each was read in the library's code (below) |
| of these by design, as the type's documentation says | {counts["different by design"]} |
| false alarms | {len(unexplained)}{" (" + ", ".join(unexplained) + ")" if unexplained else ""} |
| undecided | {counts["undecided"]} |
| greatest error in float32 that was called rounding | {rounding:.1e} |
| smallest error in float32 that was called different | {bugs:.1e} |

Errors are the greatest difference of logits at real positions, divided by the spread of the logits. Where shapes
differ, the verdict is read from float32 on the same weights, whatever the model's own dtype is."""


def _range(built: Records) -> tuple[float, float]:
    rounding, bugs = 0.0, float("inf")
    for record in built.values():
        for value in verdicts(record).values():
            for relation in value["relations"].values():
                error = relation["single"] if relation["single"] is not None else relation["work"]
                if error is None:
                    continue
                if relation["verdict"] == "equal up to rounding":
                    rounding = max(rounding, error)
                elif relation["verdict"] in UNSAFE:
                    bugs = min(bugs, error)
    return rounding, bugs


def _unsafe(built: Records) -> str:
    lines = [
        "## Not safe, and why",
        "",
        "Left padding, a batch or the cache changes what these types answer. `models/` is that of transformers.",
        "",
        "| type | culprit named | relations that fail | where | cause |",
        "|---|---|---|---|---|",
    ]
    for arch, columns in different(built).items():
        values = built[arch]["verdicts"]
        culprits = sorted({values[column]["culprit"] or "-" for column in columns})
        failing = dict.fromkeys(
            name
            for column in columns
            for name, relation in values[column]["relations"].items()
            if relation["verdict"] in UNSAFE
        )
        cause = CAUSES.get(arch)
        text = f"{cause.sentence} `models/{cause.file}`, `{cause.function}`" if cause else "**not explained**"
        every = set(columns) == set(verdicts(built[arch]))
        where = "everywhere" if every else ", ".join(columns)
        lines.append(f"| {arch} | {', '.join(culprits)} | {', '.join(failing)} | {where} | {text} |")
    return "\n".join(lines)


def _right(built: Records, short: tuple[int, ...]) -> str:
    wrong = {
        arch: record["right"]
        for arch, record in built.items()
        if record.get("right", {}).get("verdict") == "different"
    }
    clean = sum(record.get("right", {}).get("verdict", "").startswith("equal") for record in built.values())
    silent = {
        arch: record["right"]["reason"]
        for arch, record in built.items()
        if record.get("right", {}).get("verdict") == "undecided"
    }
    text = (
        f"Rows of {short[0]}, {short[1]} and {short[2]} tokens, padded on the right, with the mask and with the positions of "
        "the row's own tokens, held against each row alone (`changes.RightPadded()`, in float32). The prompt is right, and "
        "what follows is not: convolutions keep the last columns and recurrences run on over the padding "
        f"([transformers 48256](https://github.com/huggingface/transformers/issues/48256)). {clean} types are right."
    )
    lines = [
        "## Right-padded prefill",
        "",
        text,
        "",
        "| type | error of the prompt | error of the first cached steps | culprit named |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {arch} | {value['prompt']:.1e} | {value['steps']:.1e} | {value['culprit']} |"
        for arch, value in wrong.items()
    ]
    if silent:
        lines += [
            "",
            "Undecided: " + "; ".join(f"{arch} ({reason})" for arch, reason in silent.items()) + ".",
        ]
    return "\n".join(lines)


def _undecided(built: Records) -> str:
    lines = [
        f"| {arch} | {key} | {_reasons(value)} |"
        for arch, record in built.items()
        for key, value in verdicts(record).items()
        if value["verdict"] == "undecided"
    ]
    if not lines:
        return ""
    return "\n".join(["## Undecided", "", "| type | in | reason |", "|---|---|---|", *lines])


def _missing(records: Records) -> str:
    lines = [
        f"| {arch} | {record['reason'].removeprefix('arch: ').replace('|', '/')} |"
        for arch, record in records.items()
    ]
    head = [
        "## Not built",
        "",
        "`tiny_decoder` raises `TinyModelError` with this text.",
        "",
        "| type | reason |",
    ]
    return "\n".join([*head, "|---|---|", *lines])


def _all(built: Records) -> str:
    text = (
        "`=` bit for bit, `≈` up to rounding, `≠` different, `?` undecided, `-` the type has no such backend; with the "
        "greatest error in float32 on the same weights, the greatest error of batch against solo in the dtype itself "
        "(which overlaps with that of bugs, and so is no ground for a verdict), and seconds. `h2`, `h1`: weights "
        "scaled by 2 or 1 instead of 4, because the dtype overflows."
    )
    lines = [
        "## All verdicts",
        "",
        text,
        "",
        "| type | class | " + " | ".join(COLUMNS) + " |",
        "|---|---|" + "---|" * len(COLUMNS),
    ]
    for arch, record in built.items():
        cells = [_cell(record["verdicts"].get(column)) for column in COLUMNS]
        lines.append(f"| {arch} | {record['class']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: dict[str, Any] | None) -> str:
    if value is None:
        return "not measured"
    if value["verdict"] == "unsupported":
        return "-"
    errors = [
        error
        for relation in value["relations"].values()
        if (error := relation["single"] if relation["single"] is not None else relation["work"]) is not None
    ]
    solo = value["relations"]["batch-vs-solo"]["work"]
    culprit = f" {value['culprit']}" if value["culprit"] else ""
    heat = "" if value["heat"] == 4.0 else f" h{value['heat']:.0f}"
    numbers = f" {max(errors):.0e}" if errors else ""
    own = f", {solo:.0e}" if solo is not None and solo > 0 else ""
    return f"{SIGNS[value['verdict']]}{culprit}{numbers}{own}{heat}, {value['seconds']:.1f} s"
