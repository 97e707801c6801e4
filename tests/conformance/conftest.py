"""What the runs inside need is imported here once: pytester forgets modules that a run inside imported.

Half of transformers forgotten and imported again would be two libraries that do not know each other's classes.
"""

from __future__ import annotations

import pytest
from transformers import T5Config, T5ForConditionalGeneration  # noqa: F401

from pytest_decoderonly import assert_batch_equals_single, tiny_decoder, tiny_tokenizer
from pytest_decoderonly.conformance import checks, plugin, spec  # noqa: F401


@pytest.fixture(autouse=True, scope="session")
def imported():
    tokenizer = tiny_tokenizer()
    for arch in ("llama", "gpt2", "qwen2"):
        assert_batch_equals_single(tiny_decoder(arch), tokenizer, ["a", "b c"])
    from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer  # noqa: F401
