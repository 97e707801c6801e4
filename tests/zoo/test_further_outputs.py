"""Further mistakes with what `generate` returns, none of them published: each is found, the right way passes."""

from __future__ import annotations

import pytest
import torch
from reports import report, says
from scripts import ANSWERS, PROMPTS, ask, recorded
from tokenizers import normalizers
from transformers import TextStreamer

from pytest_decoderonly import (
    assert_answers_whole,
    assert_no_prompt,
    record_generate,
    tiny_decoder,
    tiny_tokenizer,
)


@pytest.fixture
def batch(tokenizer):
    return tokenizer(PROMPTS, padding=True, return_tensors="pt")


def width(batch):
    return batch["input_ids"].shape[1]


def texts(tokenizer, ids):
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


# Cuts


@pytest.mark.parametrize("form", ["NFKC", "Lowercase", "Strip"])
def test_cut_by_the_characters_of_a_prompt_that_the_tokenizer_rewrites(model, tokenizer, form):
    tokenizer.backend_tokenizer.normalizer = getattr(normalizers, form)()
    prompts = {"NFKC": "The ﬁrst ﬂat… is it?", "Lowercase": "İs it blue? İs it?", "Strip": "   Is it blue?"}
    prompts = [prompts[form], "Hi there"]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    out, call = recorded(model, tokenizer, batch, ANSWERS[:2])
    whole = texts(tokenizer, out)
    wrong = [text[len(prompt) :] for text, prompt in zip(whole, prompts, strict=True)]
    says(
        report(call.assert_answers_whole, wrong, tokenizer),
        "1 of 2 answers is",
        "answer 0",
        "DLM202",
        "characters",
    )
    right = texts(tokenizer, out[:, width(batch) :])
    call.assert_answers_whole(right, tokenizer)
    assert_no_prompt(right, prompts, tokenizer=tokenizer)


def test_cut_at_the_length_of_the_first_prompt(model, tokenizer, batch):
    order = [1, 0, 2]
    moved = {name: value[order] for name, value in batch.items()}
    out, call = recorded(model, tokenizer, moved, [ANSWERS[i] for i in order])
    size = int(moved["attention_mask"][0].sum())
    text = report(call.assert_answers_whole, texts(tokenizer, out[:, size:]), tokenizer)
    mechanism = f"cut at {size}, the length of the prompt of row 0 without its padding"
    says(text, "3 of 3", "DLM203", "cut at the padded width")
    assert text.count(mechanism) == 3
    text = report(call.assert_answers_whole, out[:, size:], tokenizer)
    assert text.count(mechanism) == 3
    call.assert_answers_whole(texts(tokenizer, out[:, width(moved) :]), tokenizer)


def test_cut_at_the_maximum_where_prompts_are_padded_to_the_longest(model, tokenizer, batch):
    limit = width(batch) + 3
    out, call = recorded(model, tokenizer, batch, ANSWERS)
    text = report(call.assert_answers_whole, texts(tokenizer, out[:, limit:]), tokenizer)
    says(text, "3 of 3", "lost", "the beginning of what the model said is missing")
    filled = tokenizer(PROMPTS, padding="max_length", max_length=limit, return_tensors="pt")
    out, call = recorded(model, tokenizer, filled, ANSWERS)
    call.assert_answers_whole(texts(tokenizer, out[:, limit:]), tokenizer)


def test_cut_twice(model, tokenizer, batch):
    """A helper that returns new tokens alone, and a caller that cuts once more."""
    out, call = recorded(model, tokenizer, batch, ANSWERS, eos_token_id=None, max_new_tokens=40)
    new = out[:, width(batch) :]
    call.assert_answers_whole(new, tokenizer)
    says(
        report(call.assert_answers_whole, new[:, width(batch) :], tokenizer), f"cut twice: at {width(batch)}"
    )


def test_cut_where_the_output_holds_no_prompt(model, tokenizer, batch):
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    with record_generate() as recorder:
        out = ask(
            model,
            tokenizer,
            {"inputs_embeds": embeddings, "attention_mask": batch["attention_mask"]},
            ANSWERS,
        )
    recorder.call.assert_answers_whole(texts(tokenizer, out), tokenizer)
    wrong = texts(tokenizer, out[:, width(batch) :])
    says(report(recorder.call.assert_answers_whole, wrong, tokenizer), "3 of 3", "lost")
    text = report(assert_answers_whole, wrong, out, batch, tokenizer=tokenizer, prompt_in_output=False)
    says(text, "the output holds no prompt", "DLM206", "do not cut")


