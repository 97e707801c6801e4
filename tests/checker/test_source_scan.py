"""The scanner against the standard tokenizer: same comments, same logical lines."""

import io
import sys
import tokenize
from pathlib import Path

import decoderonly_checker
import pytest
from decoderonly_checker.source.scan import Lines, logical_lines, split_lines
from hypothesis import given
from hypothesis import strategies as st


def by_scanner(text):
    lines = Lines(text)
    found = list(logical_lines(text))
    comments = [(lines.line(comment.start), comment.text) for line in found for comment in line.comments]
    return comments, [lines.line(max(line.start, line.end - 1)) for line in found if not line.empty]


def by_tokenize(text):
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    comments = [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
    return comments, [token.start[0] for token in tokens if token.type == tokenize.NEWLINE]


STANDARD_LIBRARY = sorted(Path(io.__file__).parent.glob("[a-m]*.py"))
OURS = sorted(Path(decoderonly_checker.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", STANDARD_LIBRARY[:60] + OURS, ids=lambda path: path.name)
def test_real_files_are_read_as_python_reads_them(path):
    text = path.read_text(encoding="utf-8")
    assert by_scanner(text) == by_tokenize(text)


def test_the_standard_library_was_found():
    assert len(STANDARD_LIBRARY) > 60


PIECES = st.sampled_from(
    [
        *("x = 1\n", "f(a,  # one\n  b)\n", "# alone\n", "\n", "if x:\n    y = 2  # two\n"),
        *("z = [\n# in\n]\n", "s = 'it # is'\n", 's = "a\\"#"\n', 's = """\n# no\n"""  # yes\n'),
        *("t = r'\\\\'  # r\n", "t = rb'''#'''\n", "x = 1 + \\\n  2  # three\n", "f'{x}'  # f\n"),
        *("f'{x!r:>{w}}'  # g\n", "f'{{#}}'\n", "f'{a[\"#\"]}'  # h\n", "f'''{\nx}\n#'''  # i\n"),
        *("f'{x:\"^9}'  # j\n", "d = {'a': {1: (2,)}}  # k\n", "x = 1; y = 2 # l\n"),
    ]
)


@given(st.lists(PIECES, max_size=12))
def test_pieces_in_any_order(pieces):
    text = "".join(pieces)
    assert by_scanner(text) == by_tokenize(text)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the standard tokenizer learned PEP 701 in 3.12")
@pytest.mark.parametrize("text", ["f'{d['#']}'  # x\n", "f'{f'{'#'}'}' # y\n"])
def test_quotes_nested_in_fields_agree_with_tokenize(text):
    assert by_scanner(text) == by_tokenize(text)


@pytest.mark.parametrize("text", ["f'{d['#']}'  # x\n", "f'{f'{'#'}'}'  # x\n", "f'{d['(']}'  # x\n"])
def test_quotes_nested_in_fields(text):
    assert by_scanner(text) == ([(1, "# x")], [1])


@given(st.text(alphabet="f'\"{}()[]:#\\\n\r \tax=,!", max_size=60))
def test_no_text_is_lost_or_read_twice(text):
    found = list(logical_lines(text))
    assert "".join(text[line.start : line.end] for line in found) == text
    assert all(line.start < line.end for line in found)
    for line in found:
        for comment in line.comments:
            assert line.start <= comment.start < line.end
            assert text.startswith(comment.text, comment.start)


@given(st.text(alphabet="a\r\n\x0c\x0b\u2028", max_size=30))
def test_lines_break_where_python_breaks_them(text):
    parts = split_lines(text)
    assert "\n".join(parts) == text.replace("\r\n", "\n").replace("\r", "\n")
    assert Lines(text).line(len(text)) == len(parts)
