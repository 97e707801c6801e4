"""Trees that grow: whole, they are the tree of the text; and a function that is loaded is that of the whole parse."""

import ast
import random
import re
import sysconfig
from pathlib import Path

import libcst as cst
import pytest
from decoderonly_checker import rules
from decoderonly_checker.analysis import Analyser
from decoderonly_checker.source.bare.nodes import MEANING, UNREAD, UNREAD_LINE, is_shared
from decoderonly_checker.source.bare.statements import Converter
from decoderonly_checker.source.files import load_source
from decoderonly_checker.source.lazy import PART, LazyTree
from decoderonly_checker.source.parse import ParseError, parse
from decoderonly_checker.source.syntax import statements
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from libcst.metadata import MetadataWrapper, PositionProvider

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
FILES = sorted(
    path
    for path in STANDARD_LIBRARY.rglob("*.py")
    if "site-packages" not in path.parts and path.stat().st_size < 40_000
)


def defined(known):
    """The names of functions and classes of the top level."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return sorted({node.name for node in known.body if isinstance(node, kinds)})


class Outermost(cst.CSTVisitor):
    """Collects the functions of a tree that lie in no other."""

    def __init__(self):
        self.found = []

    def visit_FunctionDef(self, node):
        self.found.append(node)
        return False

    def visit_Lambda(self, _):
        return False


def functions(tree):
    visitor = Outermost()
    tree.visit(visitor)
    return visitor.found


def ranges(tree):
    return MetadataWrapper(tree, unsafe_skip_copy=True).resolve(PositionProvider)


def hold(text, seed, *, left_to_libcst=False):
    """Hold all that is promised of a lazy tree against one text. The measure is libcst's own tree of it."""
    known = statements(text)
    try:
        true = parse(text)
    except ParseError:
        return False  # Python takes it, libcst does not: whoever needs the tree is told
    if known is None:
        return False
    draw = random.Random(seed)  # noqa: S311 - no secret
    unused = {name for name in defined(known) if draw.random() < 0.4}
    tree = LazyTree(text, known, unused)
    assert left_to_libcst is None or tree.dressed == left_to_libcst
    mine = functions(tree.root)
    if not tree.dressed:
        names = [node.name.value for node in true.body if hasattr(node, "name")]
        assert [n.name.value for n in tree.root.body if hasattr(n, "name")] == [
            n for n in names if n not in unused
        ]
    for node in draw.sample(mine, len(mine) // 2):
        tree.load(node)
        body = node.body
        tree.load(node)  # again: nothing happens
        assert node.body is body
    if draw.random() < 0.5:
        assert {*map(id, mine)} <= {*map(id, functions(tree.whole()))}
    before = list(nodes(tree.root))
    # That the trees are the same is what `complete` refuses to go without.
    completed = tree.complete(draw.choice([1, 1, PART]))
    assert completed is tree.root
    # Done in parts, a module takes the usual indentation of the first; what differs is written down.
    assert completed.default_indent != true.default_indent or completed.deep_equals(true)
    assert completed.code == true.code
    mine, theirs = ranges(completed), ranges(true)
    assert [(type(n), place) for n, place in mine.items()] == [(type(n), p) for n, p in theirs.items()]
    # Findings point to nodes: all that was there is there still.
    assert all(node in mine for node in before)
    return True


def nodes(tree):
    """Yield the nodes of a tree that is not dressed, but for those that it shares with others."""
    pending = [tree]
    while pending:
        node = pending.pop()
        if node is UNREAD or node is UNREAD_LINE or is_shared(node):
            continue
        yield node
        for name in MEANING.get(type(node), ()):
            value = getattr(node, name)
            pending += [
                v
                for v in (value if isinstance(value, (list, tuple)) else [value])
                if isinstance(v, cst.CSTNode)
            ]


@pytest.mark.parametrize("path", random.Random(5).sample(FILES, 25), ids=lambda path: path.stem)  # noqa: S311 - no secret
def test_files_of_the_standard_library(path):
    text = load_source(path).cells[0].text
    assert hold(text, path.name, left_to_libcst=None)


@pytest.mark.parametrize("usual", ["\n", "\r\n"])
def test_line_breaks_stay_as_they_are(usual):
    other = "\r\n" if usual == "\n" else "\n"
    function = f"def f(x):{usual}    a{other}    b{usual}    c{other}"
    for text in (
        function,
        f"class A:{usual}    " + function.replace("    ", "        "),
        f"x = 1{usual}@a{other}{function}",
    ):
        known = statements(text)
        for unused in ((), ("f", "A")):
            assert LazyTree(text, known, unused).complete().code == text


def test_less_is_made():
    text = "def f(x):\n    a\n    b\n    c\n\ndef g(x):\n    a\n    b\n    c\n"
    tree = LazyTree(text, statements(text), {"g"})
    assert [node.name.value for node in functions(tree.root)] == ["f"]
    assert not re.search(r"\b[abc]\b", tree.root.code)
    (f,) = functions(tree.root)
    tree.load(f)
    assert re.findall(r"\b[abc]\b", tree.root.code) == ["a", "b", "c"]
    assert [node.name.value for node in functions(tree.whole())] == ["f", "g"]
    assert not tree.dressed
    assert tree.complete().code == text


ODD = Path(__file__).with_name("shapes.txt").read_text(encoding="utf-8")
MATCH = """
match a, b:
    case 1 | -1 | 1+2j | "a" 'b' | None | True | a.b: pass
    case [a, *_, b] | (c, *d) | [] | () | ([x]) : pass
    case (a), b: pass
    case [a], b: pass
    case (a): pass
    case a,: pass
    case *a, b: pass
    case {1: a, "b": [c], **rest}: pass
    case {}: pass
    case A(): pass
    case A.B(a, (b), c=d, e=_) as f if g: x
    case (A(a) | B(b)) as c: pass
    case _: pass
match (a):
    case [a, b], *_: pass
match [a]:
    case x: pass
"""


def test_every_kind_of_code():
    assert hold(ODD, 1)
    assert hold("def f():\n" + re.sub("(?m)^", "    ", ODD), 2)
    assert hold(MATCH, 3)


def test_code_on_continued_lines_is_left_to_libcst():
    assert hold("if x: \\\n  y\n", 1, left_to_libcst=True)
    assert hold("a; \\\n  b\n", 1, left_to_libcst=True)
    assert hold("def f():\n    x\n    a; \\\n  b\n    y\n", 1)


NAMES = st.sampled_from(["f", "g", "Shape", "été", "x1"])
INDENTS = st.sampled_from(["    ", "  ", "\t", " ", "\t  "])
COMMENTS = ["# a comment", "#", "# def f(x):", "#     '''", "# été"]
SMALL = [
    "x = 1",
    "pass",
    "x = [\n1,\n    2]",
    "x = '''a\n  def f():\n b'''",
    '"""A docstring\nof two lines."""',
    "'one line'",
    "x = a if b else c; y = 2",
    "x = a; ",
    "print(x)  # said",
    "x = f'{a!r:>{b}}'",
    "x = lambda a: (a,\n a)",
    "x = a + \\\n  b",
    "assert x, (\n    'why'\n)",
    "if x: pass",
    "for a in b: x = a",
    "__body_of_function_x__ = 1",
    "class A: pass",
    "def h(): return 1",
    "@a\ndef h(a, b=1, *c): return 1; pass",
    "async def h(): await x",
]


@st.composite
def block(draw, depth):
    """A block's lines, not indented."""
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        lines += draw(between())
        lines += draw(statement(depth))
    if draw(st.booleans()):
        lines += draw(between())
    return lines


@st.composite
def between(draw):
    """Comments and blank lines, which may stand at any column."""
    kinds = st.sampled_from(["", "", "", "   ", "\t", *COMMENTS])
    return [f"<>{line}" for line in draw(st.lists(kinds, max_size=2))] if draw(st.booleans()) else []


@st.composite
def statement(draw, depth):
    kind = draw(
        st.sampled_from(["small", "def", "class", "if", "try", "with", "async"] if depth else ["small"])
    )
    if kind == "small":
        return draw(st.sampled_from(SMALL)).split("\n")
    name = draw(NAMES)
    if kind == "if":
        made = [f"if {name}:", *draw(suite(depth)), *draw(between()), f"elif {name}():", *draw(suite(depth))]
        return [*made, "else:", *draw(suite(depth))] if draw(st.booleans()) else made
    if kind == "try":
        return [
            *("try:", *draw(suite(depth)), "except E as e:  # why", *draw(suite(depth))),
            *("finally:", *draw(suite(depth))),
        ]
    if kind == "with":
        return [f"with {name} as x:", *draw(suite(depth))]
    decorators = draw(st.lists(st.sampled_from(["@a", "@a.b(1,\n 2)", "@a  # why", "# not one"]), max_size=2))
    before = [line for one in decorators for line in one.split("\n")]
    if kind == "class":
        return [*before, f"class {name}{draw(st.sampled_from(['', '(A)', '()']))}:", *draw(suite(depth))]
    head = draw(st.sampled_from(["(a)", "()", "(a,\n  b=1,  # one\n)", "(a) -> b", "(\n\n)"]))
    colon = draw(st.sampled_from([":", " :", ":  # said", ": # "]))
    word = "async def" if kind == "async" else "def"
    return [*before, *f"{word} {name}{head}{colon}".split("\n"), *draw(suite(depth))]


@st.composite
def suite(draw, depth):
    indent = draw(INDENTS)
    lines = draw(block(depth - 1))
    made = []
    for line in lines:
        # What continues a line, or stands in a string, must stay as it is; comments may stand anywhere.
        if line.startswith("<>"):
            made.append(draw(st.sampled_from([f"<>{indent}{line[2:]}", line])))
        else:
            made.append(f"{indent}{line}")
    return made


@st.composite
def modules(draw):
    lines = draw(block(3))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    last = draw(st.sampled_from(["\n", "", "\n\n  \n", "\n    # the end\n", "\n# the end"]))
    text = "\n".join(line.removeprefix("<>") for line in lines) + last
    text = draw(st.sampled_from(["", "# -*- coding: utf-8 -*-\n", '"""Documentation."""\n\n'])) + text
    if draw(st.integers(0, 3)):
        return text.replace("\n", end)
    mixed = random.Random(draw(st.integers(0, 99)))  # noqa: S311 - no secret
    return re.sub("\n", lambda _: mixed.choice(["\n", "\r\n"]), text)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@example("class f:\r\n    x = 1", 1)
@given(modules(), st.integers(0, 1000))
def test_modules_of_all_shapes(text, seed):
    hold(text, seed, left_to_libcst=None)


def test_most_made_modules_are_python():
    """The strategy above is worth something."""
    made = []

    @settings(
        max_examples=60,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(modules())
    def make(text):
        made.append(statements(text) is not None)

    make()
    assert sum(made) > len(made) / 2


def test_modules_that_a_grammar_makes():
    hypothesmith = pytest.importorskip(
        "hypothesmith", reason="hypothesmith makes modules from Python's grammar"
    )

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(hypothesmith.from_node(), st.integers(0, 1000))
    def make(text, seed):
        if "\x0c" not in text:
            hold(text, seed, left_to_libcst=None)

    make()


WRONG = """
from transformers import AutoModelForCausalLM, AutoTokenizer

from helper import load

tokenizer, model = load("gpt2")


def answer(prompt):
    # assert prompt
    encoding = (tokenizer)(prompt, return_tensors="pt")
    output = model.generate(encoding["input_ids"], max_new_tokens=50)
    return tokenizer.decode(output[0])


print(answer("x"))
"""
HELPER = """
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(name):
    # assert name
    tokenizer = AutoTokenizer.from_pretrained(name)
    return tokenizer, AutoModelForCausalLM.from_pretrained(name)
"""


@pytest.mark.parametrize("name", ["main", "helper"])
def test_where_a_tree_turns_out_to_be_wrong_files_are_analysed_anew(tmp_path, monkeypatch, name):
    for file, code in {"main": WRONG, "helper": HELPER}.items():
        (tmp_path / f"{file}.py").write_text(code.replace("# assert", "assert") if file == name else code)

    def findings():
        analyser = Analyser(rules.load_all(), [tmp_path])
        return analyser.analyse([load_source(tmp_path / "main.py")]), analyser.errors

    expected = findings()
    assert {one.code for one in expected[0]} >= {"DLM101", "DLM201"}
    made = []
    monkeypatch.setitem(Converter._of, ast.Assert, lambda *_: made.append(1) or cst.Expr(cst.Name("x")))
    assert findings() == expected
    assert made
