"""Files to cells: encodings, line ends, what cannot be read."""

from pathlib import Path

import libcst as cst
import pytest
from decoderonly_checker.source.files import SourceError, decode, encode, load_source, shown_path
from decoderonly_checker.source.positions import Positions


def calls(source):
    """The text that each call's place cuts out of the original lines."""
    positions = Positions(source)
    found = []

    class Visitor(cst.CSTVisitor):
        def visit_Call(self, node):
            place = positions.place(cell.index, node)
            line = cell.lines[place.line - 1]
            end = place.end_column - 1 if place.end_line == place.line else None
            found.append((place.line, line[place.column - 1 : end]))

    for cell in source.cells:
        assert cell.error is None
        cell.tree.visit(Visitor())
    return found


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"x = 1\nf(a)\n", [(2, "f(a)")]),
        (b"\xef\xbb\xbff(a)\n", [(1, "f(a)")]),
        (b"\xef\xbb\xbf# coding: utf-8\nf(a)\n", [(2, "f(a)")]),
        (b"x = 1\r\n\r\nf(a)\r\n", [(3, "f(a)")]),
        (b"x = 1\rf(a)\r", [(2, "f(a)")]),
        (b"x = 1\n\x0c\nf(a)\n\x0cg(b)\n", [(3, "f(a)"), (4, "g(b)")]),
        (b"def h():\n  \x0c  f(a)\n", [(2, "f(a)")]),
        (b"x = '''\x0c\x0b\x1c'''; f(a)\n", [(1, "f(a)")]),
        ("x = '\u2028é𠀀字'; f('字')\ng()\n".encode(), [(1, "f('字')"), (2, "g()")]),
        ("# -*- coding: latin-1 -*-\nx = 'é'; f(a)".encode("latin-1"), [(2, "f(a)")]),
        ("# vim: set fileencoding=gbk :\nx = '中文'; f('中')".encode("gbk"), [(2, "f('中')")]),
        (b"if x:\n\tf(a)", [(2, "f(a)")]),
        (b"await f(a)\n", [(1, "f(a)")]),
        (b"x = f'{f(a)!r:>{w}}'\n", [(1, "f(a)")]),
        (b"type X = int\ndef g[T](x: T): f(a)\n", [(2, "f(a)")]),
        (b"", []),
        (b"\n", []),
    ],
)
def test_places_point_at_the_original_text(data, expected):
    assert calls(load_source(Path("a.py"), data)) == expected


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"x = 1\ny = '\0'\n", 2, "is binary or UTF-16: it holds a NUL byte"),
        ("x = 1".encode("utf-16"), 1, "is binary or UTF-16: it holds a NUL byte"),
        (
            b"x = 1\ny = '\xe9'\n",
            2,
            "is not utf-8: byte 0xe9 cannot be decoded (declare the encoding, PEP 263)",
        ),
        (b"#\n#\n#\n#\n\xff", 5, "is not utf-8: byte 0xff cannot be decoded (declare the encoding, PEP 263)"),
        (b"# coding: klingon\n", 1, "unknown encoding: klingon"),
        (b"# coding: rot13\nk\n", 1, "cannot be decoded as rot13"),
        (
            b"\xef\xbb\xbf# coding: latin-1\n",
            1,
            "starts with a UTF-8 byte order mark, but its coding line names another encoding",
        ),
    ],
)
def test_undecodable_files_are_named_with_the_line(data, line, message):
    with pytest.raises(SourceError) as caught:
        load_source(Path("dir/a.py"), data)
    error = caught.value.error
    assert (error.path, error.line, error.message) == ("dir/a.py", line, message)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("x = 1\ny = (1,\n", 2, "syntax error: '(' was never closed"),
        ("print 'a'\n", 1, "syntax error: Missing parentheses in call to 'print'. Did you mean print(...)?"),
        ("if x:\npass\n", 2, "syntax error: expected an indented block after 'if' statement on line 1"),
    ],
)
def test_a_syntax_error_is_an_error_of_the_cell(text, line, message):
    (cell,) = load_source(Path("a.py"), text.encode()).cells
    assert cell.tree is None
    assert (cell.error.line, cell.error.message) == (line, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\n" + "(" * 1000 + ")" * 1000, "brackets nest 1000 deep; Python itself stops at 200"),
        ("\n\nx = " + "[\n" * 100_000, "brackets nest 100000 deep; Python itself stops at 200"),
        (
            "\n\n" + "-" * 200_000 + "1",
            "one statement nests too deep: over 1000 chained operators or branches",
        ),
        (
            "\n\nx = (" + "a\n+" * 50_000 + "a)",
            "one statement nests too deep: over 1000 chained operators or branches",
        ),
        (
            "\n\nx = " + "lambda:" * 20_000 + "1",
            "one statement nests too deep: over 1000 chained operators or branches",
        ),
        (
            "\n\nx = a" + ".b" * 20_000,
            "one statement nests too deep: over 1000 chained operators or branches",
        ),
        (
            "\n\nx = a" + "()" * 20_000,
            "one statement nests too deep: over 1000 chained operators or branches",
        ),
    ],
)
def test_what_would_kill_the_parser_is_refused(text, message):
    """libcst's parser overflows the native stack on these: the process would die without a word."""
    (cell,) = load_source(Path("a.py"), text.encode()).cells
    assert cell.tree is None
    assert (cell.error.line, cell.error.message) == (3, message)


