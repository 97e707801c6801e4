"""Where sound and faulty models fall when a batch is held against single rows: in float32, and in bfloat16.

The models are those of `verdicts.py`: tiny ones of many architectures, and the same with one fault of the tests injected. Each
goes through the battery once, in bfloat16; its shape-changing relations are run in float32 as well. The number is the
greatest difference of logits at a real position, over the standard deviation of the logits.

    python benchmarks/rounding_gap.py            # the numbers
    python benchmarks/rounding_gap.py --write    # docs/assets/diagrams/gap.svg and docs/reference/gap.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT / folder) for folder in ("", "docs", "benchmarks", "tests", "tests/compare")]
_FILE = _ROOT / "docs" / "reference" / "gap.json"
Numbers = dict[str, dict[str, list[float]]]


def measure() -> Numbers:
    """Return the numbers: dtype, then `sound` or `faulty`; infinity where logits were not finite."""
    from test_signatures import ARCHS, FAULTS
    from verdicts import SOUND

    from pytest_decoderonly import tiny_decoder

    models: list[tuple[str, str, Any]] = [
        ("sound", arch, lambda arch=arch: tiny_decoder(arch, dtype="bfloat16", heat=4.0)) for arch in SOUND
    ]
    for culprit, faults in FAULTS.items():
        if culprit == "activation scale":
            continue  # by design
        for fault, kinds in faults.items():
            for kind in kinds:
                arch, overrides = ARCHS[kind]
                models.append(
                    (
                        "faulty",
                        f"{fault.__name__} in {kind}",
                        lambda fault=fault, arch=arch, given=overrides: fault(
                            tiny_decoder(arch, dtype="bfloat16", **given)
                        ),
                    )
                )
    found: Numbers = {dtype: {"sound": [], "faulty": []} for dtype in ("float32", "bfloat16")}
    for group, name, build in models:
        numbers = _errors(build())
        for dtype, number in numbers.items():
            found[dtype][group].append(number)
        print(
            f"{group:<7} {numbers['float32']:.1e} {numbers['bfloat16']:.1e}  {name}",
            file=sys.stderr,
            flush=True,
        )
    return found


def _errors(model: Any) -> dict[str, float]:
    from verdicts import rows

    from pytest_decoderonly.compare.battery import run_battery

    result = run_battery(model, rows(), pad_id=0, steps=4)
    changing = [one for one in result.relations if not one.relation.same_shape]
    return {
        "float32": _greatest([error.worst for one in changing for error in one.single]),
        "bfloat16": _greatest([error.worst for one in changing for error in one.work]),
    }


def _greatest(values: list[float]) -> float:
    return max((math.inf if math.isnan(value) else value for value in values), default=0.0)


def table(found: Numbers) -> str:
    """Say in words where the groups lie."""
    lines = []
    for dtype, groups in found.items():
        sound, faulty = max(groups["sound"]), min(groups["faulty"])
        below = sum(value <= sound for value in groups["faulty"])
        lines.append(
            f"{dtype}: {len(groups['sound'])} sound models reach {sound:.1e}; of {len(groups['faulty'])} faulty ones the "
            f"least is {faulty:.1e}, and {below} lie where sound ones do"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description="Where sound and faulty models fall, by dtype.")
    parser.add_argument("--write", action="store_true", help="write the plot and its numbers")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    found = measure()
    print(table(found))
    if options.write:
        from _website.diagrams import FOLDER, gap

        # JSON has no infinity; null stands for logits that were not finite.
        kept = {
            dtype: {
                group: [None if math.isinf(value) else float(f"{value:.3g}") for value in sorted(values)]
                for group, values in groups.items()
            }
            for dtype, groups in found.items()
        }
        _FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        (FOLDER / "gap.svg").write_text(gap(kept), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
