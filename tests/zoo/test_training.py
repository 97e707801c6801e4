"""Published bugs of training data: labels, turns, markers, EOS. Each is built anew, found, and its mechanism named.

Canaries go through a small pipeline, and what comes out is judged. Beside each stands the pipeline put right.
Bugs of the loss itself are in test_training_losses.py.
"""

from __future__ import annotations

import pytest
import torch
from pipelines import answers_by_place, find, from_prompt, judged, pad, passes, plain, rendered, row_of
from reports import report
from tokenizers import AddedToken

from pytest_decoderonly import (
    assert_labels_mask_prompt,
    assert_loss_ignores_prompt,
    assert_only_responses_supervised,
    canaries,
    tiny_decoder,
    tiny_tokenizer,
)

BOS, EOS, IM_END = 1, 2, 4
CHATML = tiny_tokenizer().chat_template


def test_z097_the_collator_masks_eos_with_the_padding():
    from transformers import DataCollatorForLanguageModeling

    tokenizer = tiny_tokenizer(padding_side="right")
    texts = [text + "<eos>" for text in ("the sky is blue", "no, the question is that")]
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in texts]
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    batch = collator(rows)
    options = {"prompt_lengths": 0, "tokenizer": tokenizer}
    assert_labels_mask_prompt(
        batch["labels"], batch["input_ids"], attention_mask=batch["attention_mask"], **options
    )
    tokenizer.pad_token = tokenizer.eos_token
    batch = collator(rows)
    text = report(
        assert_labels_mask_prompt,
        batch["labels"],
        batch["input_ids"],
        attention_mask=batch["attention_mask"],
        **options,
    )
    assert "in 2 of 2 rows" in text
    assert "labels are masked where they equal pad_token_id, which is the EOS token too" in text
    assert "[DLM303]" in text


def test_z099_the_response_marker_is_tokenized_otherwise_in_context():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)

    def rows(marker):
        made = []
        for canary in given:
            ids = tokenizer(f"{canary.prompt}\nThe answer is: {canary.response}<eos>")["input_ids"]
            found = find(ids, tokenizer(marker)["input_ids"])
            start = len(ids) if found < 0 else found + len(tokenizer(marker)["input_ids"])
            made.append(row_of(ids, [-100] * start + ids[start:]))
        return made

    judged(
        rows("answer is:"), given, tokenizer, "DLM311", "the response marker was not found", "in 3 of 3 rows"
    )
    passes(rows(" answer is:"), given, tokenizer)


def with_bos_template():
    tokenizer = tiny_tokenizer(bos=True)
    tokenizer.chat_template = "{{ bos_token }}" + CHATML
    return tokenizer


def test_z105_bos_twice():
    tokenizer = with_bos_template()
    given = canaries(tokenizer, 3)

    def rows(*, special):
        return [
            answers_by_place(tokenizer, canary, rendered(tokenizer, canary), special=special)
            for canary in given
        ]

    judged(rows(special=True), given, tokenizer, "two BOS tokens stand side by side", "DLM107")
    passes(rows(special=False), given, tokenizer, bos=True)


def test_z107_bos_missing():
    tokenizer = with_bos_template()
    given = canaries(tokenizer, 3)

    def rows(text):
        return [answers_by_place(tokenizer, canary, text(canary), special=False) for canary in given]

    stripped = rows(lambda canary: rendered(tokenizer, canary).removeprefix("<bos>"))
    judged(stripped, given, tokenizer, "the row does not begin with <bos>", "DLM107", bos=True)
    passes(rows(lambda canary: rendered(tokenizer, canary)), given, tokenizer, bos=True)
    # Checkpoints whose templates have none are not reported unasked.
    passes(stripped, given, tokenizer)


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_z109_the_generation_prompt_is_no_prefix_of_the_turn():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = THINKING
    given = canaries(tokenizer, 3)
    masked, dropped, right = [], [], []
    for canary in given:
        whole = rendered(tokenizer, canary)
        prompt = tokenizer.apply_chat_template(
            canary.messages()[:-1], tokenize=False, add_generation_prompt=True
        )
        masked.append(from_prompt(tokenizer, canary, prompt, whole))
        if whole.startswith(prompt):
            dropped.append(masked[-1])
        right.append(from_prompt(tokenizer, canary, prompt.removesuffix("<think>\n"), whole))
    judged(
        masked,
        given,
        tokenizer,
        "tokens of the answer of canary 0 are not supervised",
        "the generation prompt (<|im_start|>assistant<think>) is longer than what stands before the answer",
        "DLM307",
    )
    messages = [canary.messages() for canary in given]
    ids, labels = ([row[key] for row in masked] for key in ("input_ids", "labels"))
    text = report(assert_labels_mask_prompt, labels, ids, messages=messages, tokenizer=tokenizer)
    assert "completion tokens are not supervised" in text
    with pytest.raises(ValueError, match="batch: holds no rows"):
        assert_only_responses_supervised(dropped, given, tokenizer)
    judged(right[:1], given, tokenizer, "2 of 3 canaries came out nowhere: 1, 2")
    passes(right, given, tokenizer)


