"""Input for the checker that nobody would write: generated, mutated, or no Python at all.

Every input is a small project, file name -> bytes, and follows from its kind, the seed and its number.
"""

from __future__ import annotations

import functools
import json
import keyword
import random
import re
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Files = dict[str, bytes]

SPECS = Path(__file__).resolve().parents[1] / "checker" / "specs"
KINDS = ("generated", "lines", "tokens", "bytes", "splice", "rename", "project", "notebook", "json", "random")
# More of what gets past the parser and deep into the analysis.
WEIGHTS = (2, 3, 4, 1, 2, 5, 3, 2, 2, 1)
_TOO_LONG = 60_000  # characters of one mutated file, so that many are seen

HEAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
ids = tokenizer("hello", return_tensors="pt").input_ids
out = model.generate(ids)
text = tokenizer.decode(out[0])
labels = ids.clone()
"""
_NAMES = ["tokenizer", "model", "ids", "out", "text", "labels", "self", "generate", "decode", "input_ids"]
_NAMES += ["attention_mask", "padding_side", "pad_token", "batch", "logits", "map", "append", "shape"]
_KEYWORDS = frozenset({*keyword.kwlist, *keyword.softkwlist})
_TOKEN = re.compile(r"\w+|[ \t]+|\n|[^\w\s]|\s")
_WRAPPERS = [
    *("def f(self, ids=None, *rest, **more):", "async def f(model, tokenizer):", "class A(object):", "try:"),
    *("while model:", "for ids in ids:", "with model as out:", "match out:\n    case [ids, *rest]:", "else:"),
    *("if (out := ids):", "elif text:", "except* ValueError as text:", "finally:", "@tokenizer\ndef g():"),
]


class Corpus:
    """Texts to start from."""

    def __init__(self, folders: list[Path]) -> None:
        """Read all Python files, notebooks and blocks of Python in Markdown files below `folders`.

        Raises:
            ValueError: There are none.
        """
        self.texts: list[str] = []
        self.notebooks: list[Any] = []
        for folder in folders:
            for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
                if path.suffix in (".py", ".md", ".ipynb"):
                    self._read(path)
        if not self.texts:
            raise ValueError(f"no Python in {', '.join(map(str, folders))}")

    def _read(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".ipynb":
            self.notebooks.append(json.loads(text))
        elif path.suffix == ".py":
            self.texts.append(text)
        else:
            self.texts += re.findall(r"(?ms)^```python\n(.*?)^```", text)

    def text(self, rng: random.Random) -> str:
        """One of the texts; a window of it where it is long."""
        text = rng.choice(self.texts)
        if len(text) <= _TOO_LONG:
            return text
        lines = text.splitlines(keepends=True)
        # From where a statement begins at the margin, so that most windows still parse.
        starts = [n for n, line in enumerate(lines) if re.match(r"(?:def|class|@|import|from)\b", line)] or [
            0
        ]
        start = rng.choice(starts)
        kept, size = [], 0
        for line in lines[start:]:
            size += len(line)
            if size > _TOO_LONG:
                break
            kept.append(line)
        return "".join(kept)


def make(corpus: Corpus, kind: str, seed: int, number: int) -> Files:
    """Make one input.

    Raises:
        KeyError: There is no such kind.
    """
    return _MAKERS[kind](corpus, random.Random(f"{kind}:{seed}:{number}"), seed, number)


def choose(seed: int, number: int) -> str:
    """The kind of the input with a number."""
    return random.Random(f"kind:{seed}:{number}").choices(KINDS, WEIGHTS)[0]


# -- text ----------------------------------------------------------------------------------------------------------


def mutate_lines(text: str, rng: random.Random) -> str:
    """Delete, duplicate, swap, move, indent, dedent or wrap lines."""
    lines = text.splitlines(keepends=True) or [""]
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(lines))
        stop = min(len(lines), start + rng.choice([1, 1, 1, 2, 5, 20]))
        block = lines[start:stop]
        action = rng.randrange(8)
        if action == 0 and len(lines) > len(block):
            del lines[start:stop]
        elif action == 1:
            lines[start:start] = block * rng.choice([1, 1, 2, 30])
        elif action == 2:
            other = rng.randrange(len(lines))
            lines[start], lines[other] = lines[other], lines[start]
        elif action == 3:
            del lines[start:stop]
            where = rng.randrange(len(lines) + 1)
            lines[where:where] = block
        elif action == 4:
            lines[start:stop] = [rng.choice(["    ", "\t", " ", "\x0c"]) + line for line in block]
        elif action == 5:
            lines[start:stop] = [line.removeprefix("    ") for line in block]
        else:
            indent = re.match(r"[ \t]*", block[0])
            before = indent.group() if indent else ""
            depth = rng.choice([1, 1, 2, 12])
            for _ in range(depth):
                opening = rng.choice(_WRAPPERS).replace("\n", "\n" + before)
                inner = "        " if "\n    case" in opening else "    "
                block = [before + opening + "\n", *(inner + line for line in block)]
            lines[start:stop] = block
        lines = lines or ["\n"]
    return "".join(lines)


def mutate_tokens(text: str, rng: random.Random) -> str:
    """Delete, duplicate, swap or replace tokens."""
    tokens = _TOKEN.findall(text) or [""]
    solid = [n for n, token in enumerate(tokens) if not token.isspace()] or [0]
    for _ in range(rng.choice([1, 1, 2, 3, 10])):
        here, there = rng.choice(solid), rng.choice(solid)
        action = rng.randrange(6)
        if action == 0:
            tokens[here] = ""
        elif action == 1:
            tokens[here] *= rng.choice([2, 2, 3, 300])
        elif action == 2:
            tokens[here], tokens[there] = tokens[there], tokens[here]
        elif action == 3:
            tokens[here] = rng.choice(
                ["(", ")", "[", "{", "}", ":", ":=", "*", "**", "@", "->", "\\", "'''", "f'{"]
            )
        elif action == 4:
            words = [
                "lambda: ",
                "await ",
                "yield ",
                "not ",
                "...",
                "0x",
                "1e999",
                "-100",
                "''",
                "None",
                "async ",
                "del ",
            ]
            tokens[here] = rng.choice(words)
        else:
            tokens[here] = tokens[there]
    return "".join(tokens)


def mutate_names(text: str, rng: random.Random) -> str:
    """Give some names another name of the text, so that values flow where nobody would send them."""
    tokens = _TOKEN.findall(text)
    names = [n for n, token in enumerate(tokens) if token.isidentifier() and token not in _KEYWORDS]
    if not names:
        return text
    for _ in range(rng.choice([1, 2, 5, 20, 60])):
        here = rng.choice(names)
        tokens[here] = rng.choice(_NAMES) if rng.random() < 0.2 else tokens[rng.choice(names)]
    if rng.random() < 0.3:  # one name for another, wherever it stands
        old, new = tokens[rng.choice(names)], tokens[rng.choice(names)]
        tokens = [new if token == old else token for token in tokens]
    return "".join(tokens)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat or insert bytes."""
    raw = bytearray(data or b"\n")
    for _ in range(rng.choice([1, 1, 3, 20])):
        where = rng.randrange(len(raw)) if raw else 0
        action = rng.randrange(4)
        if action == 0 and raw:
            raw[where] = rng.randrange(256)
        elif action == 1:
            del raw[where : where + rng.choice([1, 1, 10, 1000])]
        elif action == 2:
            raw[where:where] = raw[where : where + rng.choice([1, 10, 1000])]
        else:
            raw[where:where] = rng.choice(
                [
                    b"\0",
                    b"\xef\xbb\xbf",
                    b"\xff\xfe",
                    b"\r",
                    b"\x0c",
                    b"\x1a",
                    b"\xe2\x80\xa8",
                    b"\xed\xa0\x80",
                    b"\\\n",
                ]
            )
    return bytes(raw)


