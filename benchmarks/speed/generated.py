"""Python files made from a seed: a project of many small files, and single files of any length.

Same arguments, same bytes, on every machine. Three in ten of the small files have to do with language models, as
whole programs or in passing; the others are what projects are full of.
"""

from __future__ import annotations

import random
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20_240
FILES_A_FOLDER = 50

_NAMES = (
    *("account", "answer", "archive", "batch", "branch", "budget", "buffer", "catalog", "channel", "client"),
    *(
        "cluster",
        "column",
        "contract",
        "counter",
        "customer",
        "device",
        "digest",
        "event",
        "export",
        "feature",
    ),
    *("folder", "graph", "header", "index", "invoice", "journal", "ledger", "margin", "message", "metric"),
    *("module", "network", "notice", "offer", "order", "packet", "parser", "payment", "policy", "profile"),
    *("project", "quota", "record", "region", "report", "route", "sample", "schema", "session", "shipment"),
    *("signal", "source", "stream", "summary", "table", "ticket", "topic", "upload", "vendor", "window"),
)
_VERBS = (
    "build",
    "check",
    "collect",
    "count",
    "fetch",
    "filter",
    "load",
    "merge",
    "read",
    "sort",
    "update",
    "write",
)

_PLAIN_HEAD = '''"""Handling of ${a}s and their ${b}s."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
${imports}
log = logging.getLogger(__name__)
${A}_LIMIT = $n
'''

# What projects are full of.
_PLAIN = (
    '''

@dataclass
class $Aa$Bb:
    """One $a of a $b."""

    name: str
    size: int = $n
    parts: list[str] = field(default_factory=list)

    def total(self) -> int:
        return self.size + sum(len(part) for part in self.parts)
''',
    '''

def ${verb}_$a(path: Path, limit: int = $n) -> dict[str, int]:
    """Return the ${b}s of a file by name."""
    found: dict[str, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition("=")
        found[name.strip()] = found.get(name.strip(), 0) + len(rest)
        if number > limit:
            log.warning("more than %d lines in %s", limit, path)
            break
    return found
''',
    """

def ${verb}_${a}_$b(values: list[float]) -> float:
    total = 0.0
    for index, value in enumerate(values):
        if value < 0:
            raise ValueError(f"$a {index} is negative: {value}")
        total += value * (index % $m + 1)
    return total / max(len(values), 1)
""",
    """

class ${Aa}Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, dict[str, object]] = {}

    def get(self, key: str) -> dict[str, object]:
        if key not in self._known:
            self._known[key] = json.loads((self.folder / f"{key}.json").read_text())
        return self._known[key]

    def ${verb}(self, key: str, **changes: object) -> None:
        self._known[key] = {**self.get(key), **changes, "$b": $n}
""",
    """

def test_${verb}_$a(tmp_path: Path) -> None:
    file = tmp_path / "$a.txt"
    file.write_text("one=1\\ntwo=22\\n# three=3\\n")
    assert sorted(line for line in file.read_text().splitlines() if "=" in line)[0].endswith("3")
""",
)

_MODEL_HEAD = '''"""Answers for ${a}s, from a language model."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
${imports}
NAME = "org/$a-$m-chat"
'''

_LOADING = """
tokenizer = AutoTokenizer.from_pretrained(NAME, padding_side="left")
tokenizer.pad_token = tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(NAME, torch_dtype=torch.bfloat16).eval()
"""

# What has to do with language models; right but for the last two.
_MODEL = (
    '''

def ${verb}_$a(prompts: list[str], max_new_tokens: int = $n) -> list[str]:
    """Continue the prompts in one batch."""
    inputs = tokenizer(prompts, return_tensors="pt", padding=True).to(model.device)
    with torch.no_grad():
        output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    length = inputs["input_ids"].shape[1]
    return tokenizer.batch_decode(output[:, length:], skip_special_tokens=True)
''',
    """

def ${verb}_${a}_$b(question: str, history: list[dict[str, str]] | None = None) -> str:
    messages = [*(history or []), {"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], max_new_tokens=$n
    )
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
""",
    """

class ${Aa}${Bb}Writer:
    def __init__(self, name: str = NAME, limit: int = $n) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(name)
        self.tokenizer.padding_side = "left"
        self.model = AutoModelForCausalLM.from_pretrained(name)
        self.limit = limit
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def encode(self, texts: list[str]):
        return self.tokenizer(texts, return_tensors="pt", padding=True)

    def ${verb}(self, texts: list[str]) -> list[str]:
        answers: list[str] = []
        for start in range(0, len(texts), $m):
            batch = self.encode(texts[start : start + $m])
            output = self.model.generate(
                batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=self.limit
            )
            for row in output[:, batch.input_ids.shape[1] :]:
                answers.append(self.tokenizer.decode(row, skip_special_tokens=True))
        return answers
""",
    '''

def ${a}_loss(rows: list[dict[str, str]]) -> torch.Tensor:
    """Mean loss of the answers, without their prompts."""
    losses = []
    for row in rows:
        prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        answer = tokenizer(row["$b"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + answer])
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        losses.append(model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss)
    return torch.stack(losses).mean()
''',
    """

def shown_$a(prompt: str) -> str:
    if not prompt:
        return ""
    inputs = tokenizer(prompt, return_tensors="pt")
    output = model.generate(**inputs, max_new_tokens=$n, num_beams=$m)
    return tokenizer.decode(output[0], skip_special_tokens=True)
""",
    """

def ${verb}_every_$a(texts: list[str]) -> list[str]:
    ids = tokenizer(texts, return_tensors="pt", padding=True).input_ids
    output = model.generate(ids, max_new_tokens=$n)
    return tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
""",
)
_RIGHT = len(_MODEL) - 2

