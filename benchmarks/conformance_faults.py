"""Faults put into tiny models, and what the conformance suite says of each: found, and with the right culprit?

Each fault is a model of its own for one run of the suite, as any user's model is: `conformance_faults:faulty,fault=...`.
Of the items that fail the first that names a culprit counts, for that is what a reader sees first.

    python benchmarks/conformance_faults.py              # the table (some ten minutes on one core)
    python benchmarks/conformance_faults.py --only rows_mixed gradient_cut
    python benchmarks/conformance_faults.py --write      # docs/reference/conformance.md

The exit code is 1 where a fault was not found, a sound model failed, or fewer than 80 % were named.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conformance_tables.run import run_suite

if TYPE_CHECKING:
    from pytest_decoderonly.conformance.outcome import Outcome

_ROOT = Path(__file__).resolve().parent.parent
_PAGE = _ROOT / "docs" / "reference" / "conformance.md"
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT / "benchmarks")]
# What the base models answer for by themselves, without any fault: a right-padded state, say.
_SOUND = {
    "llama": "sound",
    "gpt2": "sound",
    "mistral": "sound",
    "mixtral": "sound",
    "mamba2": "state_untouched",
}


@dataclass(frozen=True)
class Fault:
    """One fault: where it is put, and the culprit that must be named; a check's name where there is no culprit."""

    name: str
    arch: str
    culprit: str


FAULTS = (
    Fault("mask_dropped", "llama", "padding visible"),
    Fault("mask_dropped_in_one_layer", "llama", "padding visible"),
    Fault("mask_dropped_in_one_head", "llama", "padding visible"),
    Fault("mask_at_prefill_only", "llama", "padding visible"),
    Fault("mask_dropped_for_one_row", "llama", "padding visible"),
    Fault("soft_mask", "gpt2", "padding visible"),
    Fault("boolean_mask_added", "llama", "padding visible"),
    Fault("state_sees_padding", "mamba2", "padding visible"),
    Fault("positions_over_padding", "gpt2", "positions"),
    Fault("learned_positions_over_padding", "llama", "positions"),
    Fault("decode_position_is_cache_length", "llama", "decode position"),
    Fault("learned_decode_position_is_cache_length", "mamba2", "decode position"),
    Fault("decode_position_in_batches", "llama", "batch only"),
    Fault("position_of_row_zero", "llama", "row index"),
    Fault("wrong_at_one_alignment", "llama", "alignment"),
    Fault("state_kernel_wrong_at_one_alignment", "mamba2", "alignment"),
    Fault("window_short_for_padded_rows", "mistral", "window"),
    Fault("rows_mixed", "llama", "rows mixed"),
    Fault("state_rows_mixed", "mamba2", "rows mixed"),
    Fault("cached_position_off_by_one", "gpt2", "cache"),
    Fault("state_stale_at_cached_steps", "mamba2", "cache"),
    Fault("dead_rows", "llama", "dead rows"),
    Fault("state_dead_rows", "mamba2", "dead rows"),
    Fault("experts_with_capacity", "mixtral", "expert capacity"),
    Fault("state_not_reset", "mamba2", "state between calls"),
    Fault("beams_keep_their_cache", "llama", "beam cache"),
    Fault("static_cache_off_by_one", "gpt2", "cache"),
    Fault("embeddings_scaled_twice", "gpt2", "inputs_embeds"),
    Fault("pieces_begin_at_zero", "llama", "chunked prefill"),
    Fault("first_logits_kept", "llama", "last logits"),
    Fault("eager_attention_unscaled", "llama", "attention backend"),
    Fault("prompt_left_out", "llama", "prompt-cut"),
    Fault("labels_shifted_twice", "llama", "loss-on-completions"),
    Fault("prompt_in_the_loss", "llama", "loss-on-completions"),
    Fault("gradient_cut", "llama", "gradient-flow"),
    Fault("empty_rows_are_nan", "llama", "ignored-rows"),
)


def faulty(fault: str, arch: str) -> tuple[Any, Any]:
    """Return a tiny model with a fault in it, and its tokenizer."""
    import mutant_calls
    import mutants

    from pytest_decoderonly import tiny_decoder, tiny_tokenizer

    edit = getattr(mutant_calls, fault, None) or getattr(mutants, fault)
    return edit(tiny_decoder(arch)), tiny_tokenizer()


