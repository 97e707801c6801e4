"""What a contributor begins with works: the file is written to its place, is clean, and does what it says."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGUN = [
    ("rule", "DLM498", "generation-without-cache"),
    ("knowledge", "acme"),
    ("assertion", "rows-end-in-eos"),
]


def module_of(path):
    spec = importlib.util.spec_from_file_location("begun", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


new = module_of(ROOT / "docs" / "contributing" / "new.py")


def begin(words, root, capsys):
    assert new.main(list(words), root) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert "try it" in rest
    return root / first.removeprefix("wrote ")


@pytest.mark.parametrize("words", BEGUN, ids=[words[0] for words in BEGUN])
def test_what_is_written_is_clean(words, tmp_path, capsys):
    path = begin(words, tmp_path, capsys)
    text = path.read_text(encoding="utf-8")
    for command in (["check"], ["format", "--check"]):
        # As if it lay in the repository: rules of the linter differ by folder.
        name = ROOT / path.relative_to(tmp_path)
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "--stdin-filename", str(name), "-"],
            cwd=ROOT,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "emplate" not in text
    assert "DLM999" not in text


def test_a_new_rule_passes_the_tests_of_rules(tmp_path, capsys):
    shutil.copytree(
        ROOT / "checker", tmp_path / "checker", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    begin(BEGUN[0], tmp_path, capsys)
    library = begin(BEGUN[1], tmp_path, capsys)
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "checker")!r})
from decoderonly_checker import rules, knowledge
from decoderonly_checker.config import Settings
from decoderonly_checker.runner import check_source
assert rules.__file__.startswith({str(tmp_path)!r})
rule = rules.load("DLM498")
codes = lambda text: [one.code for one in check_source(text, "example.py", Settings()).diagnostics]
assert codes(rule.bad) == ["DLM498"], codes(rule.bad)
assert codes(rule.good) == [], codes(rule.good)
made = rule.bad.replace('AutoModelForCausalLM.from_pretrained("gpt2")', 'acme.prepare(acme.load_causal_lm("gpt2"))')
made = "import acme\\n" + made
assert codes(made) == [], codes(made)  # the library is not known yet
from decoderonly_checker.knowledge import acme
acme.register(knowledge.loaded())
assert codes(made) == ["DLM498"], codes(made)
"""
    assert library.exists()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_new_assertion_asserts(tmp_path, capsys):
    path = begin(BEGUN[2], tmp_path, capsys)
    begun = module_of(path)
    begun.assert_rows_end_in_eos([[5, 6, 2], [7, 2]], eos_token_id=2)
    with pytest.raises(AssertionError, match=r"rows that do not end in EOS: 1   \[DLM309\]\n"):
        begun.assert_rows_end_in_eos([[5, 6, 2], [7, 8]], eos_token_id=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rule", "DLM41", "a-name"], "code: expected DLM and three digits"),
        (["rule", "DLM101", "a-name"], "DLM101 is taken by dlm101_missing_attention_mask.py"),
        (["rule", "DLM498", "A name"], "name: expected words"),
        (["knowledge", "openai"], "is there already"),
    ],
)
def test_what_cannot_be_is_one_line(words, said, capsys):
    with pytest.raises(SystemExit):
        new.main(words)
    assert said in capsys.readouterr().err.splitlines()[-1]
