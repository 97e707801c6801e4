from support_bot.knowledge import POLICIES, find_policy
from support_bot.triage import Triage, first_category


def test_double_charge_is_a_refund(settings):
    assert Triage(settings).classify(["The shop charged my card twice."]) == ["refund"]


def test_first_category_named_wins():
    assert first_category(" Delivery, not refund") == "delivery"
    assert first_category("no idea") == "repair"


def test_policy_shares_words_with_the_question():
    assert find_policy("When will my parcel arrive?") == POLICIES["delivery"]
