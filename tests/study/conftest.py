"""One study of each kind of model, made once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_study import ask

from pytest_decoderonly import tiny_decoder

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def sound():
    return ask(tiny_decoder("llama"))
