"""The README's blocks do what the README says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CONSOLE_SCRIPTS = Path(sys.executable).parent


def blocks(language):
    found = [text for name, text in BLOCKS if name == language]
    assert found, f"the README has no {language} block"
    return found


@pytest.fixture
def folder(tmp_path):
    """A folder with the README's programs under the names that their first lines give."""
    for text in blocks("python"):
        (tmp_path / re.match(r"# (\S+\.py)\n", text).group(1)).write_text(text, encoding="utf-8")
    return tmp_path


def run(*command, cwd):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_checker_prints_what_is_shown(folder):
    (session,) = blocks("console")
    line, _, expected = session.partition("\n")
    program, *arguments = shlex.split(line.removeprefix("$ "))
    done = run(CONSOLE_SCRIPTS / program, *arguments, cwd=folder)
    assert done.stdout == expected, done.stderr
    assert done.returncode == 1


def test_shown_tests_pass_under_the_checks(folder):
    (folder / "serve.py").unlink()
    done = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--decoderonly-checks", cwd=folder)
    assert done.returncode == 0, done.stdout
    assert re.search(r"guard     \d+ calls? checked in \d tests?   no findings", done.stdout), done.stdout


def test_commands_name_scripts_and_options_that_exist():
    help_text = run(sys.executable, "-m", "pytest", "--help", cwd=ROOT).stdout
    lines = [line for text in blocks("sh") for line in text.splitlines()]
    scripts = [ROOT / words[1] for words in map(shlex.split, lines) if words[0] == "bash"]
    assert scripts
    for script in scripts:
        assert run("bash", "-n", str(script), cwd=ROOT).returncode == 0, script
    options = {
        word.partition("=")[0]
        for line in lines
        for word in shlex.split(line)
        if word.startswith("--decoderonly")
    }
    options |= set(re.findall(r"--decoderonly-[a-z]+", README))
    assert options
    assert [option for option in sorted(options) if option not in help_text] == []


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
