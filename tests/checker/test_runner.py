"""A run around the analysis: what is analysed, what is said, what is silenced."""

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import decoderonly_checker
import libcst as cst
import pytest
from decoderonly_checker.analysis import Analyser
from decoderonly_checker.config import Settings, SettingsError
from decoderonly_checker.diagnostics import Confidence, Diagnostic, FileError, Severity
from decoderonly_checker.rules import codes, load_all
from decoderonly_checker.runner import check_paths, check_source
from decoderonly_checker.source.positions import Positions


class ByName:
    """Reports every call of `generate` as told by its argument: `model.generate(tokenizer.DLM101_likely)`.

    A stand-in for the interpreter where the run itself is under test; it reads real sources and real places.
    """

    def __init__(self, log=None):
        self.errors = []
        self.read = {}
        self.missed = []
        self.hurried = False
        self.log = log if log is not None else []

    def analyse(self, sources, _idle=None):
        self.log.append([source.shown for source in sources])
        found = []
        for source in sources:
            positions = Positions(source)
            for cell in source.cells:
                if cell.tree is not None:
                    found += self.calls(positions, cell)
        return found

    def calls(self, positions, cell):
        found = []

        class Visitor(cst.CSTVisitor):
            def visit_Call(self, node):
                name = node.args[0].value.attr.value
                if name == "crash":
                    raise ValueError("boom\nin two lines")
                if name == "deep":
                    raise RecursionError
                if name.startswith("DLM"):
                    code, level = name.split("_")
                    place = positions.place(cell.index, node)
                    found.append(
                        Diagnostic(code, "a-rule", Severity.ERROR, Confidence(level), place, "m", "e", "h")
                    )

        cell.tree.visit(Visitor())
        return found


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(root, **files):
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def check(*paths, settings=None, analyser=ByName, **more):
    return check_paths(paths or (".",), settings or Settings(), analyser=lambda _: analyser(), **more)


def found(result):
    return [(d.place.path, d.place.line, d.code) for d in result.diagnostics]


def test_findings_are_sorted_and_unique(project):
    write(
        project,
        b="model.generate(tokenizer.DLM201_certain)\n",
        a="x = 1\nmodel.generate(tokenizer.DLM201_certain); model.generate(tokenizer.DLM101_certain)\n",
    )

    class Twice(ByName):
        def analyse(self, sources, _idle=None):
            return [*reversed(super().analyse(sources)), *super().analyse(sources)]

    result = check(analyser=Twice)
    assert found(result) == [("a.py", 2, "DLM201"), ("a.py", 2, "DLM101"), ("b.py", 1, "DLM201")]
    assert result == check("b.py", "a.py", ".", analyser=Twice)


def test_of_two_alike_the_surest_stays(project):
    write(project, a="model.generate(tokenizer.DLM101_likely)\n")

    class Surer(ByName):
        def analyse(self, sources, _idle=None):
            (first,) = super().analyse(sources)
            sure = Diagnostic(
                "DLM101", "a-rule", Severity.WARNING, Confidence.CERTAIN, first.place, "sure", "", ""
            )
            return [first, sure]

    assert [d.message for d in check(analyser=Surer).diagnostics] == ["sure"]


def test_files_that_imports_join_are_analysed_together_and_the_rest_is_counted(project):
    write(
        project,
        a="def ask(x):\n    return model.generate(tokenizer.none)\n",
        b="x = 1",
        c="from a import ask\nask(tokenizer.none)\n",
        d="import os",
        e="model.generate(tokenizer.alone)\n",
    )
    log = []
    result = check_paths(["."], Settings(), analyser=lambda _: ByName(log))
    assert sorted(log) == [["a.py", "c.py"], ["e.py"]]
    assert result.checked == ("a.py", "c.py", "e.py")
    assert result.skipped == ("b.py", "d.py")


def test_progress_is_told_to_the_end(project):
    write(project, a="model.generate(tokenizer.ids)\n", b="print()\n", c="model.generate(tokenizer.ids\n")
    told = []
    check(progress=lambda *counts: told.append(counts))
    assert told == sorted(set(told))
    assert told[-1] == (3, 3)
    assert {whole for _, whole in told} == {3}


def test_files_can_be_narrowed_by_their_settings(project):
    write(project, a="model.generate(tokenizer.ids)\n", b="model.generate(tokenizer.ids)\n")
    given = []

    def narrow(files, settings):
        given.append(settings)
        return [file for file in files if file.name == "b.py"]

    settings = Settings()
    result = check(settings=settings, narrow=narrow)
    assert result.checked == ("b.py",)
    assert given == [settings]


