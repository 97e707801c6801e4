"""Labels of conversations and of packed rows: turns, borders, masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_decoderonly import assert_labels_mask_prompt, canaries, tiny_tokenizer

PAD, EOS, IM_START, IM_END = 0, 2, 3, 4
NEWLINE = 203
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}<|im_end|>{% endgeneration %}\n{% else %}{{ m['content'] }}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def fails(*arguments, texts=(), **options):
    with pytest.raises(AssertionError) as caught:
        assert_labels_mask_prompt(*arguments, **options)
    for text in texts:
        assert text in str(caught.value)
    return str(caught.value)


def tokenizer_with(template=None):
    tokenizer = tiny_tokenizer()
    if template:
        tokenizer.chat_template = template
    return tokenizer


def chats(tokenizer, count=3, turns=2, **options):
    """Conversations, their ids, and labels by a way of its own: searching the answers' ids."""
    conversations = [c.messages() for c in canaries(tokenizer, count, turns=turns, **options)]
    rows, labels = [], []
    for messages in conversations:
        ids = tokenizer.apply_chat_template(messages)["input_ids"]
        mine = [-100] * len(ids)
        for message in messages:
            if message["role"] == "assistant":
                answer = tokenizer(message["content"] + "<|im_end|>")["input_ids"]
                start = next(i for i in range(len(ids)) if ids[i : i + len(answer)] == answer)
                mine[start : start + len(answer)] = answer
        rows.append(ids)
        labels.append(mine)
    return conversations, rows, labels


def pad(rows, fill, side):
    width = max(map(len, rows))
    return [
        [fill] * (width - len(r)) + list(r) if side == "left" else list(r) + [fill] * (width - len(r))
        for r in rows
    ]


@pytest.mark.parametrize("template", [None, MARKED, THINKING])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("masked", [True, False])
def test_right_labels_of_conversations_pass(template, side, masked):
    tokenizer = tokenizer_with(template)
    conversations, rows, labels = chats(tokenizer, system=True)
    mask = pad([[1] * len(row) for row in rows], 0, side) if masked else None
    ids, labels = pad(rows, PAD, side), pad(labels, -100, side)
    for kind in (list, np.array, torch.tensor):
        assert_labels_mask_prompt(
            kind(labels),
            kind(ids),
            messages=conversations,
            attention_mask=None if mask is None else kind(mask),
            tokenizer=tokenizer,
        )


@settings(max_examples=40, deadline=None)
@given(data=st.data(), template=st.sampled_from([None, MARKED]))
def test_one_wrong_position_of_a_conversation_is_found(data, template):
    tokenizer = tokenizer_with(template)
    conversations, rows, labels = chats(tokenizer, 2)
    row = data.draw(st.integers(0, 1))
    position = data.draw(st.integers(0, len(rows[row]) - 1))
    if rows[row][position] == NEWLINE and labels[row][position - 1] == IM_END:
        return  # white space behind the terminator may be learned or not
    labels[row][position] = rows[row][position] if labels[row][position] == -100 else -100
    fails(
        labels,
        rows,
        messages=conversations,
        tokenizer=tokenizer,
        texts=[f"row {row} ", f"position {position}: "],
    )


def test_what_goes_wrong_in_conversations():
    tokenizer = tokenizer_with()
    conversations, rows, labels = chats(tokenizer)
    options = {"messages": conversations, "tokenizer": tokenizer}
    fails(rows, rows, **options, texts=["DLM301", "in 3 of 3 rows"])
    # The newline behind the terminator, and a header.
    for shown in (NEWLINE, tokenizer("assistant")["input_ids"][0]):
        wrong = [
            [t if t == shown else label for t, label in zip(r, ls, strict=True)]
            for r, ls in zip(rows, labels, strict=True)
        ]
        fails(wrong, rows, **options, texts=["prompt tokens are in the loss"])
    unended = [[-100 if label == IM_END else label for label in row] for row in labels]
    fails(unended, rows, **options, texts=["completion tokens are not supervised", "'<|im_end|>'"])
    # Only the last answer is trained on.
    headers = [max(i for i, token in enumerate(row) if token == IM_START) for row in rows]
    last = [[-100] * start + row[start:] for start, row in zip(headers, labels, strict=True)]
    fails(last, rows, **options, texts=["completion tokens are not supervised"])
    assert_labels_mask_prompt(last, rows, turns="last", **options)
    fails(labels, rows, turns="last", **options, texts=["prompt tokens are in the loss"])
    with pytest.raises(TypeError, match="turns: goes with messages only"):
        assert_labels_mask_prompt(labels, rows, turns="last", prompt_lengths=3)
    fails(labels, [[9, *row[1:]] for row in rows], **options, texts=["DLM307", "0 of its", "then they part"])


