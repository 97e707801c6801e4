"""Answers to questions about the shop, many at a time."""

from __future__ import annotations

import torch

from support_bot.assistant import Assistant
from support_bot.prompts import question_request, render


class SupportBot(Assistant):
    """Answers from the shop's policies."""

    def answer(self, question: str) -> str:
        """The answer to one question."""
        return self.answer_all([question])[0]

    def answer_all(self, questions: list[str]) -> list[str]:
        """The answers, in the order of the questions."""
        answers: list[str] = []
        for start in range(0, len(questions), self.settings.batch_size):
            answers += self._answer_batch(questions[start : start + self.settings.batch_size])
        return answers

    @torch.inference_mode()
    def _answer_batch(self, questions: list[str]) -> list[str]:
        prompts = [render(self.tokenizer, self.settings, question_request(question)) for question in questions]
        encoding = self.tokenizer(prompts, padding=True, add_special_tokens=False, return_tensors="pt")
        encoding = encoding.to(self.model.device)
        output = self.model.generate(**encoding, **self.options)
        replies = output[:, encoding["input_ids"].shape[1] :]
        texts = self.tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [text.strip() for text in texts]
