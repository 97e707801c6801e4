"""From prompts to tensors."""

from __future__ import annotations

import torch
from transformers import PreTrainedTokenizerBase


def encode(
    tokenizer: PreTrainedTokenizerBase, prompts: list[str], device: torch.device
) -> dict[str, torch.Tensor]:
    """Rendered prompts as one batch on the device, padded so that every prompt ends at the last column."""
    encoding = tokenizer(
        prompts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt"
    )
    return {
        "input_ids": encoding["input_ids"].to(device),
        "attention_mask": encoding["attention_mask"].to(device),
    }
