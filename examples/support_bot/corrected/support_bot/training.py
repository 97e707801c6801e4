"""A short round of fine-tuning on past conversations."""

from __future__ import annotations

import copy

import torch
from torch.utils.data import DataLoader
from transformers import DataCollatorForSeq2Seq, PreTrainedModel

from support_bot.dataset import Conversation, build_dataset
from support_bot.loading import load_model, load_tokenizer
from support_bot.settings import Settings


def fine_tune(
    settings: Settings, conversations: tuple[Conversation, ...], steps: int
) -> tuple[PreTrainedModel, list[float]]:
    """A tuned copy of the model, and the loss of each step."""
    tokenizer = load_tokenizer(settings)
    model = copy.deepcopy(load_model(settings)).train()
    # Pads ids with the pad token and labels with -100, which the loss leaves out.
    collator = DataCollatorForSeq2Seq(tokenizer, padding=True, label_pad_token_id=-100)
    loader = DataLoader(build_dataset(tokenizer, settings, conversations), batch_size=2, collate_fn=collator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    losses: list[float] = []
    while len(losses) < steps:
        for batch in loader:
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return model.eval(), losses