def test_z113_truncation_removes_every_completion_token():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 4)
    rows = plain(tokenizer, given)
    cut = [{key: values[:40] for key, values in row.items()} for row in rows]
    judged(
        cut,
        given,
        tokenizer,
        "DLM311",
        "it holds a prompt and no word of the answer",
        "truncation ate the answer",
    )
    kept = [row for row in cut if any(label != -100 for label in row["labels"])]
    passes(kept, given, tokenizer, allow_dropped=True)
    batch = {key: torch.tensor([row[key][:20] for row in rows[:2]]) for key in ("input_ids", "labels")}
    batch["labels"][:] = -100
    assert "[DLM311]" in report(assert_loss_ignores_prompt, tiny_decoder(), batch, prompt_lengths=5)
    assert_loss_ignores_prompt(tiny_decoder(), {**batch, "labels": batch["input_ids"]}, prompt_lengths=0)


def test_z115_right_truncation_cuts_the_supervised_tail():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    system = "You are a careful reader. " * 6

    def rows(limit, *, keep_end):
        made = []
        for canary in given:
            prompt = f"{system}\n{canary.prompt}\n"
            row = from_prompt(tokenizer, canary, prompt, prompt + canary.response + "<eos>")
            made.append({k: v[-limit:] if keep_end else v[:limit] for k, v in row.items()})
        return made

    judged(
        rows(150, keep_end=False), given, tokenizer, "DLM311", "truncation ate the answer", allow_dropped=True
    )
    passes(rows(150, keep_end=True), given, tokenizer)


def test_z125_a_truncated_turn_gets_no_mask():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=2)

    def rows(*, to_the_end):
        made = []
        for canary in given:
            text = rendered(tokenizer, canary)
            limit = len(tokenizer(text)["input_ids"]) - 8  # inside the last answer
            encoded = tokenizer(text, truncation=True, max_length=limit)
            ids = encoded["input_ids"]
            labels = [-100] * len(ids)
            for turn in canary.turns:
                if turn.role != "assistant":
                    continue
                start = text.index(turn.text)
                first = encoded.char_to_token(start)
                last = encoded.char_to_token(start + len(turn.text + "<|im_end|>") - 1)
                if first is None or (last is None and not to_the_end):
                    continue
                end = len(ids) if last is None else last + 1
                labels[first:end] = ids[first:end]
            made.append(row_of(ids, labels))
        return made

    judged(
        rows(to_the_end=False),
        given,
        tokenizer,
        "DLM310",
        "tokens of the answer of canary",
        "are not supervised",
    )
    passes(rows(to_the_end=True), given, tokenizer)
    messages = [canary.messages() for canary in given]
    for found, fails in ((rows(to_the_end=False), True), (rows(to_the_end=True), False)):
        ids, labels = ([row[key] for row in found] for key in ("input_ids", "labels"))
        options = {"messages": messages, "tokenizer": tokenizer}
        if fails:
            assert "not supervised" in report(assert_labels_mask_prompt, labels, ids, **options)
        else:
            assert_labels_mask_prompt(labels, ids, **options)


def test_z127_the_whole_message_is_supervised():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=2)

    def rows(before, behind):
        return [
            answers_by_place(tokenizer, c, rendered(tokenizer, c), before=before, behind=behind)
            for c in given
        ]

    whole = rows("<|im_start|>assistant\n", "<|im_end|>\n")
    judged(
        whole,
        given,
        tokenizer,
        "text of the template is supervised: '<|im_start|>assistant",
        "in 3 of 3 rows",
    )
    right = rows("", "<|im_end|>")
    passes(right, given, tokenizer)
    messages = [canary.messages() for canary in given]
    # The line break alone is what TRL supervises by default: nobody who generates gets there.
    for found, fails in ((whole, True), (rows("", "<|im_end|>\n"), False), (right, False)):
        ids, labels = ([row[key] for row in found] for key in ("input_ids", "labels"))
        options = {"messages": messages, "tokenizer": tokenizer}
        if fails:
            assert "prompt tokens are in the loss" in report(
                assert_labels_mask_prompt, labels, ids, **options
            )
        else:
            assert_labels_mask_prompt(labels, ids, **options)


