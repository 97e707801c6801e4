"""Input that is long, deep, circular or broken: a run ends, says why where it gives up, and never fails."""

import re
import warnings
from pathlib import Path

import pytest
from decoderonly_checker import check_paths
from decoderonly_checker.config import Settings

HEAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
"""
BAD = (
    HEAD
    + """
inputs = tokenizer("Hello", return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=20)
print(tokenizer.decode(output[0], skip_special_tokens=True))
"""
)
# Every function calls every other one, so that the whole graph is walked for each.
TANGLE = HEAD + "".join(
    f"def f{n}(ids, text):\n"
    f"    ids = tokenizer(text).input_ids if ids else model.generate(ids)\n"
    + "".join(f"    if text == '{m}':\n        ids = f{m}(ids, text + '{m}')\n" for m in range(40))
    + "    return tokenizer.decode(ids)\n\n"
    for n in range(40)
)


@pytest.fixture
def check(tmp_path):
    """Check files given as name -> text or bytes; what a hard input must never do is held against every run."""

    def check(timeout=30.0, /, **files):
        for name, content in files.items():
            data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
            (tmp_path / f"{name}.py").write_bytes(data)
        settings = Settings(root=tmp_path, timeout=timeout)
        result = check_paths([tmp_path], settings)
        assert not [error for error in result.errors if "internal error" in error.message]
        assert not [error for error in result.errors if "\n" in error.message]
        return result

    return check


def said(result):
    return [error.message for error in result.errors]


def test_a_file_that_takes_too_long_is_skipped_and_the_rest_is_checked(check, tmp_path):
    result = check(0.2, bad=BAD, tangle=TANGLE)
    assert [(error.path, error.message) for error in result.errors] == [
        ((tmp_path / "tangle.py").as_posix(), "took over 0.2 s: skipped (see --timeout)")
    ]
    assert [(d.code, d.place.path) for d in result.diagnostics] == [
        ("DLM201", (tmp_path / "bad.py").as_posix())
    ]


def test_findings_of_a_file_that_takes_too_long_are_not_shown(check):
    # The mistake is met at once, but what comes later in the file might have put it right.
    assert [d.code for d in check(0, both=BAD).diagnostics] == ["DLM201"]
    result = check(0.2, both=BAD + TANGLE.removeprefix(HEAD))
    assert said(result) == ["took over 0.2 s: skipped (see --timeout)"]
    assert not result.diagnostics


def test_the_time_of_a_module_is_not_charged_to_those_that_import_it(check, tmp_path):
    user = "from tangle import model, tokenizer\n" + BAD.removeprefix(HEAD)
    result = check(0.2, tangle=TANGLE, user=user)
    assert [error.path for error in result.errors] == [(tmp_path / "tangle.py").as_posix()]
    assert [d.code for d in result.diagnostics] == ["DLM201"]


BRANCHES = "".join(f"elif text == '{n}':\n    ids = tokenizer('{n}').input_ids\n" for n in range(5000))
ELIF_CHAIN = f"if text:\n    ids = []\n{BRANCHES}else:\n    ids = None\n"
NESTED_IFS = (
    "".join(f"{'  ' * n}if model.config.x{n}:\n" for n in range(95)) + "  " * 95 + "output = output\n"
)


WRITTEN = {
    title.lower(): code
    for title, code in re.findall(
        r"(?ms)^## (.*?)\n\n```python\n(.*?)^```", Path(__file__).with_name("hard_code.md").read_text("utf-8")
    )
}


def functions(count, body):
    return "".join(
        f"def f{n}(tokenizer, model, ids):\n{body.format(n=n, next=(n + 1) % count)}" for n in range(count)
    )


HARD = {
    **WRITTEN,
    "a circle of calls": functions(
        60, "    ids = f{next}(tokenizer, model, model.generate(ids))\n    return ids\n"
    ),
    "2,000 functions": functions(2_000, "    return tokenizer.decode(ids[{n}])\n"),
    "500 methods that call the next": "class A:\n"
    + "".join(
        f"    def m{n}(self, ids):\n        self.ids{n} = model.generate(ids)\n        return self.m{n + 1}(self.ids{n})\n"
        for n in range(500)
    ),
    "300 bases in a row": "class C0:\n    tokenizer = tokenizer\n"
    + "".join(
        f"class C{n}(C{n - 1}):\n    def decode(self, ids):\n        return super().decode(ids)\n"
        for n in range(1, 300)
    )
    + "C299().decode(model.generate(tokenizer('a').input_ids))\n",
    "a list that doubles": "x = [tokenizer]\n" + "x = x + x\n" * 200 + "x[0].decode(x)\n",
    "a list that is unpacked into itself": "x = [tokenizer, *y]\n"
    + "x = [*x, *x]\nx.extend(x)\n" * 60
    + "x[0].decode(x)\n",
    "a tuple that is unpacked into itself": "x = (tokenizer, 1)\n"
    + "x = (*x, *x)\n" * 100
    + "x = x + x\n" * 100
    + "x[0].decode(x)\n",
    "pairs of pairs": "t = (model, ids)\n" + "t = (t, t)\n" * 200 + "(a, b), c = t\nd = {t: t, t[0]: t[1]}\n",
    "dicts of dicts": "d = {'input_ids': ids}\n"
    + "d = {'a': d, 'b': d, **d}\n" * 200
    + "model.generate(**d)\n",
    "templates of templates": "p = 'Question: {x} {} %s'\n"
    + "p = f'{p}{p}'\np = p.format(p, x=p)\np = p % p\np = p.replace('x', p)\np = p.join([p, p])\n" * 40
    + "tokenizer(p)\n",
    "literals that Python refuses": "a = '\\x'; b = b'é'; c = '\\N{no such}'; d['\\u12'].e = model.generate(x['\\U99999999'])\n"
    "ids[: n + " + "9" * 5000 + "]\n"
    "def f(x: '\\xg', y: '\\ud800', z: '\\0', w: \"'A'\") -> '': pass\n",
    "numbers beyond floats": f"n = {'9' * 400} + 0.5\nm = {'9' * 400} - 0.5\nk = -n + 1j - 1e308 - 1e308\n"
    f"ids[n:m] = -{'9' * 400} - .1\n",
    "annotations that nest": f"def f(ids: '{'[' * 100_000}', x: '{'List[' * 90}int{']' * 90}', "
    f"y: '{'-' * 99_999}1') -> '{'(' * 400}': pass\nx: '{'not ' * 50_000}a'\n",
    "a text that doubles": "p = 'a'\n"
    + "p = p + p\n" * 60
    + "q = p * 10**9\nq = q * 10**9\ntokenizer(p + q)\n",
    "numbers that do not fit": "n = 10\n"
    + "n = n ** n\n" * 6
    + "m = 1 << 10**12\nids = [0] * 10**12\nz = 1 % 0, 1 // 0, 1e999, -100 << -1\n"
    "labels = ids[: n : 0], ids[-(10**30) :], 'a' * -(10**9), '%999999999d' % 5, f'{1:>{10**9}}', 1j ** n\n",
    "a number of 5,000 digits": f"n = {'9' * 5000}\nids = tokenizer('a').input_ids[:n]\n"
    "labels = [-100] * n\ntext = f'{n}' + str(n)\n",
    "comprehensions 50 deep": "ids = "
    + "[" * 50
    + "model.generate(x)"
    + " for x in tokenizer('a').input_ids]" * 50
    + "\n",
    "50 loops in one comprehension": "ids = [x for x in tokenizer"
    + " for x in x if (x := model.generate(x))" * 50
    + "]\n",
    "loops 20 deep": "".join(f"{'  ' * n}for i{n} in tokenizer('a').input_ids:\n" for n in range(20))
    + "  " * 20
    + "ids = model.generate(i19)\n",
    "try 40 deep": "".join(
        f"{'  ' * n}try:\n{'  ' * n}  ids = model.generate(ids)\n{'  ' * n}except E as e:\n"
        for n in range(40)
    )
    + "  " * 40
    + "raise\n",
    "with 90 deep": "".join(f"{'  ' * n}with model as model, tokenizer as t{n}:\n" for n in range(90))
    + "  " * 90
    + "pass\n",
    "ifs 95 deep": NESTED_IFS,
    "classes and functions 40 deep": "".join(
        f"{'  ' * n}class C{n}:\n{'  ' * n} def f(self, ids):\n" for n in range(40)
    )
    + "  " * 40
    + "return model.generate(ids)\n",
    "lambdas 60 deep": "f = " + "lambda ids: " * 60 + "model.generate(ids)\n" + "f(1)" + "(2)" * 60 + "\n",
    "150 brackets": "ids = " + "tokenizer(" * 150 + "'a'" + ")" * 150 + "\n",
    "a chain of 400 calls": "text = tokenizer" + ".decode(ids)" * 400 + "\n",
    "a sum of 450 texts": "prompt = " + " + ".join(["'a'"] * 450) + "\ntokenizer(prompt)\n",
    "1,000 imports": "".join(
        f"import transformers.a{n}.b{n} as c{n}, transformers.x.y{n}\nfrom torch.a{n} import (b as d{n}, c,)\n"
        for n in range(500)
    ),
    "700 attributes of one object": "".join(
        f"model.a{n} = model.generate(ids)\nmodel.a{n}.b = model.a{n // 2}\n" for n in range(700)
    ),
    "1,000 assignments under conditions": "".join(
        f"if c{n}:\n    ids = tokenizer('{n}').input_ids\n" for n in range(1000)
    ),
    "700 conditions on one value": "".join(
        f"if ids is None and not x{n}:\n    ids, x{n + 1} = x{n}, ids\n" for n in range(700)
    ),
    "a table of 2,000 rows": "rows = [\n"
    + "    {'input_ids': [1, 2], 'labels': [-100, 2], 'text': 'a'},\n" * 2_000
    + "]\nfor row in rows:\n    model(**row)\n",
    "a line of 120 kB": "labels = [" + "-100, " * 20_000 + "]\nids = labels\n",
    "a string of 2 MB": "text = '" + "input_ids " * 200_000 + "'\nids = tokenizer(text[5:])\n",
    "a docstring of 2 MB": "def f(ids):\n    '''"
    + "model.generate() 'x' \"y\" \\\\ #\n" * 60_000
    + "    '''\n    return model.generate(ids)\n",
    "20,000 comments": "# decoderonly: ignore[DLM101]\n# noqa: X1\n" * 10_000,
    "20,000 blank lines": "\n \n\t\n\x0c\n" * 5_000,
    "20,000 continued lines": "ids = \\\n" * 1 + "(" + "\\\n" * 20_000 + "1)\n",
    "comments that nearly silence": f"x = 1  # noqa: E501{' ' * 50_000}x\n"
    f"x = 1  # decoderonly: ignore[DLM101{' ' * 50_000}x\nx = 1  # decoderonly: ignore[{'a,' * 20_000} x\n",
    "names of 20,000 letters": f"answer_x = {'x' * 20_000} + {'prompt' * 4000}\ntokenizer({'_text' * 4000} + answer_x)\n",
    "200 semicolons a line": ("ids = model.generate(ids); " * 200 + "pass\n") * 10,
    "tabs and blanks": "if ids:\n\tif model:\n\t    ids = 1\n\t    ids = 2\n\telse:\n\t\tids = 3\n",
    "form feeds": "\x0cdef f(ids):\n\x0c    return model.generate(ids)\n    \x0c\n\x0c\x0c\nf\x0c(1)\n",
    "letters of other scripts": "模型 = model\n"
    "x = 模型.\U0001d420\U0001d41e\U0001d427\U0001d41e\U0001d42b\U0001d41a\U0001d42d\U0001d41e(\u0131ds := 1)\n"
    "\u210c = '\u202e\u2066 \u2028 \u0085'; \u00e9 = e\u0301 = \u210c\n",
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_hard_code_hides_no_finding_behind_it(check, text):
    result = check(30, main=HEAD + text + BAD)
    assert not said(result)
    assert ("DLM201", HEAD.count("\n") + text.count("\n") + BAD.count("\n")) in [
        (d.code, d.place.line) for d in result.diagnostics
    ]


REFUSED = {
    "blocks 1,000 deep": (
        "".join(f"{' ' * n}if model:\n" for n in range(1000)) + " " * 1000 + "pass\n",
        "syntax error: too many levels of indentation",
    ),
    "brackets 1,000 deep": (
        "ids = " + "[" * 1000 + "]" * 1000 + "\n",
        "brackets nest 1000 deep; Python itself stops at 200",
    ),
    "5,000 branches": (ELIF_CHAIN, "one statement nests too deep: over 1000 chained operators or branches"),
    "10 MB of list": (
        "labels = [\n" + "    -100, -100, -100,\n" * 480_000 + "]\n",
        "is too long to be analysed: 10.6 MB of code, the limit is 2.5 MB",
    ),
    "Python 2": (
        "print 'input_ids', `model`\nexec 'x' in {}\n",
        "syntax error: Missing parentheses in call to 'print'. Did you mean print(...)?",
    ),
    "a string that does not end": (
        "x = 'input_ids\n",
        "syntax error: unterminated string literal (detected at line 5)",
    ),
    "a NUL byte": ("x = '\0'\n", "is binary or UTF-16: it holds a NUL byte"),
    "a lone surrogate in the file itself": (
        "x = '\ud800'\n",
        "is not utf-8: byte 0xed cannot be decoded (declare the encoding, PEP 263)",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_told_in_one_line_and_the_rest_is_checked(check, tmp_path, text, message):
    # What holds no language-model code is not even parsed.
    result = check(30, bad=BAD, hard=HEAD + text + BAD)
    assert [(error.path, error.message) for error in result.errors] == [
        ((tmp_path / "hard.py").as_posix(), message)
    ]
    assert [d.code for d in result.diagnostics] == ["DLM201"]


@pytest.mark.parametrize(
    ("prefix", "encoding"),
    [
        ("\ufeff", "utf-8"),
        ("# coding: latin-1\n# é ÿ\n", "latin-1"),
        ("# vim: set fileencoding=shift_jis :\n# 表示\n", "shift_jis"),
        ("# -*- coding: cp1252 -*-\nx = '€'\n", "cp1252"),
        ("#!/usr/bin/python\n# coding: utf-7\n", "utf-7"),
        ("# coding: euc-kr\nx = '한국어'\n", "euc-kr"),
    ],
)
def test_every_encoding_is_read(check, prefix, encoding):
    result = check(30, main=(prefix + BAD).encode(encoding))
    assert not said(result)
    line = (prefix + BAD).count("\n")
    assert [(d.code, d.place.line) for d in result.diagnostics] == [("DLM201", line)]


@pytest.mark.parametrize("ending", ["\r", "\r\n", "\n\x0c", ""])
def test_every_line_ending_is_read(check, ending):
    text = BAD.replace("\n", ending) if ending else BAD.rstrip("\n")
    result = check(30, main=text)
    assert not said(result)
    assert [(d.code, d.place.line) for d in result.diagnostics] == [("DLM201", BAD.count("\n"))]


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"\xef\xbb\xbf", b"# input_ids", b"\x0c", b"\t", b"'input_ids'", b"\x1a"]
)
def test_nearly_nothing(check, data):
    result = check(30, main=data, bad=BAD)
    assert [d.code for d in result.diagnostics] == ["DLM201"]
    assert not result.errors
    assert len(result.skipped) == 1


@pytest.mark.parametrize(
    "text",
    [b"x = (\n", b"print 'Python 2'\n", b"x = '\0'\n", b"x = '\xff'\n", b"[" * 1000],
    ids=["syntax", "Python 2", "NUL", "encoding", "deep"],
)
def test_what_holds_no_language_model_code_is_not_read_closer(check, tmp_path, text):
    result = check(30, bad=BAD, other=text)
    assert not result.errors
    assert result.skipped == ((tmp_path / "other.py").as_posix(),)
    # Unless it does hold some.
    told = check(30, bad=BAD, other=b"model.generate(tokenizer(x))\n" + text)
    assert [error.path for error in told.errors] == [(tmp_path / "other.py").as_posix()]
    assert [d.code for d in told.diagnostics] == ["DLM201"]


IMPORTS = {
    "itself": {"main": "from main import *\nimport main\nfrom main import tokenizer, main as main\n" + BAD},
    "each other": {
        "main": "from one import tokenizer, model\n" + BAD.removeprefix(HEAD),
        "one": "import two\nfrom two import tokenizer\nmodel = two.model\n",
        "two": "from one import model\nimport main\n" + HEAD + "from main import inputs\n",
    },
    "each other's stars": {
        "main": "from one import *\n" + BAD.removeprefix(HEAD),
        "one": "from main import *\nfrom two import *\nfrom one import *\n",
        "two": "from one import *\nfrom main import *\n" + HEAD,
    },
    "a chain of 200": {
        "main": "from m0 import tokenizer, model\n" + BAD.removeprefix(HEAD),
        **{f"m{n}": f"from m{n + 1} import *\n# input_ids\n" for n in range(200)},
        "m200": "from m0 import *\n" + HEAD,
    },
    "bases from each other": {
        "main": "import one\nclass A(one.B): pass\n" + BAD,
        "one": "import main\nclass B(main.A):\n    def generate(self): return main.model.generate(self)\n",
    },
}


@pytest.mark.parametrize("files", IMPORTS.values(), ids=IMPORTS)
def test_modules_that_import(check, files):
    result = check(30, **files)
    assert not said(result)
    assert "DLM201" in [d.code for d in result.diagnostics]


def test_nothing_is_said_of_escapes_in_strings(check):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = check(30, main=HEAD + "ids = tokenizer('\\d \\[INST\\]')\n" + BAD.replace("Hello", "\\w"))
    assert not said(result)
    assert not caught
    assert "DLM201" in [d.code for d in result.diagnostics]