def mutate_json(value: Any, rng: random.Random) -> Any:
    """Replace, drop or repeat something somewhere in a JSON value."""
    odd: list[Any] = [
        None,
        True,
        -1,
        1e308,
        "",
        "code",
        [],
        {},
        [[]],
        ["x = 1\n"],
        {"cells": []},
        "\ud800",
        "%%time\n",
    ]
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        changed = dict(value)
        action = rng.randrange(5)
        if action == 0:
            del changed[key]
        elif action == 1:
            changed[rng.choice(["source", "cells", "cell_type", "input", "metadata", "worksheets", "x"])] = (
                value[key]
            )
        else:
            changed[key] = mutate_json(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.85:
        where = rng.randrange(len(value))
        action = rng.randrange(5)
        if action == 0:
            return [*value[:where], *value[where + 1 :]]
        if action == 1:
            return [*value[:where], value[where], *value[where:]]
        return [*value[:where], mutate_json(value[where], rng), *value[where + 1 :]]
    if isinstance(value, str) and rng.random() < 0.6:
        return mutate_tokens(value, rng)
    return rng.choice(odd)


# -- kinds ---------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=2)
def _batch(seed: int) -> tuple[str, ...]:
    """Modules that follow Python's grammar and nothing else."""
    import hypothesis
    import hypothesmith
    from hypothesis import strategies as st

    found: list[str] = []
    source = st.one_of(hypothesmith.from_node(), hypothesmith.from_grammar(auto_target=False))

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=40,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(source)
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return tuple(found)


def _generated(corpus: Corpus, rng: random.Random, seed: int, number: int) -> Files:
    """A generated module whose names are those of the trade, behind lines that give them their values."""
    texts = _batch(seed * 1_000_003 + number // 400)
    text = rng.choice(texts) if texts else ""
    tokens = _TOKEN.findall(text)
    for n, token in enumerate(tokens):
        if token.isidentifier() and token not in _KEYWORDS and rng.random() < 0.6:
            tokens[n] = rng.choice(_NAMES)
    # A coding cookie or a `from __future__` of its own must stay in front.
    return {"main.py": (HEAD + "".join(tokens)).encode("utf-8", "surrogatepass")}


def _of_text(mutate: Callable[[str, random.Random], str]) -> Callable[..., Files]:
    def maker(corpus: Corpus, rng: random.Random, seed: int, number: int) -> Files:
        return {"main.py": mutate(corpus.text(rng), rng).encode("utf-8", "surrogatepass")}

    return maker


def _bytes(corpus: Corpus, rng: random.Random, seed: int, number: int) -> Files:
    text = corpus.text(rng)
    encoding = rng.choice(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1", "shift_jis", "utf-7"])
    data = text.encode(encoding, "replace")
    if rng.random() < 0.3:
        data = (
            f"# coding: {rng.choice([encoding, 'ascii', 'utf-8', 'idna', 'rot13', 'punycode', 'x'])}\n".encode()
            + data
        )
    if rng.random() < 0.2:
        data = data.replace(b"\n", rng.choice([b"\r", b"\r\n", b"\x0c\n", b"\n\r"]))
    return {"main.py": mutate_bytes(data, rng)}


def _splice(corpus: Corpus, rng: random.Random, seed: int, number: int) -> Files:
    first, second = (corpus.text(rng).splitlines(keepends=True) for _ in range(2))
    cut, go_on = rng.randint(0, len(first)), rng.randint(0, len(second))
    if rng.random() < 0.5:  # a whole block in the middle of another file
        return {"main.py": "".join([*first[:cut], *second[go_on : go_on + 15], *first[cut:]]).encode()}
    return {"main.py": "".join([*first[:cut], *second[go_on:]]).encode()}


def _project(corpus: Corpus, rng: random.Random, seed: int, number: int) -> Files:
    """Modules that import each other, in circles too."""
    names = ["main", "one", "two"]
    files: Files = {}
    for name in names:
        text = mutate_names(corpus.text(rng), rng) if rng.random() < 0.7 else corpus.text(rng)
        other = rng.choice(names)
        lines = [
            f"from {other} import *",
            f"import {other}",
            f"from {other} import model, tokenizer, generate, main",
        ]
        lines += [f"from . import {other}", f"from .{other} import ids as text, {other}"]
        defined = re.findall(r"(?m)^(?:def|class) (\w+)", text)
        lines.append(f"from {name} import {', '.join(defined) or '*'}")
        for _ in range(rng.randint(1, 3)):
            text = (
                rng.choice(lines) + "\n" + text
                if rng.random() < 0.8
                else text + "\n" + rng.choice(lines) + "\n"
            )
        files[f"{name}.py"] = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        files["__init__.py"] = b"from .main import *\nfrom . import one\n"
    return files


def _as_notebook(text: str, rng: random.Random) -> dict[str, Any]:
    magics = [
        "%%time\n",
        "%time ",
        "!pip install x\n",
        "%%bash\n",
        "x = !ls\n",
        "?model\n",
        "model??\n",
        "%matplotlib inline\n",
    ]
    cells: list[dict[str, Any]] = []
    for piece in re.split(r"\n\n+(?=\S)", text):
        source: Any = (rng.choice(magics) + piece) if rng.random() < 0.2 else piece
        if rng.random() < 0.7:
            source = source.splitlines(keepends=True)
        kind = "code" if rng.random() < 0.9 else "markdown"
        cells.append(
            {"cell_type": kind, "metadata": {}, "outputs": [], "execution_count": None, "source": source}
        )
    return {
        "cells": cells,
        "metadata": {"language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _a_notebook(corpus: Corpus, rng: random.Random) -> Any:
    if corpus.notebooks and rng.random() < 0.5:
        return rng.choice(corpus.notebooks)
    text = corpus.text(rng)
    return _as_notebook(mutate_names(text, rng) if rng.random() < 0.5 else text, rng)


def _notebook(corpus: Corpus, rng: random.Random, seed: int, number: int) -> Files:
    document = _a_notebook(corpus, rng)
    for _ in range(rng.choice([0, 1, 2, 5])):
        document = mutate_json(document, rng)
    return {
        "main.ipynb": json.dumps(document, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    }


def _json(corpus: Corpus, rng: random.Random, seed: int, number: int) -> Files:
    """A notebook whose JSON is broken."""
    data = json.dumps(_a_notebook(corpus, rng), indent=1).encode()
    if rng.random() < 0.1:
        return {"main.ipynb": b"[" * rng.choice([10, 1000, 100_000])}
    return {"main.ipynb": mutate_bytes(data, rng) if rng.random() < 0.6 else data[: rng.randrange(len(data))]}


def _random(corpus: Corpus, rng: random.Random, seed: int, number: int) -> Files:
    size = rng.choice([0, 1, 10, 1000, 20_000])
    action = rng.randrange(3)
    if action == 0:
        data = rng.randbytes(size)
    elif action == 1:
        data = "".join(rng.choices(string.printable, k=size)).encode()
    else:
        words = [
            *sorted(_KEYWORDS),
            *_NAMES,
            *"()[]{}:=,.*@+-%'\"\\#;~<",
            "\n",
            "\n    ",
            "f'",
            '"""',
            "$",
            "?",
            "!",
        ]
        data = " ".join(rng.choices(words, k=size // 4)).encode()
    words_that_matter = HEAD.encode() if rng.random() < 0.7 else b""
    return {rng.choice(["main.py", "main.py", "main.ipynb"]): words_that_matter + data}


_MAKERS: dict[str, Callable[..., Files]] = {
    "generated": _generated,
    "lines": _of_text(mutate_lines),
    "tokens": _of_text(mutate_tokens),
    "bytes": _bytes,
    "splice": _splice,
    "rename": _of_text(mutate_names),
    "project": _project,
    "notebook": _notebook,
    "json": _json,
    "random": _random,
}