def test_confidence(project):
    write(
        project,
        a="model.generate(tokenizer.DLM101_certain)\nmodel.generate(tokenizer.DLM102_likely)\nmodel.generate(tokenizer.DLM201_possible)\n",
    )
    assert (len(check().diagnostics), check().hidden) == (2, 1)
    result = check(confidence=Confidence.CERTAIN)
    assert (len(result.diagnostics), result.hidden) == (1, 2)
    assert len(check(settings=Settings(min_confidence=Confidence.POSSIBLE)).diagnostics) == 3


def test_comments_and_settings_silence(project):
    write(
        project,
        a="model.generate(tokenizer.DLM101_certain)  # decoderonly: ignore[DLM101] seen\n"
        "model.generate(tokenizer.DLM101_certain)\n",
        b="# decoderonly: skip-file\nmodel.generate(tokenizer.DLM101_certain)\n",
        tests__c="model.generate(tokenizer.DLM101_certain)\nmodel.generate(tokenizer.DLM201_certain)\n",
    )
    settings = Settings(per_file_ignores={"tests/*": ("DLM1",), "a-*.py": ("DLM201",)})
    result = check(settings=settings)
    assert found(result) == [("a.py", 2, "DLM101"), ("tests/c.py", 2, "DLM201")]
    assert result.suppressed == 3


