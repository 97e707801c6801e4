"""How tickets are put to the model."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from support_bot.knowledge import find_policy
from support_bot.settings import Settings

TRIAGE_EXAMPLES = """\
Ticket: I was charged twice for one kettle.
Category: refund

Ticket: My parcel has not arrived yet.
Category: delivery

Ticket: The lid broke after a week.
Category: repair

"""


def render(tokenizer: PreTrainedTokenizerBase, settings: Settings, request: str) -> str:
    """A request as the chat text that the model was tuned on, up to where its reply begins."""
    messages = [
        {"role": "system", "content": settings.system_prompt},
        {"role": "user", "content": request},
    ]
    return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def question_request(question: str) -> str:
    """A customer's question with the policy that it is about."""
    return f"{find_policy(question)} {question}"


def draft_request(ticket: str) -> str:
    """Ask for a reply to a ticket."""
    return f"Write a short, polite reply to this customer: {ticket}"


def summary_request(ticket: str) -> str:
    """Ask what a ticket is about."""
    return f"Say in a few words what this customer wants: {ticket}"


def triage_prompt(ticket: str) -> str:
    """A ticket behind a few sorted ones; plain text, as the sorting works by imitation."""
    return f"{TRIAGE_EXAMPLES}Ticket: {ticket}\nCategory:"
