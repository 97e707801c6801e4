"""Padding that shares its id with EOS or BOS, masks that hide or show the wrong thing, unusable padding tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_decoderonly import assert_left_padded, assert_right_padded, tiny_decoder, tiny_tokenizer

PROMPTS = ["Question: is the sky blue? Answer: ", "Hi there"]
CHAT = "<|im_start|>user\nHi<eos>\n<|im_start|>assistant\nHello<eos>"


@pytest.fixture(scope="module")
def eos_padded():
    """Padding is EOS, as for most models of the field."""
    tokenizer = tiny_tokenizer(pad=False)
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@pytest.mark.parametrize(
    "texts", [["Hi<eos>", "Hi there, you<eos>"], [CHAT, "Hi"], ["Hi", "Hi there, you<eos>"]]
)
def test_a_real_eos_is_no_padding(eos_padded, texts):
    batch = eos_padded(texts, padding=True, return_tensors="pt")
    assert_left_padded(batch, tokenizer=eos_padded)
    assert_left_padded(batch["input_ids"], tokenizer=eos_padded)  # without the mask as well


def test_a_mask_by_comparison_hides_a_real_eos(eos_padded):
    batch = eos_padded(["Hi<eos>", "Hi there, you<eos>"], padding=True, return_tensors="pt")
    compared = batch["input_ids"] != eos_padded.pad_token_id
    with pytest.raises(
        AssertionError, match="the EOS at the end of the text is masked: the mask is `input_ids !="
    ) as caught:
        assert_left_padded(batch["input_ids"], compared, tokenizer=eos_padded)
    assert "2 of 2 rows" in str(caught.value)
    assert "DLM104" in str(caught.value)
    inside = eos_padded([CHAT, "Hi"], padding=True, return_tensors="pt")["input_ids"]
    with pytest.raises(AssertionError, match="a masked position lies between real tokens"):
        assert_left_padded(inside, inside != eos_padded.pad_token_id, tokenizer=eos_padded)


def test_a_mask_by_comparison_hides_bos():
    tokenizer = tiny_tokenizer(bos=True)
    tokenizer.pad_token = tokenizer.bos_token
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    assert_left_padded(batch, tokenizer=tokenizer)
    with pytest.raises(AssertionError, match="the BOS that starts the text is masked"):
        assert_left_padded(
            batch["input_ids"], batch["input_ids"] != tokenizer.pad_token_id, tokenizer=tokenizer
        )
    # Ids that hold no BOS and padding up to a round number: nothing is hidden.
    bare = tokenizer(
        PROMPTS, padding=True, pad_to_multiple_of=16, add_special_tokens=False, return_tensors="pt"
    )
    assert_left_padded(bare, tokenizer=tokenizer)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    ends=st.lists(st.booleans(), min_size=5, max_size=5),
    extra=st.integers(0, 3),
)
def test_the_tokenizers_own_mask_is_never_reported(eos_padded, lengths, ends, extra):
    """Rows of any length, with or without an EOS at their end, padded with EOS to any width."""
    rows = [[9] * n + [eos_padded.eos_token_id] * end for n, end in zip(lengths, ends, strict=False)]
    width = max(map(len, rows)) + extra
    batch = eos_padded.pad({"input_ids": rows}, padding="max_length", max_length=width)
    assert_left_padded(batch, tokenizer=eos_padded)
    flipped = [row[::-1] for row in batch["attention_mask"]]
    right = [row + [eos_padded.eos_token_id] * (width - len(row)) for row in rows]
    assert_right_padded(right, flipped, tokenizer=eos_padded)


@pytest.mark.parametrize("row", [[9, 9, 0, 0], [0, 0, 9, 9], [9, 0, 0, 9]])
def test_padding_that_the_mask_leaves_visible(row):
    with pytest.raises(
        AssertionError, match=r"2 padding tokens \(id 0\) that the mask leaves visible.*"
    ) as caught:
        assert_left_padded([row, [9] * 4], [[1] * 4] * 2, tokenizer=tiny_tokenizer())
    assert f"position {row.index(0)}: " in str(caught.value)


def test_a_token_of_the_text_that_is_also_padding_is_left_alone():
    tokenizer = tiny_tokenizer(pad=False)
    tokenizer.pad_token = "<|im_end|>"  # noqa: S105
    assert_left_padded(
        tokenizer([CHAT.replace("<eos>", "<|im_end|>"), "Hi"], padding=True), tokenizer=tokenizer
    )


def test_texts_that_all_begin_with_eos(eos_padded):
    # OPT and others: EOS starts a text; one that only some rows begin with is padding.
    assert_left_padded([[2, 9, 9], [2, 9, 8]], [[1] * 3] * 2, tokenizer=eos_padded)
    with pytest.raises(AssertionError, match=r"1 padding token .* that the mask leaves visible"):
        assert_left_padded([[2, 9, 9], [9, 9, 8]], [[1] * 3] * 2, tokenizer=eos_padded)


def test_padding_inside_a_text():
    tokenizer = tiny_tokenizer()
    joined = [[9, 0, 0, 8, 7], [9, 9, 9, 8, 7]]  # padded prompts, then answers behind them
    with pytest.raises(AssertionError, match=r"2 padding tokens \(id 0\) stand between real tokens"):
        assert_left_padded(joined, tokenizer=tokenizer)


def test_a_batch_without_its_mask(eos_padded):
    ids = eos_padded(PROMPTS, padding=True, return_tensors="pt")["input_ids"]
    with pytest.raises(AssertionError, match=r"no attention_mask: padding and EOS share an id"):
        assert_left_padded({"input_ids": ids}, tokenizer=eos_padded)
    model, tokenizer = tiny_decoder("llama"), tiny_tokenizer()
    batch = {"input_ids": tokenizer(PROMPTS, padding=True, return_tensors="pt")["input_ids"]}
    # generate itself makes the mask from a padding id that is no EOS and that it knows.
    assert_left_padded(batch, tokenizer=tokenizer, model=model)
    model.generation_config.pad_token_id = None
    with pytest.raises(AssertionError, match=r"generation_config.pad_token_id is None, the padding id is 0"):
        assert_left_padded(batch, tokenizer=tokenizer, model=model)


def test_padding_tokens_that_cannot_be_used():
    with pytest.raises(AssertionError, match=r"no padding token.*DLM103"):
        assert_left_padded([[9, 8], [7, 9]], tokenizer=tiny_tokenizer(pad=False))
    with pytest.raises(AssertionError, match="the padding id -100 is negative"):
        assert_left_padded([[-100, 9], [9, 9]], [[0, 1], [1, 1]])
    tokenizer, model = tiny_tokenizer(pad=False), tiny_decoder("llama", vocab_size=320)
    with pytest.raises(AssertionError, match="id 4096 is outside of the vocabulary of 320"):
        assert_left_padded([[4096, 9], [9, 9]], [[0, 1], [1, 1]], tokenizer=tokenizer)
    tokenizer.add_tokens([f"<new{i}>" for i in range(model.config.vocab_size - len(tokenizer))])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    with pytest.raises(
        AssertionError, match=r"the padding id 320 has no embedding: the model has 320"
    ) as caught:
        assert_left_padded(batch, tokenizer=tokenizer, model=model)
    assert "resize_token_embeddings" in str(caught.value)
    model.resize_token_embeddings(len(tokenizer))
    assert_left_padded(batch, tokenizer=tokenizer, model=model)
    with pytest.raises(TypeError, match="model: must be a transformers model, got str"):
        assert_left_padded(batch, tokenizer=tokenizer, model="llama")
    with pytest.raises(ValueError, match="attention_mask: row 0 has 3 positions"):
        assert_left_padded(torch.tensor([[9, 9]]), torch.tensor([[1, 1, 1]]))