def test_z129_spans_of_unpadded_tokens_on_left_padded_ids():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 4)
    right = pad(plain(tokenizer, given), "left")
    masks = [[int(label != -100) for label in row["labels"]] for row in plain(tokenizer, given)]
    width = right["input_ids"].shape[1]
    unpadded = torch.tensor([mask + [0] * (width - len(mask)) for mask in masks])
    labels = right["input_ids"].masked_fill((unpadded * right["attention_mask"]) == 0, -100)
    judged({**right, "labels": labels}, given, tokenizer, "padding tokens", "too early")
    passes(right, given, tokenizer)
    text = report(
        assert_labels_mask_prompt,
        labels,
        right["input_ids"],
        completion_mask=unpadded,
        attention_mask=right["attention_mask"],
    )
    assert "prompt" in text
    assert_labels_mask_prompt(
        right["labels"],
        right["input_ids"],
        completion_mask=right["labels"] != -100,
        attention_mask=right["attention_mask"],
    )


def test_z131_lengths_of_turns_that_each_count_a_bos():
    tokenizer = tiny_tokenizer(bos=True)
    given = canaries(tokenizer, 3, turns=3)

    def rows(*, special):
        made = []
        for canary in given:
            parts = [
                f"{t.role}: {t.text}" + ("<eos>" if t.role == "assistant" else "\n") for t in canary.turns
            ]
            ids = tokenizer("".join(parts))["input_ids"]
            labels, position = list(ids), 1
            labels[0] = -100
            for turn, part in zip(canary.turns, parts, strict=True):
                length = len(tokenizer(part, add_special_tokens=special)["input_ids"])
                head = len(tokenizer(f"{turn.role}:", add_special_tokens=False)["input_ids"])
                hidden = length if turn.role == "user" else head
                labels[position : position + hidden] = [-100] * len(labels[position : position + hidden])
                position += length
            if position != len(ids):
                labels = [-100] * len(ids)
            made.append(row_of(ids, labels))
        return made

    judged(rows(special=True), given, tokenizer, "DLM311", "though the answer is in it", "in 3 of 3 rows")
    passes(rows(special=False), given, tokenizer)


def test_z133_bos_between_input_and_target():
    tokenizer = tiny_tokenizer(bos=True)
    given = canaries(tokenizer, 3)

    def rows(*, special):
        made = []
        for canary in given:
            first = tokenizer(canary.prompt + "\n")["input_ids"]
            second = tokenizer(canary.response + "<eos>", add_special_tokens=special)["input_ids"]
            made.append(row_of(first + second, [-100] * len(first) + second))
        return made

    judged(rows(special=True), given, tokenizer, "<bos>")
    hidden = [
        {**row, "labels": [-100 if i == BOS else i for i in row["labels"]]} for row in rows(special=True)
    ]
    judged(hidden, given, tokenizer, "a BOS stands between the question and its answer", "DLM107")
    passes(rows(special=False), given, tokenizer)


def test_z135_a_turn_that_is_not_found_gives_minus_one():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=2)

    def rows(*, lead):
        made = []
        for canary in given:
            ids = tokenizer(rendered(tokenizer, canary))["input_ids"]
            labels = [-100] * len(ids)
            for turn in canary.turns:
                if turn.role == "assistant":
                    part = tokenizer(lead + turn.text + "<|im_end|>")["input_ids"]
                    start = find(ids, part)
                    for i in range(start, start + len(part)):
                        labels[i] = ids[i]
            made.append(row_of(ids, labels))
        return made

    judged(rows(lead=" "), given, tokenizer, "DLM310", "supervised", "in 3 of 3 rows")
    passes(rows(lead=""), given, tokenizer)


def test_z137_one_global_length_hides_every_turn():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=2)

    def rows(*, upto_all):
        made = []
        for canary in given:
            row = answers_by_place(tokenizer, canary, rendered(tokenizer, canary))
            labels = list(row["labels"])
            for i, turn in enumerate(canary.turns):
                if turn.role == "user":
                    upto = canary.messages() if upto_all else canary.messages()[: i + 1]
                    length = len(tokenizer.apply_chat_template(upto)["input_ids"])
                    labels[:length] = [
                        -100 if upto_all or label == -100 else label for label in labels[:length]
                    ]
            made.append(row_of(row["input_ids"], labels))
        return made

    judged(rows(upto_all=True), given, tokenizer, "DLM311", "0 of", "though the answer is in it")
    passes(rows(upto_all=False), given, tokenizer)


def test_z139_the_trained_terminator_is_not_that_of_the_template():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3, turns=2)

    def rows(behind):
        made = []
        for canary in given:
            row = answers_by_place(tokenizer, canary, rendered(tokenizer, canary), behind=behind)
            made.append({key: [*values, EOS] for key, values in row.items()})
        return made

    judged(
        rows(""), given, tokenizer, "<|im_end|>, which ends the answer", "<eos> is trained instead", "DLM303"
    )
    passes(rows("<|im_end|>"), given, tokenizer)