def spec_of(fault: str, arch: str) -> str:
    """Return a fault as the suite is told of it."""
    return f"conformance_faults:faulty,fault={fault},arch={arch}"


def named(outcomes: list[Outcome]) -> str:
    """Return what a reader is told first: the culprit of the first item that names one, else the check that failed."""
    wrong = [outcome for outcome in outcomes if outcome.verdict in ("failed", "error")]
    culprits = [outcome.culprit.name for outcome in wrong if outcome.culprit is not None]
    return next(iter(culprits), wrong[0].check if wrong else "nothing")


def main() -> int:
    """Measure, print, write where asked."""
    parser = argparse.ArgumentParser(description="Put faults into models and ask the conformance suite.")
    parser.add_argument("--only", nargs="+", metavar="FAULT", help="default: all")
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.name}")
    options = parser.parse_args()
    known = {fault.name for fault in FAULTS}
    unknown = sorted(set(options.only or ()) - known)
    if unknown:
        parser.error(f"argument --only: no faults: {', '.join(unknown)}")
    faults = [fault for fault in FAULTS if not options.only or fault.name in options.only]
    sound = {arch: _SOUND[arch] for arch in dict.fromkeys(fault.arch for fault in faults)}
    specs = {spec_of(fault.name, fault.arch): fault for fault in faults}
    harness = {spec_of(name, arch): arch for arch, name in sound.items()}
    outcomes: dict[str, list[Outcome]] = {}
    for outcome in run_suite([*harness, *specs]).outcomes:
        outcomes.setdefault(outcome.spec, []).append(outcome)
    by_itself = {
        arch: {o.item.rpartition("::")[2] for o in outcomes[spec] if o.verdict in ("failed", "error")}
        for spec, arch in harness.items()
    }
    rows = []
    for spec, fault in specs.items():
        mine = [o for o in outcomes[spec] if o.item.rpartition("::")[2] not in by_itself[fault.arch]]
        wrong = [o for o in mine if o.verdict in ("failed", "error")]
        rows.append((fault, named(mine), wrong, len(outcomes[spec])))
    found = sum(bool(wrong) for _, _, wrong, _ in rows)
    right = sum(name == fault.culprit for fault, name, _, _ in rows)
    text = _page(rows, by_itself, found, right)
    print(text)
    if options.write:
        _PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {_PAGE}")
    return 0 if found == len(rows) and right >= 0.8 * len(rows) else 1


def _page(
    rows: list[tuple[Fault, str, list[Outcome], int]],
    by_itself: dict[str, set[str]],
    found: int,
    right: int,
) -> str:
    import torch
    import transformers

    lines = [
        "# Faults, and what the suite says",
        "",
        (
            f"{len(rows)} faults, each put into a tiny model of its own (`tests/mutants.py`, `tests/mutant_calls.py`), and the "
            "[conformance suite](../conformance.md) run on it. A fault is found where an item fails that passes without it. "
            "The culprit is that of the first such item that names one; where the last column has a check's name, "
            "that check failing is what there is to be named."
        ),
        "",
        "| | |",
        "|---|---|",
        f"| found | {found} of {len(rows)} |",
        f"| with the right culprit | {right} of {len(rows)} |",
        "",
        (
            f"Float32 on a CPU, torch {torch.__version__.partition('+')[0]}, transformers {transformers.__version__}. Written by "
            "`python benchmarks/conformance_faults.py --write`."
        ),
        "",
        "| fault | in | items that fail | first of them | culprit named | right |",
        "|---|---|---:|---|---|---|",
    ]
    for fault, name, wrong, items in rows:
        first = wrong[0].item.rpartition("::")[2] if wrong else "-"
        verdict = "yes" if name == fault.culprit else f"no, expected: {fault.culprit}"
        lines.append(
            f"| {fault.name.replace('_', ' ')} | {fault.arch} | {len(wrong)} of {items} | `{first}` | {name} | {verdict} |"
        )
    lines += [
        "",
        "## Without a fault",
        "",
        "What the same models fail by themselves, which counts for no fault:",
        "",
    ]
    for arch, items in by_itself.items():
        lines.append(f"- {arch}: {', '.join(f'`{item}`' for item in sorted(items)) or 'nothing'}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
