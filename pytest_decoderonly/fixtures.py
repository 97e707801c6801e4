"""Fixtures of the plugin. Bodies import late: this module costs no import of torch or transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    import pytest_decoderonly
    from pytest_decoderonly.recording import GenerateRecorder


class DecoderOnly:
    """What the `decoderonly` fixture gives: the assertions and the builders of tiny models, as methods."""

    if TYPE_CHECKING:
        assert_labels_mask_prompt = staticmethod(pytest_decoderonly.assert_labels_mask_prompt)
        assert_left_padded = staticmethod(pytest_decoderonly.assert_left_padded)
        assert_right_padded = staticmethod(pytest_decoderonly.assert_right_padded)
        assert_answers_whole = staticmethod(pytest_decoderonly.assert_answers_whole)
        assert_prompts_whole = staticmethod(pytest_decoderonly.assert_prompts_whole)
        assert_no_prompt = staticmethod(pytest_decoderonly.assert_no_prompt)
        assert_batch_equals_single = staticmethod(pytest_decoderonly.assert_batch_equals_single)
        assert_only_responses_supervised = staticmethod(pytest_decoderonly.assert_only_responses_supervised)
        assert_loss_ignores_prompt = staticmethod(pytest_decoderonly.assert_loss_ignores_prompt)
        assert_accumulation_equals_full_batch = staticmethod(
            pytest_decoderonly.assert_accumulation_equals_full_batch
        )
        canaries = staticmethod(pytest_decoderonly.canaries)
        assert_same_with = staticmethod(pytest_decoderonly.assert_same_with)
        assert_scores_keep = staticmethod(pytest_decoderonly.assert_scores_keep)
        record_generate = staticmethod(pytest_decoderonly.record_generate)
        tiny_decoder = staticmethod(pytest_decoderonly.tiny_decoder)
        tiny_tokenizer = staticmethod(pytest_decoderonly.tiny_tokenizer)
        tiny_architectures = staticmethod(pytest_decoderonly.tiny_architectures)
    else:

        def __getattr__(self, name: str) -> Callable[..., Any]:
            import pytest_decoderonly as public

            if name in _METHODS:
                return getattr(public, name)
            raise AttributeError(f"the decoderonly fixture has no {name!r}; it has {', '.join(_METHODS)}")

        def __dir__(self) -> list[str]:
            return list(_METHODS)

    def __repr__(self) -> str:
        return f"<decoderonly: {', '.join(_METHODS)}>"


_METHODS = (
    "assert_labels_mask_prompt",
    "assert_left_padded",
    "assert_right_padded",
    "assert_answers_whole",
    "assert_prompts_whole",
    "assert_no_prompt",
    "assert_batch_equals_single",
    "assert_only_responses_supervised",
    "assert_loss_ignores_prompt",
    "assert_accumulation_equals_full_batch",
    "canaries",
    "assert_same_with",
    "assert_scores_keep",
    "record_generate",
    "tiny_decoder",
    "tiny_tokenizer",
    "tiny_architectures",
)


@pytest.fixture(scope="session")
def decoderonly() -> DecoderOnly:
    """Assertions for decoder-only models, and builders of tiny ones, as methods.

    Labels: assert_labels_mask_prompt, assert_only_responses_supervised with canaries.
    Padding: assert_left_padded, assert_right_padded, assert_prompts_whole.
    Outputs: assert_no_prompt, assert_answers_whole; record_generate.
    Equivalence: assert_batch_equals_single.
    Scores: assert_scores_keep.
    Tiny ones: tiny_decoder, tiny_tokenizer, tiny_architectures.
    Example: `decoderonly.assert_left_padded(batch, tokenizer=tokenizer)`.
    """
    return DecoderOnly()


@pytest.fixture
def decoderonly_generate_recorder() -> Iterator[GenerateRecorder]:
    """Records the `generate` calls of the test, with assertions on them.

    Example: `decoderonly_generate_recorder.call.assert_left_padded(tokenizer)`.
    """
    from pytest_decoderonly.recording import record_generate

    with record_generate() as recorder:
        yield recorder


@pytest.fixture(scope="session")
def decoderonly_device(pytestconfig: pytest.Config) -> torch.device:
    """The device for models: CUDA (one GPU a worker under pytest-xdist), else Apple's MPS, else the CPU.

    The ini key `decoderonly_device` names another, such as `cpu`.
    """
    _needs("torch")
    from pytest_decoderonly.devices import default_device, device_named

    named = str(pytestconfig.getini("decoderonly_device")).strip()
    try:
        return device_named(named) if named else default_device()
    except ValueError as error:
        pytest.fail(f"ini key decoderonly_device: {error}", pytrace=False)


@pytest.fixture(scope="session")
def decoderonly_prompts() -> list[str]:
    """Ragged prompts: short and long, with punctuation, a line break and letters beyond ASCII."""
    long = (
        "You are a careful reader.\nRead the text below, and say in one sentence what it is about, "
        "without a word of your own.\n"
        "Text: the more the rows of a batch differ in length, the more padding there is.\nSentence:"
    )
    return [
        "Hi",
        "Question: is the sky blue? Answer: ",
        "Write one word for each of these: Käse, naïve, 東京, 🙂",
        long,
    ]


@pytest.fixture
def decoderonly_tiny_model(decoderonly_device: torch.device) -> PreTrainedModel:
    """A tiny random LLaMA whose weights make padding and position bugs visible.

    Two layers, the vocabulary of decoderonly_tiny_tokenizer, evaluation mode, on decoderonly_device.
    """
    _needs("transformers")
    from pytest_decoderonly.tiny import tiny_decoder

    return tiny_decoder("llama", device=decoderonly_device)


@pytest.fixture
def decoderonly_tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer built in code: padding token, left padding, ChatML template."""
    _needs("transformers")
    from pytest_decoderonly.tiny import tiny_tokenizer

    return tiny_tokenizer()


def _needs(package: str) -> Any:
    """Import a package, or fail the test with what to install: nothing is skipped in silence."""
    import importlib

    from pytest_decoderonly.extras import MODELS

    try:
        return importlib.import_module(package)
    except ImportError:
        pytest.fail(f"this fixture needs {package}: {MODELS}", pytrace=False)
