"""A run that remembers says what a run without memory says, byte by byte, whatever was changed in between."""

import contextlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from decoderonly_checker import cache as caches
from decoderonly_checker.__main__ import main
from decoderonly_checker.cache import Cache
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

HEAD = "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
LOAD = (
    HEAD
    + """def load(name="gpt2"):
    tok = AutoTokenizer.from_pretrained(name{side})
    {pad}
    return tok, AutoModelForCausalLM.from_pretrained(name)
"""
)
COMPLETE = """from app.loading import load

tok, model = load()

def complete(prompt):
    enc = tok(prompt, return_tensors="pt")
    return tok.decode(model.generate({call}, max_new_tokens=8)[0]{cut})
"""
BATCH = """from app.loading import load

tok, model = load()
enc = tok(["Hi.", "Name three colours."], padding=True, return_tensors="pt")
out = model.generate({call}, max_new_tokens=8)
"""
CALLER = """from app.{module} import {name}

def answer(prompt):
    return {name}(prompt){cut}
"""
THROUGH = "from app.complete import complete\n\ndef through(prompt):\n    return complete(prompt){cut}\n"
PAD = "tok.pad_token = tok.eos_token"
WHOLE, IDS = "**enc", 'enc["input_ids"]'
# What each file may hold.
TEXTS = {
    "app/loading.py": [
        LOAD.format(side="", pad=PAD),
        LOAD.format(side=', padding_side="left"', pad=PAD),
        LOAD.format(side="", pad="pass"),
        LOAD.format(side="", pad=PAD).replace("def load", "def lord"),
        "def load(name):\n    return None, None\n",
        "def load(:\n",
        "",
    ],
    "app/complete.py": [
        COMPLETE.format(call=call, cut=cut) for call in (WHOLE, IDS) for cut in ("", "[len(prompt):]")
    ],
    "app/batch.py": [BATCH.format(call=call) for call in (WHOLE, IDS)]
    + [BATCH.format(call=IDS).replace("=8)", "=8)  # decoderonly: ignore[DLM101]")],
    "app/between.py": [THROUGH.format(cut=cut) for cut in ("", "[len(prompt):]")]
    + ["from app.complete import complete as through\n"],
    "serve.py": [
        CALLER.format(module=module, name=name, cut=cut)
        for module, name in (("complete", "complete"), ("between", "through"))
        for cut in ("", "[len(prompt):]")
    ],
    "work.ipynb": [
        json.dumps({"cells": [{"cell_type": "code", "source": source}]})
        for source in (BATCH.format(call=IDS), "from app.complete import complete\ncomplete('Hi.')\n", "1 +")
    ],
    "app/__init__.py": ["", "from app.loading import load\n"],
    "app.py": ["def complete(prompt):\n    return prompt\n"],
    ".gitignore": ["", "serve.py\n", "app/\n", "*.ipynb\n!app/\n"],
    "app/.gitignore": ["between.py\n", "*.py\n"],
    "decoderonly.toml": [
        "",
        "ignore = ['DLM101']",
        "select = ['DLM1']",
        "exclude = ['serve.py']",
        "min-confidence = 'certain'",
        "min-confidence = 'possible'",
        "per-file-ignores = { 'app/*' = ['DLM201'] }",
    ],
}
# Equally long, so that a look at time and size does not tell them apart.
TEXTS = {name: [text.ljust(max(map(len, texts)), "\n") for text in texts] for name, texts in TEXTS.items()}
# What there is at the beginning: enough to be found that a change can take away.
FIRST = ("app/loading.py", "app/complete.py", "app/batch.py", "app/between.py", "serve.py", "work.ipynb")