def test_truncated_conversations_and_an_eos_behind():
    tokenizer = tokenizer_with()
    conversations, rows, labels = chats(tokenizer)
    options = {"messages": conversations, "tokenizer": tokenizer}
    assert_labels_mask_prompt([row[:-9] for row in labels], [row[:-9] for row in rows], **options)
    assert_labels_mask_prompt([row[9:] for row in labels], [row[9:] for row in rows], **options)
    for end in (EOS, -100):
        assert_labels_mask_prompt([[*row, end] for row in labels], [[*row, EOS] for row in rows], **options)
    assert_labels_mask_prompt([[-100, *row] for row in labels], [[1, *row] for row in rows], **options)


def test_messages_need_a_template_that_renders_them():
    tokenizer = tokenizer_with()
    conversations, rows, labels = chats(tokenizer, 1)
    with pytest.raises(TypeError, match="tokenizer: one with a chat template"):
        assert_labels_mask_prompt(labels, rows, messages=conversations)
    with pytest.raises(ValueError, match="messages: 1 conversation for 2 rows"):
        assert_labels_mask_prompt(labels * 2, rows * 2, messages=conversations, tokenizer=tokenizer)
    with pytest.raises(TypeError, match="messages: must be a list of conversations"):
        assert_labels_mask_prompt(labels, rows, messages=["hi"], tokenizer=tokenizer)
    tokenizer.chat_template = "{{ raise_exception('no system') }}"
    with pytest.raises(ValueError, match=r"messages: conversation 0: .*no system"):
        assert_labels_mask_prompt(labels, rows, messages=conversations, tokenizer=tokenizer)


def test_assistant_masks_of_transformers():
    tokenizer = tokenizer_with(MARKED)
    conversations, _, labels = chats(tokenizer)
    encoded = tokenizer.apply_chat_template(
        conversations, return_dict=True, return_assistant_tokens_mask=True, padding=True
    )
    options = {"assistant_masks": encoded["assistant_masks"], "attention_mask": encoded["attention_mask"]}
    assert_labels_mask_prompt(pad(labels, -100, "left"), encoded["input_ids"], tokenizer=tokenizer, **options)
    both = {**options, "completion_mask": [[0] * len(row) for row in encoded["input_ids"]]}
    fails(
        pad(labels, -100, "left"),
        encoded["input_ids"],
        tokenizer=tokenizer,
        **both,
        texts=["prompt tokens are in the loss"],
    )


def test_a_mask_that_forgets_every_eos():
    ids = [[10, 11, 12, EOS], [10, 13, 14, EOS]]
    labels = [[-100, 11, 12, -100], [-100, 13, 14, -100]]
    mask = [[0, 1, 1, 0]] * 2
    fails(labels, ids, completion_mask=mask, eos_token_id=EOS, texts=["DLM303", "the mask leaves it out"])
    assert_labels_mask_prompt(labels, ids, completion_mask=mask)
    # One answer with its EOS shows that the other is meant to go on.
    labels[1][3], mask = EOS, [[0, 1, 1, 0], [0, 1, 1, 1]]
    assert_labels_mask_prompt(labels, ids, completion_mask=mask, eos_token_id=EOS)
    # A truncated answer has none.
    assert_labels_mask_prompt([[-100, 11]], [[10, 11]], completion_mask=[[0, 1]], eos_token_id=EOS)


def test_a_mask_made_for_other_padding():
    ids = [[PAD, PAD, PAD, 10, 11, 12, 13, EOS]]
    seen = [[0, 0, 0, 1, 1, 1, 1, 1]]
    made_unpadded = [[0, 0, 1, 1, 1, 0, 0, 0]]
    labels = [[-100, -100, -100, 10, 11, -100, -100, -100]]
    fails(
        labels,
        ids,
        completion_mask=made_unpadded,
        attention_mask=seen,
        texts=["the mask marks 1 padding tokens among its 3", "DLM310"],
    )
    fails(
        [[-100, -100, 0, 10, 11, -100, -100, -100]],
        ids,
        prompt_lengths=2,
        attention_mask=seen,
        texts=["3 positions too early: the 3 padding tokens on the left are not counted"],
    )
    # Ones that run on behind the answer say nothing about it.
    right = [[10, 11, 12, EOS, PAD, PAD]]
    assert_labels_mask_prompt(
        [[-100, 11, 12, EOS, -100, -100]],
        right,
        completion_mask=[[0, 1, 1, 1, 1, 1]],
        attention_mask=[[1, 1, 1, 1, 0, 0]],
    )


