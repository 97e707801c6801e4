"""The suite on a CUDA device: every dtype and backend that a GPU is used with, the device named in each result."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from pytest_decoderonly.conformance.case import Case
from pytest_decoderonly.conformance.checks import discover
from pytest_decoderonly.conformance.found import NotApplicable
from pytest_decoderonly.conformance.spec import load, parse
from pytest_decoderonly.devices import default_device, shown_device

pytestmark = pytest.mark.gpu
FLASH = pytest.param(
    "flash_attention_2",
    marks=pytest.mark.skipif(find_spec("flash_attn") is None, reason="flash-attn is not installed"),
)


def failures(case):
    """What fails of the default suite, with its report."""
    wrong = {}
    for check in discover():
        for variant in check.variants:
            try:
                found = None if variant.full else check.run(case, variant)
            except NotApplicable:
                continue
            if found is not None and not found.passed:
                wrong[f"{check.name}[{variant.id}]"] = found.text
    return wrong


def loaded(root, text):
    spec = parse(text, root)
    model = load(spec, root, device=default_device())
    assert model.model.device.type == "cuda"
    assert torch.cuda.get_device_name() in shown_device(model.model.device)
    return Case(spec.name, model.model, model.tokenizer)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("attn", ["eager", "sdpa", FLASH])
@pytest.mark.parametrize("arch", ["llama", "mistral", "bamba"])
def test_sound_models_pass(tmp_path, arch, dtype, attn):
    if attn == "flash_attention_2" and dtype == "float32":
        pytest.skip("flash attention has no float32")
    wrong = failures(loaded(tmp_path, f"tiny:{arch},dtype={dtype},attn={attn}"))
    expected = {"right-padding[]"} if arch == "bamba" else set()  # its state reads the padding
    assert set(wrong) == expected, "\n\n".join(wrong.values())


@pytest.fixture
def tf32():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def test_shortened_products_are_judged_beside_whole_ones(tmp_path, tf32):
    case = loaded(tmp_path, "tiny:llama")
    assert not failures(case)
    assert case.battery().dtype == "float32 (TF32)"
    assert torch.get_float32_matmul_precision() == "high", "the setting is the program's own"
