"""Comments that silence: what they cover, and the laws that hold for any text."""

import subprocess
import sys

import pytest
from decoderonly_checker.suppress import Suppressions
from hypothesis import given
from hypothesis import strategies as st

CODES = ("DLM101", "DLM102", "DLM201")


def silenced(text):
    """{line: codes silenced there}, for the lines where any is."""
    suppressions = Suppressions.read(text)
    lines = range(1, text.count("\n") + 2)
    found = {line: {code for code in CODES if suppressions.covers(code, line)} for line in lines}
    return {line: codes for line, codes in found.items() if codes}


ALL = set(CODES)
ONE = {"DLM101"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f()\ng()  # decoderonly: ignore[DLM101]\nh()", {2: ONE}),
        ("f()  # decoderonly: ignore[DLM101, DLM201] checked by hand", {1: {"DLM101", "DLM201"}}),
        ("f()  # decoderonly: ignore[DLM1]", {1: {"DLM101", "DLM102"}}),
        ("f()  # decoderonly:ignore [ dlm101 ]", {1: ONE}),
        ("f()  # DecoderOnly: Ignore[DLM101,]", {1: ONE}),
        ("f()  # decoderonly: ignore", {1: ALL}),
        ("f()  # decoderonly: ignore this is an echo", {1: ALL}),
        ("f()  # type: ignore # decoderonly: ignore[DLM101]", {1: ONE}),
        # malformed: silences nothing, so that the finding shows
        ("f()  # decoderonly: ignore[DLM101", {}),
        ("f()  # decoderonly: ignore[]", {}),
        ("f()  # decoderonly: ignored", {}),
        ("f()  # decoderonly: ignore-this", {}),
        ("f()  # decoderonly ignore[DLM101]", {}),
        # all lines of the statement
        ("f(\n  a,\n  b,\n)  # decoderonly: ignore[DLM101]\ng()", dict.fromkeys([1, 2, 3, 4], ONE)),
        ("f(  # decoderonly: ignore[DLM101]\n  a,\n)\ng()", dict.fromkeys([1, 2, 3], ONE)),
        ("f(\n  # decoderonly: ignore[DLM101]\n  a,\n)\ng()", dict.fromkeys([1, 2, 3, 4], ONE)),
        ("x = 1 + \\\n  f()  # decoderonly: ignore[DLM101]\n", dict.fromkeys([1, 2], ONE)),
        ('s = """\n"""  # decoderonly: ignore[DLM101]\n', dict.fromkeys([1, 2], ONE)),
        ("for x in f():  # decoderonly: ignore[DLM101]\n    g(x)\n", {1: ONE}),
        # alone: the next statement
        ("# decoderonly: ignore[DLM101] why\nf(\n a)\ng()", dict.fromkeys([2, 3], ONE)),
        ("if x:\n    # decoderonly: ignore[DLM101]\n\n    # more\n    f()\n    g()", {5: ONE}),
        (
            "# decoderonly: ignore[DLM101]\n# decoderonly: ignore[DLM201]\nf()\n",
            {3: {"DLM101", "DLM201"}},
        ),
        ("# decoderonly: ignore[DLM101]\nfor x in y:\n    f(x)\n", {2: ONE}),
        ("f()\n# decoderonly: ignore[DLM101]", {}),
        # not a comment
        ("x = '# decoderonly: ignore[DLM101]'\nf()", {}),
        ('"""\n# decoderonly: ignore\n"""\nf()', {}),
        ("x = f'{a}# noqa'\n", {}),
        ("f()  # noqa", {1: ALL}),
        ("f()  # NOQA : DLM101", {1: ONE}),
        ("f()  # noqa: E501, DLM101,DLM201 because", {1: {"DLM101", "DLM201"}}),
        ("f()  # noqa:DLM101 E501", {1: ONE}),
        ("f()  # noqa: E501", {}),
        ("f()  # noqa: DLM", {1: ALL}),
        ("f()  # noqa-not", {}),
        ("f(\n a)  # noqa: DLM101", dict.fromkeys([1, 2], ONE)),
        ("# noqa: DLM101\nf()", {}),
        ("# flake8: noqa\nf()", {}),
        # whole file
        ("f()\n# decoderonly: skip-file generated\ng()", dict.fromkeys([1, 2, 3], ALL)),
        ("f()  # decoderonly: skip-file\ng()", {}),
        ("x = '''\n# decoderonly: skip-file\n'''", {}),
        # text that is not finished
        ("f(  # decoderonly: ignore[DLM101]\n a", dict.fromkeys([1, 2], ONE)),
        ("f()  # noqa: DLM101\r\ng()\r\n", {1: ONE}),
    ],
)
def test_what_is_silenced(text, expected):
    assert silenced(text) == expected


