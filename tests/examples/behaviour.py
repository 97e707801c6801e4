"""Prints, as JSON, what the twin in the working directory does; a program, as both twins have one name."""

import json
import sys

sys.path.insert(0, "")

from support_bot.answering import SupportBot
from support_bot.dataset import CONVERSATIONS, build_example
from support_bot.drafting import draft_reply
from support_bot.evaluation import CASES
from support_bot.followups import FollowUp
from support_bot.settings import Settings
from support_bot.summaries import Summariser
from support_bot.triage import Triage

TICKET = "My new kettle leaks."
LONGER = "I paid twice by card for one order and would like to have the money for one of them back."
TICKETS = [TICKET, LONGER]

settings = Settings(max_new_tokens=16)
bot = SupportBot(settings)
tokenizer, model = bot.tokenizer, bot.model
questions = [case.question for case in CASES]
summariser = Summariser(settings)
example = build_example(tokenizer, settings, CONVERSATIONS[0])

json.dump(
    {
        "lengths": [len(tokenizer(question)["input_ids"]) for question in questions],
        "answers": bot.answer_all(questions),
        "answers_alone": [bot.answer(question) for question in questions],
        "summaries": summariser.summarise(TICKETS),
        "summaries_alone": [summariser.summarise([ticket])[0] for ticket in TICKETS],
        "draft": draft_reply(TICKET, tokenizer, model, settings),
        "follow_up": FollowUp(settings).ask_back("It does not work."),
        "sorted": Triage(settings).classify(["Where is my parcel?", "The shop charged my card twice."]),
        "supervised": tokenizer.decode([label for label in example["labels"] if label != -100]),
        "response": CONVERSATIONS[0].answer + tokenizer.eos_token,
    },
    sys.stdout,
)
