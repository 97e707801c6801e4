"""Detection and false alarms, side by side on the same models; and what a check costs that passes.

Faulty models are the mutants of the tests (`tests/mutants.py`), each in every kind of architecture that it can live in;
sound ones are tiny models of many architectures. All in three dtypes. Beside the battery of this package stand
`torch.testing.assert_close` at its defaults, the tolerance of transformers' own left-padding test, and pytest-torch,
which is installed by pip into a folder of its own.

    python benchmarks/verdicts.py                    # both parts, printed
    python benchmarks/verdicts.py --write            # docs/reference/verdicts.md
    python benchmarks/verdicts.py --part cost
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verdict_tables.judges import JUDGES, PAD_ID, STEPS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from verdict_tables.judges import Judge

_ROOT = Path(__file__).resolve().parent.parent
_PAGE = _ROOT / "docs" / "reference" / "verdicts.md"
_PEER = "pytest-torch==1.1.1"
_PARTS = ("judges", "cost")
DTYPES = ("float32", "bfloat16", "float16")
LENGTHS = (6, 19, 33)
SOUND = (
    "llama", "gpt2", "mistral", "mixtral", "mamba2", "bamba", "qwen2", "qwen3", "phi", "phi3", "gemma", "gemma2",
    "gemma3_text", "gpt_neox", "gptj", "opt", "bloom", "falcon", "falcon_h1", "mamba", "olmo2", "starcoder2",
    "qwen3_moe", "qwen3_next", "deepseek_v3", "gpt_oss", "lfm2", "jamba", "granite", "smollm3", "cohere", "stablelm",
)  # fmt: skip
Outcomes = list[dict[str, str]]


def main() -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description="Set ways of judging side by side.")
    parser.add_argument("--part", choices=("judges", "cost", "all"), default="all", help="default: all")
    parser.add_argument("--peers", type=Path, default=_ROOT / "build" / "peers", help="default: %(default)s")
    parser.add_argument(
        "--repeats", type=int, default=5, help="timed runs for the cost; default: %(default)s"
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"write {_PAGE.name}, with what an earlier run of the other part has left in build",
    )
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error(f"argument --repeats: must be at least 1, got {options.repeats}")
    import torch

    torch.set_num_threads(1)
    if options.part != "cost":
        install(options.peers)
        sys.path.insert(0, str(options.peers))
        _keep("judges", table_of_judges(faulty(), sound()))
    if options.part != "judges":
        _keep("cost", table_of_costs(options.repeats))
    if options.write:
        missing = [name for name in _PARTS if not _kept(name).is_file()]
        if missing:
            parser.error(
                f"argument --write: nothing is known of {', '.join(missing)} yet: --part {missing[0]}"
            )
        text = "\n\n".join(_kept(name).read_text(encoding="utf-8").strip() for name in _PARTS)
        _PAGE.write_text(f"{_head()}\n\n{text}\n", encoding="utf-8")
        print(f"wrote {_PAGE}")
    return 0


def _kept(part: str) -> Path:
    return _ROOT / "build" / f"verdicts_{part}.md"


def _keep(part: str, text: str) -> None:
    """Print a table, and keep it for the page."""
    print(text)
    _kept(part).parent.mkdir(exist_ok=True)
    _kept(part).write_text(text, encoding="utf-8")


def install(folder: Path) -> None:
    """Put pytest-torch where nothing else finds it; an installation as a plugin would change our own tests."""
    if not (folder / "pytest_torch").is_dir():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), _PEER]
        subprocess.run(command, check=True)


def rows() -> list[list[int]]:
    """Return rows of ordinary ids, the same for every model."""
    import random

    draw = random.Random(0)  # noqa: S311 - test data
    return [[draw.randrange(5, 300) for _ in range(length)] for length in LENGTHS]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def judge(model: Any) -> dict[str, str]:
    """Ask all."""
    return {name: _ask(way, model) for name, way in JUDGES.items()}


def _ask(way: Judge, model: Any) -> str:
    """A way that cannot run the model says nothing, and that is written down as such."""
    try:
        with _quiet():
            return way(model, rows())
    except Exception as error:
        return f"error: {type(error).__name__}: {' '.join(str(error).split())[:100]}"


def faulty() -> Outcomes:
    """Judge every fault in every kind of architecture that it can live in."""
    sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT / "tests" / "compare")]
    from test_signatures import ARCHS, FAULTS

    from pytest_decoderonly import tiny_decoder

    found = []
    for culprit, faults in FAULTS.items():
        if culprit == "activation scale":
            continue  # by design, so neither a detection nor a false alarm
        for fault, kinds in faults.items():
            for kind in kinds:
                arch, overrides = ARCHS[kind]
                for dtype in DTYPES:
                    model = fault(tiny_decoder(arch, dtype=dtype, **overrides))
                    said = judge(model)
                    found.append(
                        {"culprit": culprit, "fault": fault.__name__, "kind": kind, "dtype": dtype, **said}
                    )
                print(
                    f"{culprit}: {fault.__name__} in {kind}: {found[-1]['ours']}", file=sys.stderr, flush=True
                )
    return found


def sound() -> Outcomes:
    """Judge models in which nothing is wrong."""
    from pytest_decoderonly import tiny_decoder

    found = []
    for arch in SOUND:
        for dtype in DTYPES:
            # Hot weights overflow float16 in some; all ways see the same cooler model.
            heat = 1.0 if dtype == "float16" else 4.0
            found.append({"arch": arch, "dtype": dtype, **judge(tiny_decoder(arch, dtype=dtype, heat=heat))})
        print(f"sound: {arch}: {found[-1]['ours']}", file=sys.stderr, flush=True)
    return found


def _rate(outcomes: Outcomes, name: str, dtype: str | None = None) -> str:
    chosen = [outcome[name] for outcome in outcomes if dtype in (None, outcome["dtype"])]
    alarms = sum(said.startswith("alarm") for said in chosen)
    rest = Counter(said.split(":")[0] for said in chosen if said.startswith(("undecided", "error")))
    more = "".join(f", {count} {word}" for word, count in rest.items())
    return f"{alarms} of {len(chosen)} ({alarms / len(chosen):.0%}){more}"


def table_of_judges(wrong: Outcomes, right: Outcomes) -> str:
    """Return the three tables: detection, false alarms, and which fault is found by whom."""
    head = "| way | " + " | ".join(DTYPES) + " | all |\n|---|" + "---|" * (len(DTYPES) + 1)
    parts = []
    for title, outcomes in (("Faults found", wrong), ("False alarms", right)):
        lines = [f"## {title}", "", head]
        for name in JUDGES:
            cells = [_rate(outcomes, name, dtype) for dtype in DTYPES]
            lines.append(f"| {name} | " + " | ".join([*cells, _rate(outcomes, name)]) + " |")
        parts.append("\n".join(lines))
    named = [outcome for outcome in wrong if outcome["ours"].startswith("alarm")]
    hits = sum(outcome["ours"] == f"alarm: {outcome['culprit']}" for outcome in named)
    parts.append(f"Ours names the culprit that was injected in {hits} of {len(named)} alarms.")
    lines = [
        "## Fault by fault, in float32",
        "",
        "In how many architectures each way finds the fault.",
        "",
        "| culprit | fault | " + " | ".join(JUDGES) + " |",
        "|---|---|" + "---|" * len(JUDGES),
    ]
    single = [outcome for outcome in wrong if outcome["dtype"] == "float32"]
    for culprit, fault in dict.fromkeys((outcome["culprit"], outcome["fault"]) for outcome in single):
        chosen = [outcome for outcome in single if (outcome["culprit"], outcome["fault"]) == (culprit, fault)]
        cells = [
            f"{sum(outcome[name].startswith('alarm') for outcome in chosen)} of {len(chosen)}"
            for name in JUDGES
        ]
        lines.append(f"| {culprit} | `{fault}` | " + " | ".join(cells) + " |")
    parts.append("\n".join(lines))
    return "\n\n".join(parts)


def table_of_costs(repeats: int) -> str:
    """Time a battery that passes, and the same passes through the model without anything around them."""
    text = (
        f"Processor seconds (least of {repeats}, one thread) of the whole check, of the `generate` and forward calls "
        "that it makes, made again without it, and the factor between the two. In bfloat16 the shape-changing "
        "relations run in float32 as well; those passes count on both sides."
    )
    lines = [
        "## What a check costs that passes",
        "",
        text,
        "",
        "| model | dtype | passes | check | the passes alone | factor |",
        "|---|---|---|---|---|---|",
    ]
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 8}
    for arch, overrides in (
        ("llama", sizes),
        ("llama", {}),
        ("gpt2", {}),
        ("mixtral", {}),
        ("mamba2", {}),
        ("bamba", {}),
    ):
        for dtype in ("float32", "bfloat16"):
            passes, check, bare = _cost(arch, overrides, dtype, repeats)
            name = f"{arch}, hidden size {overrides['hidden_size']}" if overrides else arch
            lines.append(
                f"| {name} | {dtype} | {passes} | {check:.2f} s | {bare:.2f} s | {check / bare:.2f} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def _cost(arch: str, overrides: dict[str, Any], dtype: str, repeats: int) -> tuple[int, float, float]:
    """Return the number of passes, and the seconds of the check and of the passes alone."""
    from pytest_decoderonly import tiny_decoder
    from pytest_decoderonly.compare.battery import run_battery
    from pytest_decoderonly.compare.drive import Batch, Driver
    from pytest_decoderonly.compare.precision import dtype_of, precision

    model = tiny_decoder(arch, dtype=dtype, **overrides)
    made: list[tuple[torch.dtype, Batch, bool]] = []
    trace = Driver._trace

    def noted(self: Driver, batch: Batch, *, cached: bool) -> Any:
        made.append((dtype_of(self.model), batch, cached))
        return trace(self, batch, cached=cached)

    Driver._trace = noted  # type: ignore[method-assign]
    try:
        with _quiet():
            result = run_battery(model, rows(), pad_id=PAD_ID, steps=STEPS)
    finally:
        Driver._trace = trace  # type: ignore[method-assign]
    if not result.verdict.clean:
        raise RuntimeError(f"{arch}: only a check that passes is timed, this one says {result.verdict}")
    checks, bares = [], []
    for _ in range(repeats):
        with _quiet():
            started = time.process_time()
            run_battery(model, rows(), pad_id=PAD_ID, steps=STEPS)
            checks.append(time.process_time() - started)
            seconds = 0.0
            for kind in dict.fromkeys(kind for kind, _batch, _cached in made):
                with precision(model, kind) if kind != dtype_of(model) else contextlib.nullcontext():
                    started = time.process_time()
                    for own, batch, cached in made:
                        if own == kind:
                            _bare(model, batch, cached=cached)
                    seconds += time.process_time() - started
            bares.append(seconds)
    return len(made), min(checks), min(bares)


def _bare(model: Any, batch: Any, *, cached: bool) -> None:
    import torch

    whole = (
        batch.rows
        if cached
        else [(*row, *more) for row, more in zip(batch.rows, batch.continuation, strict=True)]
    )
    ids = torch.tensor([[*fill, *row] for fill, row in zip(batch.fills, whole, strict=True)])
    mask = torch.tensor(
        [[0] * len(fill) + [1] * len(row) for fill, row in zip(batch.fills, whole, strict=True)]
    )
    with torch.no_grad():
        if not cached:
            model(input_ids=ids, attention_mask=mask, use_cache=False)
            return
        new = len(batch.continuation[0]) + 1
        model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=PAD_ID,
        )


def _head() -> str:
    import torch
    import transformers

    return f"""# Verdicts, side by side

The same models go to every way of judging. The faulty ones are the mutants of `tests/mutants.py` in every kind of
architecture that they can live in (dense, learned positions, experts, sliding window, state space, hybrid); the sound
ones are {len(SOUND)} architectures built by `tiny_decoder`; all in three dtypes, on a CPU, with torch
{torch.__version__.split("+")[0]} and transformers {transformers.__version__}. Written by `python benchmarks/verdicts.py --write`.

* **ours**: the battery behind `assert_batch_equals_single`; no tolerance is chosen.
* **assert_close, defaults**: `torch.testing.assert_close` on the logits that `generate` gives for a row in the batch and
  alone, up to the first token that differs.
* **transformers' left-padding test**: what `test_left_padding_compatibility` in transformers' repository does: 32 pads on
  the left, the last logits of one forward pass, `rtol=1e-5, atol=1e-5`. It is made for fresh weights in float32.
* **pytest-torch**: `assert_padding_invariant` (right, its default, and left) and `assert_mask_invariant` of {_PEER}, with
  position ids and without a cache; they see one forward pass, so faults of cached steps are out of their reach."""


if __name__ == "__main__":
    sys.exit(main())
