"""A study that takes a second or two: what is asked, in which ways, and of whom."""

from __future__ import annotations

from pytest_decoderonly import tiny_tokenizer
from pytest_decoderonly.study.experiment import run_study
from pytest_decoderonly.study.tasks import BUILT_IN, read_tasks
from pytest_decoderonly.study.ways import Plan

TASKS = read_tasks(BUILT_IN)[:6]
PLAN = Plan(batch_sizes=(3,), paddings=(0, 5), max_new_tokens=8, rounds=2)


def tokenizer_of_a_chat_model():
    """Its padding is its end token, as SmolLM2's: `generate` cannot guess the mask from it."""
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def ask(model, tokenizer=None, tasks=TASKS, plan=PLAN, **more):
    return run_study(model, tokenizer or tokenizer_of_a_chat_model(), tasks, plan, name="model", **more)
