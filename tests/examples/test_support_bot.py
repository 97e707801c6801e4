"""The example project: what the checker and the guard say of it, and what its mistakes do to its answers."""

import filecmp
import json
import os
import re
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import smollm2

HERE = Path(__file__).parent
PROJECT = HERE.parents[1] / "examples" / "support_bot"
EXPECTED = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
TWINS = ("faulty", "corrected")
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
CONSOLE_SCRIPTS = Path(sys.executable).parent


def pairs_of(twin, catcher):
    return [tuple(pair) for pair in EXPECTED[twin][catcher]]


def run(*command, cwd, timeout=540, threads=2, **environment):
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**ENVIRONMENT, "OMP_NUM_THREADS": str(threads), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def model_folder(smollm2):
    """The model that the twins load: the same that is in their package's file, read once for all of their processes."""
    return str(smollm2)


@pytest.mark.parametrize("twin", TWINS)
def test_checker_finds_the_mistakes_and_nothing_else(twin):
    done = run(CONSOLE_SCRIPTS / "decoderonly", "check", "--output-format", "json", cwd=PROJECT / twin)
    found = [(item["path"], item["code"]) for item in json.loads(done.stdout)]
    assert sorted(found) == pairs_of(twin, "checker")
    assert done.returncode == (1 if found else 0), done.stderr


def test_twins_differ_only_where_a_mistake_is_corrected():
    files = {
        twin: {path.relative_to(PROJECT / twin) for path in (PROJECT / twin).rglob("*") if is_source(path)}
        for twin in TWINS
    }
    assert files["faulty"] == files["corrected"]
    _, different, unreadable = filecmp.cmpfiles(
        PROJECT / "faulty", PROJECT / "corrected", sorted(map(str, files["faulty"])), shallow=False
    )
    assert not unreadable
    # The side is corrected where the tokenizer is made, the mask where the batch is; the rest at the finding.
    names = ("batching", "dataset", "drafting", "followups", "loading", "triage")
    assert sorted(different) == [f"support_bot/{name}.py" for name in names]


def is_source(path):
    return path.is_file() and path.suffix in (".py", ".toml")


def test_both_twins_name_the_file_of_the_model():
    for twin in TWINS:
        settings = runpy.run_path(str(PROJECT / twin / "support_bot" / "settings.py"))["Settings"]()
        assert (settings.model_package, settings.gguf_file) == (smollm2.PACKAGE, smollm2.FILE)
        assert settings.model_folder is None
    assert (smollm2.source() / smollm2.FILE).is_file()


def test_demo_shows_what_each_catcher_finds(model_folder):
    done = run(sys.executable, PROJECT / "demo.py", cwd=PROJECT, SUPPORT_BOT_MODEL=model_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.partition("what was found")[2]
    rows = re.findall(r"^  (\S+):(\d+) +(DLM\d+) +([\w-]+) +(.+)$", table, re.MULTILINE)
    for catcher in ("checker", "guard"):
        found = [(path, code) for path, _, code, _, seen in rows if catcher in seen]
        assert sorted(found) == pairs_of("faulty", catcher)
    for path, line, *_ in rows:
        assert int(line) <= len((PROJECT / "faulty" / path).read_text(encoding="utf-8").splitlines())
    assert table.rstrip().endswith("corrected: no findings")
    # The faulty project's own assertions all hold: that is why it needs another kind of check.
    assert "DecoderOnlyError[" in done.stdout
    assert "AssertionError" not in done.stdout


@pytest.fixture(scope="module")
def behaviour(model_folder):
    # Side by side, a thread each: loading the model takes most of the time and uses one core.
    with ThreadPoolExecutor(len(TWINS)) as pool:
        runs = {
            twin: pool.submit(
                run, sys.executable, HERE / "behaviour.py", cwd=PROJECT / twin, threads=1, SUPPORT_BOT_MODEL=model_folder
            )
            for twin in TWINS
        }
    found = {}
    for twin, started in runs.items():
        done = started.result()
        assert done.returncode == 0, done.stderr
        found[twin] = json.loads(done.stdout)
    return found


def test_right_padding_silences_the_shorter_questions(behaviour):
    faulty, corrected = behaviour["faulty"], behaviour["corrected"]
    longest = faulty["lengths"].index(max(faulty["lengths"]))
    empty = [not answer for answer in faulty["answers"]]
    assert empty == [index != longest for index in range(len(empty))]
    assert all(faulty["answers_alone"])
    assert corrected["answers"] == corrected["answers_alone"] == faulty["answers_alone"]


def test_a_missing_mask_changes_the_summary_of_the_shorter_ticket(behaviour):
    faulty, corrected = behaviour["faulty"], behaviour["corrected"]
    assert faulty["summaries"][0] != faulty["summaries_alone"][0]
    assert corrected["summaries"] == corrected["summaries_alone"] == faulty["summaries_alone"]


@pytest.mark.parametrize("reply", ["draft", "follow_up"])
def test_prompt_stays_in_the_reply(behaviour, reply):
    faulty, corrected = behaviour["faulty"][reply], behaviour["corrected"][reply]
    assert "You are the support assistant" in faulty
    assert "You are the support assistant" not in corrected
    assert faulty.endswith(corrected)


def test_triage_reads_the_examples_of_its_own_prompt(behaviour):
    assert behaviour["faulty"]["sorted"] == ["refund", "refund"]
    assert behaviour["corrected"]["sorted"] == ["delivery", "refund"]


def test_prompt_is_trained_on(behaviour):
    faulty, corrected = behaviour["faulty"], behaviour["corrected"]
    assert corrected["supervised"] == corrected["response"]
    assert faulty["supervised"].startswith("<|im_start|>system")
    assert faulty["supervised"].endswith(faulty["response"])
