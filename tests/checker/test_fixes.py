"""Fixes: what they change, and what they leave as it was."""

import ast
import codecs
import os
import subprocess
import textwrap
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from decoderonly_checker import rules
from decoderonly_checker.config import Settings
from decoderonly_checker.diagnostics import Applicability, Confidence, Edit, Place
from decoderonly_checker.fixes import scopes
from decoderonly_checker.fixes.apply import FixError, change, choose, edited, write
from decoderonly_checker.fixes.run import fix_all
from decoderonly_checker.runner import check_paths, check_source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_specs import SPECS, cases
from test_specs import write as write_files

FIXED_RULES = sorted(
    code
    for code in rules.codes()
    if any(found.fix for found in check_source(rules.load(code).bad, "x.py", Settings()).diagnostics)
)
HEAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
"""


def fixed(text, unsafe=False):
    """Return a text with the fixes of one pass made."""
    result = check_source(text, "main.py", Settings())
    edits = set()
    for found in result.diagnostics:
        if found.fix is not None and (unsafe or found.fix.applicability is Applicability.SAFE):
            edits.update(found.fix.edits)
    return edited(text, edits)


def fixed_lines(text, unsafe=False):
    """Return the changed lines of a program that makes its model and tokenizer first."""
    before, after = (HEAD + text).splitlines(), fixed(HEAD + text, unsafe).splitlines()
    assert len(after) >= len(before)
    return [line for line in after if line not in before]


def test_which_rules_have_fixes():
    assert [
        *("DLM001", "DLM101", "DLM102", "DLM103", "DLM104", "DLM105", "DLM106", "DLM107", "DLM108", "DLM109"),
        *("DLM110", "DLM201", "DLM202", "DLM203", "DLM204", "DLM205", "DLM206", "DLM207", "DLM208", "DLM301"),
        *("DLM302", "DLM303", "DLM305", "DLM306", "DLM308", "DLM309", "DLM401", "DLM402"),
    ] == FIXED_RULES


def test_a_scope_is_gone_through_once_whatever_the_number_of_findings(monkeypatch):
    """Each finding went through the whole scope: three hundred of them took half a minute."""
    walked = []
    real = scopes._bound_in
    monkeypatch.setattr(scopes, "_bound_in", lambda node: walked.append(node) or real(node))
    call = "print(tokenizer.decode(model.generate(**encoding)[0]))\n"
    encoding = 'encoding = tokenizer("Hello", return_tensors="pt")\n'
    text = HEAD + encoding + call * 20 + "def answer():\n    " + "    ".join([encoding, call, call])
    found = check_source(text, "main.py", Settings()).diagnostics
    assert sum(one.fix is not None for one in found) == 22
    assert len(walked) == 2


@pytest.mark.parametrize("code", FIXED_RULES)
def test_a_fixed_example_is_silent(code):
    text = fixed(rules.load(code).bad, unsafe=True)
    assert check_source(text, "main.py", Settings()).diagnostics == ()
    assert fixed(text, unsafe=True) == text


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        ('ids["input_ids"]', 'ids["input_ids"], attention_mask=ids["attention_mask"]'),
        ("ids.input_ids", "ids.input_ids, attention_mask=ids.attention_mask"),
        ("input_ids=ids.input_ids.to(0)", "input_ids=ids.input_ids.to(0), attention_mask=ids.attention_mask.to(0)"),
        ("ids['input_ids'], do_sample=True", "ids['input_ids'], do_sample=True, attention_mask=ids[\"attention_mask\"]"),
        ("kept", "kept, attention_mask=ids.attention_mask"),
    ],
)  # fmt: skip
def test_masks_are_passed_as_the_ids_are(call, cure):
    text = f'ids = tokenizer("Hi", return_tensors="pt")\nkept = ids.input_ids\nout = model.generate({call})\n'
    assert fixed_lines(text) == [f"out = model.generate({cure})"]


PADDED = """\
def loss_of(texts: list[str]):
    batch = tokenizer(texts, padding=True, return_tensors="pt")
