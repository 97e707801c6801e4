"""A question back to the customer, where a ticket says too little."""

from __future__ import annotations

import torch

from support_bot.assistant import Assistant
from support_bot.prompts import render


class FollowUp(Assistant):
    """Asks for what is missing."""

    @torch.inference_mode()
    def ask_back(self, ticket: str) -> str:
        """One question to the customer."""
        prompt = render(self.tokenizer, self.settings, f"Ask this customer one polite question: {ticket}")
        encoding = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").to(self.model.device)
        output = self.model.generate(**encoding, **self.options)
        text = self.tokenizer.decode(output[0], skip_special_tokens=True)
        return text.replace(prompt, "").strip()
