"""A right-padded prompt: what the cached steps after it go on from, over the kinds of architectures."""

from __future__ import annotations

import pytest

from pytest_decoderonly import Verdict, changes, tiny_decoder
from pytest_decoderonly.compare.variants import run_change

ROWS = [list(range(5, 11)), list(range(40, 49)), list(range(80, 94))]


def judged(model):
    return run_change(model, ROWS, changes.RightPadded(), pad_id=0, steps=2)


@pytest.mark.parametrize("arch", ["llama", "gpt2", "gpt_neox", "mixtral", "bloom", "deepseek_v32"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_is_right(arch, dtype):
    result = judged(tiny_decoder(arch, dtype=dtype))
    assert result.verdict.clean
    assert result.culprit is None


@pytest.mark.parametrize(
    "arch", ["bamba", "jamba", "zamba2", "granitemoehybrid", "kimi_linear", "nemotron_h"]
)
def test_states_hold_the_padding(arch):
    """Reported for transformers as issue 48256: the prompt is right, and all that follows is not."""
    result = judged(tiny_decoder(arch, dtype="bfloat16"))
    assert result.verdict is Verdict.DIFFERENT
    assert result.culprit.name == "state after padding"
    assert all(error.errors[: error.prefill].max() < 1e-4 for error in result.single)
    assert max(error.worst for error in result.single) > 0.1


@pytest.mark.parametrize("arch", ["bart", "mpt"])
def test_positions_that_nobody_can_tell(arch):
    result = judged(tiny_decoder(arch))
    assert result.verdict is Verdict.DIFFERENT
    assert result.culprit.name == "position after padding"


def test_undecided_without_a_cache():
    result = judged(tiny_decoder("openai-gpt"))
    assert result.verdict is Verdict.UNDECIDED
    assert "no cache" in result.reason
