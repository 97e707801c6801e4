"""Canaries: right pipelines pass whatever their form, and one wrong step is found and named."""

from __future__ import annotations

import functools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_decoderonly import assert_only_responses_supervised, canaries, tiny_decoder, tiny_tokenizer

IM_END = 4
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}<|im_end|>{% endgeneration %}\n{% else %}{{ m['content'] }}<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def fails(batch, rows, tokenizer, *texts, **options):
    with pytest.raises(AssertionError) as caught:
        assert_only_responses_supervised(batch, rows, tokenizer, **options)
    for text in texts:
        assert text in str(caught.value)
    return str(caught.value)


@functools.cache
def made(count, seed=0):
    """Canaries are plain data: the properties below may share them."""
    return tiny_tokenizer(), canaries(tiny_tokenizer(), count, seed=seed)


def pairs(tokenizer, rows, *, template="{prompt}\n### Response:\n{response}", eos=True):
    """A pipeline that is right: text joined before it is tokenized, the answer found by its characters."""
    found = []
    for canary in rows:
        text = canary.text(template) + tokenizer.eos_token * eos
        encoded = tokenizer(text, return_offsets_mapping=True)
        start = text.index(canary.response)
        labels = [
            token if place[1] > start else -100
            for token, place in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]
        found.append({"input_ids": encoded["input_ids"], "labels": labels})
    return found


def padded(rows, side, pad=0, width=0):
    width = max(width, *(len(row["input_ids"]) for row in rows))
    batch = {"input_ids": [], "labels": [], "attention_mask": []}
    for row in rows:
        gap = width - len(row["input_ids"])
        for key, fill, values in (
            ("input_ids", pad, row["input_ids"]),
            ("labels", -100, row["labels"]),
            ("attention_mask", 0, [1] * len(row["input_ids"])),
        ):
            batch[key].append([fill] * gap + values if side == "left" else values + [fill] * gap)
    return batch


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 4),
    seed=st.integers(0, 9),
    side=st.sampled_from(["left", "right"]),
    kind=st.sampled_from([list, np.array, torch.tensor]),
    order=st.randoms(use_true_random=False),
)
def test_a_right_pipeline_passes_in_any_form(count, seed, side, kind, order):
    tokenizer, rows = made(count, seed)
    data = pairs(tokenizer, rows)
    assert_only_responses_supervised(data, rows, tokenizer)
    order.shuffle(data)
    batch = {key: kind(value) for key, value in padded(data, side).items()}
    audit = assert_only_responses_supervised(batch, rows, tokenizer)
    assert sorted(number for row in audit.rows for number in row.canaries) == list(range(count))
    masks = {
        "input_ids": batch["input_ids"],
        "completion_mask": kind([[int(i != -100) for i in row] for row in padded(data, side)["labels"]]),
    }
    assert_only_responses_supervised([masks], rows, tokenizer)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), side=st.sampled_from(["left", "right"]))
def test_one_wrong_label_is_found(data, side):
    tokenizer, rows = made(2, data.draw(st.integers(0, 5)))
    batch = padded(pairs(tokenizer, rows), side)
    row = data.draw(st.integers(0, 1))
    ids, labels, mask = (batch[key][row] for key in ("input_ids", "labels", "attention_mask"))
    position = data.draw(st.integers(1, len(ids) - 1))
    if labels[position] == -100:
        if mask[position] and not tokenizer.decode([ids[position]]).strip():
            return  # a line break before the answer may be either's
        labels[position] = ids[position]
    else:
        labels[position] = -100
    text = fails(batch, rows, tokenizer, f"row {row} ")
    assert "[DLM3" in text


def test_words_are_their_own_and_come_back():
    for tokenizer in (tiny_tokenizer(), tiny_tokenizer(bos=True, pad=False)):
        found = canaries(tokenizer, rows=12, turns=3, system=True)
        words = [word for canary in found for turn in canary.turns for word in turn.words]
        assert len(set(words)) == len(words) > 150
        assert not any(a != b and a in b for a in words for b in words)
        for canary in found:
            text = tokenizer.decode(tokenizer(canary.response, add_special_tokens=False)["input_ids"])
            assert text == canary.response
    assert canaries(tokenizer, seed=1) != canaries(tokenizer, seed=2) != canaries(tokenizer, seed=1)
    assert canaries(tokenizer, seed=1) == canaries(tokenizer, seed=1)


def test_a_vocabulary_of_whole_words():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [
        f"{a}{b}x" for a in ("ban", "cod", "fig", "gum") for b in ("hat", "jam", "kit", "lap", "mud", "nut")
    ]
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<eos>", ".", "?", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="<eos>")  # noqa: S106
    found = canaries(tokenizer, 2)
    assert {word for canary in found for turn in canary.turns for word in turn.words} <= set(words)
    with pytest.raises(ValueError, match="tokenizer: gives back only 24 of the words"):
        canaries(tokenizer, 20)


