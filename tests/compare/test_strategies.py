"""The strategies: what they promise always holds, and what fails is made as small as it can be."""

from __future__ import annotations

import subprocess
import sys

import mutants
import numpy as np
import pytest
import torch
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

from pytest_decoderonly import (
    assert_labels_mask_prompt,
    assert_left_padded,
    assert_right_padded,
    tiny_decoder,
    tiny_tokenizer,
)
from pytest_decoderonly.compare.labels import find_boundary
from pytest_decoderonly.strategies import (
    Pair,
    conversations,
    merges,
    paddings,
    prompt_completion_pairs,
    prompts,
    ragged_batches,
    token_ids,
)

TOKENIZERS = {kind: tiny_tokenizer(kind=kind) for kind in ("byte-level", "metaspace")}
KINDS = st.sampled_from(sorted(TOKENIZERS))
FEW = settings(max_examples=60, deadline=None)
UNKNOWN = {"unk_token": "?"}
# A search ends with the first find: so many examples cost nothing, and none is missed by bad luck. Measured over seeds, the
# first hit of any condition below comes after 50 examples on average, or fewer: a miss has a chance below 1e-40.
SMALLEST = settings(max_examples=5000, deadline=None, database=None, derandomize=True)


def fails(function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except AssertionError:
        return True
    return False


def smallest(strategy, condition, **kwargs):
    """The example that the first find shrinks to. It is a local minimum: which of several, is a matter of luck."""
    return find(strategy, condition, settings=settings(SMALLEST, **kwargs))


# Laws


@given(st.data(), st.integers(0, 3), st.integers(0, 5), st.sets(st.integers(0, 9), max_size=9))
def test_ids(data, least, more, avoid):
    ids = data.draw(token_ids(10, min_tokens=least, max_tokens=least + more, avoid=avoid))
    assert least <= len(ids) <= least + more
    assert set(ids) <= set(range(10)) - avoid


@given(st.data(), KINDS)
def test_ids_of_a_tokenizer_are_ordinary(data, kind):
    ids = data.draw(token_ids(TOKENIZERS[kind]))
    assert not {0, 1, 2, 3, 4} & set(ids)
    assert data.draw(token_ids([7])) in [[7] * n for n in range(1, 17)]


@FEW
@given(st.data(), KINDS, st.integers(0, 4), st.integers(0, 8))
def test_prompts(data, kind, least, more):
    tokenizer = TOKENIZERS[kind]
    text = data.draw(prompts(tokenizer, min_tokens=least, max_tokens=least + more))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert least <= len(ids) <= least + more
    assert not {0, 1, 2, 3, 4} & set(ids)
    text.encode()


@given(
    st.data(),
    st.sampled_from(["left", "right", None]),
    st.sampled_from(["list", "torch", "numpy"]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
)
def test_ragged_batches(data, side, form, padded, inside, extra):
    batch = data.draw(
        ragged_batches(
            30,
            side=side,
            form=form,
            padded=padded,
            pad_inside=inside,
            max_extra=extra,
            pad_token_id=2,
            max_rows=5,
        )
    )
    ids, mask = batch.input_ids, batch.attention_mask
    if form == "torch":
        assert ids.dtype == mask.dtype == torch.int64
        assert ids.shape == mask.shape == (len(batch.rows), batch.width)
    if form == "numpy":
        assert ids.dtype == mask.dtype == np.int64
    ids, mask = (value if form == "list" else value.tolist() for value in (ids, mask))
    assert {len(row) for row in [*ids, *mask]} == {batch.width}
    assert batch.width - max(batch.lengths) <= extra
    for row, given_ids, given_mask in zip(batch.rows, ids, mask, strict=True):
        assert [t for t, m in zip(given_ids, given_mask, strict=True) if m] == list(row)
        assert all(t == 2 for t, m in zip(given_ids, given_mask, strict=True) if not m)
        assert inside or 2 not in row
    assert batch.pads == sum(row.count(0) for row in mask)
    assert batch.pads or not padded
    assert side in (None, batch.padding_side)
    check = assert_left_padded if batch.padding_side == "left" else assert_right_padded
    if not inside:
        check(batch.inputs, pad_token_id=2)
    assert repr(batch).startswith(f"RaggedBatch(rows={[list(row) for row in batch.rows]}, padding_side=")


@given(st.data(), st.lists(st.lists(st.integers(5, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_paddings_are_of_the_same_rows(data, rows):
    batch = data.draw(paddings(rows, min_extra=1, max_extra=4, fill=st.integers(20, 25)))
    assert [list(row) for row in batch.rows] == rows
    under = {
        t
        for row, m in zip(batch.input_ids, batch.attention_mask, strict=True)
        for t, x in zip(row, m, strict=True)
        if not x
    }
    assert under <= set(range(20, 26))
    assert batch.pads >= len(rows)


@FEW
@given(
    st.data(),
    st.sampled_from([True, False, None]),
    st.sampled_from(["assistant", "user", None]),
    st.booleans(),
    st.integers(1, 3),
)
def test_conversations(data, system, last, blank, turns):
    chat = data.draw(conversations(system=system, last=last, blank=blank, min_turns=turns, max_turns=3))
    roles = [message["role"] for message in chat]
    assert system is None or (roles[0] == "system") is system
    spoken = roles[roles[0] == "system" :]
    assert spoken == ["user", "assistant"] * (len(spoken) // 2) + ["user"] * (len(spoken) % 2)
    assert last in (None, roles[-1])
    assert turns <= spoken.count("user") <= 3
    assert blank or all(message["content"].strip() for message in chat)
    for name in ("chatml", "chatml-generation", "llama-2", "gemma"):
        if name != "gemma" or roles[0] != "system":
            tiny_tokenizer(chat_template=name).apply_chat_template(chat, tokenize=False)


def test_conversations_hold_markers_where_asked():
    chats = conversations(markers=TOKENIZERS["byte-level"])

    def holds(marker):
        return lambda chat: any(marker in message["content"] for message in chat)

    for marker in ("<eos>", "<|im_start|>", "<|im_end|>", "user", "assistant"):
        smallest(chats, holds(marker), phases=[Phase.generate])
    found = smallest(chats, holds(marker))
    rest = [message["content"] for message in found if marker not in message["content"]]
    assert rest == ["a"] * (len(found) - 1)
    assert len(found) <= 3


@FEW
@given(conversations(markers=["@@@"]), conversations())
def test_markers_are_those_given_and_none_without(chat, other):
    assert not any("<|im_end|>" in message["content"] for message in [*chat, *other])
    assert not any("@@@" in message["content"] for message in other)


def test_conversations_may_be_blank():
    assert smallest(conversations(), lambda chat: not chat[1]["content"].strip())


@FEW
@given(st.data(), KINDS, st.sampled_from([True, False, None]))
def test_pairs(data, kind, merging):
    tokenizer = TOKENIZERS[kind]
    pair = data.draw(prompt_completion_pairs(tokenizer, merging=merging))
    assert isinstance(pair, Pair)
    assert pair.prompt
    assert pair.completion
    assert merging in (None, merges(tokenizer, *pair))
    whole = tokenizer(pair.prompt + pair.completion, add_special_tokens=False)["input_ids"]
    assert not {0, 1, 2, 3, 4} & set(whole)


@FEW
@given(st.data(), KINDS)
def test_the_border_of_each_pair_is_found_in_the_tokens_of_the_whole(data, kind):
    """Also where a letter of several bytes ends the prompt and its last space merges with what follows."""
    tokenizer = TOKENIZERS[kind]
    pair = data.draw(prompt_completion_pairs(tokenizer) | st.just(Pair("\u00e4\U0001f642 ", "a")))
    row = tokenizer(pair.prompt + pair.completion)["input_ids"]
    border = find_boundary(tokenizer, pair.prompt, row)
    assert 0 < border.length <= len(row)


def trained(texts, normalizer=None):
    """A tokenizer with the merges that its training text calls for."""
    backend = Tokenizer(models.BPE(**UNKNOWN))
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.train_from_iterator(texts * 50, trainers.BpeTrainer(vocab_size=400, special_tokens=["?"]))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **UNKNOWN)


@pytest.mark.parametrize(
    ("texts", "normalizer", "merged"),
    [
        (["it's John's"], None, "'s"),
        (["1234 12 34"], None, "12"),
        (["\u6771\u4eac \u6771\u4eac\u90fd"], None, "\u6771\u4eac"),
        (["caf\u00e9 na\u00efve"], normalizers.NFC(), "e\u0301"),
        ([" yes", " no"], None, " yes"),
    ],
)
def test_which_pairs_merge_is_asked_of_the_tokenizer(texts, normalizer, merged):
    """Apostrophes, digits, scripts without spaces, combining marks, leading spaces: where this tokenizer merges them."""
    tokenizer = trained(texts, normalizer)

    def across(pair):
        border = len(pair.prompt)
        at = (pair.prompt + pair.completion).find(merged)
        return at >= 0 and at < border < at + len(merged)

    pair = smallest(prompt_completion_pairs(tokenizer), across, phases=[Phase.generate])
    assert merges(tokenizer, *pair)
    plain = trained(["q w r"])
    assert not merges(plain, pair.prompt, pair.completion)


def test_a_tokenizer_that_merges_nothing():
    backend = Tokenizer(models.BPE(vocab={"?": 0, "a": 1, "b": 2}, merges=[], **UNKNOWN))
    letters = PreTrainedTokenizerFast(tokenizer_object=backend, **UNKNOWN)
    with pytest.raises(ValueError, match="tokenizer: merges over no border"):
        prompt_completion_pairs(letters)
    assert smallest(prompt_completion_pairs(letters, merging=False), lambda _: True)


# What fails is made small


def test_padding_on_the_wrong_side_shrinks_to_one_token_and_one_pad():
    batch = smallest(ragged_batches(side=None), lambda b: fails(assert_left_padded, b.inputs, pad_token_id=0))
    assert (batch.rows, batch.input_ids) in (
        (((1,),), [[1, 0]]),
        (((1,), (1, 1)), [[1, 0], [1, 1]]),
        (((1, 1), (1,)), [[1, 1], [1, 0]]),
    )
    batch = smallest(
        ragged_batches(side=None, max_extra=0), lambda b: fails(assert_left_padded, b.inputs, pad_token_id=0)
    )
    assert sorted(batch.rows) == [(1,), (1, 1)]


def test_an_audit_with_one_bad_position_shrinks_to_that_position():
    """Labels masked where they equal the padding id hide a real token of that id."""

    def wrong(batch):
        labels = [[-100 if t == 0 else t for t in row] for row in batch.input_ids]
        return fails(
            assert_labels_mask_prompt,
            labels,
            batch.input_ids,
            prompt_lengths=0,
            attention_mask=batch.attention_mask,
        )

    batch = smallest(ragged_batches(side="right", pad_inside=True), wrong)
    assert batch.rows == ((0,),)
    assert batch.width == 1


def test_a_prompt_length_that_is_off_where_tokens_merge_shrinks_to_the_shortest_pair():
    tokenizer = TOKENIZERS["byte-level"]

    def wrong(pair):
        ids = tokenizer(pair.prompt + pair.completion)["input_ids"]
        count = len(tokenizer(pair.prompt)["input_ids"])
        labels = [-100] * count + ids[count:]
        return fails(assert_labels_mask_prompt, [labels[: len(ids)]], [ids], prompt_lengths=1)

    pair = smallest(prompt_completion_pairs(tokenizer), wrong)
    assert len(pair.prompt + pair.completion) <= 3
    assert merges(tokenizer, *pair)


@pytest.mark.parametrize(("extra", "rows"), [(3, [(1,)]), (0, [(1,), (1, 1)])])
def test_a_model_that_sees_padding_shrinks_to_the_least_padding(extra, rows):
    broken = mutants.mask_dropped(tiny_decoder("llama"))

    def leaks(batch):
        with torch.no_grad():
            padded = broken(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[:, -1]
            for row, last in zip(batch.rows, padded, strict=True):
                ids = torch.tensor([row])
                alone = broken(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1]
                if (alone - last).abs().max() > 1e-3 * alone.std():
                    return True
        return False

    batch = smallest(ragged_batches(form="torch", max_extra=extra), leaks)
    assert sorted(batch.rows) == rows
    assert batch.pads == 1


def test_a_conversation_shrinks_to_the_turns_that_matter():
    chat = smallest(conversations(), lambda chat: len(chat) > 2 and chat[-1]["content"] != "a")
    assert [message["role"] for message in chat] in (
        ["system", "user", "assistant"],
        ["user", "assistant"] * 2,
    )
    assert [message["content"] for message in chat[:-1]] == ["a"] * (len(chat) - 1)
    assert len(chat[-1]["content"]) <= 2
    only = smallest(conversations(last="user"), lambda _: True)
    assert only == [{"role": "user", "content": "a"}]


# Bad input


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: token_ids("abc"), TypeError, "vocab: must be a tokenizer, a size or ids, got str"),
        (lambda: token_ids(True), TypeError, "vocab: .* got bool"),
        (lambda: token_ids(0), ValueError, "vocab: a vocabulary has at least one token, got 0"),
        (lambda: token_ids(2, avoid=[0, 1]), ValueError, "vocab: holds no ids to draw from"),
        (lambda: token_ids(9, min_tokens=-1), ValueError, "min_tokens: must be at least 0, got -1"),
        (
            lambda: token_ids(9, min_tokens=4, max_tokens=3),
            ValueError,
            "max_tokens: must be at least 4, got 3",
        ),
        (lambda: prompts("gpt2"), TypeError, "tokenizer: must be a tokenizer of transformers, got str"),
        (
            lambda: ragged_batches(side="top"),
            ValueError,
            "side: must be one of 'left', 'right', None, got 'top'",
        ),
        (
            lambda: ragged_batches(form="jax"),
            ValueError,
            "form: must be one of 'list', 'torch', 'numpy', got 'jax'",
        ),
        (lambda: ragged_batches(min_rows=0), ValueError, "min_rows: must be at least 1, got 0"),
        (lambda: ragged_batches(max_extra=-1), ValueError, "max_extra: must not be negative, got -1"),
        (
            lambda: ragged_batches(padded=True, max_extra=0, max_rows=1),
            ValueError,
            "padded: no row can have padding",
        ),
        (lambda: paddings([]), ValueError, "rows: there are none"),
        (
            lambda: paddings([[1]], min_extra=3, max_extra=2),
            ValueError,
            "max_extra: must be at least 3, got 2",
        ),
        (lambda: conversations(min_turns=0), ValueError, "min_turns: must be at least 1, got 0"),
        (lambda: conversations(last="system"), ValueError, "last: must be one of"),
        (
            lambda: conversations(markers="<eos>"),
            TypeError,
            "markers: must be a tokenizer or a list of words, got str",
        ),
        (
            lambda: prompt_completion_pairs(3),
            TypeError,
            "tokenizer: must be a tokenizer of transformers, got int",
        ),
        (
            lambda: prompt_completion_pairs(TOKENIZERS["metaspace"], max_pieces=0),
            ValueError,
            "max_pieces: must be",
        ),
    ],
)
def test_bad_input(make, error, text):
    with pytest.raises(error, match=text) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_without_hypothesis_one_line_says_what_to_install():
    code = "import sys; sys.modules['hypothesis'] = None; import pytest_decoderonly.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: pytest_decoderonly.strategies needs hypothesis: pip install 'pytest-decoderonly[hypothesis]'"
    )


def test_importing_the_strategies_imports_no_torch():
    code = "import sys, pytest_decoderonly.strategies; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
