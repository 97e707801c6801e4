import pytest

from support_bot.answering import SupportBot
from support_bot.evaluation import Case, Report, evaluate


@pytest.fixture(scope="module")
def bot(settings):
    return SupportBot(settings)


def test_one_question(bot):
    assert "30" in bot.answer("Within how many days can I return a kettle?")


def test_every_question_gets_an_answer(bot):
    questions = [
        "How long is the warranty?",
        "I ordered a kettle for my mother last Friday. How many days does delivery take?",
    ]
    answers = bot.answer_all(questions)
    assert len(answers) == 2
    assert "days" in answers[1]


def test_evaluation_asks_every_case(bot):
    cases = (Case("How many days does delivery take?", "4"), Case("Can I pay?", "card"))
    report = evaluate(bot, cases)
    assert len(report.answers) == len(cases)


def test_report_counts_right_answers():
    cases = (Case("How many days does delivery take?", "4"), Case("How can I pay?", "card"))
    report = Report(cases, ("It takes 4 days.", "You cannot."))
    assert report.right == 1
    assert str(report).startswith("1 of 2 right")
