"""The fuzz harness sees what it is there to see; and a few hundred of its inputs, on every run of the tests."""

import itertools
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the workers find the modules by it too

import fuzz
import inputs
from shrink import minimal, shrink
from workers import Job, Limits, Pool

CODE = "from transformers import AutoTokenizer\ntokenizer = AutoTokenizer.from_pretrained('gpt2')\ntokenizer.pad(x)\n"


@pytest.fixture
def pool(tmp_path):
    with Pool(tmp_path / "pool", Limits(seconds=1.0, memory=400.0), planted=True) as pool:
        yield pool


def given(text, name="main.py"):
    return Job("given", "given", files={name: text.encode()})


@pytest.mark.parametrize(
    ("word", "signature"),
    [
        ("RAISE", "internal error: ValueError at planted.py"),
        ("HANG", "hang"),
        ("CRASH", "died: SIGSEGV"),
        ("EAT", "memory"),
        ("EXIT", "SystemExit in source/files.py _parse"),
    ],
)
def test_a_mistake_is_seen_and_the_next_input_is_checked(pool, word, signature):
    outcome = pool.one(given(f"{CODE}# {word}\n"))
    assert outcome.signature.startswith(signature), outcome.problem
    assert outcome.files == {"main.py": f"{CODE}# {word}\n".encode()}
    after = pool.one(given(CODE))
    assert (after.problem, after.parsed, after.refused) == (None, True, [])


def test_another_result_the_second_time_is_seen(pool):
    assert pool.one(given(CODE + "x = (\n", "flicker.py")).signature == "another result the second time"


def test_what_is_refused_is_counted_and_no_mistake(pool):
    outcome = pool.one(given(CODE + "x = (\n"))
    assert (outcome.problem, outcome.parsed) == (None, False)
    assert outcome.refused == ["syntax error: '(' was never closed"]


def test_a_failing_input_is_made_small(pool):
    text = CODE * 20 + "x = 1  # RAISE here, and nowhere else\n" + CODE * 20
    outcome = pool.one(Job("given", "given", files={"main.py": text.encode(), "other.py": CODE.encode()}))
    ((name, data),) = shrink(outcome, pool, 60).items()
    # The checker wants words that it looks closer at, the mistake its own.
    assert name == "main.py"
    assert b"# RAISE" in data
    assert len(data) < 80


def test_delta_debugging_keeps_what_is_needed():
    pieces = [bytes([n]) for n in range(100)]
    assert minimal(pieces, lambda left: {b"\x07", b"\x2a"} <= set(left)) == [b"\x07", b"\x2a"]
    assert minimal(pieces, lambda _: True) == []


def test_an_input_follows_from_kind_seed_and_number():
    corpus = inputs.Corpus([inputs.SPECS])
    for kind in set(inputs.KINDS) - {"generated"}:
        made = [inputs.make(corpus, kind, 3, number) for number in range(8)]
        assert made == [inputs.make(corpus, kind, 3, number) for number in range(8)]
        assert any(one != other for one, other in itertools.pairwise(made))


def test_the_checker_takes_what_it_is_given(tmp_path):
    """Other inputs come with other seeds: `python tests/fuzz/fuzz.py`."""
    report = fuzz.Report()
    kinds = [kind for kind in inputs.KINDS if kind != "generated"]
    jobs = [Job(f"{kind}-{n}", kind, made_of=(kind, 11, n)) for n in range(25) for kind in kinds]
    with Pool(tmp_path, Limits(), corpus=inputs.Corpus([inputs.SPECS])) as pool:
        for outcome in pool.run(jobs):
            report.add(outcome)
    assert not report.mistakes, "\n".join(outcome.problem for outcome in report.first.values())
    assert report.kinds["rename"].parsed > 15
    assert sum(tally.inputs for tally in report.kinds.values()) == len(jobs)
