"""A small base model, and the questions to fine-tune it on, made in code: nothing is downloaded."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Trainer, TrainingArguments

EOS = "<|endoftext|>"
BLOCK = 96

# country, capital, language, continent
COUNTRIES = (
    ("France", "Paris", "French", "Europe"),
    ("Italy", "Rome", "Italian", "Europe"),
    ("Spain", "Madrid", "Spanish", "Europe"),
    ("Germany", "Berlin", "German", "Europe"),
    ("Poland", "Warsaw", "Polish", "Europe"),
    ("Greece", "Athens", "Greek", "Europe"),
    ("Norway", "Oslo", "Norwegian", "Europe"),
    ("Hungary", "Budapest", "Hungarian", "Europe"),
    ("Japan", "Tokyo", "Japanese", "Asia"),
    ("China", "Beijing", "Chinese", "Asia"),
    ("Thailand", "Bangkok", "Thai", "Asia"),
    ("Vietnam", "Hanoi", "Vietnamese", "Asia"),
    ("Egypt", "Cairo", "Arabic", "Africa"),
    ("Kenya", "Nairobi", "Swahili", "Africa"),
    ("Peru", "Lima", "Spanish", "South America"),
    ("Brazil", "Brasilia", "Portuguese", "South America"),
)


def question_answer_pairs() -> list[dict[str, str]]:
    """Three questions about each country."""
    pairs = []
    for country, capital, language, continent in COUNTRIES:
        pairs += [
            {"question": f"What is the capital of {country}?", "answer": f"{capital}."},
            {"question": f"What do people in {country} speak?", "answer": f"Most people there speak {language}."},
            {"question": f"Where is {country}?", "answer": f"It is in {continent}."},
        ]
    return pairs


def pages(pairs: list[dict[str, str]], count: int) -> list[str]:
    """Pages of questions and answers, such as a base model meets in its pre-training: one follows the other."""
    order = random.Random(0)
    return [
        "\n".join(f"Question: {pair['question']}\nAnswer: {pair['answer']}" for pair in order.sample(pairs, 6))
        for _ in range(count)
    ]


def write_base_model(folder: Path, epochs: int) -> None:
    """Pre-train a GPT-2 of two narrow layers on such pages, and write it as a checkpoint."""
    texts = pages(question_answer_pairs(), count=96)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(texts), bos_token=EOS, eos_token=EOS, model_max_length=2 * BLOCK
    )
    stream = sum(tokenizer([page + tokenizer.eos_token for page in texts])["input_ids"], [])
    blocks = [stream[start : start + BLOCK] for start in range(0, len(stream) - BLOCK, BLOCK)]
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=2 * BLOCK,
            n_embd=128,
            n_layer=2,
            n_head=4,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    Trainer(
        model=model,
        args=training_arguments(folder, epochs),
        # decoderonly: ignore[DLM301] pre-training: pages are learned whole
        train_dataset=Dataset.from_list([{"input_ids": block, "labels": block} for block in blocks]),
    ).train()
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer, like GPT-2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=512, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def training_arguments(output: Path, epochs: int) -> TrainingArguments:
    """What all three trainings share. Nothing is saved or logged on the way."""
    return TrainingArguments(
        output_dir=str(output),
        num_train_epochs=epochs,
        per_device_train_batch_size=16,
        learning_rate=2e-3,
        warmup_steps=10,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
