"""Bugs of training data that nobody published, in real trainers, collators and chat templates; beside each its sound twin.

Found, with the mechanism in the message; and nothing is said of the twin.
"""

from __future__ import annotations

import pytest
import torch
from pipelines import (
    answers_by_place,
    find,
    from_prompt,
    judged,
    pad,
    passes,
    plain,
    rendered,
    row_of,
)
from reports import report

from pytest_decoderonly import (
    assert_labels_mask_prompt,
    canaries,
    tiny_tokenizer,
)

PAD, EOS, IM_END = 0, 2, 4
LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start|>{{ m['role'] }}<|end|>\n\n{{ m['content'] | trim }}<|eot|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
# As Qwen3's: thoughts of earlier turns are dropped.
THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = (
    "{% for m in messages %}<|im_start|>{{ 'user' if m['role'] == 'tool' else m['role'] }}\n"
    "{% if m['role'] == 'tool' %}MARK<tool_response>\n{{ m['content'] }}\n</tool_response>MARK_END"
    "{% elif m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% for call in m['tool_calls'] or [] %}"
    "<tool_call>\n{{ call['function'] | tojson }}\n</tool_call>{% endfor %}<|im_end|>{% endgeneration %}\n"
    "{% else %}{{ m['content'] }}{% endif %}{% if m['role'] != 'assistant' %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def marked(tokenizer, canary, **options):
    encoded = tokenizer.apply_chat_template(
        canary.messages(), return_dict=True, return_assistant_tokens_mask=True, **options
    )
    return {"input_ids": encoded["input_ids"], "assistant_masks": encoded["assistant_masks"]}


def loaded(rows, collator):
    return torch.utils.data.DataLoader(rows, batch_size=2, collate_fn=collator)


def test_a_collator_makes_other_labels_than_the_dataset():
    from transformers import DataCollatorForLanguageModeling, DataCollatorForSeq2Seq

    tokenizer = tiny_tokenizer(padding_side="right")
    given = canaries(tokenizer, 4)
    rows = plain(tokenizer, given)
    overwrites = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    masks = [{"input_ids": r["input_ids"], "labels": r["labels"]} for r in rows]
    judged(
        loaded(rows, lambda batch: overwrites([{"input_ids": row["input_ids"]} for row in batch])),
        given,
        tokenizer,
        "the dataset's rows mask them",
        "DLM306",
    )
    keeps = loaded(masks, DataCollatorForSeq2Seq(tokenizer, padding=True))
    passes(keeps, given, tokenizer)


def test_generation_markers_end_before_the_terminator(trainer):
    tokenizer = tiny_tokenizer(chat_template="chatml-generation")
    given = canaries(tokenizer, 3, turns=2)
    data = [{"messages": canary.messages()} for canary in given]
    passes(trainer(data, tokenizer, assistant_only_loss=True), given, tokenizer)
    end = "<|im_end|>{% endgeneration %}"
    tokenizer.chat_template = tokenizer.chat_template.replace(end, "{% endgeneration %}<|im_end|>")
    judged(
        trainer(data, tokenizer, assistant_only_loss=True),
        given,
        tokenizer,
        "<|im_end|>, which ends the answer of canary 0, is not supervised",
        "DLM303",
    )


def test_a_template_without_generation_markers():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=2)
    judged(
        [marked(tokenizer, canary) for canary in given],
        given,
        tokenizer,
        "the chat template has no {% generation %} markers",
        "DLM311",
    )
    tokenizer = tiny_tokenizer(chat_template="chatml-generation")
    passes([marked(tokenizer, canary) for canary in given], given, tokenizer)


def test_a_rendered_chat_goes_through_the_trainer_as_text(trainer):
    tokenizer = tiny_tokenizer(bos=True)
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    given = canaries(tokenizer, 3)
    pairs = []
    for canary in given:
        prompt = tokenizer.apply_chat_template(
            canary.messages()[:1], tokenize=False, add_generation_prompt=True
        )
        pairs.append({"prompt": prompt, "completion": rendered(tokenizer, canary).removeprefix(prompt)})
    judged(trainer(pairs, tokenizer), given, tokenizer, "two BOS tokens stand side by side", "DLM107")
    passes(trainer([canary.prompt_messages() for canary in given], tokenizer), given, tokenizer, bos=True)


