"""The command: its options, its three formats, its files, and what it refuses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner
from decoderonly_checker.cli.app import app
from decoderonly_checker.config import SettingsError

from pytest_decoderonly.study.command import command
from pytest_decoderonly.study.plot import draw
from pytest_decoderonly.study.render import render, words

PAGE = (Path(__file__).parents[2] / "docs/reference/study.md").read_text(encoding="utf-8")
SCHEMA = json.loads(re.findall(r"^```json\n(\{\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[-1])
QUICK = ("--limit", "3", "--rounds", "1", "--max-new-tokens", "3", "--batch-size", "3")


def run(*arguments):
    return CliRunner().invoke(app, ["study", *arguments], catch_exceptions=False)


def test_the_json_document_is_the_one_that_the_page_describes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    questions = [
        {"question": "Is\u001b[31m it?"},
        {"prompt": "a b", "answers": "c"},
        {"messages": [{"role": "user", "content": "Hi"}]},
    ]
    Path("own.jsonl").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")
    done = run("tiny:llama", "--tasks", "own.jsonl", *QUICK, "--output-format", "json", "--padding", "0,2")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["setting"]["tasks"] == "own.jsonl"
    assert document["setting"]["prompts"] == "in the chat template or as they are"
    assert [c["right"] and c["right"]["total"] for c in document["cells"]] == [1] * 7
    described = set(re.findall(r"`(\w+)`", PAGE))
    assert {
        *document,
        *document["setting"],
        *document["cells"][0],
        *document["cells"][0]["answers"][0],
    } <= described


def test_the_schema_refuses_other_documents(sound):
    document = json.loads(render(sound, "json")) | {"version": 1}
    document["setting"] |= {"tasks": "built-in", "seed": None}
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(document)
    document["cells"][1]["same"]["count"] = -1
    assert not validator.is_valid(document)


def test_a_table_shows_every_way_and_says_what_it_means():
    done = run("tiny:llama", *QUICK, "--ways", "right, left")
    lines = done.stdout.splitlines()
    assert lines[0] == "tiny-llama (LlamaForCausalLM, 115k parameters) in float32 on cpu, 1 thread"
    assert [line.split("  ")[0] for line in lines[5:8]] == [
        "one prompt at a time",
        "left, with the mask",
        "right, with the mask",
    ]
    assert "3/3 (44-100 %)" in lines[6]
    assert "Left, with the mask: safe. All 3 answers are those of the prompts alone" in " ".join(
        done.stdout.split()
    )


def test_markdown_and_pictures_hold_every_way(sound):
    table = render(sound, "markdown")
    assert table.count("\n| ") == len(sound.cells)
    assert f"* {words(sound).split('.')[0]}." in table
    picture = draw(sound, ".svg")
    assert picture == draw(sound, ".svg")  # nothing of the moment in it
    for text in (
        "one prompt at a time",
        "left, without the mask",
        "batches of 3, +5 columns",
        "the same tokens",
    ):
        assert text in picture.decode()
    assert draw(sound, ".png").startswith(b"\x89PNG")


def test_files_are_written_and_the_meaning_is_still_printed(tmp_path):
    done = run(
        "tiny:llama",
        *QUICK,
        "-o",
        str(tmp_path / "s.json"),
        "--output-format",
        "json",
        "--plot",
        str(tmp_path / "s.PNG"),
    )
    assert json.loads((tmp_path / "s.json").read_text())["cells"]
    assert (tmp_path / "s.PNG").read_bytes().startswith(b"\x89PNG")
    assert done.stdout.startswith("Left, with the mask: safe.")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.PNG", "s.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--batch-size", "2,x"], "expected integers from 1 on, separated by commas, got '2,x'"),
        (["--batch-size", "0"], "expected integers from 1 on"),
        (["--padding", "-1"], "expected integers from 0 on"),
        (["--ways", "left,top"], "'top' is none of alone, left, left-no-mask, right"),
        (["--rounds", "0"], "0 is not in the range x>=1"),
        (["--output-format", "xml"], "'xml' is not one of"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments, said):
    done = run("tiny:llama", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["tiny:llama", "--tasks", "none.jsonl"],
            "--tasks: none.jsonl: cannot be read: No such file or directory",
        ),
        (["tiny:llama", "-o", "gone/s.json"], "--output-file: gone/s.json: there is no folder gone"),
        (["tiny:llama", "--plot", "gone/s.svg"], "--plot: gone/s.svg: there is no folder gone"),
        (["tiny:llama", "--plot", "s.pdf"], "--plot: s.pdf: expected a name that ends in .svg or .png"),
        (["./none"], "study: ./none: there is no folder"),
        (["tiny:llama", "--dtype", "int3"], "study: tiny:llama,dtype=int3: dtype=int3: "),
        (["tiny:llama,dtype=float32", "--dtype", "float32"], "option dtype is given twice"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        run(*arguments)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_missing_is_named_with_its_extra(tmp_path, monkeypatch):
    from importlib import util

    here = util.find_spec
    monkeypatch.chdir(tmp_path)
    for package, arguments, said in (
        (
            "torch",
            [],
            "study: tiny:llama: checking a model needs torch: pip install 'pytest-decoderonly[models]'",
        ),
        (
            "matplotlib",
            ["--plot", "s.svg"],
            '--plot needs matplotlib: pip install "pytest-decoderonly[study]"',
        ),
    ):
        find = lambda name, *more, gone=package: None if name == gone else here(name, *more)  # noqa: E731
        monkeypatch.setattr(util, "find_spec", find)
        monkeypatch.setattr("pytest_decoderonly.study.command.find_spec", find)
        with pytest.raises(SettingsError) as caught:
            run("tiny:llama", *arguments)
        assert str(caught.value) == said


def test_the_formats_that_are_offered_can_be_rendered(sound):
    (formats,) = (option.type.choices for option in command.params if option.name == "output_format")
    assert all(render(sound, name).endswith("\n") for name in formats)


def test_help_and_mistakes_import_nothing_heavy():
    code = (
        "import sys; from decoderonly_checker.cli.app import app\n"
        "for words in (['--help'], ['study', '--help'], ['study', 'tiny:llama', '--tasks', 'none']):\n"
        "    try: app.main(words, standalone_mode=False)\n"
        "    except Exception as problem: print(problem)\n"
        "print(sorted({'torch', 'transformers', 'libcst', 'matplotlib', 'pytest'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert "Measure what padding does" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