def check(folder, *arguments):
    """What the command prints, and its exit code."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    before, argv = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["decoderonly", "check", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as done:
        code = done.code
    finally:
        os.chdir(before)
        sys.argv = argv
    for stream in (out, err):
        stream.flush()
    return out.buffer.getvalue().decode(), err.buffer.getvalue().decode(), code


@pytest.fixture
def project(tmp_path):
    """The project whose files hold the first of their texts."""
    root = tmp_path / "project"
    (root / "app").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "decoderonly.toml").write_text("")
    for name in FIRST:
        (root / name).write_text(TEXTS[name][0])
    return root


def agreed(folder, *arguments):
    """What both kinds of run say; the one with memory is asked twice, as it remembers what it said first."""
    truth = check(folder, "--no-cache", *arguments)
    assert check(folder, *arguments) == truth
    assert check(folder, *arguments) == truth
    return truth


def write(name, text):
    def change(root):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    return change


def behind_its_back(root):
    file = root / "app/batch.py"
    status = file.stat()
    file.write_text(TEXTS["app/batch.py"][1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def swap(root):
    (root / "app/complete.py").rename(root / "app/x.py")
    (root / "app/batch.py").rename(root / "app/complete.py")
    (root / "app/x.py").rename(root / "app/batch.py")


def link(target):
    def change(root):
        (root / "app/loading.py").unlink(missing_ok=True)
        (root / "app/loading.py").symlink_to(root.parent / target)

    return change


def linked(root):
    (root.parent / "one.py").write_text(TEXTS["app/loading.py"][0])
    (root.parent / "two.py").write_text(TEXTS["app/loading.py"][2])
    link("one.py")(root)


LEFT, NO_PAD = TEXTS["app/loading.py"][1:3]
CUTS, MASKS = TEXTS["app/between.py"][1], TEXTS["app/batch.py"][1]
# A base model that goes on with a text, for show: not worth more than a guess.
SHOWN = (
    HEAD
    + """tok = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
enc = tok("Once upon a time", return_tensors="pt")
print(tok.decode(model.generate(**enc, max_new_tokens=8)[0]))
"""
)
# Name: before the first run, between the runs, which files are asked about. Each changes what is to be said.
CHANGES = {
    "the file itself": (None, write("app/batch.py", MASKS), "app/batch.py"),
    "the file itself, as long and as old as before": (None, behind_its_back, "app/batch.py"),
    "a file beside it": (None, write("app/batch.py", MASKS), "."),
    "a module that it imports": (None, write("app/loading.py", LEFT), "app/batch.py"),
    "a module that it imports, in the whole": (None, write("app/loading.py", NO_PAD), "."),
    "a module that breaks": (None, write("app/loading.py", "def load(:\n"), "app/batch.py"),
    "a module that goes": (None, lambda root: (root / "app/loading.py").unlink(), "app/batch.py"),
    "a module that comes": (
        lambda root: (root / "app/loading.py").unlink(),
        write("app/loading.py", TEXTS["app/loading.py"][0]),
        "app/batch.py",
    ),
    "a module that comes in the place of another": (
        None,
        write("app/app/loading.py", "def load():\n    return None, None\n"),
        "app/batch.py",
    ),
    "a module in another folder": (
        lambda root: (root / "app/loading.py").unlink(),
        write("src/app/loading.py", TEXTS["app/loading.py"][0]),
        "app/batch.py",
    ),
    "a module's link": (linked, link("two.py"), "app/batch.py"),
    "a caller": (None, write("serve.py", TEXTS["serve.py"][1]), "app/complete.py"),
    "a caller that goes": (
        write("serve.py", TEXTS["serve.py"][1]),
        lambda root: (root / "serve.py").unlink(),
        "app/complete.py",
    ),
    "a caller that comes": (
        lambda root: (root / "serve.py").unlink(),
        write("serve.py", TEXTS["serve.py"][1]),
        "app/complete.py",
    ),
    "a caller of a caller": (
        write("serve.py", TEXTS["serve.py"][2]),
        write("serve.py", TEXTS["serve.py"][3]),
        "app/complete.py",
    ),
    "what lies between": (
        write("serve.py", TEXTS["serve.py"][2]),
        write("app/between.py", CUTS),
        "app/complete.py",
    ),
    "a caller that git ignores": (
        write("serve.py", TEXTS["serve.py"][1]),
        write(".gitignore", "serve.py\n"),
        "app/complete.py",
    ),
    "what git ignores": (write(".gitignore", "batch.py\n"), lambda root: (root / ".gitignore").unlink(), "."),
    "what git ignores below": (write("app/batch.py", MASKS), write("app/.gitignore", "batch.py\n"), "."),
    "a setting": (write("app/batch.py", MASKS), write("decoderonly.toml", "ignore = ['DLM101']"), "."),
    "a setting for some files": (
        write("app/batch.py", MASKS),
        write("decoderonly.toml", "per-file-ignores = { '*/batch.py' = ['DLM101'] }"),
        ".",
    ),
    "how sure it has to be": (
        write("app/batch.py", SHOWN),
        write("decoderonly.toml", "min-confidence = 'possible'"),
        "app/batch.py",
    ),
    "a caller that is excluded": (
        write("serve.py", TEXTS["serve.py"][1]),
        write("decoderonly.toml", "exclude = ['serve.py']"),
        "app/complete.py",
    ),
    "a comment": (
        write("app/batch.py", MASKS),
        write("app/batch.py", TEXTS["app/batch.py"][2]),
        "app/batch.py",
    ),
    "a line above": (write("app/batch.py", MASKS), write("app/batch.py", "\n" + MASKS), "app/batch.py"),
    "a notebook": (None, write("work.ipynb", TEXTS["work.ipynb"][2]), "work.ipynb"),
    "two that change names": (write("app/batch.py", MASKS), swap, "."),
    "a file that is new": (None, write("app/new.py", MASKS), "."),
    "a file that goes": (write("app/new.py", MASKS), lambda root: (root / "app/new.py").unlink(), "."),
    "a package that gets another name": (None, lambda root: (root / "app").rename(root / "lib"), "."),
    "settings that are nearer": (None, write("app/decoderonly.toml", "ignore = ['DLM']"), "app"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_seen(project, what):
    prepare, change, asked = CHANGES[what]
    if prepare is not None:
        prepare(project)
    before = agreed(project, asked)
    change(project)
    assert agreed(project, asked) != before


def test_a_module_that_is_no_file_of_the_run_is_seen_when_units_were_remembered_before(project):
    """What a unit had read was taken for what the run's key holds, once the unit itself had been looked up."""
    write(".gitignore", "app/\n")(project)
    write("notes.py", "x = 1\n")(project)
    before = agreed(project, ".")
    write("notes.py", "x = 2\n")(project)  # another run, the same units
    assert agreed(project, ".") == before
    write("app/loading.py", LEFT)(project)
    assert agreed(project, ".") != before


