from support_bot.drafting import draft_reply
from support_bot.followups import FollowUp
from support_bot.loading import load_model, load_tokenizer
from support_bot.summaries import Summariser

TICKET = "My new kettle leaks."


def test_draft_is_about_the_ticket(settings):
    reply = draft_reply(TICKET, load_tokenizer(settings), load_model(settings), settings)
    assert "kettle" in reply.lower()


def test_follow_up_says_something(settings):
    assert FollowUp(settings).ask_back("It does not work.")


def test_one_summary_a_ticket(settings):
    tickets = [TICKET, "I paid twice by card for one order and would like to have the money for one of them back."]
    summaries = Summariser(settings).summarise(tickets)
    assert len(summaries) == len(tickets)
    assert all(summaries)