def test_comments_in_notebooks_count_in_their_cell(project):
    sources = [
        "model.generate(tokenizer.DLM101_certain)  # noqa: DLM101",
        "model.generate(tokenizer.DLM101_certain)",
    ]
    cells = [{"cell_type": "code", "source": source} for source in sources]
    (project / "n.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    result = check()
    assert [(d.place.cell, d.place.line) for d in result.diagnostics] == [(1, 1)]
    cells.append({"cell_type": "code", "source": "# decoderonly: skip-file"})
    (project / "n.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert check().diagnostics == ()
    assert check().suppressed == 2


def test_findings_in_files_that_were_not_asked_about_are_left_out(project):
    write(project, a="model.generate(tokenizer.DLM101_certain)", b="model.generate(tokenizer.DLM101_certain)")

    class Follows(ByName):
        def analyse(self, sources, _idle=None):
            from decoderonly_checker.source.files import load_source

            return super().analyse([*sources, load_source(Path("b.py"))])

    assert found(check("a.py", analyser=Follows)) == [("a.py", 1, "DLM101")]
    assert found(check("a.py", "b.py", analyser=Follows)) == [("a.py", 1, "DLM101"), ("b.py", 1, "DLM101")]


@pytest.mark.parametrize("joined", [False, True], ids=["alone", "analysed together"])
def test_one_bad_file_leaves_the_others(project, joined):
    write(
        project,
        a="model.generate(tokenizer.DLM101_certain)",
        b="model.generate(tokenizer.crash)",
        c="model.generate(tokenizer.deep)",
        d="def generate(x=model.generate(tokenizer",
        e="model.generate(tokenizer('no call')) def",
        f="model.generate(tokenizer.DLM101_certain)",
        g="model.generate(tokenizer.DLM101_certain) # \0",
        h="x = (  # of no interest: it is not even parsed\n",
        **({"all": "import a, b, c, d, e, f, g, h\nmodel.generate(tokenizer.all)\n"} if joined else {}),
    )
    result = check(".", "gone.py")
    assert found(result) == [("a.py", 1, "DLM101"), ("f.py", 1, "DLM101")]
    errors = {error.path: error for error in result.errors}
    assert list(errors) == sorted(errors) == ["b.py", "c.py", "d.py", "e.py", "g.py", "gone.py"]
    assert errors["b.py"].message.startswith("internal error: ValueError at test_runner.py:")
    assert errors["b.py"].message.endswith(": boom in two lines; please report")
    assert errors["c.py"].message == "nests too deep to be analysed"
    assert errors["d.py"].message == "syntax error: '(' was never closed"
    assert errors["d.py"].line == 1
    assert errors["e.py"].message == "syntax error: invalid syntax"
    assert errors["g.py"].message == "is binary or UTF-16: it holds a NUL byte"
    assert errors["gone.py"] == FileError("gone.py", "no such file or directory")


def test_errors_that_the_analysis_reports_are_passed_on(project):
    write(project, a="model.generate(tokenizer.DLM101_certain)")

    class Fails(ByName):
        def analyse(self, sources, _idle=None):
            self.errors.append(FileError("a.py", "odd"))
            return super().analyse(sources)

    result = check(analyser=Fails)
    assert result.errors == (FileError("a.py", "odd"),)
    assert len(result.diagnostics) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_named(project):
    write(project, a="model.generate(tokenizer.DLM101_certain)", b="model.generate(tokenizer.DLM101_certain)")
    (project / "a.py").chmod(0)
    result = check()
    assert result.errors == (FileError("a.py", "permission denied"),)
    assert found(result) == [("b.py", 1, "DLM101")]


def test_a_file_that_goes_while_the_run_goes_on_is_named(project):
    write(project, a="model.generate(tokenizer.DLM101_certain)", b="model.generate(tokenizer.DLM101_certain)")

    def narrow(files, _):
        (project / "a.py").unlink()
        return files

    result = check(narrow=narrow)
    assert result.errors == (FileError("a.py", "no such file or directory"),)
    assert result.checked == ("b.py",)
    assert found(result) == [("b.py", 1, "DLM101")]


def test_settings_are_found_for_each_path(project):
    write(
        project,
        one__a="model.generate(tokenizer.DLM101_certain)",
        two__a="model.generate(tokenizer.DLM101_certain)",
        two__b="model.generate(tokenizer.DLM101_certain)",
    )
    (project / "one/pyproject.toml").write_text("[tool.decoderonly.per-file-ignores]\n'a.py' = ['DLM101']\n")
    (project / "two/decoderonly.toml").write_text("extend-exclude = ['b.py']\n")
    seen = []

    def make(settings):
        seen.append(settings.source and settings.source.parent.name)
        return ByName()

    result = check_paths(["one", "two", "two/a.py"], analyser=make)
    assert found(result) == [("two/a.py", 1, "DLM101")]
    assert result.suppressed == 1
    assert sorted(seen) == ["one", "two"]
    (project / "two/decoderonly.toml").write_text("x = 1\n")
    with pytest.raises(SettingsError, match=r"^two/decoderonly\.toml: unknown setting x"):
        check_paths(["two"])


def test_source_from_memory(project):
    result = check_source(
        "model.generate(tokenizer.DLM101_certain)", "app/x.py", Settings(), analyser=lambda _: ByName()
    )
    assert found(result) == [("app/x.py", 1, "DLM101")]
    silent = check_source(
        b"model.generate(tokenizer.DLM101_certain)  # noqa", "x.py", Settings(), analyser=lambda _: ByName()
    )
    assert (silent.diagnostics, silent.suppressed) == ((), 1)
    assert (
        check_source("model.generate(tokenizer(", "x.py").errors[0].message
        == "syntax error: '(' was never closed"
    )
    assert check_source("x = 1", "x.py").skipped == ("x.py",)
    assert check_source("{", "x.ipynb").errors[0].message.startswith("is not a notebook: broken JSON")


BAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tok = AutoTokenizer.from_pretrained("gpt2")
tok.pad_token = tok.eos_token
model = AutoModelForCausalLM.from_pretrained("gpt2")
enc = tok(["Hi.", "Name three colours."], padding=True, return_tensors="pt")
out = model.generate(enc["input_ids"], max_new_tokens=8)
"""


def test_the_real_analysis_runs(project):
    write(project, a=BAD)
    assert [d.code for d in check_paths(["a.py"]).diagnostics] == ["DLM101", "DLM102"]
    assert [d.code for d in check_source(BAD, "b.py", Settings(select=("DLM102",))).diagnostics] == ["DLM102"]
    assert check_paths(["a.py"], Settings(select=("DLM301",))).diagnostics == ()


def test_public_names_are_lazy():
    program = (
        "import sys, decoderonly_checker as d; before = set(sys.modules); "
        "assert not {'libcst', 'click'} & before; "
        "assert set(d.__all__) <= set(dir(d)); [getattr(d, name) for name in d.__all__]; "
        "assert not {'libcst', 'click'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert decoderonly_checker.check_source is check_source
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        decoderonly_checker.nonsense  # noqa: B018


def test_what_is_left_of_units_is_collected_as_the_run_goes_on(tmp_path):
    (tmp_path / "decoderonly.toml").touch()
    for number in range(8):
        (tmp_path / f"large{number}.py").write_text(f"#{'x' * 900_000}\n{BAD}")
    left = weakref.WeakSet()
    seen = []

    class Leaving(Analyser):
        """As the real one, and what it leaves behind holds itself."""

        def analyse(self, sources, idle=None):
            self.itself = self
            left.add(self)
            seen.append(len(left))
            return super().analyse(sources, idle)

    result = check_paths(
        [tmp_path],
        Settings(root=tmp_path),
        analyser=lambda settings: Leaving(load_all(settings.enabled(codes())), [settings.root]),
    )
    assert len(seen) == len({found.place.path for found in result.diagnostics}) == 8
    assert 1 < max(seen) <= 4
    assert gc.isenabled()
