"""Outcomes survive the wire and JSON, numbers that are not finite among them."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_decoderonly.compare.verdict import Culprit
from pytest_decoderonly.conformance.outcome import (
    ATTRIBUTE,
    VERDICTS,
    LayerDeviation,
    Number,
    Outcome,
    outcome_of,
)

TEXT = st.text(max_size=20)
DEVIATION = st.one_of(st.none(), st.floats())
OUTCOMES = st.builds(
    Outcome,
    *[TEXT] * 4,
    st.sampled_from(VERDICTS),
    parameters=st.dictionaries(TEXT, TEXT | st.integers(), max_size=3),
    seconds=st.floats(min_value=0, allow_infinity=False),
    numbers=st.lists(st.builds(Number, TEXT, TEXT, DEVIATION, DEVIATION, TEXT), max_size=3).map(tuple),
    rows=st.lists(TEXT, max_size=3).map(tuple),
    culprit=st.none() | st.builds(Culprit, TEXT, TEXT, TEXT),
    profile=st.lists(st.builds(LayerDeviation, TEXT, st.floats()), max_size=3).map(tuple),
    notes=st.lists(TEXT, max_size=2).map(tuple),
)


@given(OUTCOMES)
def test_nothing_is_lost_on_the_way(outcome):
    # `allow_nan=False`: other programs' readers refuse JSON with NaN in it.
    sent = json.loads(json.dumps(outcome.as_dict(), allow_nan=False))
    got = outcome_of(SimpleNamespace(**{ATTRIBUTE: sent}))
    assert repr(got) == repr(outcome)


def test_reports_of_other_items_have_no_outcome():
    assert outcome_of(SimpleNamespace(nodeid="test_own.py::test")) is None


def test_not_finite_is_not_the_same_as_not_run():
    number = Number("pad-content", "different", math.nan, None, "bfloat16")
    data = Outcome("m", "m", "c", "i", "failed", numbers=(number,)).as_dict()
    assert data["numbers"][0]["float32"] == "nan"
    assert data["numbers"][0]["native"] is None


def test_another_verdict_is_refused():
    with pytest.raises(ValueError, match="expected one of passed, failed, not applicable, error, got 'good'"):
        Outcome.from_dict({**Outcome("m", "m", "c", "i", "passed").as_dict(), "verdict": "good"})