def test_padding_is_the_token_that_ends_turns():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=2)
    rows = [answers_by_place(tokenizer, canary, rendered(tokenizer, canary)) for canary in given]
    batch = pad(rows, "right", IM_END)
    tokenizer.pad_token = "<|im_end|>"  # noqa: S105
    masked = {**batch, "labels": batch["labels"].masked_fill(batch["input_ids"] == IM_END, -100)}
    judged(
        masked,
        given,
        tokenizer,
        "labels are masked where they equal pad_token_id, which is the same token",
        "DLM303",
    )
    passes(batch, given, tokenizer)


@pytest.mark.parametrize("form", ["canaries", "lengths"])
def test_labels_padded_on_the_other_side_than_their_ids(form):
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    rows = plain(tokenizer, given)
    left, right = (pad(rows, side) for side in ("left", "right"))
    crossed = {**left, "labels": right["labels"]}
    wanted = "padding tokens on the left, the labels not"
    if form == "canaries":
        judged(crossed, given, tokenizer, wanted)
        passes(left, given, tokenizer)
        return
    lengths = [row["labels"].count(-100) for row in rows]
    options = {"prompt_lengths": lengths, "tokenizer": tokenizer, "attention_mask": left["attention_mask"]}
    text = report(assert_labels_mask_prompt, crossed["labels"], left["input_ids"], **options)
    assert wanted in text, text
    assert_labels_mask_prompt(left["labels"], left["input_ids"], **options)


@pytest.mark.parametrize("form", ["canaries", "lengths"])
def test_labels_of_another_row(form):
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    rows = plain(tokenizer, given)
    batch = pad(rows, "right")
    order = [1, 2, 0]
    mixed = {**batch, "labels": batch["labels"][order]}
    if form == "canaries":
        judged(mixed, given, tokenizer, "the labels are the tokens of row 1", "DLM304")
        return
    lengths = [row["labels"].count(-100) for row in rows]
    text = report(
        assert_labels_mask_prompt,
        mixed["labels"],
        batch["input_ids"],
        prompt_lengths=lengths,
        attention_mask=batch["attention_mask"],
    )
    assert "the labels are the tokens of row 1" in text, text


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_mask_of_ones_over_the_padding(side):
    """Padding is known by its token: what is said is that it is learned, and nothing where it is not."""
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    batch = pad(plain(tokenizer, given), side)
    ones = {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}
    passes(ones, given, tokenizer)
    padded = batch["attention_mask"] == 0
    labels = ones["labels"].masked_fill(padded, PAD)
    judged({**ones, "labels": labels}, given, tokenizer, "padding token", "supervised", "DLM302")


def test_a_field_is_not_read():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)

    def rows(field):
        made = []
        for canary in given:
            data = canary.alpaca()
            prompt = f"### Instruction:\n{data['instruction']}\n{data.get(field, '')}\n### Response:\n"
            made.append(from_prompt(tokenizer, canary, prompt, prompt + data["output"] + "<eos>"))
        return made

    judged(
        rows("context"),
        given,
        tokenizer,
        "words of the user message",
        "is nowhere; so it is with every canary",
    )
    passes(rows("input"), given, tokenizer)


@pytest.mark.parametrize("dropped", ["system", "tool"])
def test_a_template_leaves_out_a_role(dropped):
    tokenizer = tiny_tokenizer(chat_template="chatml-generation")
    whole = tokenizer.chat_template if dropped == "system" else TOOLS
    given = canaries(tokenizer, 3, turns=2, system=True, tools=dropped == "tool")
    tokenizer.chat_template = whole
    right = [marked(tokenizer, canary) for canary in given]
    passes(right, given, tokenizer)
    tokenizer.chat_template = (
        f"{{% set messages = messages | rejectattr('role', 'equalto', '{dropped}') | list %}}" + whole
    )
    judged(
        [marked(tokenizer, canary) for canary in given],
        given,
        tokenizer,
        f"of canary 0 the {dropped} message",
        "not written by the template",
    )


def test_the_generation_prompt_twice():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)

    def rows(header):
        made = []
        for canary in given:
            messages = canary.messages()
            prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
            answer = tokenizer.apply_chat_template(messages[1:], tokenize=False)
            answer = answer if header else answer.removeprefix("<|im_start|>assistant\n")
            hidden = prompt + "<|im_start|>assistant\n" * header
            made.append(from_prompt(tokenizer, canary, hidden, prompt + answer))
        return made

    judged(rows(header=True), given, tokenizer, "the generation prompt stands twice", "DLM107")
    passes(rows(header=False), given, tokenizer)


