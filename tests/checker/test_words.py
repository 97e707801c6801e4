"""The words that make code worth an analysis: looked for quickly, and the same ones that a plain pattern finds."""

import re

from decoderonly_checker.source.words import USES, words_in
from hypothesis import given, settings
from hypothesis import strategies as st

LABELS = rb"""(?<![\w.])labels(?:["']\s*[:\],)]|\s*=(?!=)(?!\s*(?:labels|None)\b))"""
IGNORED = rb"(?i)ignore_?(?:index|idx|id|token|label|value)"
LABEL_PAD = rb"(?i)label_?pad"
NOT_ID = rb"(?!ded|_to_|ding_?(?:side|strategy|mode))"
COMPARED = (
    rb"(?i)(?:[!=]=\s*|\b(?:ne|eq|not_equal)\s*\((?:[^\n]*,)?\s*)(?!PaddingStrategy)[\w.\[\]\"']*pad"
    + NOT_ID
    + rb"|pad"
    + NOT_ID
    + rb"[\w.\]\"']*\s*[!=]=(?!\s*PaddingStrategy)"
)
PIECES = (
    *("labels", "label", "Label", "pad", "PAD", "_pad", "pad_id", "padded", "padding_side", "PaddingStrategy", "paddingstrategy"),
    *("ignore", "Ignore", "_", "Id", "INDEX", "value", "ne", "one", "eq", "not_equal", "NE", "torch."),
    *("==", "!=", "=", "(", ")", "[", "]", ",", ".", ":", '"', "'", " ", " ", "\n", "x", "None"),
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(max_examples=400)
def test_what_is_learnt_from_is_found_as_plain_patterns_find_it(text):
    code = text.encode()
    plain = (
        re.search(LABELS, code)
        or (b"gnore" in code and re.search(IGNORED, code))
        or (b"label" in code and re.search(LABEL_PAD, code))
        or (b"pad" in code and re.search(COMPARED, code))
    )
    assert bool(words_in(code, USES)) == bool(plain)