def test_the_first_eos_is_looked_for_in_the_padding(model, tokenizer):
    tokenizer.pad_token = tokenizer.eos_token
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    out, call = recorded(model, tokenizer, batch, ANSWERS)
    found = {}
    for begin in (0, width(batch)):
        rows = [row[begin:].tolist() for row in out]
        found[begin] = [row[: row.index(2)] if 2 in row else row for row in rows]
    text = report(call.assert_answers_whole, found[0], tokenizer)
    says(text, "3 of 3", "answer 1", "lost")
    call.assert_answers_whole(found[width(batch)], tokenizer, ends_at_eos=True)


# Whose answer


def test_several_sequences_a_prompt_are_dealt_out_in_turn(model, tokenizer, batch):
    with record_generate() as recorder:
        out = ask(model, tokenizer, batch, ANSWERS, num_return_sequences=2, do_sample=True)
    answers = texts(tokenizer, out[:, width(batch) :])
    recorder.call.assert_answers_whole(answers, tokenizer)
    recorder.call.assert_answers_whole([answers[2 * i] for i in range(3)], tokenizer)
    wrong = [answers[i] for i in range(3)]  # row i for prompt i
    text = report(recorder.call.assert_answers_whole, wrong, tokenizer)
    says(text, "2 of 3", "it is the answer of row", "belongs to prompt i // 2")
    turned = [answers[j * 2 + i] for i in range(2) for j in range(3)]
    says(report(recorder.call.assert_answers_whole, turned, tokenizer), "it is the answer of row")


def test_beams_are_read_as_if_they_lay_beam_by_beam(model, tokenizer, batch):
    with record_generate() as recorder:
        out = model.generate(**batch, num_beams=3, num_return_sequences=3, max_new_tokens=6)
    new = out[:, width(batch) :]
    recorder.call.assert_answers_whole(new, tokenizer)
    recorder.call.assert_answers_whole(new.reshape(3, 3, -1)[:, 0], tokenizer)
    wrong = new.reshape(3, 3, -1).transpose(0, 1).reshape(9, -1)
    says(
        report(recorder.call.assert_answers_whole, wrong, tokenizer),
        "6 of 9",
        "it is the answer of row 3, not of row 1",
    )
    says(
        report(recorder.call.assert_answers_whole, new.reshape(3, 3, -1)[0], tokenizer),
        "2 of 3",
        "the answer of row 1",
    )


def test_batches_are_sorted_by_length_and_answers_are_not_put_back(model, tokenizer):
    order = sorted(range(3), key=lambda i: len(PROMPTS[i]))
    batch = tokenizer([PROMPTS[i] for i in order], padding=True, return_tensors="pt")
    out, call = recorded(model, tokenizer, batch, [ANSWERS[i] for i in order])
    answers = texts(tokenizer, out[:, width(batch) :])
    back = [answers[order.index(i)] for i in range(3)]
    call.assert_answers_whole([back[i] for i in order], tokenizer)
    call.assert_prompts_whole([PROMPTS[i] for i in order], tokenizer)
    # Held against the prompts in the order in which they were asked.
    says(
        report(call.assert_prompts_whole, PROMPTS, tokenizer), "the row does not hold its prompt, but prompt"
    )
    says(report(call.assert_answers_whole, back, tokenizer), "it is the answer of row")


def test_every_prompt_gets_the_answer_of_the_first(model, tokenizer, batch):
    out, call = recorded(model, tokenizer, batch, ANSWERS)
    answers = [tokenizer.decode(out[0, width(batch) :], skip_special_tokens=True) for _ in PROMPTS]
    says(
        report(call.assert_answers_whole, answers, tokenizer),
        "2 of 3",
        "it is the answer of row 0, not of row 1",
    )


# Texts


def test_a_streamers_last_words_are_not_waited_for(model, tokenizer):
    class Collector(TextStreamer):
        def __init__(self, tokenizer, *, to_the_end):
            super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
            self.text, self.to_the_end = "", to_the_end

        def on_finalized_text(self, text, stream_end=False):
            self.text += text if self.to_the_end or not stream_end else ""

    batch = tokenizer(PROMPTS[:1], return_tensors="pt")
    for to_the_end in (False, True):
        streamer = Collector(tokenizer, to_the_end=to_the_end)
        _, call = recorded(model, tokenizer, batch, [" yes, it is"], streamer=streamer)
        if to_the_end:
            call.assert_answers_whole([streamer.text], tokenizer)
        else:
            says(
                report(call.assert_answers_whole, [streamer.text], tokenizer),
                "lost",
                "the end of what the model said",
            )