def test_eos_behind_a_truncated_answer():
    adds, plainly = tiny_tokenizer(eos=True), tiny_tokenizer()
    given = canaries(plainly, 3)

    def rows(tokenizer, end):
        made = []
        for canary in given:
            prompt = f"{canary.prompt}\n"
            hidden = len(plainly(prompt)["input_ids"])
            ids = tokenizer(prompt + canary.response + end, truncation=True, max_length=hidden + 14)[
                "input_ids"
            ]
            made.append(row_of(ids, [-100] * hidden + ids[hidden:]))
        return made

    judged(
        rows(adds, ""),
        given,
        adds,
        "was cut behind",
        "<eos> was put behind what is left",
        "stop in the middle",
    )
    passes(rows(plainly, "<eos>"), given, plainly)


def test_preference_data(trainer):
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 4, rejected=True)
    for data in ([c.preference() for c in given], [c.preference_messages() for c in given]):
        passes(trainer(data, tokenizer, "dpo"), given, tokenizer)
    # The same column twice.
    same = [{**c.preference(), "rejected": c.preference()["chosen"]} for c in given]
    judged(trainer(same, tokenizer, "dpo"), given, tokenizer, "4 of 4 canaries came out nowhere")
    # Rejected answers that a sort put behind other prompts.
    turned = [
        {**c.preference(), "rejected": given[i - 1].preference()["rejected"]} for i, c in enumerate(given)
    ]
    judged(trainer(turned, tokenizer, "dpo"), given, tokenizer, "stands behind the prompt of canary")
    # A collator of one's own that joins prompt and answer before it makes the mask.
    joined = []
    for canary in given:
        for answer in ("chosen", "rejected"):
            data = canary.preference()
            ids = tokenizer(data["prompt"] + data[answer] + "<eos>")["input_ids"]
            joined.append({"input_ids": ids, "completion_mask": [1] * len(ids)})
    judged(joined, given, tokenizer, "prompt tokens are supervised", "in 8 of 8 rows")


def test_unpaired_preference_data(trainer):
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 4)
    data = [{**canary.prompt_completion(), "label": bool(i % 2)} for i, canary in enumerate(given)]
    passes(trainer(data, tokenizer, "kto"), given, tokenizer)


def test_results_of_tools_are_learned():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=2, tools=True)
    right = TOOLS.replace("MARK_END", "").replace("MARK", "")
    tokenizer.chat_template = right
    passes([marked(tokenizer, canary) for canary in given], given, tokenizer)
    tokenizer.chat_template = TOOLS.replace("MARK_END", "{% endgeneration %}").replace(
        "MARK", "{% generation %}"
    )
    judged(
        [marked(tokenizer, canary) for canary in given],
        given,
        tokenizer,
        "prompt tokens are supervised",
        "in 3 of 3 rows",
    )
    # The calls left out: only what has content is marked.
    tokenizer.chat_template = right.replace("{% generation %}", "").replace(
        "<|im_end|>{% endgeneration %}",
        "{% if not m['tool_calls'] %}{% generation %}<|im_end|>{% endgeneration %}{% endif %}",
    )
    judged([marked(tokenizer, canary) for canary in given], given, tokenizer, "not supervised")


def test_lengths_of_turns_where_thoughts_are_dropped():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = THOUGHTS
    given = canaries(tokenizer, 3, turns=2)
    wrong, right = [], []
    for canary in given:
        messages = canary.messages()
        for message in messages:
            if message["role"] == "assistant":
                message["content"] = "<think>\nof this and that\n</think>\n\n" + message["content"]
        text = tokenizer.apply_chat_template(messages, tokenize=False)
        ids = tokenizer(text)["input_ids"]
        labels = [-100] * len(ids)
        for i, message in enumerate(messages):
            if message["role"] == "assistant":
                start, end = (
                    len(tokenizer.apply_chat_template(part, add_generation_prompt=ask)["input_ids"])
                    for part, ask in ((messages[:i], True), (messages[: i + 1], False))
                )
                labels[start:end] = ids[start:end]
        wrong.append(row_of(ids, labels))
        right.append(answers_by_place(tokenizer, canary, text))
        last = text.rindex("<think>")
        hidden = len(tokenizer(text[:last])["input_ids"])
        right[-1]["labels"][hidden:-1] = ids[hidden:-1]
        right[-1]["messages"] = messages
    judged(wrong, given, tokenizer, "supervised", "in 3 of 3 rows")
    ids, labels = ([row[key] for row in wrong] for key in ("input_ids", "labels"))
    options = {"messages": [row.pop("messages") for row in right], "tokenizer": tokenizer}
    assert "in 3 of 3 rows" in report(assert_labels_mask_prompt, labels, ids, **options)
    assert_labels_mask_prompt([row["labels"] for row in right], ids, **options)


