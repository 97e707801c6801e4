"""action.yml: its steps, run by bash as the runner of GitHub Actions does, on a small project."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
FAULTY = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
tokenizer = AutoTokenizer.from_pretrained(NAME, padding_side="left")
model = AutoModelForCausalLM.from_pretrained(NAME)


def answer(questions: list[str]) -> list[str]:
    encoding = tokenizer(questions, padding=True, return_tensors="pt")
    output = model.generate(encoding["input_ids"], max_new_tokens=32)
    return tokenizer.batch_decode(output, skip_special_tokens=True)
"""
CORRECTED = FAULTY.replace('encoding["input_ids"], max', "**encoding, max").replace(
    "(output,", '(output[:, encoding["input_ids"].shape[1] :],'
)


class Runner:
    """What a runner gives to the steps of a composite action, and takes from them."""

    def __init__(self, folder):
        self.folder = folder
        self.temp = folder / "temp"
        self.temp.mkdir()
        self.outputs = {}
        self.summary = ""

    def run(self, workspace, steps, **inputs):
        """Run steps until one fails; its exit status and what all printed."""
        known = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
        assert inputs.keys() <= known.keys()
        values = {**known, **inputs}
        printed = ""
        for step in steps:
            if not self._applies(step, values):
                continue
            files = {name: self.temp / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
            for file in files.values():
                file.write_bytes(b"")
            script = self.temp / "step.sh"
            script.write_text(step["run"], encoding="utf-8")
            assert step["shell"] == "bash"
            environment = {
                **{name: text for name, text in os.environ.items() if not name.startswith("DECODERONLY")},
                **{name: self._expanded(text, values) for name, text in step.get("env", {}).items()},
                **{name: str(file) for name, file in files.items()},
                "GITHUB_ACTION_PATH": str(ROOT),
                "GITHUB_WORKSPACE": str(workspace),
                "RUNNER_TEMP": str(self.temp),
                "GITHUB_ACTIONS": "true",
                "CI": "true",
                "PIP_NO_COMPILE": "1",  # of what is installed, a small part is ever run
            }
            environment.pop("PYTHONPATH", None)  # what was installed counts, not the checkout
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
                cwd=workspace,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            printed += done.stdout + done.stderr
            told = (line.partition("=") for line in files["GITHUB_OUTPUT"].read_text("utf-8").splitlines())
            self.outputs[step.get("id")] = {name: value for name, _, value in told}
            self.summary = files["GITHUB_STEP_SUMMARY"].read_text("utf-8")
            if done.returncode:
                return done.returncode, printed
        return 0, printed

    def _applies(self, step, values):
        condition = step.get("if")
        if condition is None:
            return True
        name = re.fullmatch(r"inputs\.([\w-]+) != ''", condition)[1]
        return values[name] != ""

    def _expanded(self, text, values):
        def value(match):
            words = match[1].split(".")
            if words[0] == "inputs":
                return values[words[1]]
            if words[0] == "steps":
                assert words[2] == "outputs"
                return self.outputs[words[1]][words[3]]
            assert words == ["runner", "temp"]
            return str(self.temp)

        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", value, text)


STEPS = ACTION["runs"]["steps"]
CHECK = [step for step in STEPS if step.get("id") == "check"]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """A runner on which the steps before the check have run."""
    runner = Runner(tmp_path_factory.mktemp("runner"))
    status, printed = runner.run(runner.folder, STEPS[: STEPS.index(CHECK[0])])
    assert status == 0, printed
    return runner


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "serve it.py").write_text(FAULTY, encoding="utf-8")
    (tmp_path / "clean.py").write_text(CORRECTED, encoding="utf-8")
    return tmp_path


def test_findings_fail_the_job_annotate_and_are_summed_up(runner, workspace):
    status, printed = runner.run(workspace, CHECK)
    assert status == 1
    assert runner.outputs["check"] == {"exit-code": "1"}
    annotations = [line for line in printed.splitlines() if line.startswith("::")]
    assert [line.partition(",line=")[0] for line in annotations] == [
        "::error title=DLM101 missing-attention-mask,file=app/serve it.py",
        "::error title=DLM201 prompt-not-stripped,file=app/serve it.py",
    ]
    lines = runner.summary.splitlines()
    assert lines[:3] == ["### decoderonly", "", "2 errors in 1 file (2 files checked)."]
    assert lines[6].startswith(
        "| error | DLM101 missing-attention-mask | `app/serve it.py:10:14` | `generate` gets "
    )
    assert len(lines) == 8
    # Nothing is left in the checkout.
    assert sorted(path.name for path in workspace.iterdir()) == ["app", "clean.py"]


def test_nothing_found_passes(runner, workspace):
    status, printed = runner.run(workspace, CHECK, paths="clean.py")
    assert (status, runner.outputs["check"]) == (0, {"exit-code": "0"})
    assert "::" not in printed
    assert runner.summary == "### decoderonly\n\nNo findings in 1 file.\n"


def test_paths_arguments_and_a_sarif_file_are_passed_on(runner, workspace):
    status, printed = runner.run(
        workspace,
        CHECK,
        **{
            "paths": "app/serve it.py\nclean.py\n",
            "args": "--select 'DLM2, DLM3'",
            "sarif-file": "out.sarif",
        },
    )
    assert status == 1
    assert re.findall(r"title=(DLM\d+)", printed) == ["DLM201"]
    (run,) = json.loads((workspace / "out.sarif").read_text("utf-8"))["runs"]
    (found,) = run["results"]
    assert found["ruleId"] == "DLM201"
    assert found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "app/serve%20it.py"


def test_what_could_not_be_checked_fails_with_another_status(runner, workspace):
    (workspace / "clean.py").write_text(CORRECTED + "def (:\n", encoding="utf-8")
    status, printed = runner.run(workspace, CHECK, paths="clean.py")
    assert (status, runner.outputs["check"]) == (2, {"exit-code": "2"})
    assert "::error title=decoderonly,file=clean.py,line=12::" in printed
    assert "| not checked |" in runner.summary
    status, printed = runner.run(workspace, CHECK, args="--no-such-option")
    assert status == 2
    assert "No such option" in printed
    status, printed = runner.run(workspace, CHECK, args="--select 'DLM2")
    assert status == 2
    assert "quote" in printed


def test_inputs_are_never_run(runner, workspace):
    for name in ("paths", "args", "sarif-file"):
        runner.run(workspace, CHECK, **{name: "$(touch hacked); `touch hacked`; touch hacked"})
    assert not (workspace / "hacked").exists()


def test_python_is_set_up_where_it_is_asked_for():
    (setup,) = (step for step in STEPS if "uses" in step)
    runner = Runner.__new__(Runner)
    assert not runner._applies(setup, {"python-version": ""})
    assert runner._applies(setup, {"python-version": "3.13"})
    assert runner._expanded(setup["with"]["python-version"], {"python-version": "3.13"}) == "3.13"


def test_the_file_is_as_the_schema_of_actions_wants_it():
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-actions",
        "action.yml",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    used = {name for step in STEPS for name in re.findall(r"inputs\.([\w-]+)", json.dumps(step))}
    assert used == ACTION["inputs"].keys()
