"""Blocks that are meant to make a mistake."""

from __future__ import annotations

import pytest

from pytest_decoderonly import decoderonly_allow, decoderonly_expect
from pytest_decoderonly.runtime import watch
from pytest_decoderonly.tiny import tiny_tokenizer

PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]
NEW = {"max_new_tokens": 3, "do_sample": False}


@pytest.fixture
def without_mask(model, tokenizer):
    def run():
        enc = tokenizer(PROMPTS, padding=True, return_tensors="pt")
        return model.generate(enc["input_ids"], **NEW)

    return run


def test_expected_and_found(without_mask):
    with watch() as outer, decoderonly_expect("DLM101", reason="to compare with") as findings:
        without_mask()
    assert [finding.code for finding in findings] == ["DLM101"]
    assert outer == []


def test_expected_and_not_found(model, tokenizer):
    with pytest.raises(AssertionError, match="DLM101 not found in the block; found there: nothing else"):  # noqa: SIM117
        with decoderonly_expect("DLM101"):
            model.generate(**tokenizer(PROMPTS[0], return_tensors="pt"), **NEW)


def test_what_was_found_instead_is_said_and_handed_over(without_mask):
    with watch() as outer:  # noqa: SIM117
        with pytest.raises(
            AssertionError, match=r"DLM201 not found in the block; found there: DLM101 .*_expectations.py"
        ):
            with decoderonly_expect("DLM201"):
                without_mask()
    assert [finding.code for finding in outer] == ["DLM101"]


def test_several(without_mask, tokenizer):
    with decoderonly_expect("DLM101", "DLM201") as findings:
        tokenizer.batch_decode(without_mask())
    assert sorted(finding.code for finding in findings) == ["DLM101", "DLM201"]


def test_its_own_exception_passes(without_mask):
    with pytest.raises(ZeroDivisionError), decoderonly_expect("DLM201"):  # noqa: PT012
        without_mask()
        1 / 0  # noqa: B018


def test_an_exception_that_explains_itself():
    with (
        pytest.raises(ValueError, match="padding token"),
        watch() as outer,
        decoderonly_expect("DLM103") as findings,
    ):
        tiny_tokenizer(pad=False)(PROMPTS, padding=True)
    assert [finding.code for finding in (*findings, *outer)] == []


def test_allowed(without_mask, tokenizer):
    with watch() as outer:
        for _ in range(2):
            with decoderonly_allow("DLM101", reason="the wrong way"):
                tokenizer.batch_decode(without_mask())
    (finding,) = outer
    assert (finding.code, finding.count) == ("DLM201", 2)


def test_allowed_where_nobody_watches(without_mask):
    with decoderonly_allow("DLM101"):
        without_mask()


@pytest.mark.parametrize("block", [decoderonly_allow, decoderonly_expect])
@pytest.mark.parametrize("codes", [(), ("DLM1",), ("prompt-not-stripped",), (101,)])
def test_codes_are_codes(block, codes):
    with pytest.raises(ValueError, match=block.__name__), block(*codes):
        pass
