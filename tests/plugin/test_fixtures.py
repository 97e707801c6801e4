"""The fixtures, as a project sees them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from transformers import GenerationMixin  # noqa: F401

from pytest_decoderonly import assert_batch_equals_single, tiny_decoder, tiny_tokenizer


@pytest.fixture(autouse=True, scope="module")
def _loaded():
    """Load here what the runs inside need: pytester forgets what they import, and each would load it anew."""
    assert_batch_equals_single(tiny_decoder("llama"), tiny_tokenizer(), ["a", "b c"])
    tiny_decoder("gpt2")


def test_facade(pytester):
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def parts(decoderonly_tiny_model, decoderonly_tiny_tokenizer, decoderonly_prompts):
            return decoderonly_tiny_model, decoderonly_tiny_tokenizer, decoderonly_prompts

        def test_methods(decoderonly, parts, decoderonly_device):
            model, tokenizer, prompts = parts
            batch = tokenizer(prompts, padding=True, return_tensors="pt").to(decoderonly_device)
            decoderonly.assert_left_padded(batch, tokenizer=tokenizer)
            with pytest.raises(AssertionError, match="DLM102"):
                decoderonly.assert_right_padded(batch, tokenizer=tokenizer)
            result = decoderonly.assert_batch_equals_single(*parts)
            assert result.verdict.clean
            assert model.device.type == decoderonly_device.type
            assert not model.training
            decoderonly.assert_no_prompt("Paris", "What is it?")
            decoderonly.assert_labels_mask_prompt([[-100, 5]], [[4, 5]], prompt_lengths=1)
            assert decoderonly.tiny_decoder("gpt2").config.model_type == "gpt2"
            assert decoderonly.tiny_tokenizer(pad=False).pad_token is None
            assert "llama" in decoderonly.tiny_architectures()

        def test_unknown_method(decoderonly):
            with pytest.raises(AttributeError, match="no 'assert_fast'; it has assert_labels_mask_prompt"):
                decoderonly.assert_fast
            assert "assert_left_padded" in dir(decoderonly) and "assert_left_padded" in repr(decoderonly)
    """)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_a_failed_assertion_shows_its_message_and_the_users_line(pytester):
    pytester.makepyfile("""
        def test_it(decoderonly):
            decoderonly.assert_left_padded([[5, 0], [5, 5]], pad_token_id=0)
    """)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(
        [
            "*decoderonly.assert_left_padded(*",
            "E*AssertionError: the batch is not left-padded: 1 of 2 rows is wrong",
        ]
    )
    assert "_report(" not in result.stdout.str()


def test_docstrings_stand_in_the_list_of_fixtures(pytester):
    result = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    text = result.stdout.str()
    for name in (
        "decoderonly",
        "decoderonly_device",
        "decoderonly_generate_recorder",
        "decoderonly_prompts",
        "decoderonly_tiny_model",
        "decoderonly_tiny_tokenizer",
    ):
        assert any(line.startswith((f"{name} ", f"{name}[")) for line in text.splitlines()), name
    listed = text.split("pytest_decoderonly.fixtures")[1].split("fixtures defined from")[0]
    assert "no docstring available" not in listed


def test_without_torch_the_fixture_says_what_to_install(pytester):
    pytester.makepyfile(
        conftest="import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None"
    )
    pytester.makepyfile("""
        def test_it(decoderonly_tiny_model): pass
        def test_that(decoderonly_tiny_tokenizer): pass
    """)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["this fixture needs torch: pip install 'pytest-decoderonly[[]models[]]'"])


def test_importing_the_package_and_its_fixtures_is_light():
    code = (
        "import sys, pytest_decoderonly, pytest_decoderonly.fixtures; dir(pytest_decoderonly); "
        "print([m for m in ('torch', 'transformers', 'libcst', 'numpy') if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_public_names():
    import pytest_decoderonly

    for name in pytest_decoderonly.__all__:
        assert getattr(pytest_decoderonly, name) is not None
        assert name in dir(pytest_decoderonly)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        getattr(pytest_decoderonly, "nothing")  # noqa: B009 - a name that type checkers would refuse


DEVICES = """
    import os

    def test_{name}(decoderonly_device):
        with open(os.path.join({folder!r}, "{name}-" + os.environ["PYTEST_XDIST_WORKER"]), "w") as file:
            file.write(str(decoderonly_device))
"""


def test_one_gpu_a_worker(pytester):
    """Real workers; only the number of GPUs is told to torch, for a machine may have none."""
    pytester.makeconftest(
        "import torch\ntorch.cuda.is_available = lambda: True\ntorch.cuda.device_count = lambda: 2\n"
    )
    folder = pytester.mkdir("seen")
    for name in ("a", "b", "c"):
        pytester.makepyfile(**{f"test_{name}": DEVICES.format(name=name, folder=str(folder))})
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "3", "--dist", "each")
    result.assert_outcomes(passed=9)
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    expected = {"gw0": "cuda:0", "gw1": "cuda:1", "gw2": "cuda:0"}
    assert found == {f"{name}-{worker}": device for name in "abc" for worker, device in expected.items()}


@pytest.mark.parametrize(("value", "outcome"), [("meta", {"passed": 1}), ("gpu", {"errors": 1})])
def test_the_device_by_name(pytester, value, outcome):
    pytester.makeini(f"[pytest]\ndecoderonly_device = {value}\n")
    pytester.makepyfile("def test_it(decoderonly_device): assert decoderonly_device.type == 'meta'")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(**outcome)
    if "errors" in outcome:
        result.stdout.fnmatch_lines(
            ["ini key decoderonly_device: expected a device such as cpu, cuda:1 or mps, got 'gpu'"]
        )
