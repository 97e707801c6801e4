"""The chat templates of real checkpoints, as TRL ships them: right labels pass, and one that is wrong is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trl
from tokenizers import AddedToken

from pytest_decoderonly import (
    assert_labels_mask_prompt,
    assert_only_responses_supervised,
    canaries,
    tiny_tokenizer,
)

FOLDER = Path(trl.__file__).parent / "chat_templates"
# Contents in parts (text and image), which canaries do not write.
PARTS = ("idefics3", "smolvlm", "llava_next")
NAMES = sorted(p.stem for p in FOLDER.glob("*.jinja") if not p.stem.startswith(PARTS))
SPECIAL = re.compile(
    r"<\|[^|<>\n]+\|>|<\uff5c[^\uff5c]+\uff5c>|<start_of_turn>|<end_of_turn>|<\|turn>|<turn\|>|\[/?[A-Z_]+\]|<\|[a-z_]+>|<[a-z_]+\|>"
)


def tokenizer_with(name):
    tokenizer = tiny_tokenizer()
    template = (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    tokenizer.add_special_tokens({"extra_special_tokens": sorted(set(SPECIAL.findall(template)))})
    tags = [tag for tag in ("<think>", "</think>", "<tool_call>", "</tool_call>") if tag in template]
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in tags])
    tokenizer.chat_template = template
    return tokenizer


def by_characters(tokenizer, canary):
    """The answers and the special token behind each, found by their characters in the rendered text."""
    text = tokenizer.apply_chat_template(canary.messages(), tokenize=False)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    ends = [i for i, token in tokenizer.added_tokens_decoder.items() if token.special]
    labels = [-100] * len(ids)
    for turn in canary.turns:
        if turn.role == "assistant":
            start = text.index(turn.text)
            mine = [i for i, (a, b) in enumerate(offsets) if a < start + len(turn.text) and b > start]
            behind = next((i for i in range(mine[-1] + 1, len(ids)) if tokenizer.decode([ids[i]]).strip()), 0)
            for i in [*mine, *([behind] if ids[behind] in ends else [])]:
                labels[i] = ids[i]
    return {"input_ids": ids, "labels": labels}


@pytest.mark.parametrize("name", NAMES)
def test_templates_of_real_checkpoints(name):
    tokenizer = tokenizer_with(name)
    given = canaries(tokenizer, 2, turns=2, system=not name.startswith("gemma"))
    # GLM ends a turn with the header of the next, and the last with nothing.
    options = {"terminator": not name.startswith("glm")}
    rows = [by_characters(tokenizer, canary) for canary in given]
    assert_only_responses_supervised(rows, given, tokenizer, **options)
    messages = {"messages": [canary.messages() for canary in given], "tokenizer": tokenizer}
    marked = tokenizer.apply_chat_template(
        messages["messages"], return_dict=True, return_assistant_tokens_mask=True
    )
    if any(map(any, marked["assistant_masks"])):
        rows = [
            {"input_ids": ids, "assistant_masks": mask}
            for ids, mask in zip(marked["input_ids"], marked["assistant_masks"], strict=True)
        ]
        assert_only_responses_supervised(rows, given, tokenizer, **options)
        labels = [
            [token if flag else -100 for token, flag in zip(*row.values(), strict=True)] for row in rows
        ]
        assert_labels_mask_prompt(labels, marked["input_ids"], **messages)
    else:
        labels = [row["labels"] for row in rows]
        assert_labels_mask_prompt(labels, [row["input_ids"] for row in rows], **messages)
    # The first token of an answer is lost.
    labels = [list(row) for row in labels]
    text = tokenizer.apply_chat_template(given[1].messages(), tokenize=False)
    place = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert place["input_ids"] == marked["input_ids"][1]
    first = next(
        i for i, (_, end) in enumerate(place["offset_mapping"]) if end > text.index(given[1].response)
    )
    labels[1][first] = -100
    wrong = [{"input_ids": ids, "labels": row} for ids, row in zip(marked["input_ids"], labels, strict=True)]
    for check in (
        lambda: assert_only_responses_supervised(wrong, given, tokenizer, **options),
        lambda: assert_labels_mask_prompt(labels, marked["input_ids"], **messages),
    ):
        with pytest.raises(AssertionError, match="in 1 of 2 rows"):
            check()


# Templates that write no call of a tool.
WITHOUT_CALLS = ("deepseek_r1", "lfm2_training", "llama3_training", "phi3", "qwen2_5_vl")


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if name.endswith("_training") and not name.startswith(("cohere", "gemma_", "gemma3_"))
    ],
)
def test_calls_of_tools_in_templates_of_real_checkpoints(name):
    tokenizer = tokenizer_with(name)
    given = canaries(tokenizer, 2, turns=2, tools=True)
    rows = []
    for canary in given:
        made = tokenizer.apply_chat_template(
            canary.messages(), return_dict=True, return_assistant_tokens_mask=True
        )
        rows.append({"input_ids": made["input_ids"], "assistant_masks": made["assistant_masks"]})
    options = {"terminator": not name.startswith("glm")}
    if name.startswith(WITHOUT_CALLS):
        with pytest.raises(
            AssertionError, match=r"the call of a tool .* is nowhere; so it is with every canary"
        ):
            assert_only_responses_supervised(rows, given, tokenizer, **options)
        return
    assert_only_responses_supervised(rows, given, tokenizer, **options)
    # The results of tools too.
    wrong = [{**row, "assistant_masks": [1] * len(row["input_ids"])} for row in rows]
    with pytest.raises(AssertionError, match="prompt tokens are supervised"):
        assert_only_responses_supervised(wrong, given, tokenizer, **options)


@pytest.mark.parametrize("name", ["qwen3", "nemotron_3_nano", "gptoss", "llama3_1", "qwen3_5_think"])
def test_turns_that_call_tools_are_found_without_markers(name):
    tokenizer = tokenizer_with(name)
    given = canaries(tokenizer, 2, tools=True)
    messages = [canary.messages() for canary in given]
    rows, labels = [], []
    for canary in given:
        text = tokenizer.apply_chat_template(canary.messages(), tokenize=False)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        row = by_characters(tokenizer, canary)
        start = text.index(canary.turns[1].text)
        # What of the call stands around its argument; the rest is as in any other turn.
        ends = {"gptoss": "<|call|>", "llama3_1": "<|eot_id|>"}
        begins = {"gptoss": " to=functions", "llama3_1": '{"name"'}
        first = text.rindex(begins.get(name, "<tool_call>"), 0, start)
        last = text.index(ends.get(name, "<|im_end|>"), start) + len(ends.get(name, "<|im_end|>"))
        for i, (a, b) in enumerate(encoded["offset_mapping"]):
            if first <= a and b <= last:
                row["labels"][i] = row["input_ids"][i]
        rows.append(row["input_ids"])
        labels.append(row["labels"])
    options = {"messages": messages, "tokenizer": tokenizer}
    assert_labels_mask_prompt(labels, rows, **options)
    with pytest.raises(AssertionError, match="in the loss"):
        assert_labels_mask_prompt(rows, rows, **options)
