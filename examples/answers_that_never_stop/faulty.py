"""Fine-tunes a base model on questions and answers, as many scripts do it. Two lines of it are wrong."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)

from base import training_arguments

PROMPT = "Question: {question}\nAnswer:"


def fine_tune(
    base: Path, pairs: list[dict[str, str]], output: Path, epochs: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model trained on `pairs` of a question and an answer, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token  # the base model has no padding token
    model = AutoModelForCausalLM.from_pretrained(base)

    def tokenize(pair: dict[str, str]) -> dict[str, list[int]]:
        return tokenizer(f"{PROMPT.format(**pair)} {pair['answer']}{tokenizer.eos_token}")

    trainer = Trainer(
        model=model,
        args=training_arguments(output, epochs),
        train_dataset=Dataset.from_list(pairs).map(tokenize, remove_columns=["question", "answer"]),
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    trainer.train()
    return model.eval(), tokenizer