@st.composite
def packed(draw):
    """Rows of examples, padded on the right, each with its prompt length."""
    rows = draw(
        st.lists(
            st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4),
            min_size=1,
            max_size=3,
        )
    )
    made = {key: [] for key in ("ids", "labels", "positions", "mask", "lengths")}
    fresh = iter(range(10, 10_000))
    for row in rows:
        ids, labels, positions = [], [], []
        for prompt, completion in row:
            text = [next(fresh) for _ in range(prompt + completion)]
            ids += text
            labels += [-100] * prompt + text[prompt:]
            positions += range(len(text))
        for key, values in (
            ("ids", ids),
            ("labels", labels),
            ("positions", positions),
            ("mask", [1] * len(ids)),
        ):
            made[key].append(values)
        made["lengths"].append([sum(pair) for pair in row])
    for key, fill in (("ids", PAD), ("labels", -100), ("positions", 0), ("mask", 0)):
        made[key] = pad(made[key], fill, "right")
    made["prompts"] = [prompt for row in rows for prompt, _ in row]
    return made


@given(rows=packed())
def test_packed_rows_pass_by_positions_and_by_lengths(rows):
    common = {"prompt_lengths": rows["prompts"], "attention_mask": rows["mask"]}
    labels, ids = rows["labels"], rows["ids"]
    assert_labels_mask_prompt(labels, ids, position_ids=rows["positions"], **common)
    assert_labels_mask_prompt(labels, ids, seq_lengths=rows["lengths"], **common)
    assert_labels_mask_prompt(
        torch.tensor(labels), np.array(ids), position_ids=torch.tensor(rows["positions"]), seq_lengths=rows["lengths"],
        **common,
    )  # fmt: skip
    if len(ids) == 1:
        bounds = np.cumsum([0, *rows["lengths"][0]])
        assert_labels_mask_prompt(labels, ids, cu_seqlens=bounds, **common)


@given(rows=packed(), data=st.data())
def test_one_wrong_position_in_a_packed_row_is_found(rows, data):
    row = data.draw(st.integers(0, len(rows["ids"]) - 1))
    position = data.draw(st.integers(0, len(rows["ids"][row]) - 1))
    right, token = rows["labels"][row][position], rows["ids"][row][position]
    rows["labels"][row][position] = token if right == -100 else -100
    text = fails(
        rows["labels"],
        rows["ids"],
        prompt_lengths=rows["prompts"],
        attention_mask=rows["mask"],
        position_ids=rows["positions"],
    )
    assert f"row {row}" in text
    first = rows["positions"][row][position] == 0 and position and rows["mask"][row][position]
    assert ("the last token of the example before predicts it" in text) == bool(first)


def test_packed_language_modelling():
    """Without prompts all is to be learned, but for the first token of an example behind another."""
    ids, positions = [[10, 11, EOS, 13, 14, EOS]], [[0, 1, 2, 0, 1, 2]]
    labels = [[10, 11, EOS, -100, 14, EOS]]
    assert_labels_mask_prompt(labels, ids, prompt_lengths=0, position_ids=positions)
    fails(ids, ids, prompt_lengths=0, position_ids=positions, texts=["example 1 (from position 3)", "DLM310"])
    # Documents joined by EOS, declared as one text: nothing to say.
    assert_labels_mask_prompt(ids, ids, prompt_lengths=0)


def test_borders_that_contradict_each_other():
    ids = [[10, 11, 12, 13, 14, 15]]
    common = {"prompt_lengths": [1, 1]}
    labels = [[-100, 11, 12, -100, 14, 15]]
    right, late = [[0, 1, 2, 0, 1, 2]], [[0, 1, 2, 3, 0, 1]]
    fails(labels, ids, **common, position_ids=late, seq_lengths=[[3, 3]], texts=["but position_ids go on"])
    fails(labels, ids, **common, position_ids=right, seq_lengths=[[4, 2]], texts=["but position_ids restart"])
    fails(labels, ids, **common, seq_lengths=[[3, 4]], texts=["sum to 7, the row has 6 real tokens"])
    fails(
        labels,
        ids,
        **common,
        position_ids=[[0, 1, 2, 5, 6, 7]],
        texts=["from 2 to 5: neither on by one nor back to 0"],
    )
    with pytest.raises(ValueError, match="prompt_lengths: 3 entries for 2 rows"):
        assert_labels_mask_prompt(labels, ids, prompt_lengths=[1, 1, 1], position_ids=right)
    with pytest.raises(ValueError, match="cu_seqlens: must begin at 0"):
        assert_labels_mask_prompt(labels, ids, **common, cu_seqlens=[3, 6])
    with pytest.raises(TypeError, match="seq_lengths, cu_seqlens: give one of them"):
        assert_labels_mask_prompt(labels, ids, **common, cu_seqlens=[0, 3, 6], seq_lengths=[[3, 3]])


def test_transformers_flattening_collator():
    from transformers import DataCollatorWithFlattening

    rows = [
        {"input_ids": [10, 11, 12, 13], "labels": [-100, -100, 12, 13]},
        {"input_ids": [14, 15, 16], "labels": [-100, 15, 16]},
    ]
    batch = DataCollatorWithFlattening(return_tensors="pt")(rows)
    assert_labels_mask_prompt(
        batch["labels"], batch["input_ids"], prompt_lengths=[2, 1], position_ids=batch["position_ids"]
    )
