"""Answers cut at the right place are never reported; any other cut is, with how far off it is and how it came."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spellings import NAMES, spelling

from pytest_decoderonly import assert_answers_whole, tiny_decoder, tiny_tokenizer
from pytest_decoderonly.compare.texts import Codec

PROMPTS = ["Question: is the sky blue? Answer: ", "Hi there", "Write one word for it"]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def llama():
    return tiny_decoder("llama")


@pytest.fixture(scope="module")
def generated(tokenizer, llama):
    torch.manual_seed(0)
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    return batch, llama.generate(**batch, max_new_tokens=10, do_sample=True, top_k=0)


# Letters and signs alone: a random model writes parts of characters and special tokens, which texts do not show.
UNREADABLE = [i for i in range(320) if not tiny_tokenizer().decode([i]).isascii() or i < 5]
TEXT = st.text(
    st.sampled_from("the sky is blue? Answer: no, yes.\né東 <|im_start|>'x"), min_size=1, max_size=30
)


@st.composite
def outputs(draw):
    """A tokenizer, padded prompts, and what a model may have put behind them: answer, EOS, padding."""
    tokenizer = spelling(draw(st.sampled_from(NAMES)))
    texts = draw(st.lists(TEXT, min_size=1, max_size=4))
    prompts = [tokenizer(text)["input_ids"] or [5] for text in texts]
    ordinary = st.sampled_from(sorted(set(range(len(tokenizer))) - Codec.of(tokenizer).special_ids))
    answers = [draw(st.lists(ordinary, min_size=1, max_size=12)) for _ in texts]
    ended = [[*answer, tokenizer.eos_token_id] if draw(st.booleans()) else answer for answer in answers]
    width, length = max(map(len, prompts)), max(map(len, ended))
    pad = tokenizer.pad_token_id
    ids = [[pad] * (width - len(p)) + p for p in prompts]
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    sequences = [
        row + answer + [pad] * (length - len(answer)) for row, answer in zip(ids, ended, strict=True)
    ]
    return tokenizer, ids, mask, sequences, width


@given(outputs(), st.sampled_from(["ids", "text", "special", "stripped", "eos-less"]), st.booleans())
@settings(max_examples=150)
def test_a_right_cut_is_never_reported(case, form, masked):
    tokenizer, ids, mask, sequences, width = case
    answers = [row[width:] for row in sequences]
    if form == "eos-less":
        ends = Codec.of(tokenizer).special_ids
        answers = [[token for token in answer if token not in ends] for answer in answers]
    elif form != "ids":
        answers = [tokenizer.decode(answer, skip_special_tokens=form != "special") for answer in answers]
        answers = [answer.strip() for answer in answers] if form == "stripped" else answers
    assert_answers_whole(
        answers,
        sequences,
        ids,
        tokenizer=tokenizer,
        attention_mask=mask if masked else None,
        ends_at_eos=False,
    )


@given(outputs(), st.data(), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_a_cut_at_a_stop_is_never_reported(case, data, kept, skip):
    tokenizer, ids, mask, sequences, width = case
    answers = [tokenizer.decode(row[width:], skip_special_tokens=skip) for row in sequences]
    assume(all(answers))
    chosen = data.draw(st.sampled_from(answers))
    begin = data.draw(st.integers(0, len(chosen) - 1))
    stop = chosen[begin : data.draw(st.integers(begin + 1, len(chosen)))]
    ended = [
        answer.partition(stop)[0] + stop * (kept and stop in answer) if stop in answer else answer
        for answer in answers
    ]
    assert_answers_whole(ended, sequences, ids, tokenizer=tokenizer, attention_mask=mask, stops=[stop])


@given(outputs(), st.data())
@settings(max_examples=150)
def test_any_other_cut_of_ids_is_reported(case, data):
    tokenizer, ids, _, sequences, width = case
    cut = data.draw(st.integers(0, len(sequences[0])).filter(lambda p: p != width))
    row = data.draw(st.integers(0, len(ids) - 1))
    ends = Codec.of(tokenizer).special_ids
    # What is too much in front must be more than padding, and what is lost more than the end.
    assume(any(token not in ends for token in sequences[row][min(cut, width) : max(cut, width)]))
    answers = [r[cut if i == row else width :] for i, r in enumerate(sequences)]
    with pytest.raises(AssertionError, match=f"answer {row} ") as caught:
        assert_answers_whole(answers, torch.tensor(sequences), np.array(ids), tokenizer=tokenizer)
    assert "1 of " in str(caught.value)


@given(outputs(), st.data())
@settings(max_examples=150)
def test_any_other_cut_of_texts_is_reported(case, data):
    tokenizer, ids, mask, sequences, width = case
    cut = data.draw(st.integers(0, len(sequences[0])).filter(lambda p: p != width))
    codec = Codec.of(tokenizer)
    answer, right = (tokenizer.decode(sequences[0][p:], skip_special_tokens=True) for p in (cut, width))
    # Whitespace and characters in part are not compared: a cut that changes nothing else is none.
    assume(codec.normal(answer).text != codec.normal(right).text)
    answers = [answer, *(tokenizer.decode(row[width:], skip_special_tokens=True) for row in sequences[1:])]
    with pytest.raises(AssertionError, match="answer 0 "):
        assert_answers_whole(answers, sequences, ids, tokenizer=tokenizer, attention_mask=mask)


def _own_length(tokenizer, batch, out):
    return [row[n:] for row, n in zip(out, batch["attention_mask"].sum(1), strict=True)]


def _characters(tokenizer, batch, out):
    return [row[len(text) :] for row, text in zip(out, PROMPTS, strict=True)]


def _redecoded(tokenizer, batch, out):
    # The prompts are decoded with their padding, the outputs without.
    heads = tokenizer.batch_decode(batch["input_ids"])
    return [
        t[len(h) :] for t, h in zip(tokenizer.batch_decode(out, skip_special_tokens=True), heads, strict=True)
    ]


def _first_row(tokenizer, batch, out):
    return out[:, int(batch["attention_mask"][1].sum()) :]


WRONG = {
    "own length": (
        _own_length,
        "5 tokens of the prompt and 9 of padding are left",
        "cut at the row's own length 5",
    ),
    "characters": (_characters, "the first 2 tokens are lost", "the prompt's length in characters"),
    "re-decoded": (_redecoded, "characters are lost", "the answer begins"),
    "another row": (_first_row, "14 tokens of the prompt are left", "the length of the prompt of row 1"),
    "uncut": (lambda _t, _b, out: out, "19 tokens of the prompt are left   [DLM201]", "nothing was cut off"),
    "one early": (
        lambda _t, _b, out: out[:, 18:],
        "1 token of the prompt is left   [DLM203]",
        "one token too early",
    ),
    "one late": (
        lambda _t, _b, out: out[:, 20:],
        "the first 1 token is lost   [DLM203]",
        "one token too late",
    ),
    "end": (lambda _t, _b, out: out[:, 19:-2], "tokens are lost", "^ position"),
    "order": (
        lambda _t, _b, out: out[:, 19:].flip(0),
        "it is the answer of row 2, not of row 0",
        "keep the order",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mechanisms(name, tokenizer, generated):
    batch, out = generated
    cut, what, mechanism = WRONG[name]
    with pytest.raises(AssertionError) as caught:
        assert_answers_whole(cut(tokenizer, batch, out), out, batch, tokenizer=tokenizer)
    assert what in str(caught.value)
    assert mechanism in str(caught.value)
    assert "right:" in str(caught.value)


def test_whole_outputs_as_texts(tokenizer, generated):
    batch, out = generated
    whole = tokenizer.batch_decode(out, skip_special_tokens=True)
    with pytest.raises(AssertionError, match="3 of 3 answers") as caught:
        assert_answers_whole(whole, out, batch, tokenizer=tokenizer)
    assert str(caught.value).count("nothing was cut off") == 3
    assert "DLM201" in str(caught.value)


def test_a_text_split_at_a_marker_that_the_answer_holds(tokenizer):
    prompt, answer = "Question: why? Answer:", " The Answer: it rains. So."
    ids = tokenizer([prompt], return_tensors="pt")["input_ids"]
    sequences = torch.cat([ids, tokenizer([answer], return_tensors="pt")["input_ids"]], 1)
    text = tokenizer.decode(sequences[0])
    for part in (-1, 1):
        with pytest.raises(
            AssertionError, match="'Answer:', which stands in the prompt too: the text was split at it"
        ):
            assert_answers_whole(text.split("Answer:")[part], sequences, ids, tokenizer=tokenizer)
    assert_answers_whole(text.split("Answer:", 1)[1], sequences, ids, tokenizer=tokenizer)
    assert_answers_whole(text[len(prompt) :], sequences, ids, tokenizer=tokenizer)


def test_a_text_cut_by_the_characters_of_its_prompt_after_clean_up():
    tokenizer = spelling("cleaned")
    prompt, answer = "Well , is it ? Say :", " no , it isn't ."
    ids = tokenizer([prompt], return_tensors="pt")["input_ids"]
    sequences = torch.cat([ids, tokenizer([answer], return_tensors="pt")["input_ids"]], 1)
    text = tokenizer.decode(sequences[0])
    assert len(tokenizer.decode(ids[0])) < len(prompt)
    with pytest.raises(AssertionError, match=r"the first \d characters are lost   \[DLM202\]"):
        assert_answers_whole(text[len(prompt) :], sequences, ids, tokenizer=tokenizer)
    assert_answers_whole(tokenizer.decode(sequences[0][ids.shape[1] :]), sequences, ids, tokenizer=tokenizer)


@pytest.mark.parametrize(
    "options", [{"num_return_sequences": 3, "do_sample": True}, {"num_beams": 3, "num_return_sequences": 2}]
)
def test_several_rows_a_prompt(options, tokenizer, llama):
    torch.manual_seed(1)
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    out = llama.generate(**batch, max_new_tokens=6, return_dict_in_generate=True, **options)
    each, width = options["num_return_sequences"], batch["input_ids"].shape[1]
    answers = out.sequences[:, width:]
    assert_answers_whole(answers, out, batch, tokenizer=tokenizer)
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    assert_answers_whole(texts[each - 1 :: each], out, batch, tokenizer=tokenizer)  # one of each prompt's
    with pytest.raises(AssertionError, match=r"row i of the output belongs to prompt i // \d"):
        assert_answers_whole(texts[: len(PROMPTS)], out, batch, tokenizer=tokenizer)
    with pytest.raises(
        AssertionError, match=r"row \d of sequences begins with prompt \d, expected prompt \d"
    ):
        assert_answers_whole(
            answers, out.sequences.view(3, each, -1).transpose(0, 1).flatten(0, 1), batch, tokenizer=tokenizer
        )


def test_outputs_without_a_prompt(tokenizer, llama):
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    embeds = llama.get_input_embeddings()(batch["input_ids"]).detach()
    out = llama.generate(
        inputs_embeds=embeds,
        attention_mask=batch["attention_mask"],
        max_new_tokens=25,
        suppress_tokens=UNREADABLE,
    )
    width = batch["input_ids"].shape[1]
    assert_answers_whole(out, out, None, tokenizer=tokenizer)
    assert_answers_whole(out, out, batch, tokenizer=tokenizer, prompt_in_output=False)
    with pytest.raises(
        ValueError, match=r"row 0 does not begin with row 0 of input_ids.*prompt_in_output=False"
    ):
        assert_answers_whole(out, out, batch, tokenizer=tokenizer)
    for cut in (out[:, width:], tokenizer.batch_decode(out[:, width:])):
        with pytest.raises(
            AssertionError, match="the output holds no prompt, and was cut at the prompt's width 19"
        ) as caught:
            assert_answers_whole(cut, out, batch, tokenizer=tokenizer, prompt_in_output=False)
        assert "DLM206" in str(caught.value)


def test_encoder_decoder_outputs_are_told():
    from transformers import BartConfig, BartForConditionalGeneration

    config = BartConfig(
        vocab_size=320, d_model=16, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=64, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, forced_eos_token_id=None,
    )  # fmt: skip
    model, tokenizer = BartForConditionalGeneration(config).eval(), tiny_tokenizer(padding_side="right")
    batch = tokenizer(PROMPTS, padding=True, return_tensors="pt")
    out = model.generate(
        **batch, max_new_tokens=6, num_beams=1, suppress_tokens=UNREADABLE, return_dict_in_generate=True
    )
    assert_answers_whole(out.sequences, out, batch, tokenizer=tokenizer)
    with pytest.raises(AssertionError, match="DLM206"):
        assert_answers_whole(out.sequences[:, batch["input_ids"].shape[1] :], out, batch, tokenizer=tokenizer)


def test_rows_that_end_at_eos(tokenizer):
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id
    ids = [[9, 9], [9, 8]]
    for rows, text in (
        ([[50, 60, pad, pad], [50, 60, 70, 80]], "row 0 stopped early and holds no EOS"),
        ([[50, eos, 70, 71], [50, 60, 70, 80]], "the 2 tokens behind EOS are kept"),
    ):
        sequences = [p + r for p, r in zip(ids, rows, strict=True)]
        answers = [row[2:] for row in sequences]
        assert_answers_whole(answers, sequences, ids, tokenizer=tokenizer)  # a stop string, another end token
        for given_answers in (answers, tokenizer.batch_decode(answers)):
            with pytest.raises(AssertionError, match=text):
                assert_answers_whole(given_answers, sequences, ids, tokenizer=tokenizer, ends_at_eos=True)
    right = [[9, 9, 50, eos, pad, pad], [9, 8, 50, 60, 70, 80]]
    assert_answers_whole([[50], [50, 60, 70, 80]], right, ids, tokenizer=tokenizer, ends_at_eos=True)


def test_without_a_tokenizer():
    sequences = [[0, 9, 50, 2, 0, 0], [8, 9, 50, 60, 70, 2]]
    for answers in ([[50], [50, 60, 70]], [[50, 2], [50, 60, 70, 2]], [row[2:] for row in sequences]):
        assert_answers_whole(answers, sequences, [[0, 9], [8, 9]])
    with pytest.raises(AssertionError, match="the first 1 token is lost"):
        assert_answers_whole([[50], [60, 70]], sequences, [[0, 9], [8, 9]])


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "text"),
    [
        ((["a"], [[1, 2]], [[1]]), {}, TypeError, "tokenizer: is needed to compare answers that are texts"),
        (([[1], "a"], [[1, 2]], [[1]]), {}, TypeError, "answers: must hold texts only or ids only"),
        (
            ([[1], [2], [3]], [[1, 2]] * 2, [[1]] * 2),
            {},
            ValueError,
            "answers: 3 answers for 2 rows of sequences",
        ),
        (([[2]], [[1, 2]] * 3, [[1]] * 2), {}, ValueError, "sequences: 3 rows for 2 prompts"),
        (([[2]], [[1, 2]], [[1], [1, 2]]), {}, ValueError, "input_ids: rows have 1 to 2 positions"),
        (([[2]], {"ids": 1}, [[1]]), {}, ValueError, "sequences: the mapping has no 'sequences', only 'ids'"),
        (([[2]], [[1, 2]], None), {"prompt_in_output": True}, TypeError, "input_ids: is needed"),
        (([[2]], [[1, 2]], [[1]]), {"ends_at_eos": True}, TypeError, "ends_at_eos: needs a tokenizer"),
        (([[2]], [[1, 2]], [[1]]), {"attention_mask": [[1, 1]]}, ValueError, "attention_mask: row 0 has 2"),
    ],
)
def test_usage_errors(args, kwargs, error, text):
    with pytest.raises(error) as caught:
        assert_answers_whole(*args, **kwargs)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
