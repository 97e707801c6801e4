"""Labels: whatever the rows look like, right ones pass and one wrong position is found and named."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_decoderonly import assert_labels_mask_prompt, strategies, tiny_tokenizer

PAD, EOS = 0, 2


@dataclasses.dataclass
class Batch:
    ids: list[list[int]]
    labels: list[list[int]]
    mask: list[list[int]]
    prompts: list[int]

    @property
    def completion(self) -> list[list[int]]:
        return [[int(label != -100) for label in row] for row in self.labels]


@st.composite
def batches(draw):
    """Right labels for ragged rows of prompt and completion, padded on either side."""
    lengths = draw(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=4))
    left = draw(st.booleans())
    width = max(sum(pair) for pair in lengths) + draw(st.integers(0, 2))
    batch = Batch([], [], [], [])
    for prompt, completion in lengths:
        text = draw(
            st.lists(
                st.integers(5, 300), min_size=prompt + completion, max_size=prompt + completion, unique=True
            )
        )
        text[-1] = EOS
        pads = width - len(text)
        labels, mask = [-100] * prompt + text[prompt:], [1] * len(text)
        for rows, row, fill in ((batch.ids, text, PAD), (batch.labels, labels, -100), (batch.mask, mask, 0)):
            rows.append([fill] * pads + row if left else row + [fill] * pads)
        batch.prompts.append(prompt)
    return batch


def _array(rows, kind):
    return {"list": lambda: rows, "numpy": lambda: np.array(rows), "torch": lambda: torch.tensor(rows)}[
        kind
    ]()


@given(batch=batches(), kind=st.sampled_from(["list", "numpy", "torch"]))
def test_right_labels_pass(batch, kind):
    arrays = [_array(rows, kind) for rows in (batch.labels, batch.ids, batch.mask, batch.completion)]
    labels, ids, mask, completion = arrays
    assert_labels_mask_prompt(labels, ids, prompt_lengths=_array(batch.prompts, kind), attention_mask=mask)
    assert_labels_mask_prompt(labels, ids, prompt_lengths=batch.prompts, pad_token_id=PAD, eos_token_id=EOS)
    assert_labels_mask_prompt(labels, ids, completion_mask=completion, attention_mask=mask)


@given(batch=batches(), data=st.data())
def test_one_wrong_position_is_found(batch, data):
    row = data.draw(st.integers(0, len(batch.ids) - 1))
    position = data.draw(st.integers(0, len(batch.ids[row]) - 1))
    right, token = batch.labels[row][position], batch.ids[row][position]
    wrong = [row.copy() for row in batch.labels]
    wrong[row][position] = token if right == -100 else -100
    with pytest.raises(AssertionError) as caught:
        assert_labels_mask_prompt(wrong, batch.ids, prompt_lengths=batch.prompts, attention_mask=batch.mask)
    text = str(caught.value)
    assert f"row {row} " in text
    assert f"position {position}: " in text
    if right == -100 and not batch.mask[row][position]:
        codes = {"DLM302"}
    elif right == -100 and batch.prompts[row] == 1:
        # Behind padding it may also look like a prompt that was counted from column 0.
        codes = {"DLM301"} if batch.mask[row][0] else {"DLM301", "DLM310"}
    elif right != -100 and not any(label != -100 for label in wrong[row]):
        codes = {"DLM311"}
    else:
        codes = {"DLM310"}
    assert any(f"[{code}]" in text for code in codes)


@given(batch=batches())
def test_copied_ids_are_found_in_every_row(batch):
    with pytest.raises(AssertionError, match=r"DLM301") as caught:
        assert_labels_mask_prompt(
            batch.ids, batch.ids, prompt_lengths=batch.prompts, attention_mask=batch.mask
        )
    assert all(f"row {i} " in str(caught.value) for i in range(len(batch.ids)))


@given(batch=batches().filter(lambda b: all(sum(m) - p >= 4 for m, p in zip(b.mask, b.prompts, strict=True))))
def test_labels_shifted_by_hand_are_named(batch):
    shifted = [[*row[1:], -100] for row in batch.labels]
    with pytest.raises(AssertionError, match=r"DLM305"):
        assert_labels_mask_prompt(shifted, batch.ids, prompt_lengths=batch.prompts, attention_mask=batch.mask)


def test_masked_eos_is_named():
    ids = [[10, 11, 12, EOS, EOS, EOS]]
    labels = [[-100, -100, 12, -100, -100, -100]]
    mask = [[1, 1, 1, 1, 0, 0]]
    with pytest.raises(AssertionError, match=r"DLM303") as caught:
        assert_labels_mask_prompt(
            labels, ids, prompt_lengths=2, attention_mask=mask, pad_token_id=EOS, eos_token_id=EOS
        )
    assert "position 3: the EOS that ends the completion is not supervised" in str(caught.value)
    # Without a mask the answer's own EOS cannot be told from padding; supervised, it counts as the answer's.
    assert_labels_mask_prompt(labels, ids, prompt_lengths=2, pad_token_id=EOS, eos_token_id=EOS)
    labels[0][3] = EOS
    assert_labels_mask_prompt(labels, ids, prompt_lengths=2, pad_token_id=EOS, eos_token_id=EOS)
    assert_labels_mask_prompt(
        labels, ids, prompt_lengths=2, attention_mask=mask, pad_token_id=EOS, eos_token_id=EOS
    )


def test_length_counted_from_column_zero_in_a_left_padded_row():
    ids = [[PAD, PAD, 10, 11, 12, 13, 14, EOS]]
    labels = [[-100, -100, -100, 11, 12, 13, 14, EOS]]
    with pytest.raises(AssertionError, match="counted from column 0"):
        assert_labels_mask_prompt(labels, ids, prompt_lengths=3, pad_token_id=PAD)


@pytest.mark.parametrize("value", [0, -1])
def test_wrong_ignore_value(value):
    ids, labels = [[10, 11, 12, 13]], [[value, value, 12, 13]]
    with pytest.raises(AssertionError, match=r"DLM308"):
        assert_labels_mask_prompt(labels, ids, prompt_lengths=2)
    assert_labels_mask_prompt(labels, ids, prompt_lengths=2, ignore_index=value)


def test_labels_of_the_response_alone():
    with pytest.raises(AssertionError, match=r"DLM304"):
        assert_labels_mask_prompt([[12, 13]], [[10, 11, 12, 13]], prompt_lengths=2)


@pytest.mark.parametrize(
    ("prompt", "completion", "spanning"),
    [
        ("Question: is the sky blue? Answer:", " yes", False),
        ("Question: is the sky blue? Answer: ", "yes", True),  # the space merges into ' yes'
        ("An", "swer", False),
        ("naïve 東京 🙂\n", "ok", False),
        ("x", " y", False),
    ],
)
@pytest.mark.parametrize("bos", [False, True])
def test_prompts_as_text(prompt, completion, spanning, bos):
    tokenizer = tiny_tokenizer(bos=bos)
    ids = [*tokenizer(prompt + completion)["input_ids"], EOS]
    text = tokenizer.decode(ids)
    length = next(n for n in range(len(ids) + 1) if len(tokenizer.decode(ids[:n])) - 5 * bos >= len(prompt))
    for masked in {length, length - spanning}:
        labels = [-100] * masked + ids[masked:]
        assert_labels_mask_prompt([labels], [ids], prompts=[prompt], tokenizer=tokenizer)
    labels = [-100] * (length - 1 - spanning) + ids[length - 1 - spanning :]
    with pytest.raises(AssertionError, match=r"DLM310|DLM301") as caught:
        assert_labels_mask_prompt([labels], [ids], prompts=[prompt], tokenizer=tokenizer)
    assert ("spans" in str(caught.value) or "takes" in str(caught.value)) is spanning, text


def test_a_prompt_that_is_not_there():
    tokenizer = tiny_tokenizer()
    ids = tokenizer("some answer alone")["input_ids"]
    with pytest.raises(AssertionError, match=r"do not start with the prompt.*\[DLM307\]"):
        assert_labels_mask_prompt([ids], [ids], prompts=["Another question"], tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({}, TypeError, "completion_mask, assistant_masks: give exactly one of them, got none"),
        ({"prompt_lengths": 1, "prompts": ["a"]}, TypeError, "got prompt_lengths and prompts"),
        ({"prompts": ["a"]}, TypeError, "tokenizer: is needed"),
        ({"prompt_lengths": [1, 2, 3]}, ValueError, "prompt_lengths: 3 entries for 2 rows"),
        ({"prompt_lengths": [1, -2]}, ValueError, "prompt_lengths: must not be negative, got -2"),
        ({"prompt_lengths": [1, 1.5]}, TypeError, "prompt_lengths: entry 1: must be an integer, got 1.5"),
        ({"completion_mask": [[1, 1]]}, ValueError, "completion_mask: 1 row, but input_ids has 2"),
        (
            {"prompt_lengths": 1, "attention_mask": [[1], [1]]},
            ValueError,
            "attention_mask: row 0 has 1 positions, but input_ids has 2",
        ),
    ],
)
def test_usage_errors_are_one_line_naming_the_argument(kwargs, error, text):
    with pytest.raises(error) as caught:
        assert_labels_mask_prompt([[5, 6], [7, 8]], [[5, 6], [7, 8]], **kwargs)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


tokenizer_of = functools.cache(tiny_tokenizer)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["byte-level", "metaspace"]), bos=st.booleans())
def test_prompts_of_any_text(data, kind, bos):
    """Where a prompt ends is told by characters; the token over the border may be learned or not, no other."""
    tokenizer = tokenizer_of(kind=kind, bos=bos)
    prompt, completion = data.draw(strategies.prompt_completion_pairs(tokenizer, merging=None))
    assume(prompt.strip())
    encoded = tokenizer(prompt + completion + "<eos>", return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    first = next(i for i, (_, end) in enumerate(offsets) if end > len(prompt))
    over = offsets[first][0] < len(prompt)

    def found(*, begins):
        labels = [[-100] * begins + ids[begins:]]
        try:
            assert_labels_mask_prompt(labels, [ids], prompts=[prompt], tokenizer=tokenizer)
        except AssertionError:
            return True
        return False

    assert not found(begins=first)
    assert not found(begins=first + over)
    if first + over + 1 < len(ids):
        assert found(begins=first + over + 1)
    if first - 1 >= bos:
        assert found(begins=first - 1)
