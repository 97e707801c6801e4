"""Work that is spread over processes: the same comes out as in one, and a process that dies takes nothing else along."""

import multiprocessing
import os
import sys

import pytest
from decoderonly_checker import work
from decoderonly_checker.config import Settings
from decoderonly_checker.runner import check_paths

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason="what is planted here reaches other processes by a fork, which only Linux has",
)

BAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
inputs = tokenizer("Hello", return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=20)
print(tokenizer.decode(output[0], skip_special_tokens=True))
"""
HELPER = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")

def ask(question):
    inputs = tokenizer(question, return_tensors="pt")
    return model.generate(**inputs, max_new_tokens=20)
"""
CALLER = "from helper import ask, tokenizer\n\nprint(tokenizer.decode(ask('Hello')[0]))\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Units of one and of several files, one that does not parse, one that is of no interest, one that cannot be read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decoderonly.toml").touch()
    for number in range(6):
        (tmp_path / f"alone{number}.py").write_text("# above\n" * number + BAD)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "broken.py").write_text(f"{BAD}x = (\n")
    (tmp_path / "silent.py").write_text("import os\n")
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    return tmp_path


@pytest.fixture
def spread(monkeypatch):
    """Let two processes do all that can be spread; returns the ids of those that did something."""
    seen = multiprocessing.get_context("fork").SimpleQueue()
    analyse, scan = work._analyse, work._scan_chunk

    def analysed(unit, *more):
        seen.put(("analysed", os.getpid()))
        return analyse(unit, *more)

    def scanned(paths, *more):
        seen.put(("scanned", os.getpid()))
        return scan(paths, *more)

    # What is sent to another process is named by its module.
    for made, name in ((analysed, "_analyse"), (scanned, "_scan_chunk")):
        made.__module__, made.__qualname__ = work.__name__, name
        monkeypatch.setattr(work, name, made)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(work, "_MANY_FILES", 1)
    monkeypatch.setattr(work, "_CHUNK", 2)
    monkeypatch.setattr(work, "_MUCH_CODE", 1)

    def told():
        found = []
        while not seen.empty():
            found.append(seen.get())
        return found

    return told


def check(root):
    return check_paths([root, root / "missing.py"], Settings(root=root), jobs=None)


def test_several_processes_say_what_one_says(project, request):
    alone = check(project)
    assert len(alone.diagnostics) == 7
    assert [error.path for error in alone.errors] == ["broken.py", "gone.py", "missing.py"]
    told = request.getfixturevalue("spread")
    assert check(project) == alone
    by = told()
    assert {what for what, _ in by} == {"analysed", "scanned"}
    assert os.getpid() not in {process for _, process in by}
    assert len([1 for what, _ in by if what == "analysed"]) == 8


def test_an_analysis_that_ends_its_process_is_told_and_the_rest_is_checked(project, spread, monkeypatch):
    whole = check(project)
    parent, real = os.getpid(), work.analyse_unit

    def deadly(unit, *rest):
        if any(path.endswith("alone3.py") for path in unit.files):
            assert os.getpid() != parent
            os._exit(7)
        return real(unit, *rest)

    monkeypatch.setattr(work, "analyse_unit", deadly)
    result = check(project)
    assert [(error.path, error.message) for error in result.errors] == [
        ("alone3.py", "the analysis of this file ended its process (out of memory?): skipped"),
        *((error.path, error.message) for error in whole.errors),
    ]
    assert result.diagnostics == tuple(
        found for found in whole.diagnostics if found.place.path != "alone3.py"
    )
    assert len(result.diagnostics) == len(whole.diagnostics) - 1
    assert {what for what, _ in spread()} == {"analysed", "scanned"}


def test_all_files_of_a_unit_that_ends_its_process_are_told(project, spread, monkeypatch):
    real = work.analyse_unit
    monkeypatch.setattr(
        work,
        "analyse_unit",
        lambda unit, *rest: os._exit(7) if len(unit.files) > 1 else real(unit, *rest),
    )
    result = check(project)
    assert [error.path for error in result.errors] == [
        "broken.py",
        "caller.py",
        "gone.py",
        "helper.py",
        "missing.py",
    ]
    assert len(result.diagnostics) == 6


def test_files_that_a_process_died_over_are_looked_over_here(project, spread, monkeypatch):
    whole = check(project)
    parent, real = os.getpid(), work._scan

    def deadly(path, contents, telling):
        if os.getpid() != parent and path.endswith("alone3.py"):
            os._exit(7)
        return real(path, contents, telling)

    monkeypatch.setattr(work, "_scan", deadly)
    assert check(project) == whole


def test_what_one_remembers_that_ended_its_process_is_nothing(project, spread, monkeypatch):
    from decoderonly_checker.cache import Cache

    def remembered():
        with Cache.open(project / "cache") as cache:
            return check_paths([project], Settings(root=project), cache=cache, jobs=None)

    real = work.analyse_unit
    with monkeypatch.context() as patch:
        patch.setattr(
            work,
            "analyse_unit",
            lambda unit, *rest: os._exit(7) if "alone3" in unit.files[0] else real(unit, *rest),
        )
        assert [error.path for error in remembered().errors] == ["alone3.py", "broken.py", "gone.py"]
    spread()
    # Next time it may have the memory that it needs; the rest is known, and one unit is nothing to share out.
    result = remembered()
    assert [error.path for error in result.errors] == ["broken.py", "gone.py"]
    assert len(result.diagnostics) == 7
    assert "analysed" not in {what for what, _ in spread()}


def _in_a_daemon(root, pipe):
    try:
        pipe.send(len(check(root).diagnostics))
    except BaseException as problem:
        pipe.send(repr(problem))


def test_a_process_that_may_have_no_children_does_it_all_itself(project, spread):
    # A worker of `multiprocessing.Pool`, say.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_in_a_daemon, args=(project, theirs), daemon=True)
    process.start()
    assert ours.poll(60)
    assert ours.recv() == 7
    process.join(10)
    assert not spread()


@pytest.mark.filterwarnings("error")
def test_little_work_starts_no_process(project, monkeypatch):
    monkeypatch.setattr(work, "_pool", lambda _: pytest.fail("started"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert len(check(project).diagnostics) == 7
