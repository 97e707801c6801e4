"""A small project under test, run by pytest inside pytest."""

from __future__ import annotations

import hypothesis  # noqa: F401
import pytest
import whole_checker  # noqa: F401

CONFTEST = """
    import pytest
    from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer

    @pytest.fixture(scope="session")
    def model():
        return tiny_decoder("llama")

    @pytest.fixture(scope="session")
    def tokenizer():
        return tiny_tokenizer()
"""

APP = """
    PROMPTS = ["the question is", "Question: yes and no, what is the answer?"]

    def encode(tokenizer, side="left"):
        return tokenizer(PROMPTS, padding=True, padding_side=side, return_tensors="pt")

    def answer_without_mask(model, tokenizer):
        enc = encode(tokenizer)
        out = model.generate(enc["input_ids"], max_new_tokens=3)
        return tokenizer.batch_decode(out[:, enc["input_ids"].shape[1]:])

    def answer_right_padded(model, tokenizer):
        enc = encode(tokenizer, "right")
        out = model.generate(**enc, max_new_tokens=3)
        return tokenizer.batch_decode(out[:, enc["input_ids"].shape[1]:])

    def answer_with_prompt(model, tokenizer):
        out = model.generate(**encode(tokenizer), max_new_tokens=3)
        return tokenizer.batch_decode(out)

    def answer(model, tokenizer):
        enc = encode(tokenizer)
        out = model.generate(**enc, max_new_tokens=3)
        return tokenizer.batch_decode(out[:, enc["input_ids"].shape[1]:])
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose functions make one mistake each, with fixtures for a tiny model.

    Its static items are switched off by pointing them at an empty folder.
    """
    pytester.mkdir("nothing")
    pytester.makeini("[pytest]\ndecoderonly_paths = nothing\n")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(app=APP)
    return pytester
