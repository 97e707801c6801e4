"""Where findings go: a file, a terminal, another program."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from decoderonly_checker.render import FORMATS, render
from decoderonly_checker.source.excerpts import Excerpts

BAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")


def answer(prompt):
    encoding = tokenizer(prompt, return_tensors="pt")
    return tokenizer.decode(model.generate(**encoding, max_new_tokens=20)[0])
"""


@pytest.fixture
def check(command, tmp_path):
    (tmp_path / "bad.py").write_text(BAD, encoding="utf-8")
    return partial(command, "check", "--no-cache", cwd=tmp_path)


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_file_gets_what_would_have_been_printed(check, tmp_path, output_format):
    printed = check("--output-format", output_format)
    assert printed.returncode == 1
    assert "DLM201" in printed.stdout
    written = check("--output-format", output_format, "--output-file", "out/../found.txt")
    assert written.returncode == 2, "the folder out does not exist"
    written = check("--output-format", output_format, "-o", "found.txt")
    assert written.returncode == 1, written.stderr
    summary = "1 error in 1 file (1 file checked). 1 fix with --fix.\n"
    assert written.stdout == summary
    assert (tmp_path / "found.txt").read_text(encoding="utf-8") == printed.stdout.replace(summary, "")
    assert {path.name for path in tmp_path.iterdir()} == {"bad.py", "found.txt"}


def test_totals_stay_out_of_what_machines_read(check):
    done = check("--output-format", "sarif")
    assert json.loads(done.stdout)["version"] == "2.1.0"
    assert done.stderr == "1 error in 1 file (1 file checked). 1 fix with --fix.\n"


def test_the_environment_names_a_format_and_the_option_overrules_it(check):
    assert json.loads(check(DECODERONLY_OUTPUT_FORMAT="json").stdout)
    assert check("--output-format", "concise", DECODERONLY_OUTPUT_FORMAT="json").stdout.startswith(
        "bad.py:9:12: "
    )
    done = check(DECODERONLY_OUTPUT_FORMAT="xml")
    assert done.returncode == 2
    assert "'xml' is not one of" in done.stderr


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (".", "--output-file: .: is a folder"),
        ("gone/found.txt", "--output-file: gone/found.txt: there is no folder gone"),
        ("x" * 300, f"--output-file: {'x' * 300}: file name too long"),
    ],
)
def test_places_where_nothing_can_be_written_are_refused_before_the_run(check, file, said):
    done = check("-o", file, "missing.py")
    assert done.returncode == 2
    assert done.stderr == f"error: {said}\n"


def test_a_report_that_cannot_be_written_is_told(check, tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    done = check("-o", "full")
    assert done.returncode == 2
    assert done.stderr == "error: --output-file: full: no space left on device\n"


def test_a_device_can_be_the_file(check, tmp_path):
    options = ["--no-cache", "-q", "--output-format", "concise", "-o", "/dev/stdout"]
    done = subprocess.run(
        [sys.executable, "-m", "decoderonly_checker", "check", *options],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.stdout.startswith("bad.py:9:12: ")


def test_statistics_have_no_place_in_reports_for_machines(check):
    done = check("--statistics", "--output-format", "sarif")
    assert done.returncode == 2
    assert done.stderr == "error: --statistics cannot be combined with --output-format sarif\n"


def test_places_are_links_on_terminals_alone(check, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from decoderonly_checker import check_paths
    from decoderonly_checker.config import Settings

    check()
    result = check_paths([Path("bad.py")], lambda _: Settings(root=tmp_path))
    uri = (tmp_path / "bad.py").as_uri()
    for output_format in ("full", "concise"):
        linked = render(result, output_format, Excerpts(), links=True)
        assert f"\x1b]8;;{uri}\x1b\\bad.py:9:12\x1b]8;;\x1b\\" in linked
        plain = render(result, output_format, Excerpts())
        assert linked.replace(f"\x1b]8;;{uri}\x1b\\", "").replace("\x1b]8;;\x1b\\", "") == plain
    assert "\x1b]8" not in check("--color").stdout


def test_silenced_findings_are_suppressed_results_where_that_is_asked_for(check, tmp_path):
    call = "    return tokenizer.decode"
    (tmp_path / "by_comment.py").write_text(
        BAD.replace("=20)[0])", "=20)[0])  # decoderonly: ignore[DLM201] an echo")
    )
    (tmp_path / "by_noqa.py").write_text(BAD.replace("=20)[0])", "=20)[0])  # noqa: DLM201"))
    (tmp_path / "whole.py").write_text(f"# decoderonly: skip-file a demo\n{BAD}")
    (tmp_path / "by_settings.py").write_text(BAD)
    (tmp_path / "old.py").write_text(BAD)
    (tmp_path / "unsure.py").write_text(
        BAD.replace(call, "    # decoderonly: ignore\n" + call).replace("AutoModelForCausalLM.", "load.")
    )
    counted = {"version": 1, "findings": {"old.py": {"DLM201": 1}}}
    (tmp_path / "old.json").write_text(json.dumps(counted))
    (tmp_path / "pyproject.toml").write_text(
        '[tool.decoderonly]\nbaseline = "old.json"\nper-file-ignores = {"by_settings.py" = ["DLM201"]}\n'
        '[tool.ruff.lint]\nexternal = ["DLM"]\n'
    )

    def results(*arguments):
        found = json.loads(check("--output-format", "sarif", *arguments).stdout)["runs"][0]["results"]
        return {
            one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]: one.get("suppressions")
            for one in found
            if one["ruleId"] == "DLM201"
        }

    assert results() == {"bad.py": None}
    assert results("--report-silenced") == {
        "bad.py": [],
        "by_comment.py": [{"kind": "inSource", "justification": "an echo"}],
        "by_noqa.py": [{"kind": "inSource"}],
        "by_settings.py": [{"kind": "external", "justification": "per-file-ignores"}],
        "old.py": [{"kind": "external", "justification": "was there before, and is in the baseline"}],
        "whole.py": [{"kind": "inSource", "justification": "a demo"}],
    }
    assert check("--report-silenced").stderr == "error: --report-silenced needs --output-format sarif\n"
