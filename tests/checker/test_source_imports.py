"""What files import and define, told from their bytes: as Python sees it, and as said line by line for what does not parse."""

import ast
import re
import sysconfig
from pathlib import Path

import pytest
from decoderonly_checker.source.code import code_of
from decoderonly_checker.source.imports import imports_of
from decoderonly_checker.source.selection import scan
from hypothesis import given
from hypothesis import strategies as st

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
PIECES = (
    *("from", "import", "as", " as ", "\tas ", "a", "b.c", ".d", "..", "*", ",", ";", ":", "(", ")", "=", "=="),
    *("\n", "\n", " ", " ", "\t", "\\\n", "\\", "\r\n", "def ", "class ", "async ", "with x", "@", "é", "'", '"""'),
    *("from a import b", "\nfrom . import (\n  b as c,\n  d\n)", "import a.b as c, d", "if x: import y", "x: int = 1"),
    *("; from m import n", "def f(x):\n    import z\n", "except E as e:", "    w as v,\n"),
)  # fmt: skip


def plainly_imported(code):
    """The same as `imports_of` says it, by patterns that are tried at each line in turn."""
    code += b"\n" + b"\n".join(re.findall(rb"[;:][ \t]*((?:from|import)[ \t]+[^\n;]+)", code))
    one = rb"[\w.]+(?:[ \t]+as[ \t]+\w+)?"
    names = rb"(?m)^[ \t]*from[ \t]+([.\w]+)[ \t]+import[ \t]*(\([^)]*\)|(?:[^\n;\\]|\\\n)*)"
    modules = rb"(?m)^[ \t]*import[ \t]+(" + one + rb"(?:[ \t]*,[ \t]*" + one + rb")*)"
    for module, listed in re.findall(names, code):
        every = [b"*"] if b"*" in listed else re.findall(rb"(\w+)(?:[ \t]+as[ \t]+\w+)?", listed)
        yield from ((module, name) for name in every)
    for listed in re.findall(modules, code):
        for entry in listed.split(b","):
            module = entry.split()[0]
            yield module, module.rpartition(b".")[2]


def plainly_defined(code):
    """The same as `Scan.defines` says it, line by line."""
    for line in code.split(b"\n"):
        named = re.match(rb"(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|(\w+)[ \t]*(?::[^=]+)?=(?!=)", line)
        if named is not None:
            yield named[1] or named[2]
        renamed = re.match(rb"(?:[ \t]*(?:from|import)[ \t].*|[ \t]+\w+)[ \t]as[ \t]+(\w+)", line)
        if renamed is not None and b" as " in code:
            yield renamed[1]


def same(code):
    assert set(imports_of(code)) == set(plainly_imported(code))
    made = scan(code)
    kept = code_of(code)
    assert made.defines == set(plainly_defined(kept))
    assert made.imports == set(plainly_imported(kept))


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text(text):
    same(text.encode())


@pytest.mark.parametrize("folder", ["email", "asyncio"])
def test_real_files(folder):
    for path in (STANDARD_LIBRARY / folder).rglob("*.py"):
        data = path.read_bytes()
        same(data)
        tree = ast.parse(data)
        imports = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                imports |= {(module.encode(), name.name.encode()) for name in node.names}
            elif isinstance(node, ast.Import):
                modules = [name.name.encode() for name in node.names]
                imports |= {(module, module.rpartition(b".")[2]) for module in modules}
        defined = {
            node.name.encode()
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        }
        made = scan(data)
        assert imports <= made.imports
        assert defined <= made.defines


def test_code_that_begins_with_an_import_or_a_definition():
    assert scan(b"import a\n").imports == {(b"a", b"a")}
    assert scan(b"from a import b").imports == {(b"a", b"b")}
    assert scan(b"x = 1").defines == {b"x"}
