"""The training demonstration: one base model, fine-tuned with the mistake and without it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "answers_that_never_stop"
PAGE = Path(__file__).parents[2] / "docs" / "answers-that-never-stop.md"
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=FOLDER,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )


@pytest.fixture(scope="module")
def demo():
    done = run("demo.py")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def counts(output, title):
    found = re.search(rf"^\| {title} \| (\d+) \| (\d+) \|$", output, re.MULTILINE)
    assert found, output
    return int(found[1]), int(found[2])


def test_checker_reports_one_script_and_not_the_other():
    done = run("-m", "decoderonly_checker", "check", "--output-format", "json")
    found = {(item["path"], item["code"]) for item in json.loads(done.stdout)}
    assert found == {("faulty.py", "DLM301"), ("faulty.py", "DLM303")}


def test_scripts_differ_in_what_the_loss_is_taken_over_alone():
    faulty, corrected = ((FOLDER / f"{name}.py").read_text().splitlines() for name in ("faulty", "corrected"))
    only = [line.strip() for line in faulty[2:] if line not in corrected]
    assert all("tokenizer(" in line or "DataCollator" in line for line in only), only


def test_answers_stop_after_the_one_and_never_after_the_other(demo):
    assert counts(demo, "answers that stop") == (0, 48)
    assert counts(demo, "answers that begin another one") == (48, 0)
    faulty, corrected = counts(demo, "right answers")
    assert faulty == 0
    assert corrected >= 46


def test_page_shows_what_the_demonstration_prints(demo):
    """Words of the trained models may differ from machine to machine; questions and counts may not."""
    page = PAGE.read_text(encoding="utf-8")
    questions = re.findall(r"^\| ([^|]+\?) \|", demo, re.MULTILINE)
    assert len(questions) == 7
    assert re.findall(r"^\| ([^|]+\?) \|", page, re.MULTILINE) == questions
    for title in ("answers that stop", "answers that begin another one"):
        assert counts(page, title) == counts(demo, title)
