"""The baseline: findings of before are counted, new ones show."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from decoderonly_checker import baseline
from decoderonly_checker.cli.app import app
from decoderonly_checker.config import SettingsError
from decoderonly_checker.runner import check_paths
from hypothesis import given
from hypothesis import strategies as st

HEAD = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("gpt2")
model = AutoModelForCausalLM.from_pretrained("gpt2")
encoding = tokenizer("Question: why? Answer:", return_tensors="pt")
"""
BARE = "output = model.generate(encoding.input_ids)\n"
ECHO = "print(tokenizer.decode(model.generate(**encoding)[0]))\n"


@pytest.fixture(autouse=True)
def _project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "decoderonly.toml").write_text('baseline = "known.json"\n', encoding="utf-8")


def write(**files):
    for name, text in files.items():
        Path(f"{name}.py").write_text(HEAD + text, encoding="utf-8")


def held():
    return json.loads(Path("known.json").read_text(encoding="utf-8"))


def run(*arguments):
    done = CliRunner().invoke(app, [*arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def codes(path="."):
    result = check_paths([path])
    return [(d.place.path, d.code) for d in result.diagnostics], result.baselined, result.gone


def test_what_was_there_is_not_shown_and_what_is_new_is():
    write(a=BARE + BARE, b=ECHO)
    made = run("baseline", "create")
    assert made.output == "Wrote known.json: 3 findings in 2 files.\n"
    assert held() == {"version": 1, "findings": {"a.py": {"DLM101": 2}, "b.py": {"DLM201": 1}}}
    assert codes() == ([], 3, 0)
    done = run("check")
    assert done.exit_code == 0
    assert "3 findings of before in the baseline." in done.output

    write(a="x = 1\n\n" + BARE + "y = 2\n" + BARE)  # moved
    assert codes() == ([], 3, 0)
    write(a=BARE + BARE + ECHO)  # of another kind
    assert codes() == ([("a.py", "DLM201")], 3, 0)
    write(a=BARE * 3)  # which of them is new, nobody can tell
    assert codes() == ([("a.py", "DLM101")] * 3, 1, 0)
    assert run("check").exit_code == 1
    assert (
        run("check", "--no-baseline").output.count("error[")
        + run("check", "--no-baseline").output.count("warning[")
        == 4
    )


def test_what_is_gone_is_told_and_pruned_and_nothing_is_added():
    write(a=BARE + BARE, b=ECHO, c=BARE)
    run("baseline", "create")
    write(a=BARE + ECHO, b="x = 1\n")
    assert codes() == ([("a.py", "DLM201")], 2, 2)
    assert "2 of the baseline are gone: decoderonly baseline prune." in run("check").output
    assert codes("c.py") == ([], 1, 0)  # only what was looked at
    assert run("baseline", "prune").output == "Took 2 findings out of known.json; 2 left.\n"
    assert codes() == ([("a.py", "DLM201")], 2, 0)
    assert run("baseline", "prune").output == "Nothing to take out of known.json: 2 left.\n"
    assert held()["findings"] == {"a.py": {"DLM101": 1}, "c.py": {"DLM101": 1}}


def test_files_that_are_gone_are_pruned_and_those_not_looked_at_are_kept(tmp_path):
    write(a=BARE, b=BARE, c=BARE)
    run("baseline", "create")
    (tmp_path / "a.py").unlink()
    write(b="x = 1\n")
    assert run("baseline", "prune", "c.py").output == "Took 1 finding out of known.json; 2 left.\n"


def test_a_file_that_cannot_be_checked_keeps_its_count():
    write(a=BARE)
    run("baseline", "create")
    write(a=BARE + "def broken(:\n")
    done = run("baseline", "prune")
    assert done.exit_code == 2
    assert "1 left" in done.output
    assert codes()[2] == 0


def test_findings_that_comments_silence_are_not_counted():
    write(a="output = model.generate(encoding.input_ids)  # decoderonly: ignore[DLM101]\n")
    assert run("baseline", "create").output == "Wrote known.json: 0 findings in 0 files.\n"


def test_folders_below_and_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text(HEAD + BARE, encoding="utf-8")
    run("baseline", "create")
    monkeypatch.chdir(tmp_path / "src")
    assert codes() == ([], 1, 0)
    assert json.loads((tmp_path / "known.json").read_text(encoding="utf-8"))["findings"] == {
        "src/a.py": {"DLM101": 1}
    }


def test_without_the_setting_there_is_a_hint(tmp_path):
    (tmp_path / "decoderonly.toml").write_text("", encoding="utf-8")
    write(a=BARE)
    done = run("baseline", "create")
    assert 'hint: it is used once the settings say so: baseline = "decoderonly-baseline.json"' in done.output
    assert (tmp_path / "decoderonly-baseline.json").is_file()
    with pytest.raises(SettingsError, match=r"^baseline prune: the settings name no baseline$"):
        CliRunner().invoke(app, ["baseline", "prune"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "known.json: there is no such baseline; `decoderonly baseline create` makes it"),
        (
            "{",
            "known.json: not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("[]", 'known.json: is not a baseline: there is no "findings"'),
        ('{"findings": {}, "version": 2}', "known.json: is a baseline of version 2; this is 1"),
        (
            '{"findings": {"a.py": 1}, "version": 1}',
            'known.json: findings."a.py" must be an object of code: number',
        ),
        (
            '{"findings": {"a.py": {"DLM101": true}}, "version": 1}',
            'known.json: findings."a.py".DLM101 must be a number from 1 on, not True',
        ),
    ],
)
def test_what_is_no_baseline_is_one_exact_line(tmp_path, text, message):
    if text is not None:
        (tmp_path / "known.json").write_text(text, encoding="utf-8")
    write(a=BARE)
    with pytest.raises(SettingsError) as caught:
        check_paths(["."])
    assert str(caught.value) == message


COUNTS = st.dictionaries(
    st.tuples(st.sampled_from(["a.py", "b/c.py", "ü ö.py"]), st.sampled_from(["DLM101", "DLM201"])),
    st.integers(0, 3),
)


@given(COUNTS, COUNTS, st.sets(st.sampled_from(["a.py", "b/c.py"])))
def test_laws(tmp_path_factory, old, found, looked_at):
    folder = tmp_path_factory.mktemp("laws")
    file = folder / "known.json"
    baseline.write(file, old)
    before = baseline.read(file)
    assert before == {key: number for key, number in old.items() if number}
    for name in ("a.py", "b/c.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    left = baseline.pruned(before, baseline.Counts(found), looked_at, ["DLM101", "DLM201"], file)
    # Never more than before, never more than was found where somebody looked; again changes nothing.
    assert all(number <= before[key] for key, number in left.items())
    assert all(number <= found.get(key, 0) for key, number in left.items() if key[0] in looked_at)
    assert not any(name == "ü ö.py" for name, _ in left)
    assert baseline.pruned(left, baseline.Counts(found), looked_at, ["DLM101", "DLM201"], file) == left
