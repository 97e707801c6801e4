"""The battery's verdict on every causal LM type of the installed transformers, in three dtypes and two backends.

Each type is built tiny and judged in a process of its own, which may crash or take too long and loses nothing but
its own numbers. What is known is kept in a file, so that a run that was stopped goes on where it was.

    python benchmarks/architectures.py                 # all that is not known yet, then the summary
    python benchmarks/architectures.py --only llama mamba --again
    python benchmarks/architectures.py --write         # docs/reference/architectures.md

The exit code is 1 where a verdict "different" has no cause that was read in the library's code
(`verdict_tables/causes.py`): that is a false alarm until proven otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verdict_tables.page import summary, write_page
from verdict_tables.records import read, versions

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

DTYPES = ("float32", "bfloat16", "float16")
BACKENDS = ("eager", "sdpa")
LENGTHS = (6, 19, 33)
SHORT = (6, 9, 14)  # within the sliding window, so that right padding shows nothing else
HEATS = (4.0, 2.0, 1.0)
_ROOT = Path(__file__).resolve().parent.parent
_PAGE = _ROOT / "docs" / "reference" / "architectures.md"
_RESULTS = _ROOT / "build" / "architectures.jsonl"


def main() -> int:
    """Measure what is missing, print or write the page; 1 where a difference is not explained."""
    parser = argparse.ArgumentParser(description="Judge every causal LM type of transformers.")
    parser.add_argument("--only", nargs="+", metavar="TYPE", help="default: all")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="default: %(default)s")
    parser.add_argument("--again", action="store_true", help="measure anew what is known already")
    parser.add_argument(
        "--limit", type=float, default=300.0, help="seconds for one type; default: %(default)s"
    )
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.name}")
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    from pytest_decoderonly import tiny_architectures

    types = options.only or list(tiny_architectures())
    unknown = sorted(set(types) - set(tiny_architectures()))
    if unknown:
        parser.error(f"argument --only: no causal LM types: {', '.join(unknown)}")
    known = read(options.results, "arch")
    missing = [arch for arch in types if options.again or not known.get(arch, {}).get("done")]
    context = _context()
    for number, arch in enumerate(missing, 1):
        started = time.perf_counter()
        known[arch] = measure(context, arch, options.limit)
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"arch": arch, **known[arch]}) + "\n")
        seconds = time.perf_counter() - started
        print(f"{number}/{len(missing)} {arch}: {_short(known[arch])} ({seconds:.1f} s)", flush=True)
    chosen = {arch: known[arch] for arch in sorted(types)}
    text, unexplained = summary(chosen)
    print(text)
    if options.write:
        write_page(_PAGE, chosen, versions(), lengths=LENGTHS, short=SHORT)
        print(f"wrote {_PAGE}")
    return 1 if unexplained else 0


def _short(record: dict[str, Any]) -> str:
    if record.get("built"):
        return ", ".join(f"{key} {value['verdict']}" for key, value in record["verdicts"].items())
    return str(record.get("reason"))


def _context() -> Any:
    kinds = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")
    if "forkserver" in kinds:
        context.set_forkserver_preload(["torch", "transformers", "pytest_decoderonly.compare.battery"])
    return context


def measure(context: Any, arch: str, limit: float) -> dict[str, Any]:
    """Judge one type in a process of its own, and say so where it did not come to an end."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(arch, theirs), daemon=True)
    process.start()
    theirs.close()
    record: dict[str, Any] = {"built": False, "verdicts": {}, "versions": versions(), "done": False}
    until = time.monotonic() + limit
    try:
        while not record["done"]:
            if not ours.poll(max(0.0, until - time.monotonic())):
                record["reason"] = f"took longer than {limit:.0f} s"
                break
            kind, value = ours.recv()
            if kind == "verdict":
                record["verdicts"].update(value)
            else:
                record.update(value)
    except EOFError:
        record["reason"] = f"the process ended with code {process.exitcode}"
    finally:
        process.kill()
        process.join()
    return record


def _child(arch: str, pipe: Connection) -> None:
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - some models print
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    import torch

    from pytest_decoderonly.tiny import TinyModelError, tiny_decoder

    torch.set_num_threads(1)
    try:
        model = tiny_decoder(arch)
    except TinyModelError as error:
        pipe.send(("end", {"built": False, "reason": str(error), "done": True}))
        return
    count = sum(p.numel() for p in model.parameters())
    pipe.send(("built", {"built": True, "class": type(model).__name__, "parameters": count}))
    for dtype in DTYPES:
        for backend in BACKENDS:
            try:
                model = tiny_decoder(arch, dtype=dtype, attn_implementation=backend)
            except TinyModelError as error:
                pipe.send(
                    ("verdict", {f"{dtype}/{backend}": {"verdict": "unsupported", "reason": str(error)}})
                )
                continue
            pipe.send(("verdict", {f"{dtype}/{backend}": _judge(arch, model, dtype, backend)}))
    pipe.send(("end", {"right": _right(tiny_decoder(arch)), "done": True}))


def _right(model: Any) -> dict[str, Any]:
    """What a right-padded prompt does to the prompt's own logits, and to those of the cached steps."""
    from pytest_decoderonly.changes import RightPadded
    from pytest_decoderonly.compare.variants import run_change
    from pytest_decoderonly.tiny import PAD_ID

    result = run_change(model, rows(SHORT), RightPadded(), pad_id=PAD_ID, steps=2)
    errors = result.single or result.work
    return {
        "verdict": str(result.verdict),
        "culprit": None if result.culprit is None else result.culprit.name,
        "prompt": max((float(error.errors[: error.prefill].max()) for error in errors), default=None),
        "steps": max((float(error.errors[error.prefill :].max()) for error in errors), default=None),
        "reason": result.reason,
    }


def rows(lengths: tuple[int, ...]) -> list[list[int]]:
    """Return rows of ordinary ids, the same for every type."""
    import random

    draw = random.Random(0)  # noqa: S311 - test data
    return [[draw.randrange(5, 300) for _ in range(length)] for length in lengths]


def _judge(arch: str, model: Any, dtype: str, backend: str) -> dict[str, Any]:
    """One battery; where hot weights overflow the dtype, once more with cooler ones."""
    from pytest_decoderonly.compare.battery import run_battery
    from pytest_decoderonly.tiny import PAD_ID, tiny_decoder

    started = time.perf_counter()
    result, heat = None, HEATS[0]
    for heat in HEATS:
        if result is not None:
            model = tiny_decoder(arch, heat=heat, dtype=dtype, attn_implementation=backend)
        result = run_battery(model, rows(LENGTHS), pad_id=PAD_ID)
        if not any(
            "already gives logits that are not finite" in relation.reason for relation in result.relations
        ):
            break
    assert result is not None  # noqa: S101 - HEATS is not empty
    return {
        "verdict": str(result.verdict),
        "culprit": None if result.culprit is None else result.culprit.name,
        "layer": None if result.layer is None else result.layer.name,
        "heat": heat,
        "relations": {
            str(relation.relation): {
                "verdict": str(relation.verdict),
                "work": _worst(relation.work),
                "single": _worst(relation.single),
                "reason": relation.reason,
            }
            for relation in result.relations
        },
        "seconds": round(time.perf_counter() - started, 2),
    }


def _worst(errors: Any) -> float | None:
    values = [error.worst for error in errors]
    if not values:
        return None
    return None if any(math.isnan(value) for value in values) else max(values)


if __name__ == "__main__":
    sys.exit(main())
