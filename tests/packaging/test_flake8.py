"""The plugin, run by flake8 itself, which finds it by the entry point that pyproject.toml declares."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
LOADING = """\
from transformers import AutoModelForCausalLM, AutoTokenizer


def load():
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    return AutoTokenizer.from_pretrained(name), AutoModelForCausalLM.from_pretrained(name)
"""
SERVING = """\
from loading import load

tokenizer, model = load()


def answer(questions: list[str]) -> list[str]:
    encoding = tokenizer(questions, padding=True, return_tensors="pt")
    output = model.generate(encoding["input_ids"], max_new_tokens=32)
    text = "🙂"; return tokenizer.batch_decode(output), text
"""
FOUND = [
    "serving.py:8:14: DLM101 `generate` gets token ids of a padded batch and no `attention_mask`",
    "serving.py:8:14: DLM102 a batch that is padded on the right goes to `generate`",
    "serving.py:9:24: DLM201 generated ids are decoded with the prompt still in front",
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What pip would write of the entry points, for a checkout that was never installed, or installed before."""
    folder = tmp_path_factory.mktemp("installed")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    told = folder / "pytest_decoderonly-0.1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    entries = project["entry-points"]["flake8.extension"]
    lines = ["[flake8.extension]", *(f"{name} = {target}" for name, target in entries.items())]
    (told / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def flake8(tmp_path, installed):
    (tmp_path / "setup.cfg").write_text("[flake8]\nextend-ignore = E501, E702\n")
    (tmp_path / "loading.py").write_text(LOADING, encoding="utf-8")
    (tmp_path / "serving.py").write_text(SERVING, encoding="utf-8")

    def run(*arguments, stdin=None):
        path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, "-m", "flake8", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return run


def lines(done):
    assert done.stderr == ""
    return [line.removeprefix("./") for line in done.stdout.splitlines()]


def test_a_project_is_checked_as_a_whole(flake8):
    done = flake8()
    assert lines(done) == FOUND
    assert done.returncode == 1
    # Several processes tell the same, and what they tell is known from the first run.
    assert lines(flake8("--jobs=2", "serving.py", "loading.py")) == FOUND


def test_one_file_is_judged_with_those_that_it_imports(flake8, tmp_path):
    assert lines(flake8("serving.py")) == FOUND
    (tmp_path / "loading.py").write_text(LOADING.replace("(name), Auto", '(name, padding_side="left"), Auto'))
    assert lines(flake8("serving.py")) == [FOUND[0], FOUND[2]]


def test_standard_input_counts_and_not_the_file(flake8):
    text = "# moved\n" + SERVING.replace('encoding["input_ids"]', "**encoding")
    done = flake8("--stdin-display-name", "serving.py", "-", stdin=text)
    moved = [line.replace(":8:", ":9:").replace(":9:24", ":10:24") for line in FOUND[1:]]
    assert lines(done) == moved
    assert lines(flake8("-", stdin="x = 1\n")) == []


def test_flake8_selects_and_ignores_codes(flake8):
    assert lines(flake8("--extend-ignore=DLM1,E5,E7")) == FOUND[2:]
    assert lines(flake8("--select=DLM102")) == FOUND[1:2]


def test_where_nothing_of_ours_is_shown_nothing_is_checked_and_no_cache_is_made(flake8, tmp_path):
    assert lines(flake8("--select=F")) == []
    assert not (tmp_path / ".decoderonly_cache").exists()


def test_comments_of_both_kinds_and_settings_count(flake8, tmp_path):
    text = SERVING.replace("max_new_tokens=32)", "max_new_tokens=32)  # noqa: DLM101").replace(
        "output), text", "output), text  # decoderonly: ignore[DLM201] echoed on purpose"
    )
    (tmp_path / "serving.py").write_text(text, encoding="utf-8")
    assert lines(flake8()) == FOUND[1:2]
    (tmp_path / "decoderonly.toml").write_text('ignore = ["DLM102"]\n')
    assert lines(flake8()) == []
    (tmp_path / "decoderonly.toml").write_text('exclude = ["serving.py"]\n')
    (tmp_path / "serving.py").write_text(SERVING, encoding="utf-8")
    assert lines(flake8()) == lines(flake8("serving.py")) == []
    # What flake8 leaves out, stays out.
    (tmp_path / "decoderonly.toml").unlink()
    assert lines(flake8("--extend-exclude=serving.py")) == []


def test_what_could_not_be_checked_is_told(flake8, tmp_path):
    (tmp_path / "decoderonly.toml").write_text("timeout = 1e-9\n")
    (line,) = lines(flake8("--select=DLM", "serving.py"))
    assert line.startswith("serving.py:1:1: DLM000 not checked: took over ")


@pytest.mark.parametrize("arguments", [(), ("serving.py",)])
def test_wrong_settings_end_the_run_with_their_place(flake8, tmp_path, arguments):
    (tmp_path / "decoderonly.toml").write_text("ignore = 1\n")
    done = flake8(*arguments)
    assert done.returncode == 1
    assert "decoderonly.toml: ignore must be a list of strings, not an integer" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
