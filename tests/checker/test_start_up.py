"""What a start of the command costs: nothing is made before it is needed, and what is made late is the same."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
import subprocess
import sys
from dataclasses import field

import pytest
from decoderonly_checker.immutable import immutable, record
from decoderonly_checker.late import late_pattern
from hypothesis import given
from hypothesis import strategies as st


@immutable
class Late:
    """As `Usual`, made late."""

    a: int
    b: str = "b"
    c: list[int] = field(default_factory=list, compare=False)
    d: int = field(default=3, kw_only=True, repr=False)


@dataclasses.dataclass(frozen=True)
class Usual:
    """What the standard library makes of it."""

    a: int
    b: str = "b"
    c: list[int] = field(default_factory=list, compare=False)
    d: int = field(default=3, kw_only=True, repr=False)


@immutable
class LateBelow(Late):
    """Has one field more."""

    e: int = 5


_KEYWORDS = st.fixed_dictionaries(
    {},
    optional={
        "a": st.integers(0, 1),
        "b": st.sampled_from("xy"),
        "c": st.lists(st.integers()),
        "d": st.just(4),
        "z": st.just(0),
    },
)


def made(cls, positional, keywords):
    try:
        return cls(*positional, **keywords)
    except TypeError:
        return None


@given(st.lists(st.integers(0, 1), max_size=4), _KEYWORDS, st.lists(st.integers(0, 1), max_size=4), _KEYWORDS)
def test_late_classes_are_dataclasses(one, first, other, second):
    late, usual = ([made(cls, one, first), made(cls, other, second)] for cls in (Late, Usual))
    assert [x is None for x in late] == [x is None for x in usual]
    if None in late:
        return
    assert [dataclasses.asdict(x) for x in late] == [dataclasses.asdict(x) for x in usual]
    assert [repr(x).removeprefix("Late") for x in late] == [repr(x).removeprefix("Usual") for x in usual]
    assert (late[0] == late[1]) == (usual[0] == usual[1])
    assert (hash(late[0]) == hash(late[1])) == (hash(usual[0]) == hash(usual[1]))


def test_late_classes_below_others():
    assert dataclasses.asdict(LateBelow(1, d=2)) == {"a": 1, "b": "b", "c": [], "d": 2, "e": 5}
    assert LateBelow(1) != Late(1)
    assert LateBelow(1).c is not LateBelow(1).c
    assert dataclasses.replace(LateBelow(1), e=6) == LateBelow(1, e=6)
    assert pickle.loads(pickle.dumps(LateBelow(1))) == copy.deepcopy(LateBelow(1)) == LateBelow(1)  # noqa: S301


def test_records_are_themselves_only():
    @record
    class Pair:
        left: int
        right: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            self.right.append(self.left)

    one = Pair(1)
    assert one.right == [1]
    assert one != Pair(1)
    assert len({one, Pair(1), one}) == 2
    with pytest.raises(TypeError, match="left"):
        Pair()


@pytest.mark.parametrize("pattern", [r"(?P<word>\w+)", rb"(?i)A|b\s*"])
def test_late_patterns_do_what_patterns_do(pattern):
    late, usual = late_pattern(pattern, re.MULTILINE), re.compile(pattern, re.MULTILINE)
    text = "Ab ba" if isinstance(pattern, str) else b"Ab ba"
    assert late.findall(text) == usual.findall(text)
    assert late.sub(text[:0], text) == usual.sub(text[:0], text)
    assert late.fullmatch(text) == usual.fullmatch(text)
    assert (late.pattern, late.flags, late.groupindex) == (usual.pattern, usual.flags, usual.groupindex)
    with pytest.raises(re.error):
        late_pattern("(").search("")


# Runs the command, and says which modules it imported, and what of ours was made as they were.
_WATCH = """
import re, sys

compiled = set()
compile_ = re.compile


def importing():
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            return frame.f_globals["__name__"]
        frame = frame.f_back


def compiling(*given, **more):
    compiled.add(importing() or "")
    return compile_(*given, **more)


re.compile = compiling
from decoderonly_checker.__main__ import main

try:
    main()
except SystemExit as done:
    print("code:", done.code, file=sys.stderr)
ours = [module for name, module in sys.modules.items() if name.startswith("decoderonly_checker.")]
eager = {
    f"{thing.__module__}.{name}"
    for module in ours
    for name, thing in vars(module).items()
    if isinstance(thing, type) and vars(thing).get("__dataclass_params__") and thing.__dataclass_params__.init
    if thing.__module__.startswith("decoderonly_checker.")
}
print("compiled:", *sorted(name for name in compiled if name.startswith("decoderonly_checker.")), file=sys.stderr)
print("eager:", *sorted(eager), file=sys.stderr)
print("modules:", *sorted(sys.modules), file=sys.stderr)
"""

_RELEVANT = """
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("org/chat")
model = AutoModelForCausalLM.from_pretrained("org/chat")
ids = tokenizer("Hello", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids)[0]))
"""


def watched(folder, text):
    (folder / "app.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, "check", "--no-cache", "app.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = dict(line.split(":", 1) for line in done.stderr.splitlines())
    return {name: line.split() for name, line in lines.items()}


# What no run on one file needs; of libcst and what it brings, not even one that finds nothing to analyse.
_NEVER = {
    *("concurrent.futures", "difflib", "importlib.metadata", "sqlite3", "tomllib", "torch", "transformers"),
    *("cache_store", "config_keys", "flake8_plugin", "server", "source.notebook", "render.sarif"),
}
_ONLY_TO_ANALYSE = {
    *("json", "libcst", "subprocess", "textwrap"),
    *("analysis", "flow", "knowledge", "rules.base"),
}


@pytest.mark.parametrize(
    ("text", "code", "unwanted"),
    [("print(1)\n", "0", _NEVER | _ONLY_TO_ANALYSE), (_RELEVANT, "1", _NEVER)],
    ids=["rejected", "finding"],
)
def test_a_run_makes_nothing_before_it_is_needed(tmp_path, text, code, unwanted):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    seen = watched(tmp_path, text)
    assert seen["code"] == [code]
    imported = {name.removeprefix("decoderonly_checker.") for name in seen["modules"]}
    assert not imported & unwanted
    assert not seen["compiled"], "use `late_pattern`"
    # One is made so often that its slots count for more.
    assert {*seen["eager"]} <= {"decoderonly_checker.flow.outline.Definition"}, "use `immutable` or `record`"
