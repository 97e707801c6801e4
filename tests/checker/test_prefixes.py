"""Whether one text begins another: claims hold for every string that the holes may stand for."""

from __future__ import annotations

import pytest
from decoderonly_checker.flow.prefixes import Fit, Front, fit
from decoderonly_checker.flow.values import Const, Hole, Scattered, Str, Unknown
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("question", "reply", "context")
literals = st.text(alphabet="ab:\n ", min_size=1, max_size=14)
patterns = st.lists(
    st.one_of(literals, st.sampled_from(NAMES).map(lambda n: Hole(Unknown(hint=n)))), max_size=5
)
contents = st.fixed_dictionaries({name: st.text(alphabet="ab:\n ", max_size=6) for name in NAMES})


def read(parts: list[str | Hole], held: dict[str, str]) -> str:
    return "".join(part if isinstance(part, str) else held[part.value.hint] for part in parts)  # type: ignore[attr-defined]


def hole(name: str) -> Hole:
    return Hole(Unknown(hint=name))


@given(patterns, patterns, contents)
def test_what_is_claimed_holds_whatever_is_filled_in(
    text: list[str | Hole], longer: list[str | Hole], held: dict[str, str]
) -> None:
    found = fit(text, longer).front
    short, whole = read(text, held), read(longer, held)
    if found is Front.PREFIX:
        assert whole.startswith(short)
    elif found is Front.OTHER:
        assert not whole.startswith(short)
    elif found is Front.LATER:
        assert short in whole


@given(patterns, patterns)
def test_a_text_begins_itself_and_what_is_appended_to_it(
    text: list[str | Hole], more: list[str | Hole]
) -> None:
    assert fit(text, [*text, *more]).front is Front.PREFIX


@given(patterns, st.sampled_from(NAMES), st.sampled_from(["Xy", "Be brief. X", "X\n\n"]))
def test_a_text_is_found_again_behind_words_of_which_it_has_none(
    text: list[str | Hole], name: str, front: str
) -> None:
    assert fit([*text, hole(name)], [front, *text, hole(name)]).front is Front.LATER


@given(patterns, patterns, contents)
def test_what_is_left_of_both_lies_behind_what_they_share(
    text: list[str | Hole], longer: list[str | Hole], held: dict[str, str]
) -> None:
    found = fit(text, longer)
    short, whole = read(text, held), read(longer, held)
    rest, longer_rest = read([*found.rest], held), read([*found.longer_rest], held)
    assert short.endswith(rest)
    assert whole.endswith(longer_rest)
    assert short[: len(short) - len(rest)] == whole[: len(whole) - len(longer_rest)]


@pytest.mark.parametrize(
    ("text", "longer", "expected"),
    [
        (
            ["Question: ", hole("q"), "\nAnswer:"],
            ["Question: ", hole("q"), "\nAnswer: ", hole("a")],
            Front.PREFIX,
        ),
        (["Q: ", hole("q"), "\nA:"], ["Question: ", hole("q"), "\nAnswer: ", hole("a")], Front.OTHER),
        (["Q: ", hole("q")], [hole("shots"), "\nQ: ", hole("q"), hole("a")], Front.LATER),
        (["Q: ", hole("q")], ["Be brief.\nQ: ", hole("q"), hole("a")], Front.LATER),
        (["Q: ", hole("q")], [hole("prompt"), hole("a")], Front.UNKNOWN),
        (["Q: ", hole("q"), "\n"], ["Q: ", hole("q"), " ", hole("a")], Front.UNKNOWN),
        ([hole("q")], ["<s>", hole("q")], Front.UNKNOWN),
        ([hole("q")], [hole("bos_token"), hole("q")], Front.UNKNOWN),
        ([hole("q")], [Scattered(Unknown(hint="q"))], Front.UNKNOWN),
        (["Q: ", Hole(Const("why?"))], ["Q: why? Because."], Front.PREFIX),
        ([Hole(Str(("Q: ", hole("q"))))], ["Q: ", hole("q"), "A"], Front.PREFIX),
        ([Hole(Unknown())], [Hole(Unknown()), "A"], Front.UNKNOWN),
        (["The whole of it, and more"], ["The whole of it"], Front.OTHER),
        ([], ["anything"], Front.PREFIX),
    ],
)
def test_texts_as_programs_write_them(
    text: list[str | Hole], longer: list[str | Hole], expected: Front
) -> None:
    assert fit(text, longer).front is expected


def test_the_rest_names_what_the_text_has_more() -> None:
    assert fit([hole("prompt"), hole("eos_token")], [hole("prompt"), " yes"]) == Fit(
        Front.UNKNOWN, (hole("eos_token"),), (" yes",)
    )
