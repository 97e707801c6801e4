"""Measure every rule, print what was measured, and with `--write` keep it for the rules' pages.

python tests/evidence/measure.py --write            # all rules
python tests/evidence/measure.py DLM101 DLM303      # these, printed only
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all tests share
from bench import BY_HAND, MEASURED, PAGE, REPORTS, all_evidence, as_page, bench, stored


def main() -> int:
    """Measure, print and, if told so, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("codes", nargs="*", metavar="CODE", help="rules to measure (default: all)")
    parser.add_argument("--write", action="store_true", help=f"store the results in {MEASURED.name}")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the checkpoints for the next time")
    arguments = parser.parse_args()
    known = all_evidence()
    unknown = [code for code in arguments.codes if code not in known]
    if unknown:
        parser.error(f"nothing measures {', '.join(unknown)}")
    results = {} if not arguments.codes else stored()
    reports = {}
    with bench(arguments.keep) as measure:
        for code in arguments.codes or known:
            results[code] = measured = measure(code)
            reports[code] = measure.report(code)
            print(f"{code}  on {measured['model']}\n  bad:  {measured['bad']}\n  good: {measured['good']}")
    if arguments.write:
        results = dict(sorted({**results, **BY_HAND}.items()))
        MEASURED.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        PAGE.write_text(as_page(results), encoding="utf-8")
        kept = json.loads(REPORTS.read_text(encoding="utf-8")) if arguments.codes else {}
        said = {code: report for code, report in sorted({**kept, **reports}.items()) if report}
        REPORTS.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
