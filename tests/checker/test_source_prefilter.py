"""The prefilter: no false "no", and a "no" for ordinary code."""

import json
from pathlib import Path

import pytest
from decoderonly_checker import rules
from decoderonly_checker.source.imports import ImportReach
from decoderonly_checker.source.prefilter import may_matter, may_provide

# The least code that shows each rule of the catalogue where its finding is placed.
SNIPPETS = {
    "DLM101": "out = model.generate(ids)",
    "DLM102": "Thread(target=m.generate, kwargs=kw).start()",
    "DLM103": "enc = tok(xs, padding=True)",
    "DLM104": "mask = ids != tok.pad_token_id",
    "DLM105": "enc = tok(x, truncation=True, max_length=9)",
    "DLM106": "pipe = pipeline(model=name, max_length=5)",
    "DLM107": "text = tok.apply_chat_template(m, tokenize=False)",
    "DLM108": "ids = p.apply_chat_template(messages)",
    "DLM109": "x = model(**enc).logits",
    "DLM110": "loss = model(ids, labels=ids).loss",
    "DLM201": "answer = tok.decode(out[0])",
    "DLM201 mapped": "answers = map(tok.decode, out)",
    "DLM202": "text = tok.batch_decode(out)[0].replace(q, '')",
    "DLM203": "answer = out[:, attention_mask.sum():]",
    "DLM204": "print(p(q)[0]['generated_text'])",
    "DLM205": "s = TextStreamer(t)",
    "DLM206": "m = AutoModelForSeq2SeqLM",
    "DLM207": "r = client.completions.create(prompt=q, echo=True)",
    "DLM208": "t.decode(ids, skip_prompt=True)",
    "DLM301": "batch['labels'] = batch['x'].clone()",
    "DLM303": "c = DataCollatorForLanguageModeling(t, mlm=False)",
    "DLM308": "y[:, :n] = -100",
    "DLM401": "p = outputs.logits[:, -1]",
    "DLM402": "ppl = exp(CrossEntropyLoss()(a, b))",
    "DLM403": "s = F.log_softmax(x, -1)",
}


@pytest.mark.parametrize("snippet", SNIPPETS.values(), ids=SNIPPETS.keys())
def test_the_least_code_of_every_rule_passes(snippet):
    assert may_matter(snippet.encode())
    assert may_matter(json.dumps({"cells": [{"source": [snippet]}]}).encode(), notebook=True)


@pytest.mark.parametrize("code", rules.codes())
def test_the_examples_of_every_rule_pass(code):
    rule = rules.load(code)
    assert may_matter(rule.bad.encode())
    assert may_provide(rule.bad.encode())


@pytest.mark.parametrize(
    "text",
    [
        "import os\nprint(os.getcwd().split('/'))\n",
        "data = raw.decode('utf-8')\ntext = raw.decode()\nraw.decode(encoding='x', errors='y')\n",
        '"""Generates a report; generators yield rows. Nothing is generate d here."""\nx = 100\n',
        "class View(View):\n    def get(self, request):\n        return render(request, 'a.html')\n",
    ],
)
def test_ordinary_code_is_left_alone(text):
    assert not may_matter(text.encode())
    assert not may_matter(json.dumps({"cells": [{"source": [text]}]}).encode(), notebook=True)


def test_codings_that_hide_words_are_let_through():
    assert may_matter("# coding: utf-7\nx".encode("utf-7"))
    assert may_matter(b"# coding: nonsense\n")
    assert not may_matter("# coding: latin-1\n# é\n".encode("latin-1"))
    assert not may_matter(b"# coding: shift_jis\n")
    assert may_matter(b'{"source": "m.\\u0067enerate()"}', notebook=True)


def write(root, **files):
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def reaches(root, name, text=None):
    path = root / name
    return ImportReach(root).reaches(path, path.read_bytes() if text is None else text.encode())


def test_a_file_matters_through_what_it_imports(tmp_path):
    write(
        tmp_path,
        helper="def ask(m, x):\n    return m.generate(x)\n",
        app__llm="from transformers import pipeline\n",
        app__between="from .llm import p\n",
        app__plain="import os\n",
        src__lib="tokenizer = 1\n",
    )
    (tmp_path / "app/__init__.py").write_text("")
    for text in (
        "from helper import ask",
        "import helper as h",
        "import os, helper",
        "from app.llm import p",
        "from app import (\n    plain,\n    llm,\n)",
        "from app.between import p",
        "from app import between",
        "import lib",
        "if x: import helper",
    ):
        assert reaches(tmp_path, "main.py", text), text
        assert reaches(tmp_path, "deep/er/main.py", text), text
    for text in (
        "from app import plain",
        "import app",
        "import os, sys",
        "import nothing",
        "x = 1",
        "from . import app",
    ):
        assert not reaches(tmp_path, "main.py", text), text
    assert reaches(tmp_path, "app/x.py", "from . import llm")
    assert reaches(tmp_path, "app/x.py", "from .between import p")
    assert reaches(tmp_path, "app/x.py", "from .. import helper")
    assert reaches(tmp_path, "app/x.py", "from ..helper import ask")
    assert reaches(
        tmp_path, "n.ipynb", json.dumps({"cells": [{"source": "x = 1\nfrom helper import ask\n"}]})
    )


def test_circles_of_imports_end(tmp_path):
    write(tmp_path, a="import b", b="import a\nimport c", c="import a")
    assert not reaches(tmp_path, "a.py")


def test_every_file_is_read_once(tmp_path, monkeypatch):
    write(tmp_path, a="import c", b="import c", c="import d", d="x = 1")
    reach = ImportReach(tmp_path)
    assert not reach.reaches(tmp_path / "a.py", b"import c")
    (tmp_path / "c.py").unlink()
    assert not reach.reaches(tmp_path / "b.py", b"import c")
    assert Path(tmp_path / "d.py").exists()
