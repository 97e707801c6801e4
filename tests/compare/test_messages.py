"""Messages, word for word. `UPDATE_SNAPSHOTS=1 pytest tests/compare/test_messages.py` writes them anew, for review."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_decoderonly import assert_labels_mask_prompt, assert_left_padded, assert_no_prompt, tiny_tokenizer
from pytest_decoderonly.assertions.drawing import Block, advice, listing, strip
from pytest_decoderonly.assertions.report import render
from pytest_decoderonly.compare.culprit import name_culprit
from pytest_decoderonly.compare.verdict import (
    BatteryResult,
    Choice,
    Layer,
    Relation,
    RelationResult,
    RowError,
    Verdict,
)

SNAPSHOTS = Path(__file__).parent / "snapshots"
EOS = 2


def check(name, text):
    path = SNAPSHOTS / f"{name}.txt"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text + "\n", encoding="utf-8")
    assert text + "\n" == path.read_text(encoding="utf-8")


def message(function, *args, **kwargs):
    with pytest.raises(AssertionError) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def test_right_padding():
    tokenizer = tiny_tokenizer(padding_side="right")
    batch = tokenizer(["Question: is the sky blue?", "Hi"], padding=True)
    check("right_padding", message(assert_left_padded, batch, tokenizer=tokenizer))


def test_prompt_in_the_loss():
    tokenizer = tiny_tokenizer()
    prompts = ["Question: is the sky blue? Answer: ", "Hi"]
    ids = [tokenizer(prompt + "yes")["input_ids"] + [EOS] for prompt in prompts]
    labels = [list(row) for row in ids]
    labels[0][:18] = [-100] * 18
    labels[1][:1] = [-100]
    check(
        "prompt_in_the_loss",
        message(assert_labels_mask_prompt, labels, ids, prompts=prompts, tokenizer=tokenizer),
    )


def test_many_rows_without_a_tokenizer():
    ids = [[7, 8, 9, 10, 0, 0]] * 13
    check(
        "padding_in_the_loss", message(assert_labels_mask_prompt, ids, ids, prompt_lengths=0, pad_token_id=0)
    )


def test_long_row():
    ids = [list(range(10, 210))]
    labels = [[-100] * 99 + ids[0][99:]]
    check("long_row", message(assert_labels_mask_prompt, labels, ids, prompt_lengths=100))


def test_prompt_in_the_output():
    tokenizer = tiny_tokenizer()
    prompt = "Question: is the sky blue? Answer:"
    rows = [tokenizer(prompt + " yes")["input_ids"], tokenizer(" the sky blue? Answer: no")["input_ids"]]
    check("prompt_in_the_output", message(assert_no_prompt, rows, [prompt] * 2, tokenizer=tokenizer))


def _result(dtype="bfloat16"):
    def row(i, errors, width, pads, prefill=6):
        return RowError(i, np.array(errors, dtype=float), prefill, 0.5, width, pads)

    clean, bad = [1e-6] * 8, [1e-6] * 6 + [0.5, 1.25]
    relations = (
        RelationResult(Relation.PAD_CONTENT, Verdict.EQUAL, work=(row(0, [0] * 8, 12, 6),)),
        RelationResult(
            Relation.NEIGHBOUR_CONTENT, Verdict.UNDECIDED, "a single row has no neighbours", applicable=False
        ),
        RelationResult(
            Relation.BATCH_VS_SOLO, Verdict.DIFFERENT, "", (row(0, bad, 12, 6),), (row(0, bad, 12, 6),), 1e-4
        ),
        RelationResult(
            Relation.PAD_AMOUNT, Verdict.DIFFERENT, "", (), (row(0, bad, 7, 1), row(0, bad, 31, 25)), 1e-4
        ),
        RelationResult(Relation.CACHED_VS_FULL, Verdict.ROUNDING, "", (), (row(0, clean, 6, 0),), 1e-4),
    )
    return BatteryResult(
        Verdict.DIFFERENT,
        relations,
        dtype,
        "cpu",
        (6, 12),
        name_culprit({relation.relation: relation for relation in relations}, None),
        Layer("model.layers.0.self_attn", 0, "cached step 1", 0.83, 1),
        (Choice(1, "cached step 1 of 2", 40, 41, 0.01, 0.02),),
        (Choice(0, "cached step 2 of 2", 50, 60, 3.18, 2.91),),
        ("a note",),
        21,
        1.5,
    )


def test_battery():
    check("battery", render(_result(), model="TinyForCausalLM", tokenizer=tiny_tokenizer()))


def test_battery_in_brief_and_in_float32():
    check("battery_brief", render(_result("float32"), model="TinyForCausalLM", brief=True))


LINES = st.lists(st.text("ab ", min_size=1, max_size=20).map(str.strip).filter(bool), max_size=4).map(tuple)
ADVICE = st.sampled_from([advice("it is wrong", "mend it"), advice("it is worse", "mend it now")])


@given(
    st.lists(st.builds(Block, st.just("row"), LINES, LINES, advice=ADVICE), min_size=1, max_size=40), LINES
)
def test_a_message_is_short_and_says_how_much_it_leaves_out(blocks, footer):
    lines = listing("wrong", blocks, footer).split("\n")
    assert lines[0] == "wrong"
    assert len(lines) < 30
    assert lines[len(lines) - len(footer) :] == list(footer)
    shown = lines.count("row")
    left = re.search(r"^\.\.\. and (\d+) more rows?$", "\n".join(lines), re.MULTILINE)
    assert shown + (int(left.group(1)) if left else 0) == len(blocks)
    said = [line for line in lines if line.startswith("        effect: ")]
    assert said
    assert len(said) == len(set(said))


@given(st.integers(1, 300), st.data())
def test_a_row_fits_into_80_columns_and_the_pointer_points(length, data):
    point = data.draw(st.integers(0, length - 1))
    signs = ["#"] * length
    signs[point] = "x"
    line, pointer = strip(signs, point)
    assert len(line) <= 80 - len("E       ") - len("row 12345 ")
    assert line[len(pointer) - 1] == "x"
    assert (line.strip(".") == "".join(signs)) is (length <= 56)


def test_a_pair_of_precisions_and_many_rows_fit_too():
    result = _result()
    many = RelationResult(
        Relation.BATCH_VS_SOLO, Verdict.DIFFERENT, "", (), tuple(result.failing[0].failing * 20), 1e-4
    )
    result = replace(
        result, relations=(many, *result.relations), flips=result.flips * 9, ties=result.ties * 9
    )
    lines = render(result, model="TinyForCausalLM", tokenizer=tiny_tokenizer()).split("\n")
    assert len(lines) < 30
    assert "... and 8 more flips" not in lines
    assert "... and 7 more flips" in lines
    assert any(line.endswith("more rows like these") for line in lines)
