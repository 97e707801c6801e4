"""`--decoderonly-report`: what is written, when, by whom, and what is refused."""

from __future__ import annotations

import json
import os
import signal

import pytest
from test_run import VALIDATOR

SERVE = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")
    model = AutoModelForCausalLM.from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")

    def answer():
        encoding = tokenizer(["Hi", "Is the sky blue?"], padding=True, return_tensors="pt")
        return model.generate(encoding["input_ids"], max_new_tokens=32)
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a finding in its source, a file that does not parse, and two tests."""
    pytester.makepyfile(serve=SERVE, broken=f"{SERVE}\n    answer(\n")
    pytester.makepyfile(test_it="def test_good(): pass\n\ndef test_bad(): assert 0\n")
    return pytester


def run(project, *args):
    return project.runpytest_inprocess(
        "--decoderonly-checks", "-p", "no:cacheprovider", *args, no_reraise_ctrlc=True
    )


def read(path):
    data = json.loads(path.read_text("utf-8"))
    VALIDATOR.validate(data)
    return data


def test_both_formats_of_one_run(project):
    result = run(project, "--decoderonly-report=out.json", "--decoderonly-report", "out.html")
    result.stdout.fnmatch_lines(
        ["*- decoderonly report: *out.json -*", "*- decoderonly report: *out.html -*"]
    )
    data = read(project.path / "out.json")
    assert data["items"] == {"selected": 4, "ran": 4}
    assert data["tests"] == {"failed": 1, "passed": 1}
    assert data["exit_status"] == 1
    assert data["interrupted"] == ""
    assert {one["finding"]["code"] for one in data["findings"]} == {"DLM101", "DLM102"}
    assert {one["item"] for one in data["findings"]} == {"serve.py::decoderonly-static"}
    assert all(f"[{one['finding']['code']}]" in one["text"] for one in data["findings"])
    (unchecked,) = data["unchecked"]
    assert unchecked["path"].endswith("broken.py")
    environment = data["environments"][0]
    assert environment["command"].startswith("pytest --decoderonly-checks")
    assert environment["packages"]["pytest"] == pytest.__version__
    page = (project.path / "out.html").read_text("utf-8")
    assert "DLM101" in page
    assert "broken.py" in page


def test_the_ini_key_counts_from_its_file(project):
    project.makeini("[pytest]\ndecoderonly_report = out.json\n")
    below = project.mkdir("below")
    os.chdir(below)
    run(project, "--rootdir=..", "-c", "../tox.ini", "../test_it.py")
    assert read(project.path / "out.json")["tests"] == {"failed": 1, "passed": 1}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("out.txt", "expected a file name that ends in .html or .json"),
        ("out", "expected a file name that ends in .html or .json"),
        ("gone/out.json", "there is no folder *gone"),
        ("test_it.py/out.json", "there is no folder *test_it.py"),
        ("folder.html", "is a folder"),
        ("/proc/out.json", "[np][oe]*"),  # no such file; permission denied for others than root
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_runs(project, target, message):
    project.mkdir("folder.html")
    result = run(project, f"--decoderonly-report={target}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --decoderonly-report={target}: {message}"])
    assert "collected" not in result.stdout.str()


def test_a_page_without_jinja_says_what_to_install(project, monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "jinja2" else found(name, *a)
    )
    result = run(project, "--decoderonly-report=out.html")
    result.stderr.fnmatch_lines(
        ["ERROR: --decoderonly-report=out.html: a page needs jinja2: pip install *decoderonly[[]report[]]'"]
    )


def test_the_option_alone_is_refused(project):
    result = project.runpytest_inprocess("--decoderonly-report=out.html")
    result.stderr.fnmatch_lines(["ERROR: --decoderonly-report has no effect without --decoderonly-checks: *"])


def test_without_the_option_nothing_of_it_is_imported(project):
    project.makeconftest("""
        def pytest_collection_finish(session):
            import sys
            print("there:", [name for name in ("jinja2", "pytest_decoderonly.reporting.html") if name in sys.modules])
    """)
    result = project.runpytest_subprocess(
        "--decoderonly-checks", "--collect-only", "-q", "-s", "-p", "no:hypothesispytest"
    )
    result.stdout.fnmatch_lines(["there: []"])


@pytest.mark.parametrize(
    ("code", "args", "said"),
    [
        ("raise KeyboardInterrupt", (), "interrupted (KeyboardInterrupt)"),
        ("import pytest; pytest.exit('enough')", (), "enough"),
        ("assert 0", ("-x",), "stopping after 1 failures"),
    ],
)
def test_a_run_that_ends_early_is_written_and_says_so(project, code, args, said):
    project.makepyfile(test_it=f"def test_a(): pass\n\ndef test_b():\n    {code}\n\ndef test_c(): pass\n")
    run(project, "--decoderonly-report=out.json", "test_it.py", *args)
    data = read(project.path / "out.json")
    assert data["interrupted"] == said
    assert data["items"] == {"selected": 3, "ran": 2}
    assert data["tests"]["passed"] == 1


def test_a_job_that_is_ended_from_outside_is_written(project):
    project.makepyfile(
        # Whoever catches all exceptions, as is done around a model, does not catch this.
        test_it="import os, signal, time\n\ndef test_a():\n    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(9)\n    except Exception:\n        pass\n\ndef test_b(): pass\n"
    )
    before = signal.getsignal(signal.SIGTERM)
    result = run(project, "--decoderonly-report=out.json", "test_it.py")
    assert result.ret == 143
    data = read(project.path / "out.json")
    assert data["interrupted"] == "terminated (SIGTERM)"
    assert data["items"] == {"selected": 2, "ran": 1}
    assert signal.getsignal(signal.SIGTERM) is before


def test_errors_of_collection_are_told(project):
    project.makepyfile(test_it="raise RuntimeError\n")
    run(project, "--decoderonly-report=out.json", "test_it.py")
    assert read(project.path / "out.json")["interrupted"] == "1 error during collection"


def test_a_report_that_cannot_be_written_in_the_end_is_no_success(project):
    folder = project.mkdir("out")
    project.makepyfile(
        test_it=f"import shutil\n\ndef test_a(): shutil.rmtree({str(folder)!r})\n",
    )
    result = run(project, "--decoderonly-report=out/out.json", "test_it.py")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(
        ["*decoderonly report: ERROR *out.json: cannot be written: no such file or directory*"]
    )


def test_workers_of_xdist_make_one_report(project):
    result = project.runpytest_subprocess(
        "--decoderonly-checks", "--decoderonly-report=out.json", "-n2", "-p", "no:cacheprovider"
    )
    data = read(project.path / "out.json")
    assert data["items"] == {"selected": 4, "ran": 4}
    assert data["tests"] == {"failed": 1, "passed": 1}
    assert {one["finding"]["code"] for one in data["findings"]} == {"DLM101", "DLM102"}
    assert data["environments"][0]["processes"] == 2
    assert result.stdout.str().count("decoderonly report: ") == 1


GUARDED = """
    import pytest
    from pytest_decoderonly import tiny_decoder, tiny_tokenizer

    @pytest.fixture(scope="module")
    def model():
        return tiny_decoder("llama")

    def test_answer(model):
        tokenizer = tiny_tokenizer()
        batch = tokenizer(["Hi", "Is the sky blue?"], padding=True, return_tensors="pt")
        model.generate(batch["input_ids"], max_new_tokens=2)
"""


def test_the_guards_findings_are_in_it(pytester):
    pytester.makepyfile(test_it=GUARDED)
    args = (
        "--decoderonly-checks",
        "--decoderonly-report=out.json",
        "--decoderonly-report=out.html",
        "test_it.py",
    )
    pytester.runpytest_inprocess(*args, "-p", "no:cacheprovider")
    data = read(pytester.path / "out.json")
    (found,) = [one for one in data["findings"] if one["catcher"] == "guard"]
    assert found["item"] == "test_it.py::test_answer"
    assert (found["finding"]["code"], found["finding"]["line"]) == ("DLM101", 11)
    assert found["finding"]["rows"]
    page = (pytester.path / "out.html").read_text("utf-8")
    assert "the guard, in a test" in page
