"""How grave and how sure findings are: what the specifications in `specs/` do not say."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.diagnostics import Confidence
from decoderonly_checker.runner import check_paths

if TYPE_CHECKING:
    from pathlib import Path

PIPELINE = """
    from transformers import pipeline

    generator = pipeline("text-generation", model="gpt2")
    history = []
"""
MODEL = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    model = AutoModelForCausalLM.from_pretrained("gpt2")
"""
CASES = {
    "DLM204 cut": (
        PIPELINE,
        """
        def answer(question):
            text = generator(question)[0]["generated_text"]
            print(text[len(question):])
        """,
        ("DLM204", "warning", "certain"),
    ),
    "DLM204 a copy is cut, the whole is kept": (
        PIPELINE,
        """
        def answer(question):
            output = generator(question)
            print(output[0]["generated_text"][len(question):])
            history.append({"role": "assistant", "content": output[0]["generated_text"]})
        """,
        ("DLM204", "error", "certain"),
    ),
    "DLM204 shown": (
        PIPELINE,
        """
        def answer(question):
            print(generator(question)[0]["generated_text"])
        """,
        ("DLM204", "warning", "certain"),
    ),
    "DLM201 a base model continues a text": (
        MODEL,
        """
        encoding = tokenizer("The weather today will be", return_tensors="pt")
        print(tokenizer.decode(model.generate(**encoding, max_new_tokens=8)[0]))
        """,
        ("DLM201", "warning", "possible"),
    ),
    "DLM201 a base model is asked": (
        MODEL,
        """
        encoding = tokenizer("What will the weather be?", return_tensors="pt")
        print(tokenizer.decode(model.generate(**encoding, max_new_tokens=8)[0]))
        """,
        ("DLM201", "warning", "certain"),
    ),
    "DLM201 handed to something unknown": (
        MODEL,
        """
        def score(prompts, evaluator):
            def answer(prompt):
                encoding = tokenizer(prompt, return_tensors="pt")
                return tokenizer.decode(model.generate(**encoding, max_new_tokens=8)[0])

            return evaluator.evaluate(answer, prompts)
        """,
        ("DLM201", "error", "possible"),
    ),
    "DLM201 given back by something unknown": (
        MODEL,
        """
        def answer(prompt, store):
            def run():
                encoding = tokenizer(prompt, return_tensors="pt")
                return tokenizer.decode(model.generate(**encoding, max_new_tokens=8)[0])

            text, seconds = store.get(prompt, run)
            return text
        """,
        ("DLM201", "error", "likely"),
    ),
}


@pytest.mark.parametrize(("setup", "program", "expected"), CASES.values(), ids=CASES)
def test_a_finding_weighs_what_the_catalogue_says(
    setup: str, program: str, expected: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "main.py").write_text(textwrap.dedent(setup) + textwrap.dedent(program), encoding="utf-8")
    result = check_paths([tmp_path], Settings(min_confidence=Confidence.POSSIBLE))
    found = {(d.code, d.severity.value, d.confidence.value) for d in result.diagnostics}
    assert found == {expected}