def test_names_of_rules():
    suppressions = Suppressions.read("f()  # decoderonly: ignore[missing-attention-mask]")
    assert suppressions.covers("DLM101", 1, "missing-attention-mask")
    assert not suppressions.covers("DLM101", 1)
    assert not suppressions.covers("DLM102", 1, "right-padded-generation")


def test_directives_know_their_place_and_reason():
    text = "# decoderonly: ignore[DLM101,DLM2] seen by hand\nf(\n)\ng()  # noqa: DLM102 - echo"
    own, noqa = Suppressions.read(text).directives
    assert (own.line, own.first, own.last, own.codes, own.reason) == (
        1,
        2,
        3,
        ("DLM101", "DLM2"),
        "seen by hand",
    )
    assert (noqa.line, noqa.codes, noqa.noqa, noqa.reason) == (4, ("DLM102",), True, "- echo")
    assert list(Suppressions.read(text).matches("DLM201", 3)) == [own]
    assert list(Suppressions.read(text).matches("DLM301", 3)) == []
    assert text[slice(*own.span)] == "DLM101,DLM2"
    assert text[own.start : own.end] == text.split("\n", 1)[0]
    assert (own.alone, noqa.alone) == (True, False)


def test_what_is_there_for_the_guard_silences_the_guard_alone():
    suppressions = Suppressions.read("f()  # decoderonly: ignore[DLM101, guard] in tests only")
    assert suppressions.covers("DLM101", 1, guard=True)
    assert not suppressions.covers("DLM101", 1)
    assert not suppressions.covers("DLM201", 1, guard=True)


STATEMENTS = st.lists(
    st.sampled_from(
        ["f()", "x = g(\n  a,\n  b)", "s = '''# noqa\n'''", "if x:\n    h()", "y = 1 + \\\n  2", "", "# note"]
    ),
    max_size=8,
)
DIRECTIVES = st.sampled_from(
    [
        "# decoderonly: ignore[DLM101] r",
        "# noqa: DLM201",
        "# noqa",
        "# decoderonly: ignore",
        "# decoderonly: ignore[DLM2]",
    ]
)


@given(STATEMENTS)
def test_without_a_directive_nothing_is_silenced(statements):
    assert silenced("\n".join(statements)) == {}


@given(STATEMENTS, st.sampled_from(["f()", "x = g(\n  a,\n  b)", "y = 1 + \\\n  2"]), DIRECTIVES, STATEMENTS)
def test_a_directive_behind_a_statement_silences_all_of_it_and_nothing_else(
    before, statement, directive, after
):
    head = "\n".join([*before, ""])
    text = head + statement + "  " + directive + "\n" + "\n".join(after)
    first = head.count("\n") + 1
    expected = silenced(statement.splitlines()[-1] + "  " + directive)[1]
    assert silenced(text) == {first + offset: expected for offset in range(statement.count("\n") + 1)}


@given(STATEMENTS, STATEMENTS)
def test_a_directive_alone_means_what_it_means_behind_the_next_statement(before, blank):
    head = "\n".join([*before, ""])
    gap = "".join("\n" if index % 2 else "# note\n" for index, _ in enumerate(blank))
    alone = head + "# decoderonly: ignore[DLM101] r\n" + gap + "f(\n  a)\ng()"
    line = (head + gap).count("\n") + 2
    assert silenced(alone) == {line: ONE, line + 1: ONE}


@given(st.text(alphabet="#noqadecrly:igDLM10[], \n'\"(){}\\\r", max_size=80))
def test_any_text_can_be_read(text):
    suppressions = Suppressions.read(text)
    for directive in suppressions.directives:
        assert 1 <= directive.first <= directive.last
        assert suppressions.covers("DLM101", directive.first) or not directive.means("DLM101")


@given(STATEMENTS, DIRECTIVES)
def test_line_breaks_do_not_matter(statements, directive):
    text = "\n".join([*statements, "f(\n a)  " + directive])
    assert silenced(text) == silenced(text.replace("\n", "\r\n"))


def test_the_guard_can_read_comments_without_libcst():
    program = (
        "import sys; from decoderonly_checker.suppress import Suppressions; "
        "assert Suppressions.read('f()  # noqa').covers('DLM101', 1); "
        "sys.exit(any(m in sys.modules for m in ('libcst', 'click')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