def test_an_endless_elif_chain_is_refused():
    (cell,) = load_source(Path("a.py"), b"if a:\n  pass\n" + b"elif b:\n  pass\n" * 20_000).cells
    assert cell.error.message == "one statement nests too deep: over 1000 chained operators or branches"


def test_deep_but_legal_code_parses():
    for text in ("not " * 990 + "1", "x = " + "+".join(["a"] * 300), "f(" * 190 + ")" * 190):
        (cell,) = load_source(Path("a.py"), text.encode()).cells
        assert cell.error is None
        assert cell.tree is not None


def test_long_flat_code_is_not_taken_for_deep():
    big_list = "x = [" + "-1, 'a', (2),\n" * 400 + "]\n"
    template = "x = f'''" + "{{ (body) }} {a}\n" * 1000 + "'''\n"
    elifs = "if a:\n  if b: pass\n  elif c == 1: pass\n" * 1200
    (cell,) = load_source(Path("a.py"), (big_list + template + elifs).encode()).cells
    assert cell.error is None
    assert len(cell.tree.body) == 1202


def test_nothing_is_parsed_before_it_is_asked_for(monkeypatch):
    def boom(text):
        raise AssertionError("parsed too early")

    monkeypatch.setattr("decoderonly_checker.source.parse.parse", boom)
    source = load_source(Path("a.py"), b"x = (")
    assert source.cells[0].lines == ["x = ("]


def test_reading_fails_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(SourceError, match=r"^folder\.py: is a directory, not a file$"):
        load_source(Path("folder.py"))
    with pytest.raises(SourceError, match=r"^gone\.py: no such file or directory$"):
        load_source(Path("gone.py"))

    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SourceError, match=r"^secret\.py: permission denied$"):
        load_source(Path("secret.py"))


def test_shown_names_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert shown_path(Path("b/c.py")) == "b/c.py"
    assert shown_path(tmp_path / "a/b/../c.py") == "c.py"
    assert shown_path(Path("../x.py")) == (tmp_path / "x.py").as_posix()
    assert load_source(Path("b/c.py"), b"").path == tmp_path / "a/b/c.py"


def test_cell_lookup():
    source = load_source(Path("a.py"), b"x = 1\n")
    assert source.cell(None) is source.cells[0]
    with pytest.raises(KeyError):
        source.cell(0)


def test_positions_refuse_foreign_nodes():
    source = load_source(Path("a.py"), b"f(a)\n")
    with pytest.raises(KeyError):
        Positions(source).place(None, cst.parse_expression("f(a)"))
    broken = load_source(Path("b.py"), b"(")
    with pytest.raises(KeyError):
        Positions(broken).place(None, cst.parse_expression("f(a)"))


def test_coding_lines_count_whatever_ends_them(tmp_path):
    text = "# -*- coding: latin-1 -*-{0}x = 1  # \u00e9{0}"
    for ending in ("\n", "\r\n", "\r"):
        (tmp_path / "a.py").write_bytes(text.format(ending).encode("latin-1"))
        assert load_source(tmp_path / "a.py").encoding == "iso-8859-1"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("x = 'é🙂'\n", "utf-8"),
        ("# coding: latin-1\nx = 'é'\n", "iso-8859-1"),
        ("#!/usr/bin/python\r# -*- coding: cp1252 -*-\rx = '€'\r", "cp1252"),
        ("# coding: shift_jis\r\nx = '表示'\r\n", "shift_jis"),
        ("# coding: utf-8-sig\nx = 'é'\n", "utf-8"),
    ],
)
def test_text_becomes_the_bytes_that_it_would_be_read_from(text, encoding):
    assert decode(encode(text), "a.py") == (text, encoding)


@pytest.mark.parametrize(
    "text", ["# coding: latin-1\nx = '€'\n", "# coding: none-such\n", "coding: \ud800 latin-1\n"]
)
def test_text_that_cannot_be_in_its_own_encoding_is_kept_all_the_same(text):
    assert encode(text).decode("utf-8", "surrogatepass") == text