def test_forms():
    one, two = canaries(tiny_tokenizer(), 2, seed=3)
    assert one.prompt_completion() == {"prompt": one.prompt, "completion": " " + one.response}
    assert one.messages() == [
        {"role": "user", "content": one.prompt},
        {"role": "assistant", "content": one.response},
    ]
    assert one.prompt_messages() == {"prompt": one.messages()[:1], "completion": one.messages()[1:]}
    assert one.text("Q: {prompt}\nA: {response}") == f"Q: {one.prompt}\nA: {one.response}"
    assert two.alpaca()["output"] == two.response
    assert set(" ".join(two.alpaca().values()).replace("?", "").replace(".", "").split()) == {
        word for turn in two.turns for word in turn.words
    }
    assert [turn["from"] for turn in two.sharegpt()["conversations"]] == ["human", "gpt"]
    (chat,) = canaries(tiny_tokenizer(), 1, turns=2, system=True)
    assert [message["role"] for message in chat.messages()] == ["system", *["user", "assistant"] * 2]
    with pytest.raises(ValueError, match="prompt: canary 0 has several turns; use messages"):
        chat.prompt_completion()


def test_what_is_named():
    tokenizer = tiny_tokenizer()
    rows = canaries(tokenizer, 3)
    right = pairs(tokenizer, rows)

    def changed(change):
        return [change({key: list(value) for key, value in row.items()}) for row in right]

    everything = changed(lambda row: {**row, "labels": row["input_ids"]})
    fails(everything, rows, tokenizer, "prompt tokens are supervised", "DLM301", "write the question")
    shifted = changed(lambda row: {**row, "labels": [*row["labels"][1:], -100]})
    fails(shifted, rows, tokenizer, "DLM305")
    nothing = changed(lambda row: {**row, "labels": [-100] * len(row["labels"])})
    fails(nothing, rows, tokenizer, "DLM311", "though the answer is in it")
    cut = changed(lambda row: {key: value[:12] for key, value in row.items()})
    fails(cut, rows, tokenizer, "DLM311", "truncation ate the answer")
    hash_id = tokenizer("#")["input_ids"][0]
    headed = changed(
        lambda row: {
            **row,
            "labels": [
                token if i >= row["input_ids"].index(hash_id) else -100
                for i, token in enumerate(row["input_ids"])
            ],
        }
    )
    fails(headed, rows, tokenizer, "text of the template is supervised: ", "DLM310")
    other = changed(lambda row: {**row, "labels": row["labels"][::-1]})
    fails(other, rows, tokenizer, "position")
    response_only = [{**row, "labels": [i for i in row["labels"] if i != -100]} for row in right]
    fails(response_only, rows, tokenizer, "DLM304", "positions")
    fails(right[:2], rows, tokenizer, "1 of 3 canaries came out nowhere: 2")
    assert_only_responses_supervised(right[:2], rows, tokenizer, allow_dropped=True)
    endless = pairs(tokenizer, rows, eos=False)
    fails(endless, rows, tokenizer, "DLM309", "no answer is followed by EOS")
    assert_only_responses_supervised(endless, rows, tokenizer, terminator=False)
    fails([{"input_ids": [[8, 9]], "labels": [[8, 9]]}], rows, tokenizer, "none of 3 canaries came out")


def test_a_truncated_answer_needs_no_terminator_and_is_noted():
    tokenizer = tiny_tokenizer()
    rows = canaries(tokenizer, 3)
    cut = [{key: value[:-5] for key, value in row.items()} for row in pairs(tokenizer, rows)]
    audit = assert_only_responses_supervised(cut, rows, tokenizer)
    assert all("it was cut" in row.notes[0] for row in audit.rows)


def test_an_answer_behind_another_question_and_one_told_twice():
    tokenizer = tiny_tokenizer()
    rows = canaries(tokenizer, 2)

    def build(parts):
        ids, labels = [], []
        for text, on in parts:
            new = tokenizer(text)["input_ids"]
            ids, labels = ids + new, labels + (new if on else [-100] * len(new))
        return {"input_ids": ids, "labels": labels}

    first, second = rows
    crossed = [
        build([(first.prompt + "\n", False), (second.response + "<eos>", True)]),
        build([(second.prompt + "\n", False), (first.response + "<eos>", True)]),
    ]
    fails(crossed, rows, tokenizer, "the answer of canary 1 stands behind the prompt of canary 0")
    twice = [
        build([(c.prompt + "\n", False), (c.response + "\n", True), (c.response + "<eos>", True)])
        for c in rows
    ]
    fails(twice, rows, tokenizer, "the answer of canary 0 is 2 times in the row")


