"""One line a ticket, for the morning meeting."""

from __future__ import annotations

import torch

from support_bot.assistant import Assistant
from support_bot.batching import encode
from support_bot.prompts import render, summary_request


class Summariser(Assistant):
    """Says in a few words what customers want."""

    @torch.inference_mode()
    def summarise(self, tickets: list[str]) -> list[str]:
        """One summary a ticket, in the same order."""
        prompts = [render(self.tokenizer, self.settings, summary_request(ticket)) for ticket in tickets]
        inputs = encode(self.tokenizer, prompts, self.model.device)
        output = self.model.generate(**inputs, **self.options)
        width = inputs["input_ids"].shape[1]
        texts = self.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        return [text.strip() for text in texts]
