"""What everything that talks to the model shares."""

from __future__ import annotations

from support_bot.loading import load_model, load_tokenizer
from support_bot.settings import Settings


class Assistant:
    """Holds settings, tokenizer and model."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tokenizer = load_tokenizer(settings)
        self.model = load_model(settings)
        self.options = settings.generation_options()