def test_chosen_and_rejected_in_one_batch():
    tokenizer = tiny_tokenizer()
    rows = canaries(tokenizer, 3, rejected=True)
    batch = {}
    for name in ("chosen", "rejected"):
        data = []
        for canary in rows:
            pair = canary.preference()
            prompt, whole = (
                tokenizer(text)["input_ids"]
                for text in (pair["prompt"], pair["prompt"] + pair[name] + "<eos>")
            )
            data.append({"input_ids": whole, "labels": [-100] * len(prompt) + whole[len(prompt) :]})
        batch |= {f"{name}_{key}": value for key, value in padded(data, "left").items()}
    assert len(assert_only_responses_supervised(batch, rows, tokenizer).rows) == 6
    wrong = {**batch, "rejected_labels": batch["rejected_input_ids"]}
    fails([wrong], rows, tokenizer, "in 3 of 6 rows", "item 0: rejected, row 0")
    with pytest.raises(ValueError, match="preference: canary 0 has no rejected answer"):
        canaries(tokenizer, 1)[0].preference()
    with pytest.raises(ValueError, match="alpaca: canary 0 calls a tool"):
        canaries(tokenizer, 1, tools=True)[0].alpaca()


def test_random_state_stays():
    tokenizer = tiny_tokenizer()
    rows = canaries(tokenizer, 4)
    data = pairs(tokenizer, rows)
    loader = torch.utils.data.DataLoader(
        data, batch_size=2, shuffle=True, collate_fn=lambda batch: padded(batch, "left")
    )
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    audit = assert_only_responses_supervised(loader, canaries(tokenizer, 4), tokenizer)
    assert len(audit.rows) == 4
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert (np.random.get_state()[1] == states[2]).all()


def trainer(tokenizer, data, tmp_path, **options):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings = {"report_to": "none", "bf16": False, "use_cpu": True, "max_length": 1024, **options}
    return SFTTrainer(
        tiny_decoder(),
        args=SFTConfig(str(tmp_path), per_device_train_batch_size=2, **settings),
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
    )


@pytest.mark.parametrize(
    ("form", "turns", "options"),
    [
        ("prompt_completion", 1, {}),
        ("prompt_completion", 1, {"packing": True, "max_length": 128}),
        ("prompt_messages", 1, {}),
        ("messages", 2, {"assistant_only_loss": True}),
        ("messages", 2, {"assistant_only_loss": True, "packing": True, "max_length": 512}),
        (
            "messages",
            2,
            {
                "assistant_only_loss": True,
                "packing": True,
                "max_length": 200,
                "packing_strategy": "wrapped",
            },
        ),
        ("messages", 2, {"assistant_only_loss": True, "padding_free": True, "max_length": None}),
    ],
)
def test_trl(form, turns, options, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = MARKED
    rows = canaries(tokenizer, 5, turns=turns)
    data = [{form: row.messages()} if form == "messages" else getattr(row, form)() for row in rows]
    found = trainer(tokenizer, data, tmp_path, **options)
    assert_only_responses_supervised(found, rows, tokenizer)
    if "padding_free" not in options:
        assert_only_responses_supervised(found.train_dataset, rows, tokenizer)


def test_trl_that_trains_on_prompts(tmp_path):
    tokenizer = tiny_tokenizer()
    rows = canaries(tokenizer, 3, turns=2)
    found = trainer(tokenizer, [{"messages": row.messages()} for row in rows], tmp_path)
    fails(found, rows, tokenizer, "DLM301", "in 3 of 3 rows")
    pairs_only = trainer(tokenizer, [row.prompt_messages() for row in rows], tmp_path)
    fails(pairs_only, rows, tokenizer, 'turns="last"')
    assert_only_responses_supervised(pairs_only, rows, tokenizer, turns="last")


def test_collators_of_transformers():
    from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq

    tokenizer = tiny_tokenizer()
    rows = canaries(tokenizer, 3)
    data = pairs(tokenizer, rows)
    assert_only_responses_supervised(DataCollatorForSeq2Seq(tokenizer)(data), rows, tokenizer)
    plain = [{"input_ids": row["input_ids"]} for row in data]
    fails(
        DataCollatorForLanguageModeling(tokenizer, mlm=False)(plain),
        rows,
        tokenizer,
        "DLM301",
        "in 3 of 3 rows",
    )


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (([], "rows"), TypeError, "canaries: must be the list"),
        ((3, None), TypeError, "batch: must be a batch"),
        (({"input_ids": [[1]]}, None), TypeError, "nothing says what is supervised"),
        (({"labels": [[1]]}, None), TypeError, "batch: has no input_ids"),
        (([], None), ValueError, "batch: holds no rows"),
        (([3], None), TypeError, "batch: item 0 must be a dict, got int"),
        (
            ({"input_ids": [[1, 2]], "labels": [[1, 2]], "attention_mask": [[1]]}, None),
            ValueError,
            "another shape",
        ),
    ],
)
def test_usage_errors_are_one_line(arguments, error, text):
    tokenizer = tiny_tokenizer()
    batch, rows = arguments
    with pytest.raises(error) as caught:
        assert_only_responses_supervised(batch, rows or canaries(tokenizer), tokenizer)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="rows: must be a whole number from 1 on, got 0"):
        canaries(tokenizer, 0)
    with pytest.raises(TypeError, match="tokenizer: must be callable and have decode"):
        canaries(object())