def test_a_prompt_that_ends_in_the_space_of_the_answer():
    tokenizer = tiny_tokenizer(kind="metaspace")
    given = canaries(tokenizer, 3)

    def rows(space):
        return [
            from_prompt(
                tokenizer,
                canary,
                f"Q: {canary.prompt}\nA:{space}",
                f"Q: {canary.prompt}\nA: {canary.response}<eos>",
            )
            for canary in given
        ]

    passes(rows(""), given, tokenizer)
    ids, labels = ([row[key] for row in rows("")] for key in ("input_ids", "labels"))
    for space in ("", " "):  # the token that took the space in may count as either
        prompts = [f"Q: {canary.prompt}\nA:{space}" for canary in given]
        assert_labels_mask_prompt(labels, ids, prompts=prompts, tokenizer=tokenizer)


def test_special_tokens_are_masked_and_turns_end_in_one():
    tokenizer = tiny_tokenizer(bos=True, chat_template=False)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|start|>", "<|end|>", "<|eot|>"]})
    tokenizer.chat_template = LLAMA_3
    given = canaries(tokenizer, 3, turns=2, system=True)
    rows = [
        answers_by_place(tokenizer, canary, rendered(tokenizer, canary), behind="<|eot|>", special=False)
        for canary in given
    ]
    passes(rows, given, tokenizer, bos=True)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    masked = [{**row, "labels": [-100 if t in special else t for t in row["labels"]]} for row in rows]
    judged(
        masked, given, tokenizer, "<|eot|>, which ends the answer of canary 0, is not supervised", "DLM303"
    )
    # Every end of a turn, the user's too.
    eot = tokenizer.convert_tokens_to_ids("<|eot|>")
    ends = [
        {
            **row,
            "labels": [t if t == eot else x for t, x in zip(row["input_ids"], row["labels"], strict=True)],
        }
        for row in rows
    ]
    judged(ends, given, tokenizer, "text of the template is supervised: '<|eot|>'", "in 3 of 3 rows")


def test_only_the_first_answer_is_looked_for():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=3)

    def rows(times):
        made = []
        for canary in given:
            ids = tokenizer(rendered(tokenizer, canary))["input_ids"]
            marker = tokenizer("<|im_start|>assistant\n")["input_ids"]
            labels, position = [-100] * len(ids), 0
            for _ in range(times):
                start = position + find(ids[position:], marker) + len(marker)
                end = ids.index(IM_END, start) + 1
                labels[start:end] = ids[start:end]
                position = end
            made.append(row_of(ids, labels))
        return made

    judged(rows(1), given, tokenizer, "this answer's place was not found in the ids", 'pass turns="last"')
    passes(rows(3), given, tokenizer)


def test_rows_are_cut_on_the_left_after_the_prompt_was_measured():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    wrong, right = [], []
    for canary, row in zip(given, plain(tokenizer, given), strict=True):
        ids, hidden = row["input_ids"], row["labels"].count(-100)
        cut = ids[8:]
        wrong.append(row_of(cut, [-100] * hidden + cut[hidden:]))
        right.append(row_of(cut, row["labels"][8:]))
        assert canary.number == len(wrong) - 1
    judged(wrong, given, tokenizer, "tokens of the answer of canary 0 are not supervised", "reaches too far")
    passes(right, given, tokenizer)


