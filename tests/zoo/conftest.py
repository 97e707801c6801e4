"""The model and the tokenizers of the published bugs."""

from __future__ import annotations

import pytest

from pytest_decoderonly import tiny_decoder, tiny_tokenizer


@pytest.fixture(scope="module")
def model():
    return tiny_decoder("llama")


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def trainer(model, tmp_path):
    """Make a trainer of TRL for the model: `trainer(rows, tokenizer, kind, **options of its settings)`."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

    kinds = {"sft": (SFTTrainer, SFTConfig), "dpo": (DPOTrainer, DPOConfig), "kto": (KTOTrainer, KTOConfig)}

    def make(data, tokenizer, kind="sft", **options):
        trains, settings = kinds[kind]
        chosen = {"report_to": "none", "bf16": False, "use_cpu": True, "max_length": 1024, **options}
        other = {} if kind == "sft" else {"ref_model": tiny_decoder("llama", seed=1)}
        return trains(
            model,
            **other,
            args=settings(
                str(tmp_path), per_device_train_batch_size=2, gradient_checkpointing=False, **chosen
            ),
            train_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
        )

    return make