def test_a_module_that_discovery_leaves_out_and_that_is_analysed_with_its_callers_is_seen(project):
    write("app/.gitignore", "*.py\n")(project)
    write("serve.py", TEXTS["serve.py"][1])(project)
    before = agreed(project, ".")
    write("app/complete.py", TEXTS["app/complete.py"][2])(project)
    assert agreed(project, ".") != before
    write("app/complete.py", "def complete(prompt):\n    return prompt\n")(
        project
    )  # and of one without model code
    silent = agreed(project, ".")
    write("app/complete.py", TEXTS["app/complete.py"][2])(project)
    assert agreed(project, ".") != silent


@pytest.mark.parametrize(
    "options",
    [
        ["--select", "DLM101"],
        ["--ignore", "DLM102"],
        ["--confidence", "possible"],
        ["--output-format", "json"],
    ],
)
def test_an_option_is_seen(project, options):
    write("app/batch.py", MASKS + SHOWN)(project)
    before = agreed(project, ".")
    assert agreed(project, *options, ".") != before
    assert agreed(project, ".") == before


def test_paths_are_shown_from_where_one_stands(project):
    write("app/batch.py", MASKS)(project)
    assert "--> app/batch.py:5" in agreed(project, ".")[0]
    assert "--> batch.py:5" in agreed(project / "app", ".")[0]
    assert "--> project/app/batch.py:5" in agreed(project.parent, "project")[0]


def test_one_cache_for_two_projects(project, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(project, other)
    write("app/loading.py", LEFT)(other)  # what `app/batch.py` of the same content imports is another module
    shared = ["--cache-dir", str(tmp_path / "shared")]
    for _ in range(2):
        for root in (project, other):
            assert check(root, *shared, ".") == check(root, "--no-cache", ".")
    assert check(project, "--no-cache", ".") != check(other, "--no-cache", ".")
    shutil.rmtree(project)
    other.rename(project)
    assert check(project, *shared, ".") == check(project, "--no-cache", ".")


def test_only_what_a_branch_changed(project):
    def git(*arguments):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=project, check=True, capture_output=True)

    (project / ".git").rmdir()
    git("init", "-q")
    git("add", "--all")
    git("commit", "-q", "-m", "x")
    whole = agreed(project, ".")
    asked = ("--changed-since", "HEAD", ".")
    nothing = agreed(project, *asked)
    write("app/batch.py", MASKS)(project)
    changed = agreed(project, *asked)
    assert len({whole, nothing, changed, agreed(project, ".")}) == 4
    git("checkout", "app/batch.py")
    assert agreed(project, *asked) == nothing
    assert agreed(project, ".") == whole


