"""`decoderonly explain`: what the checker believes at a line, and what it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from decoderonly_checker.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

LOADING = """from transformers import AutoModelForCausalLM, AutoTokenizer

def load():
    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    return tokenizer, AutoModelForCausalLM.from_pretrained("gpt2")
"""
SERVE = """from loading import load

tokenizer, model = load()

def answer(prompts: list[str], **options):
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(encoding["input_ids"], **options)
    return tokenizer.batch_decode(output)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loading.py").write_text(LOADING)
    (tmp_path / "serve.py").write_text(SERVE)
    return tmp_path


def told(place: str) -> str:
    result = CliRunner().invoke(app, ["explain", place], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.usefixtures("project")
class TestExplain:
    def test_a_generate_call_names_model_tokenizer_padding_and_what_is_not_known(self) -> None:
        text = told("serve.py:7")
        assert "AutoModelForCausalLM of 'gpt2' made at loading.py:5" in text
        assert "AutoTokenizer of 'gpt2' made at loading.py:4" in text
        assert "several, tokenized at serve.py:6" in text
        assert "'left' at loading.py:4" in text
        assert "attention_mask  not given" in text
        assert "what `**options` holds" in text

    def test_a_decode_says_what_became_of_the_text(self) -> None:
        text = told("serve.py:8")
        assert "returned by generate at serve.py:7" in text
        assert "returned at serve.py:8" in text

    def test_a_line_without_facts_points_to_the_nearest(self) -> None:
        assert "nearest lines: 6, 7, 8" in told("serve.py:5")

    @pytest.mark.parametrize(
        ("place", "reason"), [("serve.py", "is not FILE:LINE"), ("absent.py:3", "no such file")]
    )
    def test_a_wrong_place_is_one_line(self, place: str, reason: str) -> None:
        result = CliRunner().invoke(app, ["explain", place])
        assert isinstance(result.exception, Exception)
        assert reason in str(result.exception)
        assert "\n" not in str(result.exception)
