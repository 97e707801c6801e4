"""Trees that grow: whole, they are the tree of the text; and a function that is loaded is that of the whole parse."""

import ast
import random
import re
import sysconfig
from pathlib import Path

import libcst as cst
import pytest
from decoderonly_checker.source.files import load_source
from decoderonly_checker.source.lazy import LazyTree
from decoderonly_checker.source.parse import ParseError, parse
from decoderonly_checker.source.syntax import statements
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
FILES = sorted(
    path
    for path in STANDARD_LIBRARY.rglob("*.py")
    if "site-packages" not in path.parts and path.stat().st_size < 60_000
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


class Explicit(cst.CSTTransformer):
    """Writes down what a node leaves to its module, so that trees of different modules compare.

    Blank lines and comments between statements may hang on one or the other; that none is lost is seen in the code.
    """

    def __init__(self, module):
        self.module = module

    def leave_IndentedBlock(self, _, node):
        return node.with_changes(indent=self.module.default_indent if node.indent is None else node.indent)

    def leave_EmptyLine(self, _, __):
        return cst.RemoveFromParent()

    def leave_Newline(self, _, node):
        return node.with_changes(value=node.value or self.module.default_newline)


def explicit(module, node=None):
    return (module if node is None else node).visit(Explicit(module))


def same_modules(one, other):
    pairs = zip(explicit(one).body, explicit(other).body, strict=True)
    return all(mine.deep_equals(theirs) for mine, theirs in pairs)


def hold(text, seed):
    """Hold all that is promised of a lazy tree against one text.

    The measure is libcst's own tree. It loses comments and blank lines at the end of some odd files, and more or fewer
    of these blank lines where a definition in front of them is left out at first.
    """
    known = statements(text)
    try:
        whole = parse(text)
    except ParseError:
        return False  # Python takes it, libcst does not: whoever needs the tree is told
    if known is None:
        return False
    draw = random.Random(seed)  # noqa: S311 - no secret
    names = defined(known)
    unused = {name for name in names if draw.random() < 0.4}
    tree = LazyTree(text, known, unused)
    completed = tree.complete()
    if whole.code == text:
        assert completed.code.rstrip() == text.rstrip()
    # Where the last line has no newline, libcst writes one down that is not there, of whichever kind came first.
    if text.endswith(("\n", "\r")) or completed.default_newline == whole.default_newline:
        assert same_modules(completed, whole)
    # Loaded one by one, each function is that of the whole tree, and what is left out is not there.
    tree = LazyTree(text, known)
    mine, theirs = functions(tree.root), functions(whole)
    assert [node.name.value for node in mine] == [node.name.value for node in theirs]
    order = list(range(len(mine)))
    draw.shuffle(order)
    for number in order:
        tree.load(mine[number])
        assert explicit(tree.root, mine[number].body).deep_equals(explicit(whole, theirs[number].body))
        tree.load(mine[number])  # again: nothing happens
    assert same_modules(tree.root, whole)
    if whole.code == text:
        assert tree.root.code == text
    return True


@pytest.mark.parametrize("path", random.Random(5).sample(FILES, 60), ids=lambda path: path.stem)  # noqa: S311 - no secret
def test_files_of_the_standard_library(path):
    text = load_source(path).cells[0].text
    assert hold(text, path.name)
    known = statements(text)
    assert LazyTree(text, known, defined(known)).complete().code == text


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


def test_less_is_parsed():
    text = "def f(x):\n    a\n    b\n    c\n\ndef g(x):\n    a\n    b\n    c\n"
    tree = LazyTree(text, statements(text), {"g"})
    assert [node.name.value for node in functions(tree.root)] == ["f"]
    assert not re.search(r"\b[abc]\b", tree.root.code)
    (f,) = functions(tree.root)
    tree.load(f)
    assert tree.root.code.startswith("def f(x):\n    a\n    b\n    c\n")
    assert tree.root.code.count("a\n") == 1
    assert [node.name.value for node in functions(tree.complete())] == ["f", "g"]


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


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@example("class f:\r\n    x = 1", 1)
@given(modules(), st.integers(0, 1000))
def test_modules_of_all_shapes(text, seed):
    hold(text, seed)


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

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(hypothesmith.from_node(), st.integers(0, 1000))
    def make(text, seed):
        if "\x0c" not in text:
            hold(text, seed)

    make()
