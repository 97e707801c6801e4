"""Tiny decoder-only models and tokenizers, built in code: nothing is downloaded.

The models exist to make bugs visible, which a freshly initialised model does not do well: its matrices are so
small that wrong positions move the logits by little, and its padding embedding is zero, so that a padding
leak moves nothing at all. Here all matrices are scaled up, the padding token has an ordinary embedding, and
every weight lies on the bfloat16 grid, so that the same weights run unchanged in float32, bfloat16 and
float16 (where the range allows).
"""

from __future__ import annotations

from pytest_decoderonly.tiny.config import TinyModelError, tiny_architectures, tiny_config
from pytest_decoderonly.tiny.model import tiny_decoder
from pytest_decoderonly.tiny.sizes import BOS_ID, EOS_ID, PAD_ID, VOCAB_SIZE
from pytest_decoderonly.tiny.tokenizer import CHAT_TEMPLATES, tiny_tokenizer

__all__ = [
    "BOS_ID",
    "CHAT_TEMPLATES",
    "EOS_ID",
    "PAD_ID",
    "VOCAB_SIZE",
    "TinyModelError",
    "tiny_architectures",
    "tiny_config",
    "tiny_decoder",
    "tiny_tokenizer",
]