def test_z141_the_end_marker_twice():
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|im_end|>"  # noqa: S105
    given = canaries(tokenizer, 3, turns=2)
    rows = [answers_by_place(tokenizer, canary, rendered(tokenizer, canary)) for canary in given]
    twice = [{key: [*values, IM_END] for key, values in row.items()} for row in rows]
    judged(twice, given, tokenizer, "ends in <|im_end|> twice, and both are supervised")
    passes(rows, given, tokenizer)


def test_z143_eos_labels_are_removed():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    rows = plain(tokenizer, given)
    removed = [{**row, "labels": [-100 if i == EOS else i for i in row["labels"]]} for row in rows]
    judged(removed, given, tokenizer, "<eos>, which ends the answer of canary 0, is not supervised", "DLM303")
    passes(rows, given, tokenizer)


def test_z145_the_text_of_eos_is_no_token():
    tokenizer = tiny_tokenizer()
    glued = AddedToken("<eos>", single_word=True, special=True, normalized=False)
    tokenizer.backend_tokenizer.add_special_tokens([glued])
    given = canaries(tokenizer, 3)
    first = tokenizer("nano<eos>")["input_ids"]
    assert EOS not in first
    rows = plain(tokenizer, given, eos="x<eos>")  # a letter before it, so that it is part of a word
    assert not any(EOS in row["input_ids"] for row in rows)
    judged(rows, given, tokenizer, "DLM3")
    spelled = []
    for row in plain(tokenizer, given, eos=""):
        letters = [token for letter in "<eos>" for token in tokenizer(letter)["input_ids"]]
        spelled.append({key: values + letters for key, values in row.items()})
    judged(
        spelled,
        given,
        tokenizer,
        "<eos> behind the answer of canary 0 is spelled in ordinary tokens",
        "DLM309",
    )
    right = [{key: [*values, EOS] for key, values in row.items()} for row in plain(tokenizer, given, eos="")]
    passes(right, given, tokenizer)


def test_z149_masks_padded_on_different_sides():
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    left, right = (pad(plain(tokenizer, given), side) for side in ("left", "right"))
    crossed = (right["labels"] != -100).long()
    labels = left["input_ids"].masked_fill(crossed == 0, -100)
    judged({**left, "labels": labels}, given, tokenizer, "which were not counted", "too early")
    judged({"input_ids": left["input_ids"], "completion_mask": crossed}, given, tokenizer, "too early")
    text = report(
        assert_labels_mask_prompt,
        left["labels"],
        left["input_ids"],
        completion_mask=crossed,
        attention_mask=left["attention_mask"],
    )
    assert "completion" in text
    passes(left, given, tokenizer)
    passes(right, given, tokenizer)


LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<bos>[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} <eos>{% endif %}{% endfor %}"
)


def test_innocent_a_bos_before_each_pair():
    tokenizer = tiny_tokenizer(bos=True)
    tokenizer.chat_template = LLAMA2
    given = canaries(tokenizer, 3, turns=3)
    rows = [
        answers_by_place(tokenizer, c, rendered(tokenizer, c), before=" ", behind=" <eos>", special=False)
        for c in given
    ]
    passes(rows, given, tokenizer, bos=True)
    ids, labels = ([row[key] for row in rows] for key in ("input_ids", "labels"))
    assert_labels_mask_prompt(labels, ids, messages=[c.messages() for c in given], tokenizer=tokenizer)


def test_innocent_what_the_model_writes_around_an_answer():
    """An empty block of thoughts, the newline behind the terminator, a second stop token."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHATML.replace(
        "{{ message['content'] ",
        "{% if message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ message['content'] ",
    )
    given = canaries(tokenizer, 3, turns=2)
    rows = [
        answers_by_place(
            tokenizer, c, rendered(tokenizer, c), before="<think>\n\n</think>\n\n", behind="<|im_end|>\n"
        )
        for c in given
    ]
    passes(rows, given, tokenizer)
    passes([{key: [*values, EOS] for key, values in row.items()} for row in rows], given, tokenizer)


@pytest.mark.parametrize("form", ["alpaca", "sharegpt"])
def test_innocent_other_forms(form):
    tokenizer = tiny_tokenizer()
    given = canaries(tokenizer, 3)
    made = []
    for canary in given:
        data = getattr(canary, form)()
        if form == "alpaca":
            prompt = (
                f"### Instruction:\n{data['instruction']}\n\n### Input:\n{data['input']}\n\n### Response:\n"
            )
        else:
            prompt = f"USER: {data['conversations'][0]['value']} ASSISTANT:"
        gap = "" if form == "alpaca" else " "
        made.append(from_prompt(tokenizer, canary, prompt, prompt + gap + canary.response + "<eos>"))
    passes(made, given, tokenizer)
    passes(pad(made, "right"), given, tokenizer)
    whole = [{**row, "labels": row["input_ids"]} for row in made]
    judged(whole, given, tokenizer, "prompt tokens are supervised")
