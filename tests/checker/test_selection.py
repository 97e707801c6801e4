"""Which files matter, told from their bytes: no false "no", a "no" for ordinary code, and what of a file can be left out."""

import json
import sys
from pathlib import Path

import pytest
from decoderonly_checker import rules
from decoderonly_checker.source.selection import Selection, scan
from decoderonly_checker.source.words import suffice

sys.path.insert(0, str(Path(__file__).parent))
from test_specs import ALL, write


def notebook(*cells):
    made = [{"cell_type": "code", "metadata": {}, "outputs": [], "source": cell} for cell in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Files:
    """Files in memory, below one folder."""

    def __init__(self, files):
        self.data = {f"/project/{name}": text.encode() for name, text in files.items()}
        self.read = []
        scans = {path: scan(data, path) for path, data in self.data.items()}
        self.selection = Selection(scans, self._read)

    def _read(self, path):
        self.read.append(path)
        return self.data[path]

    def matter(self):
        return {path.removeprefix("/project/") for path in self.data if self.selection.matters(path)}

    def idle(self, name="main.py"):
        return self.selection.idle(f"/project/{name}")

    def unused(self, name="main.py"):
        return self.selection.unused(f"/project/{name}")


def matters(text):
    """Whether a text matters as a file, alone; a notebook of it does just as well."""
    as_file = Files({"main.py": text}).matter()
    assert bool(Files({"main.ipynb": notebook(text)}).matter()) == bool(as_file)
    return bool(as_file)


STATIC = list(rules.findable())


@pytest.mark.parametrize("code", STATIC)
def test_the_bad_example_of_every_rule_matters(code):
    assert matters(rules.load(code).bad)


@pytest.mark.parametrize("files", ALL)
def test_every_file_in_which_something_is_expected_is_analysed_or_followed_into(files, tmp_path):
    """What a helper does wrong is found where it is called; somebody must matter for that."""
    expected = write(files, tmp_path)
    paths = {str(tmp_path / name): (tmp_path / name).read_bytes() for name in files}
    scans = {path: scan(data, path) for path, data in paths.items()}
    selection = Selection(scans, paths.__getitem__)
    assert any(selection.matters(path) for path in paths) or not expected
    for path in paths:
        # What is idle is of the file, and nothing is left out that is not idle.
        assert selection.unused(path) <= selection.idle(path) | {""}


# The least code that shows a rule's finding where nothing is seen being loaded: a tokenizer, and what is done with its ids.
LEAST = {
    "generate": "out = model.generate(tokenizer(q).input_ids)",
    "generate given on": "Thread(target=m.generate, kwargs=tok(q)).start()",
    "generate by its name": "getattr(model, 'generate')(tokenizer(q))",
    "a loaded model": "m = GPT2LMHeadModel.from_pretrained(n)\nm.generate(ids)",
    "a loaded tokenizer that pads": "t = AutoTokenizer.from_pretrained(n)\nt(xs, padding=True)",
    "a tokenizer that pads by method": "t = AutoTokenizer.from_pretrained(n)\nt.pad(xs)",
    "a processor": "enc = processor(text=q)\nmodel.generate(**enc)",
    "British": "enc = tokeniser(text=q)\nmodel.generate(**enc)",
    "a mask by comparison": "mask = tokenizer(x).input_ids != pad",
    "a mask by a function": "mask = torch.ne(tokenizer(x).input_ids, pad_id)",
    "labels": "batch = tokenizer(x)\nbatch['labels'] = batch['input_ids']",
    "labels as an argument": "loss_ = model(ids, labels=ids)\nids = tokenizer(x)",
    "labels in a dict": "row = {'labels': tokenizer(x).input_ids}",
    "ignored labels": "y = tokenizer(x).input_ids\ny[:3] = -100",
    "loss": "nll = f(tokenizer(x))",
    "logits": "p = model(**tokenizer(x)).logits[:, -1]",
    "hidden states": "h = model(**tokenizer(x)).last_hidden_state[:, -1]",
    "log probabilities": "s = F.log_softmax(model(tokenizer(x)), -1)",
    "a collator": "c = DataCollatorForLanguageModeling(tokenizer, mlm=False)",
    "a pipeline": "p = pipeline(model=name)",
    "a pipeline of text": "p = make_pipeline(\n'text-generation')",
    "what a pipeline returns": "print(p(q)[0]['generated_text'])",
    "a streamer": "s = TextStreamer(t)",
    "a service": "r = client.completions.create(prompt=q, echo=True)",
    "a trainer": "t = SFTTrainer(model, args)",
    "a trainer's name": "cls = trl.DPOTrainer",
    "a tokenizer by another name": "from lib import tokenizer as t\nmodel.generate(t(q))",
    "a class that is handed on": "t = load(AutoTokenizer, n)\nmodel.generate(t(q))",
    "a table of classes": "T = {'a': GPT2Tokenizer}\nmodel.generate(T[n](q))",
    "a tokenizer in a list": "model.generate(encode([tokenizer], q))",
    "a tokenizer behind an import": "import x; model.generate(tokenizer(q))",
    "a tokenizer's attribute by name": "getattr(c, 'tokenizer')(q); model.generate(ids)",
    "a method of a tokenizer's name": "x = load_tokenizer_and_model(n)\nmodel.generate(x)",
    "a class that may be loaded": "m = load(GPT2LMHeadModel)\nm.generate(ids)",
    "a class that derives from a model": "class M(LlamaForCausalLM):\n  def generate(self, x): return super().generate(x)",
    "in an f-string": "x = f'{model.generate(tokenizer(q))}'",
    "in a raw f-string with blanks": "x = rf'a {model.generate(tokenizer(q))} b'",
    "in an f-string in triple quotes": 'x = f"""{model.generate(tokenizer(q))}"""',
    "behind a quote in a comment": "# don't\nmodel.generate(tokenizer('it'))  # isn't",
    "behind a hash in a string": "x = '#'; model.generate(tokenizer(x))",
    "behind an escaped quote": "x = '\\''; model.generate(tokenizer(x))",
    "between two docstrings": '"""One."""\nmodel.generate(tokenizer(x))\n"""Two."""',
    "between docstrings with quotes": "'''It's'''\nmodel.generate(tokenizer(x))\n'''It's'''",
    "behind a quote that stays open": "x = 'a\nmodel.generate(tokenizer(x))",
    "over two lines": "model \\\n  .generate(tokenizer(x))",
    "with a blank behind the dot": "model. generate(tokenizer(x))",
}


@pytest.mark.parametrize("text", LEAST.values(), ids=LEAST)
def test_the_least_code_matters(text):
    assert matters(text)
    assert (
        matters(f"def f(model, tokenizer):\n    {text.replace(chr(10), chr(10) + '    ')}\n") or '"""' in text
    )
    for ending in ("\r\n", "\r"):
        assert matters(text.replace("\n", ending))


ORDINARY = {
    "imports": "import os\nprint(os.getcwd().split('/'))\n",
    "bytes": "data = raw.decode('utf-8')\ntext = raw.decode()\nraw.decode(encoding='x', errors='y')\n",
    "documentation": '"""`model.generate(tokenizer(x))` makes a pipeline(): loss, labels."""\nx = 100\n',
    "a docstring": "def f():\n    r'''model.generate(tokenizer(x)).logits'''\n    return 1\n",
    "comments": "x = 1  # model.generate(tokenizer(x))\n# pipeline('text-generation')\n",
    "prose": "print('call model.generate(tokenizer(x)) or pipeline() first')\n",
    "a web page": "class View(View):\n    def get(self, request):\n        return render(request, 'a.html')\n",
    "a tokenizer of words": "class Tokenizer(Base):\n    def split(self, text):\n        return text.split()\n",
    "labels of a chart": "ax.set(labels=names)\nlabels = ['a', 'b']\nplt.legend(labels=labels)\n",
    "a classifier": "loss = criterion(net(x), y)\nloss.backward()\nlogits = net(x)\n",
    "a generator": "def generate(n):\n    yield from range(n)\nreport = generate(3)\n",
    "a generator by method": "report = self.report.generate(rows)\n",
    "padding of a layout": "frame.grid(padding=3)\nbox.pad(3)\n",
    "only a tokenizer": "n = len(tokenizer('how many tokens?'))\n",
    "a tokenizer's name in annotations": "def f(a: ATokenizer, b: list['ATokenizer']) -> ATokenizer:\n  return loss\n",
    "a tokenizer's name in a list of imports": "from x import (\n    ATokenizer,\n    AProcessor,\n)\nloss = 1\n",
    "what a class says it lacks": "has_tokenizer = False\ntokenizer_class = None\nloss = 1\n",
    "settings of a tokenizer": "def f(tokenizer_path, config: ATokenizerConfig):\n  return softmax(tokenizer_path)\n",
    "prose with a tokenizer": 'e = f"see [`~ATokenizer.__call__`], not {x}"; loss = 1\n',
    "a model's own definition": "class AForCausalLM(Base):\n  def generate(self, **k): return self.inner.generate(**k)\n",
    "a class that hands generation on": "class A(Base):\n  m = AutoModel\n  def generate(self): return super().generate()\n",
    "lengths of padding": "n = tokenizer(x)\nif n % pad_to_multiple_of != 0 or padded != n: pass\n",
    "a way of padding": "n = tokenizer(x)\nif padding != PaddingStrategy.DO_NOT_PAD: pass\n",
    "scores of words": "vocab = [('<unk>', -100.0)] + tokenizer(x)\n",
}


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_code_is_left_alone(text):
    assert not matters(text)


def test_an_import_is_no_use():
    # What is imported must be used to be a tokenizer, or to train.
    assert not matters("from transformers import AutoTokenizer\nx = model.generate(3)\n")
    assert matters("from transformers import AutoTokenizer as T\nx = model.generate(tokenizer)\n")


def test_bytes_that_hide_words_are_let_through():
    def opaque(data, name=""):
        return scan(data, name).opaque

    assert opaque("# coding: utf-7\nx".encode("utf-7"))
    assert opaque(b"#!/bin/python\n# -*- coding: utf-7 -*-\n")
    assert opaque(b"# coding: nonsense\n")
    assert opaque(b"# coding: utf-16\n")
    assert opaque(b"# vim: set fileencoding=cp037 :\n")
    assert opaque(b"{", "x.ipynb")
    assert not opaque("# coding: latin-1\n# é\n".encode("latin-1"))
    assert not opaque(b"# coding: shift_jis\n")
    assert not opaque(b"\n\n# coding: utf-7\n")
    for data, name in ((b"# coding: utf-7\n", "/x"), (b"{", "/x.ipynb")):
        files = Selection({name: scan(data, name)}, lambda _: b"")
        assert files.matters(name)
        assert (files.idle(name), files.unused(name)) == (set(), set())


def test_a_notebook_is_read_as_json():
    hidden = notebook("out = model.g@nerate(tokenizer(x))").replace("@", "\\u0065")
    assert Files({"n.ipynb": hidden}).matter()
    # Text cells and outputs are no code, and magics are taken out.
    cells = [
        {"cell_type": "markdown", "source": "out = model.generate(tokenizer(x))"},
        {"cell_type": "code", "source": "%%bash\nmodel.generate(tokenizer(x))"},
        {"cell_type": "code", "source": "x = 1", "outputs": [{"text": "model.generate(tokenizer(x))"}]},
    ]
    assert not Files({"n.ipynb": json.dumps({"cells": cells})}).matter()
    # The words of all cells count together.
    assert Files({"n.ipynb": notebook("ids = tokenizer(x)", "model.generate(ids)")}).matter()


ASK = "def ask(q):\n    return tokenizer.decode(model.generate(tokenizer(q)))\n"
HALF = "def ask(ids):\n    return model.generate(ids)\n"
USE = "print(ask('x').replace('x', ''))\n"

THROUGH = {
    "a name": {"main.py": "from helper import ask\n" + USE, "helper.py": ASK},
    "half of the words": {
        "main.py": "from helper import ask\nids = tokenizer(x)\nask(ids)\n",
        "helper.py": HALF,
    },
    "another name": {
        "main.py": "from helper import ask as a\ndef f(x):\n    return a(x)[len(x):]\n",
        "helper.py": ASK,
    },
    "brackets": {
        "main.py": "from helper import (\n    other,  # this\n    ask,\n)\n" + USE,
        "helper.py": ASK,
    },
    "a continued line": {"main.py": "from helper import other, \\\n    ask\n" + USE, "helper.py": ASK},
    "an import in a function": {
        "main.py": "def f():\n    from helper import ask\n    " + USE,
        "helper.py": ASK,
    },
    "an import behind a colon": {
        "main.py": "if x: from helper import ask\nif x: " + USE,
        "helper.py": ASK,
    },
    "an import behind a semicolon": {"main.py": "x = 1; from helper import ask; " + USE, "helper.py": ASK},
    "a module": {"main.py": "import helper\nhelper.ask('x').replace('x', '')\n", "helper.py": ASK},
    "a module by another name": {
        "main.py": "import os, helper as h\nh.ask('x').replace('x', '')\n",
        "helper.py": ASK,
    },
    "a module's attribute by text": {
        "main.py": "import helper\ngetattr(helper, 'a' + name)('x').replace('x', '')\n",
        "helper.py": ASK,
    },
    "a module from a package": {
        "main.py": "from app import llm\nllm.ask('x').replace('x', '')\n",
        "app/__init__.py": "",
        "app/llm.py": ASK,
    },
    "a module in a package": {
        "main.py": "import app.llm\napp.llm.ask('x').replace('x', '')\n",
        "app/__init__.py": "",
        "app/llm.py": ASK,
    },
    "a package's module": {"main.py": "from app.llm import ask\n" + USE, "app/llm.py": ASK},
    "a package that hands on": {
        "main.py": "from app import ask\n" + USE,
        "app/__init__.py": "from .llm import ask\n",
        "app/llm.py": ASK,
    },
    "a package that hands on all": {
        "main.py": "from app import ask\n" + USE,
        "app/__init__.py": "from .llm import *\n",
        "app/llm.py": ASK,
    },
    "a package that hands on under another name": {
        "main.py": "from app import question\nprint(question('x').replace('x', ''))\n",
        "app/__init__.py": "from .llm import ask as question\n",
        "app/llm.py": ASK,
    },
    "a package that is used whole": {
        "main.py": "import app\napp.ask('x').replace('x', '')\n",
        "app/__init__.py": "from .llm import ask\n",
        "app/llm.py": ASK,
    },
    "all of a module": {"main.py": "from helper import *\n" + USE, "helper.py": ASK},
    "all of a module in a package": {
        "main.py": "from app.llm import *\n" + USE,
        "app/__init__.py": "",
        "app/llm.py": ASK,
    },
    "a relative module": {"main.py": "from . import llm\nllm.ask('x')\n", "llm.py": ASK},
    "a relative name": {"main.py": "from .llm import ask\n" + USE, "llm.py": ASK},
    "a module in between": {
        "main.py": "from between import run\nprint(run('x').replace('x', ''))\n",
        "between.py": "from helper import ask\ndef run(q):\n    return ask(q).strip()\n",
        "helper.py": ASK,
    },
    "a value": {
        "main.py": "from setup import run\nprint(run('x').replace('x', ''))\n",
        "setup.py": "run = Runner(model.generate, tokenizer)\n",
    },
    "a class": {
        "main.py": "from bot import Bot\nprint(Bot().ask('x').replace('x', ''))\n",
        "bot.py": "class Bot:\n    def ask(self, q):\n        return self.model.generate(self.tokenizer(q))\n",
    },
    "a base": {
        "main.py": "from bot import Bot\nclass Mine(Bot):\n    def say(self, x):\n        return self.ask(x).replace(x, '')\n",
        "bot.py": "class Base:\n    def ask(self, q):\n        return self.model.generate(self.tokenizer(q))\n"
        "class Bot(Base):\n    pass\n",
    },
    "a tokenizer": {
        "main.py": "from setup import t\nout = model.generate(t('x'))\n",
        "setup.py": "t = AutoTokenizer.from_pretrained('gpt2')\n",
    },
    "a loaded model": {
        "main.py": "from setup import load\nout = load().generate(ids)\n",
        "setup.py": "def load():\n    return AutoModelForCausalLM.from_pretrained('gpt2')\n",
    },
    "a module that hands on all": {
        "main.py": "from between import ask\n" + USE,
        "between.py": "from helper import *\n",
        "helper.py": ASK,
    },
    "a value of several": {
        "main.py": "from setup import t, m\nm.generate(t('x'))\n",
        "setup.py": "t, m = AutoTokenizer.from_pretrained('gpt2'), None\n",
    },
    "a value under a condition": {
        "main.py": "from setup import run\nprint(run('x').replace('x', ''))\n",
        "setup.py": "if gpu:\n    run = make(model.generate, tokenizer)\n",
    },
    "a value that a loop sets": {
        "main.py": "from setup import run\nprint(run('x').replace('x', ''))\n",
        "setup.py": "for name in names:\n    run = make(model.generate, tokenizer)\n",
    },
    "a global that another function sets": {
        "main.py": "from setup import ask\n" + USE,
        "setup.py": "def load():\n    global t\n    t = make_tokenizer()\n\ndef ask(q):\n    return model.generate(t(q))\n",
    },
    "a circle": {
        "main.py": "from one import ask\n" + USE,
        "one.py": "import main\nfrom two import ask\n",
        "two.py": "import one\nfrom helper import ask\n",
        "helper.py": "import main\n" + ASK,
    },
}


@pytest.mark.parametrize("files", THROUGH.values(), ids=THROUGH)
def test_words_count_through_imports(files):
    assert "main.py" in Files(files).matter()
    for ending in ("\r\n", "\r"):
        assert "main.py" in Files({name: text.replace("\n", ending) for name, text in files.items()}).matter()
    # Not by themselves.
    assert Files({"main.py": files["main.py"]}).matter() == set()


@pytest.mark.parametrize("files", THROUGH.values(), ids=THROUGH)
def test_words_count_through_the_imports_of_a_notebook(files):
    files = dict(files)
    source = files.pop("main.py")
    assert "main.ipynb" in Files({"main.ipynb": notebook(source), **files}).matter()
    parts = [f"{line}\n" for line in source.split("\n")]
    assert "main.ipynb" in Files({"main.ipynb": notebook(parts), **files}).matter()


NOT_THROUGH = {
    "another name": {"main.py": "from helper import other\nother()\n", "helper.py": ASK + "def other():\n    pass\n"},
    "nothing of the module": {"main.py": "import helper\nhelper.other()\n", "helper.py": ASK},
    "a module elsewhere": {"main.py": "from requests import ask\nask('x')\n", "helper.py": ASK},
    "a comment": {"main.py": "# from helper import ask\n" + USE, "helper.py": ASK},
    "a docstring": {"main.py": '"""\nfrom helper import ask\n"""\n' + USE, "helper.py": ASK},
    "what holds no words": {"main.py": "from helper import ask\n" + USE, "helper.py": "def ask(x):\n    return x\n"},
    "one word": {"main.py": "from helper import ask\n" + USE, "helper.py": HALF},
}  # fmt: skip


@pytest.mark.parametrize("files", NOT_THROUGH.values(), ids=NOT_THROUGH)
def test_words_that_are_not_reached_do_not_count(files):
    assert "main.py" not in Files(files).matter()


def test_words_must_come_together():
    apart = "def f(x):\n    return tokenizer(x)\n\ndef g(x):\n    return model.generate(x)\n"
    assert Files({"main.py": apart}).matter() == set()
    assert Files({"main.py": apart + "g(f('x'))\n"}).matter()
    assert Files({"main.py": apart + "def h(x):\n    return g(f(x))\n"}).idle() == {"f", "g"}
    # Also where who brings them together is elsewhere.
    user = "from main import f, g\ng(f('x'))\n"
    assert Files({"main.py": apart, "user.py": user}).matter() == {"user.py"}


@pytest.mark.parametrize("telling", ["fast", "slow"])
def test_a_name_may_come_from_one_of_several_modules(telling):
    files = {f"{name}.py": "def ask(q):\n    return q\n" for name in ("fast", "slow")}
    files[f"{telling}.py"] = "def ask(q):\n    return model.generate(tokenizer(q))\n"
    main = "try:\n    from fast import ask\nexcept ImportError:\n    from slow import ask\n\ndef run(q):\n    ask(q)\n"
    assert "run" not in Files({**files, "main.py": main}).idle()


def test_circles_end():
    circle = {
        "a.py": "import b\nb.x()\n",
        "b.py": "import a\nimport c\nc.x(a.x)\n",
        "c.py": "import a\na.x()\n",
    }
    assert Files(circle).matter() == set()
    assert Files({"a.py": "def f():\n    g()\ndef g():\n    f()\n"}).matter() == set()


def test_a_file_without_words_is_not_read_again():
    files = Files({"main.py": "import os\nprint(os)\n", "other.py": "x = 1\n"})
    assert files.matter() == set()
    assert files.read == []


def test_a_copy_of_the_library_is_not_followed(tmp_path):
    package = tmp_path / "transformers"
    package.mkdir()
    (package / "__init__.py").touch()
    data = {
        str(package / "helper.py"): ASK.encode(),
        str(package / "user.py"): f"from .helper import ask\n{USE}".encode(),
        str(tmp_path / "main.py"): f"from transformers.helper import ask\n{USE}".encode(),
    }
    selection = Selection({path: scan(text) for path, text in data.items()}, data.__getitem__)
    assert [Path(path).name for path in data if selection.matters(path)] == ["helper.py"]
    # Without a package, it is a folder of the project like any other.
    (package / "__init__.py").unlink()
    from decoderonly_checker.source import libraries

    libraries._is_outermost_package.cache_clear()
    selection = Selection({path: scan(text) for path, text in data.items()}, data.__getitem__)
    assert {Path(path).name for path in data if selection.matters(path)} == {
        "helper.py",
        "user.py",
        "main.py",
    }
    libraries._is_outermost_package.cache_clear()


PARTS = '''\
"""Documentation that names area, volume, alone and Shape."""
from helper import keep, plain

def ask(q):
    return text_of(tokenizer.decode(model.generate(tokenizer(q))))

def text_of(x):
    return strip(x)

def strip(x):
    return x.strip()

def area(x):
    return volume(x)

def volume(x):
    return alone(x)

def alone(x):
    return x

@keep
def kept(x):
    return x

@staticmethod
def not_kept(x):
    return x

class Shape:
    def draw(self):
        return Line()

class Line:
    pass

class Bot:
    def ask(self, q):
        return model.generate(tokenizer(q))

class Mine(Bot):
    def ask(self, q):
        return super().ask(q).strip()

class Table:
    rows = 1

size = Table.rows

if size:
    used_outside(size)

def used_outside(x):
    return x

def used_elsewhere(x):
    return x
'''


def test_what_leads_to_no_finding_by_itself_is_idle_and_what_nothing_uses_is_unused():
    files = Files(
        {
            "main.py": PARTS,
            "other.py": "from main import used_elsewhere\nused_elsewhere(1)\n",
            "helper.py": "def keep(f):\n    return f\n",
        }
    )
    assert files.matter() == {"main.py"}
    live = {"ask", "Bot", "Mine"}
    functions = {
        "text_of",
        "strip",
        "area",
        "volume",
        "alone",
        "kept",
        "not_kept",
        "used_outside",
        "used_elsewhere",
    }
    assert files.idle() - {"", "size"} == functions | {"Shape", "Line", "Table"}
    assert not live & files.idle()
    assert files.unused() == {"area", "volume", "alone", "not_kept", "Shape", "Line"}


def test_nothing_is_unused_where_names_are_looked_up_by_text():
    files = Files({"main.py": PARTS + "def find(n):\n    return ask(globals()[n])\n"})
    assert files.unused() == set()


def test_a_module_that_is_imported_whole_has_what_is_mentioned_there():
    use = "import main\nmain.area(main.volume)\n"
    assert Files({"main.py": PARTS, "other.py": use}).unused() == {
        "not_kept",
        "Shape",
        "Line",
        "kept",
        "used_elsewhere",
    }
    star = "from main import *\narea(1)\n"
    assert Files({"main.py": PARTS, "other.py": star}).unused() == {
        *("not_kept", "Shape", "Line", "kept", "used_elsewhere")
    }


def test_a_module_sets_up_what_others_use():
    files = Files(
        {"main.py": "tokenizer.padding_side = 'left'\n", "other.py": "def f():\n    tokenizer.x = 1\n"}
    )
    assert files.selection.sets_up("/project/main.py")
    assert not files.selection.sets_up("/project/other.py")


def test_what_suffices_is_what_makes_a_finding():
    assert not suffice(scan(b"tokenizer(x)\n").words)
    assert not suffice(scan(b"model.generate(x)\n").words)
    assert suffice(scan(b"model.generate(tokenizer(x))\n").words)
