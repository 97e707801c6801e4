"""Rests of a prompt and answers that repeat its words: the first are found, the second left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from spellings import NAMES, spelling

from pytest_decoderonly import assert_no_prompt, tiny_tokenizer

FEW_SHOT = "Question: is ice cold?\nAnswer: yes\n\nQuestion: is the sky blue?\nAnswer:"


@pytest.mark.parametrize(
    ("output", "prompt"),
    [
        ("Hello! How can I help you today?", "Hello"),
        ("Hi there! What can I do for you?", "Hi there"),
        ("Thank you! You are very kind.", "Thank you"),
        ("the sky is blue and the grass is green", "Repeat after me: the sky is blue and the grass is green"),
        ("What is the capital of France?", "Say this in a quiet voice: What is the capital of France?"),
        ('"What is the capital of France?" is a question about geography.', "What is the capital of France?"),
        ("> What is the capital of France?\n\nParis.", "What is the capital of France?"),
        ("Users often ask the question: What is a transformer? It is a model.", "What is a transformer?"),
        ("You asked the question: What is a transformer? It is a model.", "What is a transformer?"),
        (" yes\n\nQuestion: is the sky blue?\nAnswer: yes", FEW_SHOT),
        ("Paris\n\nQuestion: What is the capital?\nAnswer: Paris", "What is the capital?"),
        ("The capital of France is Paris, of course.", "Tell me: what is the capital of France"),
        ("once upon a time there was a king", "Continue the story: once upon a time there was a king"),
        ("", "What is the capital of France?"),
    ],
)
def test_answers_that_repeat_the_prompt_are_left_alone(output, prompt):
    tokenizer = tiny_tokenizer()
    assert_no_prompt(output, prompt)
    assert_no_prompt(output, prompt, tokenizer=tokenizer)
    if output:
        ids = tokenizer([output])["input_ids"]
        assert_no_prompt(ids, [prompt], tokenizer=tokenizer)
        assert_no_prompt(ids, tokenizer([prompt])["input_ids"], tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("output", "prompt", "what"),
    [
        # clean-up of contractions and quotation marks
        ("I don't know. Is it 'so'? Yes", "I do n't know . Is it ' so '?", "the whole prompt"),
        ("<|user|>\nWhat is it?<|assistant|>\nParis", "What is it?", "the whole prompt"),
        ("[INST] What is it? [/INST] Paris", "What is it?", "the whole prompt"),
        ("### Instruction:\nWhat is it?\n\n### Response:\nParis", "What is it?", "the whole prompt"),
        ("User: Hi there\nAssistant: Hello!", "Hi there", "the whole prompt"),
        ("Hi there\nassistant\nHello!", "Hi there", "the whole prompt"),
        (" sky blue?\nAnswer: yes", FEW_SHOT, "was cut too early"),
        ("pital of France, please Paris", "Tell me the capital of France, please", "was cut too early"),
        (
            "is the capital?<|im_end|>\n<|im_start|>assistant\nParis",
            "What is the capital?",
            "was cut too early",
        ),
        ("Tell me a joke about cats. Two cats", "Tell me a joke about cats.", "the whole prompt"),
        ("東京の天気を教えてください 晴れ", "東京の天気を教えてください", "the whole prompt"),
    ],
)
def test_rests_of_a_prompt_are_found(output, prompt, what):
    with pytest.raises(AssertionError, match=what):
        assert_no_prompt(output, prompt)


def test_the_other_rows_decide_where_a_row_does_not_tell():
    greeting = "Hi there! What can I do for you?"
    assert_no_prompt([greeting, "Paris"], ["Hi there", "What is the capital of France?"])
    with pytest.raises(AssertionError, match="2 of 2 outputs still carry the prompt"):
        assert_no_prompt(
            [greeting, "What is the capital of France? Paris"], ["Hi there", "What is the capital of France?"]
        )
    template = "Below is a task.\n\n### Instruction:\n{}\n\n### Response:\n{}"
    questions = ["What is it?", "Who was that?"]
    with pytest.raises(AssertionError, match="2 of 2"):
        assert_no_prompt([template.format(q, "No idea") for q in questions], questions)


def test_special_tokens_in_the_prompt():
    """Text decoded without special tokens does not hold a prompt that was written with them: replace does nothing."""
    tokenizer = tiny_tokenizer()
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is the sky blue?"}], tokenize=False, add_generation_prompt=True
    )
    text = tokenizer.decode(tokenizer(prompt)["input_ids"] + [9, 10], skip_special_tokens=True)
    left = text.replace(prompt, "")
    for given_tokenizer in (tokenizer, None):
        with pytest.raises(AssertionError, match="the whole prompt"):
            assert_no_prompt(left, prompt, tokenizer=given_tokenizer)


def test_letters_that_the_tokenizer_does_not_know():
    tokenizer = spelling("metaspace")
    prompt = "Who wrote Ödipus, and why? Say:"
    ids = tokenizer([prompt])["input_ids"]
    text = tokenizer.decode(
        ids[0] + tokenizer(" no", add_special_tokens=False)["input_ids"], skip_special_tokens=True
    )
    assert "Ö" not in text
    with pytest.raises(AssertionError, match="the whole prompt"):
        assert_no_prompt(text, prompt, tokenizer=tokenizer)


@given(
    st.sampled_from(NAMES),
    st.text(st.sampled_from("the sky is blue, no? éx\n"), min_size=12, max_size=40),
    st.text(st.sampled_from("abc yes.\n"), max_size=20),
    st.booleans(),
)
def test_whatever_a_tokenizer_does_to_a_prompt_it_is_found(name, words, answer, skip):
    tokenizer = spelling(name)
    prompt = f"Question: {words}? Answer:"
    assume(len(words.split()) > 1)
    whole = tokenizer(prompt)["input_ids"] + tokenizer(answer, add_special_tokens=False)["input_ids"]
    with pytest.raises(AssertionError, match="the whole prompt"):
        assert_no_prompt(tokenizer.decode(whole, skip_special_tokens=skip), prompt, tokenizer=tokenizer)
    with pytest.raises(AssertionError, match="the whole prompt"):
        assert_no_prompt(torch.tensor([[tokenizer.pad_token_id] * 3 + whole]), [prompt], tokenizer=tokenizer)
