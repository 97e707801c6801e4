"""Fine-tune one base model twice, with a mistake and without it, and print what both answer.

Exit status 0 when the checker reports the one and not the other, and the answers show why; 1 otherwise.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before anything imports huggingface_hub, which reads it once
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

import corrected
import faulty
from base import question_answer_pairs, write_base_model

HERE = Path(__file__).resolve().parent
CHECKER = [sys.executable, "-m", "decoderonly_checker", "check", "--output-format", "concise"]
ROOM = 32  # new tokens that an answer may have; the longest right one has 10
SHOWN = 8


def answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: str) -> tuple[str, bool]:
    """Return the model's answer, and whether it came to an end."""
    encoding = tokenizer(faulty.PROMPT.format(question=question), return_tensors="pt").to(model.device)
    output = model.generate(
        **encoding, max_new_tokens=ROOM, do_sample=False, pad_token_id=tokenizer.pad_token_id
    )
    new = output[0, encoding["input_ids"].shape[1] :]
    return tokenizer.decode(new, skip_special_tokens=True), int(new[-1]) == tokenizer.eos_token_id


def one_line(text: str, limit: int = 60) -> str:
    """A text in a cell of a table."""
    text = text.strip().replace("\n", "⏎ ")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def main() -> int:
    """Check both scripts, train with both, and compare."""
    print("$ decoderonly check faulty.py corrected.py", flush=True)
    reported = {
        name: subprocess.run([*CHECKER, f"{name}.py"], cwd=HERE, check=False).returncode
        for name in ("faulty", "corrected")
    }
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    torch.set_num_threads(1)  # a small model: more threads cost more than they give
    pairs = question_answer_pairs()
    answers, seconds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):  # the trainer's own figures
            write_base_model(base, epochs=16)
        print(f"\nbase model pre-trained in {time.perf_counter() - start:.0f} s", flush=True)
        for module in (faulty, corrected):
            name = module.__name__
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                model, tokenizer = module.fine_tune(base, pairs, Path(folder) / name, epochs=60)
            seconds[name] = time.perf_counter() - start
            answers[name] = [answer(model, tokenizer, pair["question"]) for pair in pairs]

    print(f"\n| question | {' | '.join(f'after {name}.py' for name in answers)} |")
    print("|---|---|---|")
    for row in range(0, len(pairs), len(pairs) // SHOWN + 1):
        cells = [one_line(answers[name][row][0]) for name in answers]
        print(f"| {pairs[row]['question']} | {' | '.join(cells)} |")

    print(f"\n| of {len(pairs)} questions | {' | '.join(answers)} |")
    print("|---|---:|---:|")
    stopped = {name: sum(ended for _, ended in rows) for name, rows in answers.items()}
    right = {
        name: sum(text.strip() == pair["answer"] for (text, _), pair in zip(rows, pairs, strict=True))
        for name, rows in answers.items()
    }
    on = {name: sum("Answer:" in text for text, _ in rows) for name, rows in answers.items()}
    for title, counts in (("right answers", right), ("answers that stop", stopped), ("answers that begin another one", on)):
        print(f"| {title} | {' | '.join(str(count) for count in counts.values())} |")
    print(f"| seconds to fine-tune | {' | '.join(f'{spent:.0f}' for spent in seconds.values())} |")
    shown = not stopped["faulty"] and stopped["corrected"] == len(pairs) and right["corrected"] > 0.9 * len(pairs)
    return 0 if shown and reported == {"faulty": 1, "corrected": 0} else 1


if __name__ == "__main__":
    sys.exit(main())
