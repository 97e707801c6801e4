"""The page: whatever a model, a file or a name says is text in it, and nothing else."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import FINDING, environment, failed, outcome, whole_run
from test_run import runs

from pytest_decoderonly.conformance.outcome import LayerDeviation, Number
from pytest_decoderonly.reporting import charts
from pytest_decoderonly.reporting.html import as_page, pieces, seconds_text, visible
from pytest_decoderonly.reporting.run import Found, Run, Unchecked

HOSTILE = (
    "<script>alert(1)</script>",
    "</pre></style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; &#60;",
    "]]><!-- -->",
    "\x1b[31mred\x00\x07",
    "\u202egnp.exe\u2066",
    "lone \ud800 half",
    "javascript:alert(1)",
    "many\nlines\r\nof\ttext",
)
VOID = {"meta", "br", "rect", "circle", "img"}


class Page(HTMLParser):
    """What a browser would see: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


def hostile_run(text: str) -> Run:
    number = Number(text, text, 0.1, float("nan"), text, 1e-4, text)
    wrong = failed(
        text,
        text,
        spec=text,
        item=text,
        seen=text,
        parameters={text: text},
        protects_from=text,
        device=text,
        dtype=text,
        numbers=(number,),
        text=text,
        rows=(text, f"row 0     __==xx{text}"),
        first_layer=text,
        profile=(LayerDeviation(text, 0.4),),
        notes=(text,),
    )
    finding = {key: text if isinstance(value, str) else value for key, value in FINDING.items()}
    finding["related"] = [{**FINDING["related"][0], "message": text, "path": text}]
    return Run(
        started="2026-11-23T16:00:00+00:00",
        environments=[environment(command=text, python=text, platform=text, packages={text: text})],
        interrupted=text,
        outcomes=[wrong, outcome(text, text, item=text, seen=text, notes=(text,))],
        findings=[Found("static", text, finding, text), Found("guard", text, finding, text)],
        unchecked=[Unchecked(text, text)],
    )


PLAIN = Page(as_page(hostile_run("plain")))


def check_harmless(page: str) -> Page:
    """Nothing but our own elements; nothing that runs or loads; links that stay in the page and arrive."""
    page.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)
    seen = Page(page)
    assert not seen.open
    assert set(seen.tags) <= {*PLAIN.tags, *Page(as_page(whole_run())).tags}
    assert "script" not in seen.tags
    assert not [
        name for _, name, _ in seen.attributes if name.startswith("on") or name in ("src", "style", "srcset")
    ]
    ids = seen.all("id")
    assert len(ids) == len(set(ids))
    assert all(link.startswith("#") and link[1:] in ids for link in seen.all("href"))
    return seen


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(text):
    seen = check_harmless(as_page(hostile_run(text)))
    assert sorted(seen.tags) == sorted(PLAIN.tags)
    shown = " ".join(visible(text).split())
    assert " ".join(seen.text.split()).count(shown) > 20


@settings(max_examples=20)
@given(runs)
def test_any_run_becomes_a_harmless_page(run):
    check_harmless(as_page(run))


@given(st.text(st.characters(exclude_categories=())))
def test_text_is_made_visible_once(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert visible(shown) == shown
    if text.isascii() and text.isprintable():
        assert shown == text


def test_a_run_is_told_in_full():
    seen = check_harmless(as_page(whole_run()))
    text = " ".join(seen.text.split())
    for said in (
        "The run did not end by itself: stopping after 1 failures",
        "38 of 40 items ran",
        "tiny-broken: left-padding",
        "positions are counted over the padding",
        "count them from the attention mask",
        "model.layers.2.self_attn: row 1, prompt token 2 of 19",
        "bfloat16 7.9e-01",
        "float32 nan",
        "the batch was halved to 2 rows",
        "the model has no cache",
        "the factory raised RuntimeError: no weights here",
        "`generate` gets token ids of a padded batch and no `attention_mask`",
        "app/serve.py:11",
        "the guard, in a test: tests/test_serve.py::test_answer",
        "app/broken.py:3: does not parse",
        "3 times at this place",
        "____abc",
        "no line of yours",
        "12 passed",
        "5.23.0",
    ):
        assert said in text
    assert text.index("What is wrong") < text.index("Items of SmolLM2")


def test_every_cell_of_a_table_has_a_header_and_every_picture_words():
    page = as_page(whole_run())
    seen = Page(page)
    assert seen.tags.count("th") == len(
        [1 for tag, name, _ in seen.attributes if (tag, name) == ("th", "scope")]
    )
    # Pictures repeat what stands beside them as text, so that readers of screens pass them over.
    assert seen.tags.count("svg") == len(re.findall('<svg [^>]*aria-hidden="true"', page)) > 0
    assert ("html", "lang", "en") in seen.attributes
    levels = [int(tag[1]) for tag in seen.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_an_empty_run_says_so():
    text = " ".join(
        Page(as_page(Run(started="2026-11-23T16:00:00+00:00", environments=[environment()]))).text.split()
    )
    assert "nothing found" in text
    assert "Overview" not in text


def test_a_drawn_row_is_coloured_sign_by_sign():
    assert pieces("row 1     __==xx|xx") == [
        ("", "row 1     "),
        ("padding", "__"),
        ("equal", "=="),
        ("wrong", "xx"),
        ("", "|"),
        ("wrong", "xx"),
    ]
    assert pieces("signs: _ padding") == [("", "signs: _ padding")]


@given(st.text())
def test_pieces_are_the_line(line):
    assert "".join(piece for _, piece in pieces(line)) == line


@given(st.none() | st.floats())
def test_every_value_has_a_place(value):
    assert 0.0 <= charts.place(value) <= 1.0


@given(st.floats(1e-8, 1e2), st.floats(1e-8, 1e2))
def test_places_are_in_order(one, other):
    assert (charts.place(one) <= charts.place(other)) == (one <= other) or charts.place(one) == charts.place(
        other
    )


def test_a_long_profile_shows_where_the_runs_part():
    layers = [LayerDeviation(f"layers.{i}", 0.0 if i < 90 else 0.5) for i in range(120)]
    bars, left = charts.profile(layers)
    assert (len(bars), left) == (64, 56)
    assert [bar.over for bar in bars].index(True) == 90 - int(bars[0].name.removeprefix("layers."))


def test_several_items_show_the_worst_of_each_dtype():
    lines = charts.deviations([outcome(), failed()])
    assert [line.name for line in lines] == ["batch-vs-solo", "pad-amount", "row-order"]
    assert [mark.text for mark in lines[0].marks] == ["bfloat16 7.9e-01", "float32 8.1e-01"]
    assert lines[0].verdict == "different"
    assert "float32 nan" in [mark.text for mark in lines[1].marks]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.034, "0.03 s"), (12.4, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_times_are_read_at_a_glance(seconds, text):
    assert seconds_text(seconds) == text