def test_conversations_without_an_answer():
    tokenizer = tiny_tokenizer()
    chats = [
        [{"role": "system", "content": "be brief"}],
        [{"role": "user", "content": "why?"}, {"role": "assistant", "content": "no"}],
        [{"role": "user", "content": "why?"}, {"role": "assistant", "content": ""}],
    ]
    ids = [tokenizer.apply_chat_template(chat)["input_ids"] for chat in chats]
    header = find(ids[1], tokenizer("<|im_start|>assistant\n")["input_ids"])
    width = header + len(tokenizer("<|im_start|>assistant\n")["input_ids"])
    labels = [[-100] * len(row) for row in ids]
    for i in (1, 2):
        labels[i][width:] = ids[i][width:]
    options = {"tokenizer": tokenizer}
    text = report(assert_labels_mask_prompt, labels, ids, messages=chats, **options)
    assert "in 1 of 3 rows" in text
    assert "no position of this row is supervised, and it has no completion token at all" in text
    assert "[DLM311]" in text
    # An answer of nothing but its end is one.
    assert_labels_mask_prompt(labels[1:], ids[1:], messages=chats[1:], **options)


def relabelled(rows, change):
    return [{**row, "labels": change(row["labels"], row["input_ids"])} for row in rows]


def without_borders(labels, ids):
    """Chunks of five positions, each shifted by itself, lose the label of their first."""
    return [-100 if i % 5 == 0 else label for i, label in enumerate(labels)]


def inverted(labels, ids):
    return [token if label == -100 else -100 for label, token in zip(labels, ids, strict=True)]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (without_borders, "equal distances of 5: at borders of chunks"),
        (inverted, "the mask is the wrong way round"),
        (
            lambda labels, _: [0 if i == -100 else i for i in labels],
            "labelled 0, but the loss ignores -100",
        ),
        (lambda _, ids: [-100] * (len(ids) - 1) + ids[-1:], "its end alone is supervised"),
        (lambda labels, _: labels[2:] + [-100] * 2, "labels hold the ids of 2 positions further right"),
    ],
)
def test_what_hides_labels_is_told_by_its_pattern(change, wanted):
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    rows = plain(tokenizer, given)
    judged(relabelled(rows, change), given, tokenizer, wanted, "in 3 of 3 rows")
    passes(rows, given, tokenizer)


def test_completions_that_hold_the_prompt():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    made = [
        [
            from_prompt(tokenizer, c, f"{c.prompt}\n", f"{c.prompt}\n{again}{c.response}<eos>")
            for again, c in pairs
        ]
        for pairs in ([(c.prompt + " ", c) for c in given], [("", c) for c in given])
    ]
    judged(made[0], given, tokenizer, "stands twice before its answer, and is to be learned")
    passes(made[1], given, tokenizer)


def test_innocent_thoughts_in_a_message_of_their_own():
    """Two headers before an answer, and thoughts between."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{% for message in messages %}",
        "{% for message in messages %}{% if message['role'] == 'assistant' %}"
        "<|im_start|>assistant\nI see.<|im_end|>\n{% endif %}",
    )
    given = canaries(tokenizer, 3)
    rows = [answers_by_place(tokenizer, canary, rendered(tokenizer, canary)) for canary in given]
    passes(rows, given, tokenizer)


def test_innocent_a_padding_token_that_ends_the_row():
    """As Qwen's: a turn ends in one token, a document in the one that pads."""
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    rows = [answers_by_place(tokenizer, canary, rendered(tokenizer, canary)) for canary in given]
    ended = [{key: [*values, PAD] for key, values in row.items()} for row in rows]
    for row in ended:
        row["attention_mask"] = [1] * len(row["input_ids"])
    passes(ended, given, tokenizer)
    passes(pad(ended, "right"), given, tokenizer)
    passes(pad(ended, "left"), given, tokenizer)


@pytest.mark.parametrize("strategy", ["bfd_split", "wrapped"])
def test_innocent_examples_that_are_split(trainer, strategy):
    """Words, answers and their ends part wherever the limit falls; a question may stand without its answer."""
    tokenizer = tiny_tokenizer(chat_template="chatml-generation")
    given = canaries(tokenizer, 6, turns=2, seed=1)
    data = [{"messages": canary.messages()} for canary in given]
    options = {"packing": True, "packing_strategy": strategy, "assistant_only_loss": True}
    for limit in (40, 64):
        found = trainer(data, tokenizer, max_length=limit, **options)
        passes(found, given, tokenizer)
        passes(found.train_dataset, given, tokenizer)