"""


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        (
            'labels = batch["input_ids"].clone()\nloss = model(**batch, labels=labels).loss\n',
            'labels = batch["input_ids"].clone().masked_fill(batch["attention_mask"] == 0, -100)',
        ),
        (
            "loss = model(**batch, labels=batch.input_ids).loss\n",
            "loss = model(**batch, labels=batch.input_ids.masked_fill(batch.attention_mask == 0, -100)).loss",
        ),
        (
            "x = batch['input_ids'].to(0)\nloss = model(x, labels=batch['input_ids'].to(0)).loss\n",
            "loss = model(x, labels=batch['input_ids'].to(0).masked_fill(batch['attention_mask'].to(0) == 0, -100)).loss",
        ),
        # Lists have no such method, and what a name was taken from may have been changed since.
        ("ids = batch.input_ids\nloss = model(ids, labels=ids).loss\n", ""),
        ("labels = torch.tensor(batch.input_ids)\nloss = model(**batch, labels=labels).loss\n", ""),
        ("batch = dict(batch)\nloss = model(**batch, labels=batch['input_ids']).loss\n", ""),
    ],
)
def test_padding_is_hidden_by_the_mask_beside_the_ids(text, cure):
    body = textwrap.indent(text, "    ")
    changed = fixed_lines(f"tokenizer.pad_token = '!'\n{PADDED}{body}    return loss\n", unsafe=True)
    assert [line.strip() for line in changed] == [cure] * bool(cure)


@pytest.mark.parametrize(
    "text",
    [
        # A name that stands for something else later on.
        'ids = tokenizer("Hi", return_tensors="pt")\nkept = ids.input_ids\nids = tokenizer("Ho")\nmodel.generate(kept)\n',
        # No mask beside the ids.
        'ids = tokenizer("Hi", return_tensors="pt", return_attention_mask=False)\nmodel.generate(ids.input_ids)\n',
        'model.generate(tokenizer("Hi", return_tensors="pt").input_ids)\n',
        # Not all of the ids.
        'ids = tokenizer("Hi", return_tensors="pt")\nmodel.generate(ids.input_ids[:, 1:])\n',
        # What is unpacked may hold a mask.
        'ids = tokenizer("Hi", return_tensors="pt")\nmodel.generate(ids.input_ids, **options())\n',
        # Quotes of an f-string end at the next quote of their kind, before Python 3.12.
        'ids = tokenizer("Hi", return_tensors="pt")\nprint(f"{model.generate(ids.input_ids)}")\n',
    ],
)
def test_masks_that_nobody_knows_of_are_not_passed(text):
    assert fixed_lines(text, unsafe=True) == []


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("out = model.generate(**ids)\nprint(tokenizer.decode(out[0]))\n",
         'print(tokenizer.decode(out[0][ids["input_ids"].shape[1]:]))'),
        ("print(tokenizer.decode(model.generate(ids.input_ids, attention_mask=ids.attention_mask)[0]))\n",
         "print(tokenizer.decode(model.generate(ids.input_ids, attention_mask=ids.attention_mask)[0][ids.input_ids.shape[1]:]))"),
        ("out = model.generate(**ids.to(0))\nprint(tokenizer.batch_decode(out.cpu(), skip_special_tokens=True))\n",
         'print(tokenizer.batch_decode(out.cpu()[:, ids["input_ids"].shape[1]:], skip_special_tokens=True))'),
        ("out = model.generate(**ids, return_dict_in_generate=True)\nprint(tokenizer.decode(out.sequences[0]))\n",
         'print(tokenizer.decode(out.sequences[0][ids["input_ids"].shape[1]:]))'),
        ("out = model.generate(**ids)\nprint([tokenizer.decode(row) for row in out])\n",
         'print([tokenizer.decode(row[ids["input_ids"].shape[1]:]) for row in out])'),
        ("for row in model.generate(**ids):\n    print(tokenizer.decode(row))\n",
         '    print(tokenizer.decode(row[ids["input_ids"].shape[1]:]))'),
    ],
)  # fmt: skip
def test_prompts_are_cut_off_as_tokens(text, cure):
    assert fixed_lines('ids = tokenizer("Hi", return_tensors="pt")\n' + text) == [cure]


OTHER_WIDTH = """\
ids = tokenizer("Hi", return_tensors="pt")
out = model.generate(**ids)
ids = tokenizer("Ho", return_tensors="pt")
print(tokenizer.decode(out[0]))
"""
LISTS = """\
ids = tokenizer("Hi", return_tensors="pt")
out = model.generate(**ids).tolist()
print(tokenizer.batch_decode(out))
"""
OTHER_FUNCTION = """\
def ask():
    ids = tokenizer("Hi", return_tensors="pt")
    return model.generate(**ids)
