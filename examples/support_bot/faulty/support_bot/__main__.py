"""The desk's command line: `python -m support_bot ask "How long is the warranty?"`."""

from __future__ import annotations

import argparse

from support_bot.answering import SupportBot
from support_bot.dataset import CONVERSATIONS
from support_bot.drafting import draft_reply
from support_bot.evaluation import evaluate
from support_bot.followups import FollowUp
from support_bot.loading import load_model, load_tokenizer
from support_bot.settings import Settings
from support_bot.summaries import Summariser
from support_bot.training import fine_tune
from support_bot.triage import Triage


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(prog="support_bot", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("ask", "summarise", "sort"):
        commands.add_parser(name).add_argument("texts", nargs="+", metavar="TEXT")
    for name in ("draft", "ask-back"):
        commands.add_parser(name).add_argument("text", metavar="TICKET")
    commands.add_parser("evaluate")
    commands.add_parser("train").add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    settings = Settings()
    if options.command == "ask":
        print("\n".join(SupportBot(settings).answer_all(options.texts)))
    elif options.command == "summarise":
        print("\n".join(Summariser(settings).summarise(options.texts)))
    elif options.command == "sort":
        print("\n".join(Triage(settings).classify(options.texts)))
    elif options.command == "draft":
        print(draft_reply(options.text, load_tokenizer(settings), load_model(settings), settings))
    elif options.command == "ask-back":
        print(FollowUp(settings).ask_back(options.text))
    elif options.command == "evaluate":
        print(evaluate(SupportBot(settings)))
    else:
        _, losses = fine_tune(settings, CONVERSATIONS, options.steps)
        print("\n".join(f"step {step}: loss {loss:.3f}" for step, loss in enumerate(losses, start=1)))


if __name__ == "__main__":
    main()