def test_answers_are_cut_at_a_stop_that_stands_in_the_prompt_too(model, tokenizer):
    stop = "\nQ:"
    prompts = [f"Q: is it?\nA: yes.{stop} {prompt}\nA:" for prompt in PROMPTS]
    turns = [f"{answer}{stop} what" for answer in ANSWERS]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    options = {"stop_strings": stop, "tokenizer": tokenizer, "ends": False, "eos_token_id": None}
    out, call = recorded(model, tokenizer, batch, turns, **options)
    call.assert_stopped()
    new = texts(tokenizer, out[:, width(batch) :])
    call.assert_answers_whole(new, tokenizer)
    call.assert_answers_whole([text.partition(stop)[0] for text in new], tokenizer)  # its own stop may go
    call.assert_answers_whole(
        [tokenizer(a, add_special_tokens=False)["input_ids"] for a in ANSWERS], tokenizer
    )
    whole = [text.partition(stop)[0] for text in texts(tokenizer, out)]
    says(report(call.assert_answers_whole, whole, tokenizer), "3 of 3")
    says(report(call.assert_answers_whole, [text.split(",")[0] for text in new], tokenizer), "2 of 3", "lost")
    with pytest.raises(TypeError, match="tokenizer: is needed with stops"):
        assert_answers_whole(out[:, width(batch) :], out, batch, stops=stop)


def test_skipping_special_tokens_drops_those_of_the_answer(model, tokenizer):
    tokenizer.add_special_tokens({"extra_special_tokens": ["<call>", "</call>"]})
    larger = tiny_decoder("llama")
    larger.resize_token_embeddings(len(tokenizer))
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    turns = [" <call>sky</call> it is", " no", "<call>it</call>"]
    out, call = recorded(larger, tokenizer, batch, turns)
    new = out[:, width(batch) :]
    keep = ("<call>", "</call>")
    skipped = texts(tokenizer, new)
    text = report(call.assert_answers_whole, skipped, tokenizer, keep_tokens=keep)
    says(
        text,
        "2 of 3",
        "answer 2",
        "the special tokens </call> <call> of the answer are missing",
        "skip_special_tokens=False",
    )
    call.assert_answers_whole(skipped, tokenizer)  # where they are not said to belong to answers
    kept = [t.replace("<eos>", "").replace("<pad>", "") for t in tokenizer.batch_decode(new)]
    call.assert_answers_whole(kept, tokenizer, keep_tokens=keep)
    call.assert_answers_whole(new, tokenizer, keep_tokens=keep)
    says(
        report(call.assert_answers_whole, [kept[1], kept[0], kept[2]], tokenizer, keep_tokens=keep),
        "2 of 3",
        "it is the answer of",
    )
    with pytest.raises(ValueError, match=r"keep_tokens: '<cal>' is no special token"):
        call.assert_answers_whole(kept, tokenizer, keep_tokens="<cal>")


def test_answers_are_taken_from_behind_the_last_marker(model, tokenizer):
    """The model itself says the word that the text is split at."""
    prompts = [f"{prompt}\nAnswer:" for prompt in PROMPTS]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    out, call = recorded(model, tokenizer, batch, [" yes. Answer: it is", " no", " sky"])
    wrong = [text.split("Answer:")[-1] for text in texts(tokenizer, out)]
    text = report(call.assert_answers_whole, wrong, tokenizer)
    says(text, "1 of 3", "answer 0", "'Answer:', which stands in the prompt too: the text was split at it")
    call.assert_answers_whole(texts(tokenizer, out[:, width(batch) :]), tokenizer)


def test_answers_are_shortened_to_be_stored(model, tokenizer, batch):
    out, call = recorded(model, tokenizer, batch, ANSWERS)
    whole = texts(tokenizer, out[:, width(batch) :])
    says(
        report(call.assert_answers_whole, [t[:12] for t in whole], tokenizer), "2 of 3", "characters are lost"
    )
    says(report(call.assert_answers_whole, out[:, width(batch) : -3], tokenizer), "2 of 3", "tokens are lost")
    call.assert_answers_whole([t.strip() for t in whole], tokenizer)


