"""TRL as it is installed, against what the checker believes of it: each program is checked, then run.

What a row teaches is read from the batches of the trainer's own loader.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest
from bench import running
from checkpoints import TINY_GPT2
from decoderonly_checker.config import Settings
from decoderonly_checker.runner import check_paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench import Program

HEAD = """
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling
from trl import SFTConfig, SFTTrainer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
"""
SETTINGS = "report_to='none', save_strategy='no', bf16=False"

TEXTS = """
rows = Dataset.from_list([{"text": "Is it blue?\\nNo."}, {"text": "Is the question that you are in a sky?\\nYes."}])
"""
PAIRS = """
rows = Dataset.from_list([
    {"prompt": "Is it blue?\\n", "completion": "No."},
    {"prompt": "Is the question that you are in a sky?\\n", "completion": "Yes."},
])
"""
LABELS = """
pairs = Dataset.from_list([
    {"question": "Is it blue?\\n", "answer": "No."},
    {"question": "Is the question that you are in a sky?\\n", "answer": "Yes."},
])

def preprocess(row):
    prompt = tokenizer(row["question"])["input_ids"]
    answer = tokenizer(row["answer"] + tokenizer.eos_token)["input_ids"]
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}

rows = pairs.map(preprocess, remove_columns=pairs.column_names)
"""

WHOLE = {"Is it blue?\nNo.<eos>", "Is the question that you are in a sky?\nYes.<eos>"}
ANSWERS = {"No.<eos>", "Yes.<eos>"}


def trainer(options: str = "", arguments: str = "", batch: int = 2) -> str:
    return f"""
trainer = SFTTrainer(
    model,
    args=SFTConfig("out", per_device_train_batch_size={batch}, {SETTINGS}{options}),
    train_dataset=rows,
    processing_class=tokenizer{arguments}
)
"""


OVERWRITES = ", data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False)"
OWN_PADDING = (
    "\ntokenizer.add_special_tokens({'pad_token': '[PAD]'})\nmodel.resize_token_embeddings(len(tokenizer))\n"
)

# program, what its rows teach, what the checker reports
CASES = {
    "a text column is learned whole, and EOS is added": (TEXTS + trainer(), WHOLE, set()),
    "of prompt and completion, the completion is learned": (PAIRS + trainer(), ANSWERS, set()),
    "of labels made by hand, TRL's own collator keeps all": (LABELS + trainer(), ANSWERS, set()),
    "transformers' collator overwrites them": (
        OWN_PADDING + LABELS + trainer(arguments=OVERWRITES, batch=1),
        WHOLE,
        {"DLM306"},
    ),
}


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[str], Program]]:
    with running({"gpt2": TINY_GPT2}) as run_source:
        yield run_source


def learned(program: Program) -> set[str]:
    texts = set()
    for batch in program["trainer"].get_train_dataloader():
        for labels in batch["labels"].tolist():
            texts.add(program["tokenizer"].decode([label for label in labels if label != -100]))
    return texts


@pytest.mark.parametrize("case", CASES)
def test_what_is_learned_is_what_the_checker_believes(
    case: str, run: Callable[[str], Program], tmp_path: Path
) -> None:
    source, taught, codes = CASES[case]
    source = textwrap.dedent(HEAD + source)
    path = tmp_path / "program.py"
    path.write_text(source, encoding="utf-8")
    assert {found.code for found in check_paths([path], Settings()).diagnostics} == codes
    assert learned(run(source)) == taught


def test_completion_only_loss_switched_off_brings_the_prompt_back(run: Callable[[str], Program]) -> None:
    source = HEAD + PAIRS + trainer(options=", completion_only_loss=False")
    assert learned(run(source)) == WHOLE


def test_labels_of_unequal_length_do_not_pass_that_collator_unnoticed(run: Callable[[str], Program]) -> None:
    """Why DLM306 is silent only for batches of equally long rows: others cannot be made a tensor of."""
    program = run(HEAD + OWN_PADDING + LABELS + trainer(arguments=OVERWRITES))
    with pytest.raises(ValueError, match="`labels`"):
        learned(program)
