"""Code without comments, documentation and prose: as bytes for the quick tests, and line by line for who knows line numbers."""

import re
import sysconfig
from pathlib import Path

import pytest
from decoderonly_checker.source.code import code_lines, code_of
from hypothesis import given
from hypothesis import strategies as st

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])

PIECES = [
    *(
        '"',
        "'",
        '"""',
        "'''",
        "\\",
        "\n",
        "\r\n",
        "\r",
        "#",
        " ",
        "word",
        "two words",
        "f",
        "r",
        "Rb",
        "é",
        "\udc80",
    ),
    *('f"""{x}', '"one two"', "'one'", '"a \\\n b"', "f'{x} y'", "# it's", '"""one\ntwo"""', "x = 1\n"),
]


def number_of_lines(text):
    return len(re.split(r"\r\n|\r|\n", text))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("x = 1  # one\ny = 2", ["x = 1  ", "y = 2"]),
        ('"""One.\n\nTwo.\n"""\nx = "word"', ["", "", "", "", 'x = "word"']),
        ('x = "some words"\r\ny = f"{some} words"\r\n', ['x = ""', 'y = f"{some} words"', ""]),
        ('x = "some \\\nwords \\\nmore"\ny = 1', ['x = ""', "", "", "y = 1"]),
        ('x = f"""{one\n}"""\n"""gone"""', ['x = f"""{one', '}"""', ""]),
        ('x = rf"""\na"b"""\ny = 1\n"""gone"""\n', ['x = rf"""', 'a"b"""', "y = 1", "", ""]),
        ("x = b'''\na'b'''\ny = f'''{it\n} \"'''\n'gone to'", ["x = b", "", "y = f'''{it", "} \"'''", '""']),
        ("x = '\udc80'", ["x = '\udc80'"]),
    ],
)
def test_lines_of_code(text, lines):
    assert code_lines(text) == lines


@pytest.mark.parametrize(
    "text",
    [
        'x = "open it\nmodel.generate(x)',
        "x = 'open model.generate(x)",
        'x = """open\nmodel.generate("some words")',
    ],
)
def test_code_behind_what_nothing_closes_is_kept(text):
    assert b"model.generate" in code_of(text.encode())


@pytest.mark.parametrize(
    "piece", ['"\\', '"""\\"', 'x = """a\\"""', 'f"""x\n\'\'\'"', "'\\\n", "\"\"\"\\'''"]
)
def test_the_time_grows_with_the_length(piece):
    code_of(piece.encode() * 200_000)  # hours, if each quote made for another look at the rest


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_both_keep_the_same_code(text):
    lines = code_lines(text)
    assert len(lines) == number_of_lines(text)
    code = code_of(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")
    assert "".join(lines) == code.replace("\n", "")


@pytest.mark.parametrize("folder", ["json", "email", "unittest"])
def test_real_files_keep_their_lines(folder):
    for path in sorted((STANDARD_LIBRARY / folder).glob("*.py")):
        text = path.read_text("utf-8")
        lines = code_lines(text)
        assert len(lines) == number_of_lines(text), path
        # Where code stood, it stands.
        defined = [number for number, line in enumerate(lines) if line.startswith(("def ", "class "))]
        originals = text.split("\n")
        assert all(originals[number].startswith(("def ", "class ")) for number in defined)
