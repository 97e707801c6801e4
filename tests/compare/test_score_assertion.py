"""What `assert_scores_keep` accepts, refuses and gives back; the bugs that it finds are in tests/zoo/test_zoo_scores.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_decoderonly import assert_scores_keep, tiny_decoder
from pytest_decoderonly.compare.items import Items, as_values
from pytest_decoderonly.compare.reading import Edit, Reader, called_modules
from pytest_decoderonly.compare.verdict import Verdict

ROWS = [[5, 6, 7, 8], [9, 10]]


def sums(rows):
    return [float(sum(row)) + 0.5 for row in rows]


@pytest.mark.parametrize(
    ("score", "rows", "kwargs", "error", "text"),
    [
        (3, ROWS, {}, TypeError, "score: must be a function of a list of rows, got int"),
        (sums, "abc", {}, TypeError, "rows: must be a list of rows"),
        (sums, torch.tensor([[1, 2], [3, 4]]), {}, TypeError, "rows: must be a list of rows .*, got Tensor"),
        (sums, [[1, 2]], {}, ValueError, "rows: needs at least two, got 1"),
        (sums, [[1, 2], []], {}, ValueError, "rows: row 1 is empty"),
        (sums, ["a", [1]], {}, TypeError, "rows: must all be of one form"),
        (sums, [[1, 2], {"ids": [1]}], {}, TypeError, "rows: row 1 must be token ids, .*, got {'ids'"),
        (sums, ["ab", "c"], {"prompt_lengths": 1}, TypeError, "prompt_lengths: goes with rows of ids only"),
        (sums, ROWS, {"prompt_lengths": [1]}, ValueError, "prompt_lengths: 1 entries for 2 rows"),
        (
            sums,
            ROWS,
            {"reduction": "mean"},
            ValueError,
            "reduction: must be 'token', 'row' or None, got 'mean'",
        ),
        (lambda _: None, ROWS, {}, TypeError, "score: must return a number .*, got NoneType"),
        (lambda _: 1.0, ROWS, {}, TypeError, 'score: returned one number for 2 rows; give reduction="token"'),
        (lambda _: ["a", "b"], ROWS, {}, TypeError, "score: entry 0 must be a number or numbers, got 'a'"),
        (
            lambda _: np.zeros((2, 2, 2)),
            ROWS,
            {},
            TypeError,
            "score: entry 0 must be a number or one number a token",
        ),
        (
            sums,
            ROWS,
            {"reduction": "row"},
            TypeError,
            "score: must return one number for all rows, .*, got list",
        ),
    ],
)
def test_bad_input(score, rows, kwargs, error, text):
    with pytest.raises(error, match=text) as caught:
        assert_scores_keep(score, rows, **kwargs)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_scorer_is_the_users_own():
    with pytest.raises(ZeroDivisionError):
        assert_scores_keep(lambda _: 1 / 0, ROWS)


def test_what_is_undecided_says_why():
    draws = np.random.default_rng(0)
    with pytest.raises(AssertionError, match=r"UNDECIDED(.|\n)*is something drawn, or kept"):
        assert_scores_keep(lambda rows: draws.normal(size=len(rows)), ROWS)
    with pytest.raises(AssertionError, match="UNDECIDED: no torch module was called"):
        assert_scores_keep(lambda rows: sum(map(sum, rows)) / 3, ROWS, reduction="token")


def test_not_a_number_in_a_batch():
    def score(rows):
        return [float("nan") if len(row) < max(map(len, rows)) else sum(row) / 7 for row in rows]

    with pytest.raises(AssertionError, match="1 of 2 rows gets a score that is not its own") as caught:
        assert_scores_keep(score, ROWS)
    assert "the score is nan in the batch; alone it is 2.71429" in str(caught.value)

    def nothing_to_score(rows):
        return [float("nan") if len(row) == 2 else sum(row) / 7 for row in rows]

    with pytest.raises(AssertionError, match="the score is nan, alone as in the batch"):
        assert_scores_keep(nothing_to_score, ROWS)


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6), min_size=2, max_size=5))
def test_a_scorer_of_each_row_by_itself_keeps(rows):
    result = assert_scores_keep(
        lambda rows: [sum(t * 1.1**i for i, t in enumerate(row)) / 3 for row in rows], rows
    )
    assert result.verdict.clean


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.sampled_from([list, tuple, np.array, torch.tensor]),
    st.integers(0, 5),
)
def test_a_changed_row_is_of_the_same_form_and_differs_where_it_should(prompt, answer, form, seed):
    rows = [(form(prompt), form(answer)), (form([10, 11]), form([12]))]
    items = Items(rows)
    assert items.tokens[0] == [*prompt, *answer]
    assert items.prompts == [len(prompt), 2]
    changed = items.with_other_end(0, seed)
    assert type(changed) is tuple
    assert [type(part) for part in changed] == [type(part) for part in rows[0]]
    after = [int(token) for part in changed for token in part]
    assert after[:-1] == [*prompt, *answer][:-1]
    assert after[-1] != answer[-1]
    assert [len(part) for part in items.stranger(0)] == [len(prompt), len(answer)]


def test_scores_as_values():
    same = [[1.0], [2.0]]
    for output in (
        [1, 2],
        (1.0, 2.0),
        np.array([1, 2]),
        torch.tensor([[1.0], [2.0]]),
        [torch.tensor(1.0), 2],
    ):
        assert [value.tolist() for value in as_values(output, 2)] == same
    ragged = [[1.0, 2.0], [3.0]]
    assert [value.tolist() for value in as_values(ragged, 2)] == ragged
    # In a rectangle the zeros at the ends are the padding's.
    assert [value.tolist() for value in as_values(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), 2)] == ragged


def test_the_reader_moves_one_position_and_leaves_the_model_alone():
    model = tiny_decoder("llama")
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]

    def logits(_):
        with torch.no_grad():
            return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits

    assert called_modules(lambda: logits(0)) == [model]
    reader = Reader(logits, model)
    plain, calls = reader.run([0])
    assert calls[0].ids == tuple(map(tuple, ids.tolist()))
    moved, _ = reader.run([0], Edit(states=frozenset([(0, 1, 2)])))
    assert [tuple(place) for place in (moved != plain).any(-1).nonzero().tolist()] == [(1, 2)]
    raised, _ = reader.run([0], Edit(logits={(0, 0, 3): (7, 2.0)}))
    assert (raised - plain).nonzero().tolist() == [[0, 3, 7]]
    levelled, _ = reader.run([0], Edit(levels={(0, 1): 1.5}))
    found = -levelled[1].log_softmax(-1)[:-1].gather(-1, ids[1, 1:, None])[:, 0]
    assert torch.allclose(found, torch.full((3,), 1.5), atol=1e-5)
    assert torch.equal(levelled[0], plain[0])
    assert torch.equal(logits(0), plain)
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_hooks_go_even_if_the_scorer_raises():
    model = tiny_decoder("llama")
    seen = []

    def score(rows):
        model(input_ids=torch.tensor([rows[0]]))
        seen.append(1)
        if len(seen) == 3:
            raise RuntimeError("out of memory")
        return [0.1 * len(row) for row in rows]

    with pytest.raises(RuntimeError, match="out of memory"):
        assert_scores_keep(score, ROWS)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.dtype is torch.float32


def test_verdict_of_a_plain_module():
    class Plain(torch.nn.Module):
        """No transformers model: gives logits itself."""

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(60, 60)

        def forward(self, input_ids):
            return self.table(input_ids)

    with torch.random.fork_rng():
        module = Plain()

    def score(rows, extra=0):
        width = max(map(len, rows)) + extra
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        found = module(ids)[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
        return [found[i, : len(row) - 1 + extra].sum() for i, row in enumerate(rows)]

    assert assert_scores_keep(score, ROWS).verdict is Verdict.EQUAL
    with pytest.raises(
        AssertionError, match="the log-probability of the padding behind the last token is added"
    ):
        assert_scores_keep(lambda rows: score(rows, 1), [row * 2 for row in ROWS], pad_token_id=0)
