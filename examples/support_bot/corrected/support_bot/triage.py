"""Sorts tickets into the shop's three drawers."""

from __future__ import annotations

from transformers import pipeline

from support_bot.loading import load_model, load_tokenizer
from support_bot.prompts import triage_prompt
from support_bot.settings import Settings

CATEGORIES = ("refund", "delivery", "repair")


class Triage:
    """Reads a ticket and names its drawer."""

    def __init__(self, settings: Settings) -> None:
        self.generator = pipeline(
            "text-generation",
            model=load_model(settings),
            tokenizer=load_tokenizer(settings),
            return_full_text=False,
        )

    def classify(self, tickets: list[str]) -> list[str]:
        """One category a ticket, in the same order."""
        prompts = [triage_prompt(ticket) for ticket in tickets]
        results = self.generator(prompts, max_new_tokens=4, do_sample=False)
        return [first_category(result[0]["generated_text"]) for result in results]


def first_category(text: str) -> str:
    """The category that the text names first; `repair` where it names none, as a person looks at those."""
    found = {category: text.lower().find(category) for category in CATEGORIES}
    named = [category for category, position in found.items() if position >= 0]
    return min(named, key=lambda category: found[category], default="repair")
