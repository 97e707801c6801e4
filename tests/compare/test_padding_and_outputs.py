"""Padding and outputs: what is wrong is found where it is, what is right is left alone."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_decoderonly import (
    assert_batch_equals_single,
    assert_left_padded,
    assert_no_prompt,
    assert_right_padded,
    tiny_decoder,
    tiny_tokenizer,
)

PROMPTS = ["Question: is the sky blue? Answer: ", "Hi there"]


def _rows(lengths, side, pad, token=9):
    width = max(lengths)
    ids = [
        [pad] * (width - n) + [token] * n if side == "left" else [token] * n + [pad] * (width - n)
        for n in lengths
    ]
    mask = [[0] * (width - n) + [1] * n if side == "left" else [1] * n + [0] * (width - n) for n in lengths]
    return ids, mask


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    side=st.sampled_from(["left", "right"]),
    masked=st.booleans(),
)
def test_padding_is_seen_on_its_side(lengths, side, masked):
    ids, mask = _rows(lengths, side, 0)
    mask = mask if masked else None
    mine, other = (
        (assert_left_padded, assert_right_padded)
        if side == "left"
        else (assert_right_padded, assert_left_padded)
    )
    mine(torch.tensor(ids), mask, pad_token_id=0)
    mine(np.array(ids), mask, pad_token_id=0)
    if len(set(lengths)) > 1:
        with pytest.raises(AssertionError, match=r"DLM102") as caught:
            other(ids, mask, pad_token_id=0)
        wrong = [i for i, n in enumerate(lengths) if n < max(lengths)]
        assert all(f"row {i} " in str(caught.value) for i in wrong)
    else:
        other(ids, mask, pad_token_id=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_tokenizer_batches(side):
    tokenizer = tiny_tokenizer(padding_side=side)
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    if side == "left":
        assert_left_padded(batch, tokenizer=tokenizer)
    else:
        with pytest.raises(AssertionError, match="padding tokens on the right"):
            assert_left_padded(batch, tokenizer=tokenizer)


def test_padding_that_is_eos():
    eos = 2
    # A real EOS inside a row and one at its end stay visible; the padding is masked.
    assert_left_padded([[eos, eos, 9, eos, 9, eos]], [[0, 0, 1, 1, 1, 1]], pad_token_id=eos)
    assert_right_padded([[9, eos, 9, eos, eos, eos]], [[1, 1, 1, 1, 0, 0]], pad_token_id=eos)
    with pytest.raises(AssertionError, match="a masked position lies between real tokens"):
        assert_left_padded([[eos, eos, 9, eos, 9, 9]], [[0, 0, 1, 0, 1, 1]], pad_token_id=eos)
    with pytest.raises(AssertionError, match=r"2 padding tokens .* that the mask leaves visible"):
        assert_left_padded([[eos, eos, 9, 9]], [[1, 1, 1, 1]], pad_token_id=eos)


def test_mask_and_ids_that_disagree():
    with pytest.raises(AssertionError, match=r"a token that is not padding \(id 9, padding is 0\) is masked"):
        assert_left_padded([[9, 9, 9]], [[0, 1, 1]], pad_token_id=0)
    with pytest.raises(AssertionError, match="no real token"):
        assert_left_padded([[0, 0], [0, 9]], [[0, 0], [0, 1]])
    with pytest.raises(AssertionError, match="the mask holds 2"):
        assert_left_padded([[9, 9]], [[2, 1]])


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "text"),
    [
        (([[9]],), {}, TypeError, "attention_mask: give it, or pad_token_id"),
        (("text",), {}, TypeError, "input_ids: must be a tensor"),
        (([[9, 9], [9]], [[1, 1], [1]]), {}, ValueError, "input_ids: rows have 1 to 2 positions"),
        (({"ids": 1},), {}, ValueError, "input_ids: the mapping has no 'input_ids', only 'ids'"),
        (
            ([[9.5]],),
            {"pad_token_id": 0},
            TypeError,
            "input_ids: row 0, position 0: must be an integer, got 9.5",
        ),
        (([],), {"pad_token_id": 0}, ValueError, "input_ids: holds no rows"),
    ],
)
def test_usage_errors(args, kwargs, error, text):
    with pytest.raises(error) as caught:
        assert_left_padded(*args, **kwargs)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_generated_ids():
    tokenizer, model = tiny_tokenizer(), tiny_decoder("llama")
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    width = batch["input_ids"].shape[1]
    out = model.generate(**batch, max_new_tokens=6, do_sample=False)
    assert_no_prompt(out[:, width:], batch["input_ids"], attention_mask=batch["attention_mask"])
    assert_no_prompt(out[:, width:].numpy(), PROMPTS, tokenizer=tokenizer)
    assert_no_prompt(tokenizer.batch_decode(out[:, width:]), PROMPTS, tokenizer=tokenizer)
    with pytest.raises(AssertionError, match=r"2 of 2 outputs still carry the prompt.*"):
        assert_no_prompt(out, batch["input_ids"], attention_mask=batch["attention_mask"])
    with pytest.raises(AssertionError, match=r"DLM201"):
        assert_no_prompt(tokenizer.batch_decode(out, skip_special_tokens=True), PROMPTS)
    short = int(batch["attention_mask"][1].sum())
    with pytest.raises(AssertionError, match=r"DLM203"):
        assert_no_prompt(out[:, short:], PROMPTS, tokenizer=tokenizer)


@given(
    st.lists(st.integers(3, 300), min_size=2, max_size=12),
    st.lists(st.integers(3, 300), max_size=8),
    st.integers(0, 5),
)
def test_a_prompt_in_front_is_always_found(prompt, answer, pads):
    with pytest.raises(AssertionError, match="the whole prompt"):
        assert_no_prompt([[0] * pads + prompt + answer], [prompt])


@pytest.mark.parametrize(
    ("output", "prompt"),
    [
        ("What is  the capital of France ?\nParis", "What is the capital of France?"),
        ("<s> What is the capital of France?</s> Paris", "What is the capital of France?"),
        ("<|im_start|>user\nWhat is it?<|im_end|>\n<|im_start|>assistant\nParis", "What is it?"),
        ("system\nYou are helpful.\nuser\nWhat is it?\nassistant\nParis", "What is it?"),
        ("WHAT IS IT? Paris", "What is it?"),
        ("\ufb01nd the river: Seine", "find the river:"),
        ("the capital of France? Answer: Paris", "Question: what is the capital of France? Answer:"),
    ],
)
def test_prompts_that_remain_in_texts(output, prompt):
    with pytest.raises(AssertionError, match="carries the prompt"):
        assert_no_prompt(output, prompt)


@pytest.mark.parametrize(
    ("output", "prompt"),
    [
        ("Paris", "What is the capital of France?"),
        ("The capital of France is Paris.", "What is the capital of France?"),
        ("You asked: what is the capital of France? It is Paris.", "What is the capital of France?"),
        ("Hi! How can I help?", "Hi"),
        ("", "What is it?"),
    ],
)
def test_answers_are_left_alone(output, prompt):
    assert_no_prompt(output, prompt)


@pytest.mark.parametrize(
    ("outputs", "prompts", "error", "text"),
    [
        (["a"], ["one", "two"], ValueError, "prompts: 2 prompts for 1 output"),
        (["a"], [""], ValueError, "prompts: prompt 0 is empty"),
        ([[1, 2]], ["one"], TypeError, "tokenizer: is needed"),
        (["a", 1], ["one", "two"], TypeError, "must hold texts only or ids only"),
    ],
)
def test_output_usage_errors(outputs, prompts, error, text):
    with pytest.raises(error, match=text):
        assert_no_prompt(outputs, prompts)


def test_errors_keep_no_tensor_alive():
    ids = torch.tensor([[9, 9, 0], [9, 9, 9]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    seen = [weakref.ref(ids), weakref.ref(mask)]
    kept = None
    try:
        assert_left_padded(ids, mask, pad_token_id=0)
    except AssertionError as error:
        kept = error
    assert kept is not None
    frames = []
    step = kept.__traceback__.tb_next
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    assert not any(isinstance(value, torch.Tensor) for frame in frames for value in frame.f_locals.values())
    del ids, mask, frames, step
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


def test_batch_equals_single():
    tokenizer, model = tiny_tokenizer(), tiny_decoder("llama")
    result = assert_batch_equals_single(model, tokenizer, PROMPTS)
    assert result.verdict.clean
    assert assert_batch_equals_single(
        model, None, [[9, 8, 7], [6, 5]], pad_token_id=0, relations=["batch-vs-solo"]
    ).relations


def test_batch_equals_single_usage():
    tokenizer, model = tiny_tokenizer(), tiny_decoder("llama")
    with pytest.raises(AssertionError, match="pads on the right"):
        assert_batch_equals_single(model, tiny_tokenizer(padding_side="right"), PROMPTS)
    with pytest.raises(ValueError, match="tokenizer: has no padding token"):
        assert_batch_equals_single(model, tiny_tokenizer(pad=False), PROMPTS)
    with pytest.raises(ValueError, match="relations: 'speed' is none of repeated, pad-content"):
        assert_batch_equals_single(model, tokenizer, PROMPTS, relations=["speed"])
    with pytest.raises(TypeError, match="model: must be a torch module"):
        assert_batch_equals_single("llama", tokenizer, PROMPTS)
    with pytest.raises(ValueError, match="prompts: there are none"):
        assert_batch_equals_single(model, tokenizer, [])
    with pytest.raises(TypeError, match="tokenizer: is needed where prompts are texts"):
        assert_batch_equals_single(model, None, PROMPTS)