# Mentions models in passing: the bytes say perhaps, the syntax says no.
_MENTIONS = (
    """

def ${verb}_${a}_settings(path: Path) -> dict[str, object]:
    settings = json.loads(path.read_text())
    settings.setdefault("max_new_tokens", $n)
    settings.setdefault("pad_token", "<pad>")
    return settings
""",
    """

def test_padding_of_$a() -> None:
    rows = [[1] * $m, [1, 2]]
    padding = max(map(len, rows))
    assert [row + [0] * (padding - len(row)) for row in rows][1][:2] == [1, 2]
""",
)


def small_files(number: int) -> dict[str, str]:
    """The first files of the project, by their relative paths; more files leave the first as they are."""
    return {_path(index): _small(index) for index in range(number)}


def long_file(size: int) -> str:
    """One program that answers, chats and trains with a model, of about so many bytes."""
    choose = random.Random(SEED)  # noqa: S311
    words = _words(choose)
    parts = [Template(_MODEL_HEAD).substitute(words, imports=""), _LOADING]
    length = sum(map(len, parts))
    number = 0
    while length < size:
        number += 1
        words = _words(choose)
        # Names that are there once, so that no function hides another.
        words |= {"a": f"{words['a']}_{number}", "Aa": f"{words['Aa']}{number}"}
        wrong = choose.random() < 0.1
        block = choose.choice(_MODEL[_RIGHT:] if wrong else _MODEL[:_RIGHT])
        parts.append(Template(block).substitute(words))
        length += len(parts[-1])
    return "".join(parts)


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write the files below a folder.

    Raises:
        OSError: They cannot be written.
    """
    for name, text in files.items():
        path = folder / name
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8", newline="\n")


def _path(index: int) -> str:
    return f"part_{index // FILES_A_FOLDER:03}/{_name(index)}.py"


def _name(index: int) -> str:
    return f"{_NAMES[index * 7 % len(_NAMES)]}_{index:05}"


def _words(choose: random.Random) -> dict[str, str]:
    a, b = choose.sample(_NAMES, 2)
    return {
        "a": a,
        "b": b,
        "A": a.upper(),
        "Aa": a.capitalize(),
        "Bb": b.capitalize(),
        "verb": choose.choice(_VERBS),
        "n": str(choose.randrange(16, 512)),
        "m": str(choose.randrange(2, 9)),
    }


def _small(index: int) -> str:
    choose = random.Random(SEED * 1_000_003 + index)  # noqa: S311
    words = _words(choose)
    kind = choose.random()
    imports = ""
    first = index // FILES_A_FOLDER * FILES_A_FOLDER
    if index > first and choose.random() < 0.4:
        imports = f"\nfrom . import {_name(choose.randrange(first, index))}\n"
    blocks = choose.randrange(1, 4)
    if kind < 0.2:
        head = Template(_MODEL_HEAD).substitute(words, imports=imports) + _LOADING
        choice = [*_MODEL[:_RIGHT]] * 4 + [*_MODEL[_RIGHT:]]
        blocks = min(blocks, 2)
    else:
        head = Template(_PLAIN_HEAD).substitute(words, imports=imports)
        choice = [*_PLAIN]
    if kind > 0.95:
        return ""  # as the __init__.py of many folders
    body = "".join(Template(text).substitute(_words(choose)) for text in choose.sample(choice, blocks))
    if 0.2 <= kind < 0.3:
        body += Template(choose.choice(_MENTIONS)).substitute(_words(choose))
    return head + body
