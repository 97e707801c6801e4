"""Past conversations as training data."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from support_bot.prompts import question_request, render
from support_bot.settings import Settings


@dataclass(frozen=True)
class Conversation:
    """A question and the answer that a person gave."""

    question: str
    answer: str


CONVERSATIONS = (
    Conversation("Can I send the kettle back after two weeks?", "Yes, within 30 days."),
    Conversation("When will my parcel arrive?", "It takes 4 days."),
    Conversation("The lid is broken after a year, what now?", "The warranty of 2 years covers the lid."),
    Conversation("May I pay by invoice?", "Yes, by card or by invoice."),
)


def build_example(
    tokenizer: PreTrainedTokenizerBase, settings: Settings, conversation: Conversation
) -> dict[str, list[int]]:
    """One training example: prompt and answer as one sequence, which ends in the end token."""
    prompt = render(tokenizer, settings, question_request(conversation.question))
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    response_ids = tokenizer(conversation.answer, add_special_tokens=False)["input_ids"]
    response_ids = response_ids + [tokenizer.eos_token_id]
    input_ids = prompt_ids + response_ids
    labels = [-100] * len(prompt_ids) + response_ids
    return {"input_ids": input_ids, "attention_mask": [1] * len(input_ids), "labels": labels}


def build_dataset(
    tokenizer: PreTrainedTokenizerBase, settings: Settings, conversations: tuple[Conversation, ...]
) -> list[dict[str, list[int]]]:
    """All examples."""
    return [build_example(tokenizer, settings, conversation) for conversation in conversations]
