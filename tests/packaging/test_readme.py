"""What the README names exists. That its blocks do what it says is held by tests/website."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

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


def test_study_measures_the_ways_that_are_shown():
    script = ROOT / "benchmarks" / "padding_study.py"
    code = f"import json, runpy; print(json.dumps([way.name for way in runpy.run_path({str(script)!r})['WAYS']]))"
    ways = json.loads(run(sys.executable, "-c", code, cwd=ROOT).stdout)
    shown = re.findall(r"^\| ((?:one|batch)[^|]+) \|", README, re.MULTILINE)
    assert shown == ways