def test_another_build_of_the_checker_does_not_believe_this_one(project, tmp_path):
    package = tmp_path / "build/decoderonly_checker"
    shutil.copytree(Path(caches.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def said():
        done = subprocess.run(
            [sys.executable, "-m", "decoderonly_checker", "check", "app/batch.py"],
            cwd=project,
            env={**os.environ, "PYTHONPATH": str(package.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout

    before = said()
    assert "goes to `generate`" in before
    rule = package / "rules/dlm102_right_padded_generation.py"
    text = rule.read_text()
    assert "goes to `generate`" in text
    rule.write_text(text.replace("goes to `generate`", "is left for `generate`"))
    assert said() == before.replace("goes to `generate`", "is left for `generate`")


def test_what_is_remembered_is_used(project):
    """Where nothing has changed, nothing is parsed: the parser is not even imported."""
    write("app/batch.py", MASKS)(project)
    truth = agreed(project, ".")
    program = (
        "import sys\nfrom decoderonly_checker.__main__ import main\nsys.argv = ['decoderonly', 'check', '.']\n"
        "try:\n    main()\nexcept SystemExit as done:\n    code = done.code\n"
        "print('libcst' in sys.modules, code, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (truth[0], f"{truth[1]}False {truth[2]}\n")


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[]", b"null", b"\x80\x04K\x01.", b"[[[", b'{"diagnostics": [{}]}']
)
def test_entries_that_mean_nothing(project, value):
    """Entries that the store vouches for, but that this version of the checker would never have written."""
    truth = agreed(project, ".")
    folder = project / ".decoderonly_cache"
    if not folder.exists():
        pytest.fail("nothing was remembered")
    with contextlib.closing(sqlite3.connect(next(folder.glob("*.sqlite")))) as connection:
        entries = connection.execute("SELECT kind, key FROM entries").fetchall()
    with Cache.open(folder) as cache:
        for kind, key in entries:
            cache.put(kind, {key: value})
    assert agreed(project, ".") == truth


class Project(RuleBasedStateMachine):
    """A small project that is edited; checked with memory and without after every step."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="decoderonly-")) / "project"
        self.root.mkdir()
        (self.root / ".git").mkdir()
        self.asked = (".", [], ".")

    def teardown(self):
        shutil.rmtree(self.root.parent)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def present(self):
        return [name for name in TEXTS if (self.root / name).exists()]

    @initialize(data=st.data())
    def begin(self, data):
        self.write("decoderonly.toml", "")
        for name in FIRST:
            self.write(name, data.draw(st.sampled_from(TEXTS[name][:2])))

    @rule(data=st.data(), name=st.sampled_from([*FIRST, *TEXTS]))
    def edit_or_add(self, data, name):
        self.write(name, data.draw(st.sampled_from(TEXTS[name])))

    @rule(data=st.data())
    def edit_and_keep_the_time(self, data):
        name = data.draw(st.sampled_from(self.present()))
        status = (self.root / name).stat()
        self.write(name, data.draw(st.sampled_from(TEXTS[name])))
        os.utime(self.root / name, ns=(status.st_atime_ns, status.st_mtime_ns))

    @rule(data=st.data())
    def touch(self, data):
        os.utime(self.root / data.draw(st.sampled_from(self.present())))

    @precondition(lambda self: len(self.present()) > 4)
    @rule(data=st.data())
    def delete(self, data):
        (self.root / data.draw(st.sampled_from(self.present()))).unlink()

    @rule(
        data=st.data(), new=st.sampled_from(["app/loading.py", "app/complete.py", "serve.py", "app/other.py"])
    )
    def rename(self, data, new):
        old = data.draw(st.sampled_from([name for name in self.present() if name.endswith(".py")] or [None]))
        if old is not None:
            (self.root / new).parent.mkdir(exist_ok=True)
            (self.root / old).replace(self.root / new)

    @rule(new=st.sampled_from(["app", "lib"]))
    def rename_the_package(self, new):
        old = "lib" if new == "app" else "app"
        if (self.root / old).is_dir() and not (self.root / new).exists():
            (self.root / old).rename(self.root / new)

    @rule(
        path=st.sampled_from([".", ".", "app", "app/complete.py", "app/batch.py", "serve.py"]),
        options=st.sampled_from(
            [[], ["--confidence", "possible"], ["--select", "DLM101,DLM2"], ["--output-format", "json"]]
        ),
        folder=st.sampled_from([".", ".."]),
    )
    def ask_otherwise(self, path, options, folder):
        self.asked = (path, options, folder)

    @invariant()
    def both_say_the_same(self):
        path, options, folder = self.asked
        path = path if folder == "." else f"project/{path}"
        truth = check(self.root / folder, "--no-cache", *options, path)
        for _ in range(2):  # what the first remembers, the second has to use
            assert check(self.root / folder, *options, path) == truth


@pytest.mark.parametrize("steps", [10])
def test_memory_changes_nothing(steps):
    run_state_machine_as_test(
        Project,
        settings=settings(
            max_examples=20,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
