"""Notebooks: cells, magics, what is no Python notebook."""

import json
from pathlib import Path

import pytest
from decoderonly_checker.source.files import SourceError, load_source
from decoderonly_checker.source.notebook import replace_magics
from decoderonly_checker.source.positions import Positions


def code(source, **more):
    return {"cell_type": "code", "source": source, "metadata": {}, **more}


def notebook(*cells, **metadata):
    return json.dumps({"cells": list(cells), "metadata": metadata, "nbformat": 4}).encode()


def load(*cells, **metadata):
    return load_source(Path("n.ipynb"), notebook(*cells, **metadata))


def test_cells_keep_their_index_among_all_cells():
    markdown = {"cell_type": "markdown", "source": "# f()"}
    source = load(markdown, code(["x = 1\n", "f(x)"]), markdown, code("g(x)"))
    assert [(cell.index, cell.text) for cell in source.cells] == [(1, "x = 1\nf(x)"), (3, "g(x)")]
    call = source.cells[1].tree.body[0].body[0].value
    place = Positions(source).place(3, call)
    assert (place.path, place.cell, place.line, place.column, place.end_column) == ("n.ipynb", 3, 1, 1, 5)


@pytest.mark.parametrize(
    ("written", "parsed"),
    [
        ("!pip install x", "pass"),
        ("%matplotlib inline\nf()", "pass\nf()"),
        ("!pip install \\\n  x y\nf()", "pass\n\nf()"),
        ("if x:\n    !ls\nf()", "if x:\n    pass\nf()"),
        ("f?\n??g\nobj.attr??\n%time?", "pass\npass\npass\npass"),
        ("x = !ls 'it\ny = 1", "x = get_ipython()\ny = 1"),
        ("x = %env HOME", "x = get_ipython()"),
        ("a, b['k'] = !ls", "a, b['k'] = get_ipython()"),
        ("pip install unsloth==1 vllm\nf()", "pass\nf()"),
        ("cd ../data\nf()", "pass\nf()"),
        # Python that only looks like it
        ("x = (a\n % b)", "x = (a\n % b)"),
        ("s = '''\n%time\n!ls'''", "s = '''\n%time\n!ls'''"),
        ("x = a \\\n % b", "x = a \\\n % b"),
        ("assert a != b", "assert a != b"),
        ("d = {'a': 1}  # ok?", "d = {'a': 1}  # ok?"),
        ("f(x='!')", "f(x='!')"),
        ("pip = 3\nls in x\ncp / 2", "pip = 3\nls in x\ncp / 2"),
        ("await f()", "await f()"),
    ],
)
def test_magics_become_python_on_the_same_lines(written, parsed):
    assert replace_magics(written)[0] == parsed
    assert load(code(written)).cells[0].error is None


@pytest.mark.parametrize("magic", ["%time ", "  %time   ", "%timeit -n 3 -r2 ", "%prun -q "])
def test_statement_magics_keep_their_statement_and_its_columns(magic):
    indent = len(magic) - len(magic.lstrip())
    source = load(code(("if x:\n" if indent else "\n") + magic + "y = f(a,\n  b)\ng()"))
    cell = source.cells[0]
    assert cell.error is None
    statement = cell.tree.body[0]
    statement = statement.body.body[0] if indent else statement
    place = Positions(source).place(0, statement.body[0].value)
    assert cell.lines[place.line - 1][place.column - 1 :] == "f(a,"
    assert (place.end_line, place.end_column) == (3, 5)


def test_the_indentation_of_a_pasted_cell_is_taken_off():
    source = load(code("\n  x = 1\n  %time f(x)\n  if x:\n    g(x)"))
    cell = source.cells[0]
    assert cell.text == "\nx = 1\nf(x)\nif x:\n  g(x)"
    positions = Positions(source)
    timed = positions.place(0, cell.tree.body[1].body[0].value)
    inner = positions.place(0, cell.tree.body[2].body.body[0].body[0].value)
    assert [cell.lines[place.line - 1][place.column - 1 :] for place in (timed, inner)] == ["f(x)", "g(x)"]


@pytest.mark.parametrize(
    "source", ["%%bash\necho (", "%%html\n<b>", "\n%%writefile x.py\nf()", "%%!\nls", "%%sql\nselect 1"]
)
def test_cells_in_other_languages_are_skipped(source):
    assert load(code(source)).cells == []


def test_cells_timed_as_a_whole_are_kept():
    (cell,) = load(code("%%time\nf(x)")).cells
    assert cell.text == "pass\nf(x)"
    assert cell.error is None


def test_an_unknown_cell_magic_is_python_if_it_parses():
    known, other = load(code("%%mymagic\nf(x)"), code("%%mymagic\n<b>")).cells
    assert known.tree is not None
    assert other.tree is None
    assert other.error is None


def test_other_kernels_have_no_python():
    assert load(code("x <- 1"), kernelspec={"language": "R"}).cells == []
    assert load(code("x <- 1"), language_info={"name": "julia"}).cells == []
    assert len(load(code("x = 1"), kernelspec={"language": "python"}).cells) == 1
    assert load(code("select 1", metadata={"vscode": {"languageId": "sql"}})).cells == []


def test_old_notebooks():
    data = json.dumps({"worksheets": [{"cells": [{"cell_type": "code", "input": ["f()"]}]}], "metadata": {}})
    assert [cell.text for cell in load_source(Path("n.ipynb"), data.encode()).cells] == ["f()"]


def test_a_broken_cell_leaves_the_others():
    source = load(code("f("), code("g()"))
    assert [cell.tree is None for cell in source.cells] == [True, False]
    (error,) = source.errors
    assert (error.path, error.cell, error.line) == ("n.ipynb", 0, 1)


@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"", 1, "is not a notebook: it is empty"),
        (b'{"cells": [\n1,,]}', 2, "is not a notebook: broken JSON, expecting value"),
        (b"[1]", None, "is not a notebook: it has no list of cells"),
        (b'{"cells": 3}', None, "is not a notebook: it has no list of cells"),
        (
            b'{"cells": [{"cell_type": "code", "source": 3}]}',
            None,
            "is not a notebook: the source of a cell is not text",
        ),
        (b"[" * 100_000, None, "is not a notebook: its JSON nests too deep"),
        (b'{\n"\xff": 1}', 2, "is not utf-8: byte 0xff cannot be decoded"),
    ],
)
def test_what_is_no_notebook_says_so(data, line, message):
    with pytest.raises(SourceError) as caught:
        load_source(Path("n.ipynb"), data)
    assert (caught.value.error.line, caught.value.error.message) == (line, message)
