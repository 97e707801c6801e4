"""Drafts that a person reads before they are sent."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from support_bot.prompts import draft_request, render
from support_bot.settings import Settings


@torch.inference_mode()
def draft_reply(
    ticket: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, settings: Settings
) -> str:
    """A reply to one ticket."""
    prompt = render(tokenizer, settings, draft_request(ticket))
    encoding = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
    arguments = {
        "input_ids": encoding["input_ids"].to(model.device),
        "attention_mask": encoding["attention_mask"].to(model.device),
    }
    arguments.update(settings.generation_options())
    output = model.generate(**arguments)
    return tokenizer.decode(output[0, arguments["input_ids"].shape[1] :], skip_special_tokens=True)
