"""Tiny real models and tokenizers for the guard's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_decoderonly.runtime import watch
from pytest_decoderonly.tiny import tiny_decoder, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def model():
    """A decoder-only model whose pad token is not its end-of-text token."""
    return tiny_decoder("llama")


@pytest.fixture(scope="session")
def t5():
    """An encoder-decoder model."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=320,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=2,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config).eval()


@pytest.fixture
def tokenizer():
    """A tokenizer that pads on the left."""
    return tiny_tokenizer()


@pytest.fixture
def eos_tokenizer():
    """A tokenizer whose pad token is its end-of-text token, as for GPT-2 and its heirs."""
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@pytest.fixture
def codes() -> Callable[..., list[str]]:
    """Run a function under the guard and return the codes that were found, sorted."""

    def run(function, *args) -> list[str]:
        with watch() as findings:
            function(*args)
        return sorted(finding.code for finding in findings)

    return run
