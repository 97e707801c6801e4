"""Source files as items: which become one, what they show, and what a rerun sees. No model is needed here."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET

import pytest

CHECKS = "--decoderonly-checks"

FAULTY = """
    def answer(question: str) -> str:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained("gpt2")
        model = AutoModelForCausalLM.from_pretrained("gpt2")
        enc = tokenizer(question, return_tensors="pt")
        out = model.generate(**enc, max_new_tokens=20)
        return tokenizer.decode(out[0])
"""

RIGHT = FAULTY.replace("out[0]", 'out[0, enc["input_ids"].shape[1]:]')
IRRELEVANT = "def add(a, b):\n    return a + b\n"


def outline(result: pytest.RunResult) -> list[str]:
    """Return the ids of the static items that a run of `-v` shows, with their outcome."""
    return sorted(
        " ".join(line.split()[:2])
        for line in result.outlines
        if "::decoderonly-static " in line
        and line[0] != "_"
        and not line.startswith(("FAILED", "ERROR", "SUBFAILED"))
    )


@pytest.fixture
def project(pytester):
    """Two sources, one of them faulty, an irrelevant one, and one test of its own."""
    pytester.makepyfile(
        **{
            "app/serve": FAULTY,
            "app/right": RIGHT,
            "app/maths": IRRELEVANT,
            "tests/test_it": "def test_it(): pass",
        }
    )
    pytester.makeini("[pytest]\ntestpaths = tests\n")
    return pytester


def test_items_findings_and_summary(project):
    result = project.runpytest_inprocess(CHECKS, "-v")
    result.assert_outcomes(passed=2, failed=1)
    assert outline(result) == [
        "app/right.py::decoderonly-static PASSED",
        "app/serve.py::decoderonly-static FAILED",
    ]
    result.stdout.fnmatch_lines(
        [
            "*collected 3 items*",
            "_* app/serve.py: decoderonly-static *_",
            "*[[]DLM201[]]: *",
            "*--> app/serve.py:8:*",
            "*tokenizer.decode(out[[]0[]])*",
            "*= help: *",
            "*= decoderonly =*",
            "static    2 files checked   1 finding   2 skipped (no language-model code)",
            "rerun failures: pytest --lf --decoderonly-checks",
            "FAILED app/serve.py::decoderonly-static*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert "raise StaticFindings" not in result.stdout.str()


def test_without_the_flag_there_are_none(project):
    result = project.runpytest_inprocess("-v")
    result.assert_outcomes(passed=1)
    assert outline(result) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["app"], ["app/right.py", "app/serve.py"]),
        (["app/serve.py"], ["app/serve.py"]),
        (["tests"], []),
        (["tests/test_it.py::test_it"], []),
        (["app/serve.py::decoderonly-static"], ["app/serve.py"]),
        (["tests/test_it.py", "app/right.py::decoderonly-static"], ["app/right.py"]),
        (["app", "app/serve.py::decoderonly-static"], ["app/right.py", "app/serve.py"]),
        (["--ignore=app/serve.py"], ["app/right.py"]),
        (["--ignore-glob=*/s*.py"], ["app/right.py"]),
        (["-k", "serve"], ["app/serve.py"]),
        (["--deselect=app/serve.py::decoderonly-static"], ["app/right.py"]),
    ],
)
def test_which_files(project, arguments, expected):
    found = outline(project.runpytest_inprocess(CHECKS, "-v", *arguments))
    assert [line.split("::")[0] for line in found] == expected


def test_ini_paths(project):
    project.makeini("[pytest]\ntestpaths = tests\ndecoderonly_paths = app/right.py\n")
    assert outline(project.runpytest_inprocess(CHECKS, "-v")) == ["app/right.py::decoderonly-static PASSED"]


def test_settings_and_gitignore_of_the_checker_apply(project):
    (project.path / "decoderonly.toml").write_text('exclude = ["right.py"]\n')
    (project.path / ".git").mkdir()
    (project.path / ".gitignore").write_text("serve.py\n")
    assert outline(project.runpytest_inprocess(CHECKS, "-v")) == []


def test_nothing_of_a_file_is_executed(project):
    trap = project.path / "app" / "trap.py"
    trap.write_text("open('ran', 'w')\nmodel.generate(tokenizer('x'))\n")
    for arguments in ([], ["app/trap.py::decoderonly-static"]):
        result = project.runpytest_inprocess(CHECKS, "-v", *arguments)
        assert "app/trap.py::decoderonly-static PASSED" in outline(result)
    assert not (project.path / "ran").exists()


def test_a_rerun_of_failures_runs_that_item_and_sees_the_same(project):
    project.runpytest_inprocess(CHECKS)
    again = project.runpytest_inprocess(CHECKS, "--lf", "-v")
    assert outline(again) == ["app/serve.py::decoderonly-static FAILED"]
    again.assert_outcomes(failed=1)
    (project.path / "app" / "serve.py").write_text((project.path / "app" / "right.py").read_text())
    project.runpytest_inprocess(CHECKS, "--lf").assert_outcomes(passed=1)


def test_collect_only_shows_the_tree(project):
    result = project.runpytest_inprocess(CHECKS, "--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == [
        "tests/test_it.py::test_it",
        "app/right.py::decoderonly-static",
        "app/serve.py::decoderonly-static",
    ]


def test_what_cannot_be_checked_fails_in_one_line_and_the_rest_goes_on(project):
    (project.path / "app" / "broken.py").write_text("pipe = pipeline(name)\ndef (:\n")
    (project.path / "app" / "null.py").write_bytes(b"pipe = pipeline(name)\x00\n")
    (project.path / "app" / "latin.py").write_bytes(b"pipe = pipeline(name)  # caf\xe9\n")
    result = project.runpytest_inprocess(CHECKS, "-v")
    result.assert_outcomes(passed=2, failed=4)
    for name in ("broken", "null", "latin"):
        lines = [line for line in result.outlines if line.startswith(f"error: app/{name}.py:")]
        assert len(lines) == 1, name
    result.stdout.fnmatch_lines(["static    5 files checked   1 finding   3 unchecked*"])


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0,
    reason="needs a file that this user may not read; root may read all",
)
def test_a_file_without_permission(project):
    closed = project.path / "app" / "closed.py"
    closed.write_text("import transformers\n")
    closed.chmod(0)
    result = project.runpytest_inprocess(CHECKS, "-v")
    assert "app/closed.py::decoderonly-static FAILED" in outline(result)


def test_a_missing_path_of_the_ini_key_is_a_failed_item(project):
    project.makeini("[pytest]\ntestpaths = tests\ndecoderonly_paths = nowhere\n")
    result = project.runpytest_inprocess(CHECKS, "-v")
    assert outline(result) == ["nowhere::decoderonly-static FAILED"]
    result.stdout.fnmatch_lines(["error: nowhere: no such file or directory"])


def test_notebooks(project):
    lines = [f"{line[4:]}\n" for line in FAULTY.strip("\n").splitlines()]
    cells = [{"cell_type": "markdown", "metadata": {}, "source": ["# Try"]}]
    cells.append(
        {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": lines}
    )
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (project.path / "app" / "try.ipynb").write_text(json.dumps(book))
    result = project.runpytest_inprocess(CHECKS, "-v", "app/try.ipynb::decoderonly-static")
    assert outline(result) == ["app/try.ipynb::decoderonly-static FAILED"]
    result.stdout.fnmatch_lines(["*--> app/try.ipynb:cell 2:8:*"])


def test_suppressed_findings_pass_and_are_counted(project):
    source = project.path / "app" / "serve.py"
    source.write_text(
        source.read_text().replace("decode(out[0])", "decode(out[0])  # decoderonly: ignore[DLM201] an echo")
    )
    result = project.runpytest_inprocess(CHECKS)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["static    2 files checked   no findings   1 suppressed   2 skipped*"])


def test_checks_alone_are_no_empty_run(pytester):
    """A project without tests: the items count, and so does that every file was proved irrelevant."""
    pytester.makepyfile(app=RIGHT)
    assert pytester.runpytest_inprocess(CHECKS).ret == pytest.ExitCode.OK
    (pytester.path / "app.py").write_text(IRRELEVANT)
    result = pytester.runpytest_inprocess(CHECKS)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["static    no file checked, 1 skipped (no language-model code)"])
    assert pytester.runpytest_inprocess().ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_run_that_selects_nothing_stays_empty(pytester):
    pytester.makepyfile(app=RIGHT, maths=IRRELEVANT)
    result = pytester.runpytest_inprocess(CHECKS, "-k", "nothing")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_junit(project):
    project.runpytest_inprocess(CHECKS, "--junit-xml=out.xml")
    cases = {case.get("classname"): case for case in ET.parse(project.path / "out.xml").iter("testcase")}  # noqa: S314
    case = cases["app.serve"]
    assert case.get("name") == "decoderonly-static"
    assert "DLM201" in (case.find("failure").text or "")
    assert [(entry.get("name"), entry.get("value")) for entry in case.iter("property")] == [
        ("decoderonly", "DLM201 app/serve.py:8")
    ]


def test_xdist_counts_once(project):
    result = project.runpytest_subprocess(CHECKS, "-n", "2", timeout=180)
    result.assert_outcomes(passed=2, failed=1)
    shown = result.stdout.str()
    assert "static    2 files checked   1 finding   2 skipped (no language-model code)" in shown
    assert shown.count("= decoderonly =") == 1


def test_findings_that_follow_from_another_file_survive_a_rerun(pytester):
    """The decode stands in one file, and that its ids carry the prompt is known from another."""
    pytester.makepyfile(
        **{
            "app/text": "def to_text(tokenizer, ids):\n    return tokenizer.decode(ids)\n",
            "app/serve": FAULTY.replace("tokenizer.decode(out[0])", "to_text(tokenizer, out[0])").replace(
                "from transformers", "from app.text import to_text; from transformers"
            ),
        }
    )
    (pytester.path / "app" / "__init__.py").touch()
    whole = pytester.runpytest_inprocess(CHECKS, "-v")
    failed = [line for line in outline(whole) if line.endswith("FAILED")]
    assert failed, "the finding must exist for this test to mean anything"
    again = pytester.runpytest_inprocess(CHECKS, "--lf", "-v")
    assert [line for line in outline(again) if line.endswith("FAILED")] == failed
    alone = pytester.runpytest_inprocess(CHECKS, "-v", failed[0].split()[0])
    assert outline(alone) == failed
