"""Checkpoints on disk that stand in for the ones that the rules' examples name, as a hub's cache holds them.

The examples are programs that load `gpt2` or `google/flan-t5-small`. They are run as they stand: what
`from_pretrained` finds is a cache of the hub's own layout, filled from a model that a package ships (SmolLM2) and
from tiny models built in code. Everything but the weights is real.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import smollm2

from pytest_decoderonly.tiny import BOS_ID, EOS_ID, PAD_ID, VOCAB_SIZE, tiny_decoder, tiny_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SMOLLM2 = smollm2.NAME


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that can be built: `model` says on rule pages what it is."""

    key: str
    model: str
    build: Callable[[Checkpoints, Path], None]


class Checkpoints:
    """Builds checkpoints once each, and a hub cache in which names lead to them.

    Args:
        folder: Where they are built; what is there already is used.
        real: Folder of the real model, where it has been written.
    """

    def __init__(self, folder: Path, real: Path | None = None) -> None:
        self._folder = folder
        self._real = real
        self.cache = folder / "hub"

    def folder(self, checkpoint: Checkpoint) -> Path:
        """Return the checkpoint's folder, built on the first call."""
        if checkpoint is SMOLLM2_REAL and self._real is not None:
            return self._real
        folder = self._folder / "built" / checkpoint.key
        if not folder.exists():
            folder.mkdir(parents=True)
            checkpoint.build(self, folder)
        return folder

    def serve(self, names: Mapping[str, Checkpoint]) -> None:
        """Let each name, and no other, lead to its checkpoint from now on."""
        shutil.rmtree(self.cache, ignore_errors=True)
        for name, checkpoint in names.items():
            repository = self.cache / f"models--{name.replace('/', '--')}"
            (repository / "refs").mkdir(parents=True)
            (repository / "refs" / "main").write_text(checkpoint.key, encoding="utf-8")
            (repository / "snapshots").mkdir()
            (repository / "snapshots" / checkpoint.key).symlink_to(self.folder(checkpoint))


def _smollm2(_: Checkpoints, folder: Path) -> None:
    smollm2.write(folder)


def _like_gpt2(checkpoints: Checkpoints, folder: Path) -> None:
    """SmolLM2 as a base model is shipped: no padding token, neither in the tokenizer nor in the configuration."""
    _copy(checkpoints.folder(SMOLLM2_REAL), folder)
    for name, keys in (
        ("tokenizer_config.json", ("pad_token",)),
        ("config.json", ("pad_token_id",)),
        ("generation_config.json", ("pad_token_id",)),
    ):
        _edit(folder / name, lambda values, keys=keys: [values.pop(key, None) for key in keys])


def _like_llama(checkpoints: Checkpoints, folder: Path) -> None:
    """SmolLM2 with LLaMA's habits: the tokenizer puts BOS in front, and the chat template writes it too."""
    from tokenizers import processors
    from transformers import AutoTokenizer

    _copy(checkpoints.folder(SMOLLM2_REAL), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos = "<|endoftext|>"  # what stands between documents in this model's pre-training
    tokenizer.bos_token = bos
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos} $B",
        special_tokens=[(bos, tokenizer.convert_tokens_to_ids(bos))],
    )
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    tokenizer.save_pretrained(folder)


def _tiny(arch: str, **tokenizer: Any) -> Callable[[Checkpoints, Path], None]:
    def build(_: Checkpoints, folder: Path) -> None:
        tiny_decoder(arch).save_pretrained(folder)
        tiny_tokenizer(**tokenizer).save_pretrained(folder)

    return build


def _tiny_t5(_: Checkpoints, folder: Path) -> None:
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCAB_SIZE, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4,
        pad_token_id=PAD_ID, eos_token_id=EOS_ID, decoder_start_token_id=PAD_ID, bos_token_id=BOS_ID,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    tiny_tokenizer(chat_template=False, padding_side="right").save_pretrained(folder)


def _copy(source: Path, folder: Path) -> None:
    """Copy a checkpoint's small files; its weights are shared."""
    for path in source.iterdir():
        if path.suffix == ".safetensors":
            (folder / path.name).symlink_to(path.resolve())
        else:
            shutil.copy(path, folder)


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values, indent=2), encoding="utf-8")


SMOLLM2_REAL = Checkpoint("smollm2", SMOLLM2, _smollm2)
LIKE_GPT2 = Checkpoint("smollm2-like-gpt2", f"{SMOLLM2} without its padding token", _like_gpt2)
LIKE_LLAMA = Checkpoint(
    "smollm2-like-llama", f"{SMOLLM2} with a BOS before each text, as LLaMA has it", _like_llama
)
TINY_GPT2 = Checkpoint(
    "tiny-gpt2", "a random GPT-2 of two layers", _tiny("gpt2", pad=False, padding_side="right")
)
TINY_T5 = Checkpoint("tiny-t5", "a random T5 of two layers", _tiny_t5)
