"""What the README names exists. That its blocks do what it says is held by tests/website."""

import os
import re
import subprocess
import sys
from pathlib import Path

from pytest_decoderonly.study.render import HEAD
from pytest_decoderonly.study.ways import ALONE, BATCHED

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CONSOLE_SCRIPTS = Path(sys.executable).parent


def blocks(language):
    found = [text for name, text in BLOCKS if name == language]
    assert found, f"the README has no {language} block"
    return found


def run(*command, cwd):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_hooks_and_links_exist():
    (config,) = blocks("yaml")
    named = re.findall(r"- id: ([\w-]+)", config)
    shipped = re.findall(
        r"^- id: ([\w-]+)", (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert named == shipped
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_rules_in_the_table_exist():
    table = re.findall(r"^\| (DLM\d+) \|", README, re.MULTILINE)
    assert len(table) == 6
    for code in table:
        done = run(CONSOLE_SCRIPTS / "decoderonly", "rule", code, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert code in done.stdout


def test_the_study_prints_the_table_that_is_shown():
    header, rows = re.search(
        r"^(\| way of asking .*\|)\n\|[-:|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE
    ).groups()
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(HEAD)
    assert re.findall(r"^\| ([^|]+) \|", rows, re.MULTILINE) == [way.name for way in (ALONE, *BATCHED)]