print(tokenizer.decode(ask()[0]))
"""


@pytest.mark.parametrize("text", [OTHER_WIDTH, LISTS, OTHER_FUNCTION])
def test_prompts_are_left_where_their_width_is_not_at_hand(text):
    assert fixed_lines(text, unsafe=True) == []


def test_a_helper_that_another_kind_of_model_goes_through_is_not_cut():
    text = (
        "from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer\n"
        "def answer(model, tokenizer, prompt):\n"
        '    ids = tokenizer(prompt, return_tensors="pt")\n'
        "    return tokenizer.decode(model.generate(**ids)[0])\n"
        'print(answer(AutoModelForCausalLM.from_pretrained("gpt2"), AutoTokenizer.from_pretrained("gpt2"), "Hi"))\n'
    )
    assert fixed(text) != text
    text += 'print(answer(AutoModelForSeq2SeqLM.from_pretrained("t5-small"), AutoTokenizer.from_pretrained("t5-small"), "Hi"))\n'
    assert fixed(text, unsafe=True) == text


def test_a_finding_that_is_not_certain_has_no_safe_fix():
    text = (
        "def answer(model, tokenizer, prompt):\n"
        '    ids = tokenizer(prompt, return_tensors="pt")\n'
        "    return tokenizer.decode(model.generate(**ids, max_new_tokens=5)[0])\n"
    )
    result = check_source(text, "main.py", Settings(min_confidence=Confidence.POSSIBLE))
    for found in result.diagnostics:
        allowed = {Confidence.POSSIBLE: None, Confidence.LIKELY: Applicability.UNSAFE}
        assert (found.fix and found.fix.applicability) == allowed[found.confidence]
    assert result.diagnostics


# -- the text around --------------------------------------------------------------------------------------------------

ENDINGS = st.sampled_from(["\n", "\r\n", "\r"])
CODINGS = st.sampled_from(["utf-8", "bom", "latin-1", "shift_jis"])


@st.composite
def layouts(draw):
    """Return a program in some layout, its bytes, and the text that a fix must add to it, wherever it does."""
    one_a_line = draw(st.booleans())
    gap = (
        draw(st.sampled_from(["", " ", "  # why\n        "]))
        if one_a_line
        else draw(st.sampled_from(["", " "]))
    )
    comma = draw(st.booleans())
    more = draw(
        st.lists(st.sampled_from(["max_new_tokens=8", "do_sample=True", "num_beams=(2)"]), unique=True)
    )
    single = draw(st.booleans())
    arguments = ["ids['input_ids']" if single else 'ids["input_ids"]', *more]
    if one_a_line:
        inside = (
            "\n        " + ",\n        ".join(arguments) + ("," if comma else "") + gap.rstrip(" ") + "\n    "
        )
    else:
        inside = gap + ", ".join(arguments) + ("," if comma else "") + gap
    quote = "'" if single else '"'
    body = f"    out = model.generate({inside})\n"
    text = (
        HEAD.replace('"', quote)
        + f"def run():\n    ids = tokenizer({quote}Hi{quote}, return_tensors={quote}pt{quote})\n"
        + body
    )
    text += draw(st.sampled_from(["", "    # the end", "    return 1\n\n\n", "    return 1  # \u00e9\n"]))
    coding = draw(CODINGS)
    encoding = "utf-8" if coding == "bom" else coding
    if encoding == "shift_jis":
        text = text.replace("\u00e9", "\u5b57")
    if encoding != "utf-8":
        text = f"# -*- coding: {encoding} -*-\n{text}"
    data = text.replace("\n", draw(ENDINGS)).encode(encoding)
    return (codecs.BOM_UTF8 if coding == "bom" else b"") + data, quote


@given(layouts())
@settings(suppress_health_check=list(HealthCheck), max_examples=60, deadline=None)
def test_only_the_new_argument_changes(tmp_path_factory, layout):
    data, quote = layout
    path = tmp_path_factory.mktemp("fix") / "main.py"
    path.write_bytes(data)
    scope = Settings(root=path.parent)
    assert any(found.fix for found in check_paths([path], scope).diagnostics)
    done = fix_all(lambda: check_paths([path], scope), unsafe=False)
    assert done.left.errors == ()
    after = path.read_bytes()
    new = f"attention_mask=ids[{quote}attention_mask{quote}]".encode()
    assert after.count(new) == 1
    before, _, behind = after.partition(new)
    separator = len(after) - len(data) - len(new)
    assert before[: len(before) - separator] + behind == data
    assert before[len(before) - separator :].strip() == b","
    ast.parse(after)
    assert not any(found.code == "DLM101" for found in check_paths([path], scope).diagnostics)
    assert fix_all(lambda: check_paths([path], scope), unsafe=False).cured == 0
    assert path.read_bytes() == after


pieces = st.text(st.sampled_from("ab \n\r\t\u00e9\U0001f642"), max_size=8)


@given(st.lists(st.tuples(pieces, pieces, st.text("xy", max_size=3)), max_size=5), pieces)
def test_edits_change_their_spans_and_nothing_else(parts, end):
    """The text is kept, changed, kept, changed, … kept."""
    text, expected, edits = "", "", []

    def place(before):
        lines = [""]
        for character, follower in zip(before, [*before[1:], ""], strict=False):
            lines[-1] += character
            if character == "\n" or (character == "\r" and follower != "\n"):
                lines.append("")
        return len(lines), len(lines[-1]) + 1

    whole = "".join(kept + old for kept, old, _ in parts) + end
    for kept, old, new in parts:
        start = len(text) + len(kept)
        begin, stop = start, start + len(old)
        # A position within a line break is none that a tree names.
        if any(whole[i - 1 : i + 1] == "\r\n" for i in (begin, stop)):
            return
        edits.append(Edit(Place("a.py", *place(whole[:begin]), *place(whole[:stop])), new))
        text += kept + old
        expected += kept + new
    spans = [(edit.place.line, edit.place.column) for edit in edits]
    if len(set(spans)) < len(spans):
        return  # two that begin at one place touch, and are not made together
    assert edited(whole, edits) == expected + end


@pytest.mark.parametrize("spec", sorted(SPECS.rglob("*.md")), ids=lambda path: path.stem)
def test_fixed_specifications_parse_and_show_nothing_new(spec, tmp_path, monkeypatch):
    """Every fourth case that has a fix: all fixes are made, the findings go, none comes, and none is left to fix."""
    monkeypatch.chdir(tmp_path)
    number = 0
    for title, files in cases(spec):
        if not any("# error:" in text for text in files.values()):
            continue
        number += 1
        if number % 4:
            continue
        root = tmp_path / str(number)
        write_files(files, root)
        scope = Settings(root=root, min_confidence=Confidence.POSSIBLE)
        before = check_paths([root], scope)
        if not any(found.fix for found in before.diagnostics):
            continue
        done = fix_all(lambda root=root, scope=scope: check_paths([root], scope), unsafe=True)
        assert done.left.errors == (), title
        assert not any(found.fix for found in done.left.diagnostics), title
        more = Counter(found.code for found in done.left.diagnostics) - Counter(
            d.code for d in before.diagnostics
        )
        assert not more, title
        assert len(done.left.diagnostics) <= len(before.diagnostics) - done.cured, title


# -- files ------------------------------------------------------------------------------------------------------------

BAD = (
    HEAD
    + 'ids = tokenizer("Hi", return_tensors="pt")\nout = model.generate(ids.input_ids)\nprint(tokenizer.decode(out[0]))\n'
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(BAD)
    return tmp_path


def findings():
    return check_paths([Path("bad.py")], Settings()).diagnostics


def test_a_file_that_changes_under_our_hands_is_left_alone(project):
    found = findings()
    made = change("bad.py", found)
    (project / "bad.py").write_text(BAD + "print(1)\n")
    for attempt in (lambda: write(made), lambda: change("bad.py", found)):
        with pytest.raises(FixError, match="has changed since it was checked: left alone"):
            attempt()
    assert (project / "bad.py").read_text() == BAD + "print(1)\n"


def test_mode_and_links_stay(project):
    (project / "bad.py").rename(project / "real.py")
    (project / "bad.py").symlink_to("real.py")
    (project / "real.py").chmod(0o751)
    write(change("bad.py", findings()))
    assert (project / "bad.py").is_symlink()
    assert (project / "real.py").stat().st_mode & 0o777 == 0o751
    assert (project / "real.py").read_text() != BAD
    assert sorted(path.name for path in project.iterdir()) == ["bad.py", "real.py"]


def test_a_file_that_cannot_be_written_is_told_and_the_others_are_fixed(project, monkeypatch):
    (project / "other.py").write_text(BAD)
    real = os.replace

    def refuse(source, target):
        if Path(target).name == "bad.py":
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    done = fix_all(lambda: check_paths([Path()], Settings()), unsafe=False)
    assert [(error.path, error.message) for error in done.left.errors] == [
        ("bad.py", "not fixed: permission denied")
    ]
    assert done.files == ("other.py",)
    assert (project / "bad.py").read_text() == BAD
    assert sorted(path.name for path in project.iterdir()) == ["bad.py", "other.py"]


def test_fixes_that_touch_are_made_one_after_the_other(project):
    found = findings()
    twice = [found[0], found[0], *found[1:]]
    assert choose(twice) == {"bad.py": twice}, "one change cures both"
    place = found[0].fix.edits[0].place
    other = Edit(place, ", other=1")
    fix = type(found[0].fix)("x", Applicability.SAFE, (other,), found[0].fix.digest)
    rival = type(found[0])(
        *[getattr(found[0], name) for name in found[0].__dataclass_fields__ if name != "fix"], fix
    )
    assert choose([found[0], rival]) == {"bad.py": [found[0]]}


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(command):
    return partial(command, "check", "--no-cache")


def test_fix_changes_files_and_says_so(project, run):
    plain = run("-q")
    assert "(fix available, safe)" in plain.stdout
    assert run().stdout.endswith("2 warnings in 1 file (1 file checked). 2 fixes with --fix.\n")
    done = run("--fix")
    assert (done.returncode, done.stdout) == (0, "Fixed 2 findings in 1 file.\nNo findings in 1 file.\n")
    assert run("--fix").stdout == "Nothing was fixed.\nNo findings in 1 file.\n"


def test_the_exit_code_may_tell_that_something_was_fixed(project, run):
    assert run("--fix", "--exit-non-zero-on-fix").returncode == 1
    assert run("--fix", "--exit-non-zero-on-fix").returncode == 0


def test_diff_shows_and_changes_nothing(project, run):
    before = (project / "bad.py").stat().st_mtime_ns
    time.sleep(0.01)
    done = run("--diff")
    assert done.returncode == 1
    assert done.stderr == "No file was changed (--diff).\n"
    assert (project / "bad.py").stat().st_mtime_ns == before
    subprocess.run(["patch", "-p0"], input=done.stdout, encoding="utf-8", check=True, capture_output=True)
    assert run().returncode == 0
    assert (run("--diff").returncode, run("--diff").stdout) == (0, "")


TWO_PASSES = (
    HEAD
    + "from transformers import TextStreamer\n"
    + 'ids = tokenizer.encode("Hi", return_tensors="pt")\n'
    + "one = model.generate(ids)\ntwo = model.generate(ids)\n"
)


def test_diff_shows_what_several_passes_make(project, run):
    """The first fix gives the encoding a name, which the second one uses."""
    (project / "bad.py").write_text(TWO_PASSES)
    drawn = run("--diff").stdout
    assert run("--fix").stdout.startswith("Fixed 2 findings in 1 file.\n")
    after = (project / "bad.py").read_text()
    (project / "bad.py").write_text(TWO_PASSES)
    subprocess.run(["patch", "-p0"], input=drawn, encoding="utf-8", check=True, capture_output=True)
    assert (project / "bad.py").read_text() == after


def test_diff_shows_all_files_of_a_project_as_they_would_be_in_the_end(project, run):
    (project / "pyproject.toml").write_text("")
    (project / "bad.py").write_text(TWO_PASSES.replace("ids = ", "import helper\nids = "))
    (project / "helper.py").write_text(BAD)
    drawn = run("--diff").stdout
    subprocess.run(["patch", "-p0"], input=drawn, encoding="utf-8", check=True, capture_output=True)
    assert run().returncode == 0


@pytest.fixture
def piped(command):
    return lambda text, *arguments: command("check", *arguments, "-", stdin=text)


def test_standard_input_is_fixed_to_standard_output(project, piped):
    done = piped(TWO_PASSES, "--fix", "--stdin-filename", "new.py")
    assert (done.returncode, done.stderr) == (0, "Fixed 2 findings in 1 file.\n")
    assert done.stdout.count("attention_mask=") == 2
    assert piped(done.stdout, "--fix").stdout == done.stdout
    assert not (project / "new.py").exists()
    left = piped(BAD.replace("ids.input_ids", "**ids, max_length=9"), "--fix", "--output-format", "concise")
    assert left.returncode == 1
    assert left.stderr.startswith("<stdin>:5:7: warning DLM106 ")
    drawn = piped(TWO_PASSES, "--diff", "--stdin-filename", "new.py")
    assert drawn.returncode == 1
    assert drawn.stdout.startswith("--- new.py\n+++ new.py\n")


def test_unsafe_fixes_are_made_when_they_are_asked_for(project, run):
    text = BAD.replace("ids.input_ids", "**ids, max_length=20")
    (project / "bad.py").write_text(text.replace("out[0]", 'out[0, ids["input_ids"].shape[1]:]'))
    assert run().stdout.endswith(" 1 fix with --fix --unsafe-fixes.\n")
    assert run("--fix").stdout.splitlines()[-2] == "Nothing was fixed."
    assert run("--fix", "--unsafe-fixes").returncode == 0
    assert "model.generate(**ids, max_new_tokens=20)" in (project / "bad.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fix", "--diff"], "--fix cannot be combined with --diff"),
        (["--unsafe-fixes"], "--unsafe-fixes needs --fix or --diff"),
    ],
)
def test_options_that_exclude_each_other(project, arguments, said, run):
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (2, f"error: {said}\n")


def test_silenced_findings_are_not_fixed(project, run):
    text = BAD.replace("input_ids)\n", "input_ids)  # decoderonly: ignore[DLM101] no padding\n")
    (project / "bad.py").write_text(text)
    run("--fix")
    assert "attention_mask" not in (project / "bad.py").read_text()
