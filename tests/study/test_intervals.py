"""Laws of the intervals and tests, and values that others have published."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_decoderonly.study.intervals import holm, mcnemar, wilson

COUNTS = st.integers(1, 400).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))
FEW = st.integers(0, 200)
PROBABILITIES = st.lists(st.floats(0, 1), max_size=12)


@given(COUNTS)
def test_an_interval_holds_its_share_and_mirrors(counts):
    count, total = counts
    low, high = wilson(count, total)
    assert 0 <= low <= count / total <= high <= 1
    assert low < high
    other = wilson(total - count, total)
    assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high), abs=1e-12)


@given(COUNTS, st.integers(2, 50))
def test_more_questions_or_less_confidence_make_it_narrower(counts, times):
    count, total = counts
    low, high = wilson(count, total)
    for narrow in (wilson(count * times, total * times), wilson(count, total, 0.8)):
        assert narrow[1] - narrow[0] < high - low


@given(COUNTS)
def test_its_ends_are_where_the_score_test_turns(counts):
    """An interval is all shares that the count does not reject: (share - p)² = z² p (1 - p) / n at both ends."""
    count, total = counts
    z = 1.959963984540054
    for end in wilson(count, total):
        assert (count / total - end) ** 2 == pytest.approx(z * z * end * (1 - end) / total, abs=1e-9)


def test_published_values():
    # Brown, Cai and DasGupta 2001; Newcombe 1998, table I, cases 2 and 3 of method 3.
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    # The sign test of 9 to 0, and of 1 to 5.
    assert mcnemar(9, 0) == 2 / 2**9
    assert mcnemar(1, 5) == pytest.approx(0.21875)
    # Holm 1979: the smallest of three is multiplied by three.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(FEW, FEW)
def test_a_test_of_pairs_is_fair(lost, gained):
    p = mcnemar(lost, gained)
    assert 0 < p <= 1
    assert p == mcnemar(gained, lost)
    assert mcnemar(lost, lost) == 1
    if lost >= gained:
        assert mcnemar(lost + 1, gained) <= p or math.isclose(mcnemar(lost + 1, gained), p)


@given(st.integers(1, 60), st.floats(0.001, 0.999))
def test_chance_alone_is_seldom_called_more(total, level):
    """Of all outcomes of `total` even throws, those with p below a level are together no likelier than the level."""
    weight = sum(math.comb(total, k) for k in range(total + 1) if mcnemar(k, total - k) < level)
    assert weight / 2**total <= level


@given(PROBABILITIES)
def test_corrected_values_keep_their_order_and_grow(values):
    adjusted = holm(values)
    assert len(adjusted) == len(values)
    assert all(before <= after <= 1 for before, after in zip(values, adjusted, strict=True))
    order = sorted(range(len(values)), key=lambda i: values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)
    if values:
        assert min(adjusted) == min(1, len(values) * min(values))
        assert all(a <= min(1, len(values) * v) for v, a in zip(values, adjusted, strict=True))


def test_counts_that_make_no_sense_are_refused():
    for count, total in ((-1, 3), (4, 3), (0, 0)):
        with pytest.raises(ValueError, match=r"^count: "):
            wilson(count, total)
    with pytest.raises(ValueError, match=r"^lost, gained: "):
        mcnemar(-1, 0)