def test_the_prompt_is_removed_where_it_stands_first_and_spelled_alike(model):
    """A tokenizer that puts a space in front of texts gives the prompt back without or with it."""
    tokenizer = tiny_tokenizer(kind="metaspace")
    prompts = [f"  {prompt}" for prompt in PROMPTS]
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    tokenizer.clean_up_tokenization_spaces = False
    out, call = recorded(model, tokenizer, batch, ANSWERS)
    wrong = [t.strip().removeprefix(p) for t, p in zip(texts(tokenizer, out), prompts, strict=True)]
    says(report(call.assert_answers_whole, wrong, tokenizer), "3 of 3", "nothing was cut off", "DLM201")
    says(report(assert_no_prompt, wrong, prompts, tokenizer=tokenizer), "still carry the prompt")
    right = texts(tokenizer, out[:, width(batch) :])
    call.assert_answers_whole(right, tokenizer)
    assert_no_prompt(right, prompts, tokenizer=tokenizer)


def test_the_prompt_is_taken_off_letter_by_letter_or_everywhere(model, tokenizer, batch):
    out, call = recorded(model, tokenizer, batch, [ANSWERS[0], " no. Hi there you", ANSWERS[2]])
    whole = texts(tokenizer, out)
    for how, words in (
        (str.lstrip, ("1 of 3", "str.lstrip takes off all letters that the prompt has", "DLM202")),
        (
            lambda text, prompt: text.replace(prompt, ""),
            ("1 of 3", "answer 1", "the prompt was removed wherever"),
        ),
        (str.removeprefix, ()),
    ):
        answers = [how(text, prompt) for text, prompt in zip(whole, PROMPTS, strict=True)]
        if words:
            says(report(call.assert_answers_whole, answers, tokenizer), *words)
        else:
            call.assert_answers_whole(answers, tokenizer)


def test_pieces_of_a_stream_overlap(model, tokenizer, batch):
    _, call = recorded(model, tokenizer, batch, ANSWERS)
    call.assert_answers_whole(ANSWERS, tokenizer)
    text = report(call.assert_answers_whole, [answer * 2 for answer in ANSWERS], tokenizer)
    says(text, "3 of 3", "that generate did not put there", "the answer stands 2 times")
    text = report(call.assert_answers_whole, [answer + answer[-2:] for answer in ANSWERS], tokenizer)
    says(text, "3 of 3", "characters stand behind it", "its end stands twice")
    text = report(call.assert_answers_whole, [f"Bot:{answer}" for answer in ANSWERS], tokenizer)
    says(text, "characters stand in front of it", "'Bot:")


def test_gathered_rows_are_filled_with_another_id(model, tokenizer, batch):
    """As `pad_across_processes` does without a `pad_index`, where the padding id is none of 0."""
    tokenizer.pad_token = tokenizer.eos_token
    out, call = recorded(model, tokenizer, batch, ANSWERS, pad_token_id=2)
    new = out[:, width(batch) :]
    for fill in (7, 2, -100):
        filled = torch.cat([new, torch.full((3, 4), fill)], 1)
        if fill == 7:
            text = report(call.assert_answers_whole, filled, tokenizer)
            says(text, "3 of 3", "4 times id 7 behind its end: rows were filled up with an id that is not")
        else:
            call.assert_answers_whole(filled, tokenizer)
    with pytest.raises(ValueError, match=r"answers: row 0 holds -5, which is no id"):
        call.assert_answers_whole(new.masked_fill(new == 2, -5), tokenizer)


def test_rows_that_have_ended_are_filled_with_a_word(model):
    """The padding id of the call is 0 by default of a configuration, and 0 is "!" to the tokenizer, or another word."""
    tokenizer = tiny_tokenizer(pad=False)
    tokenizer.pad_token = tokenizer.eos_token
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    for fill in (6, tokenizer.eos_token_id):
        out, call = recorded(model, tokenizer, batch, ANSWERS, pad_token_id=fill)
        answers = texts(tokenizer, out[:, width(batch) :])
        if fill == 6:
            text = report(call.assert_answers_whole, answers, tokenizer)
            says(
                text,
                "2 of 3",
                "behind it",
                "rows that have ended are filled with id 6, which is the ordinary token",
            )
            call.assert_answers_whole(ANSWERS, tokenizer)
            call.assert_answers_whole(out[:, width(batch) :], tokenizer)
        else:
            call.assert_answers_whole(answers, tokenizer)
