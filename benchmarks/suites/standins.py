"""Tiny stand-ins for hub checkpoints and data sets, laid out as the hub's own cache: `python standins.py HOME SUITES.toml`.

With `HF_HOME=HOME HF_HUB_OFFLINE=1` every `from_pretrained("gpt2")` of a test suite loads a model of that architecture
with random weights, a tokenizer of 320 tokens and, where the table names one, a chat template. Nothing of the
libraries is replaced: they read files, as they do with a network.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

_SEQ2SEQ = {
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4},
    "bart": {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    },
}
_ENCODERS = {
    "bert": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    },
}


def build(home: Path, table: dict[str, Any], clones: Path) -> int:
    """Make what is not there yet; returns how many were made.

    Args:
        home: What `HF_HOME` will be.
        table: The tables `models` and `datasets` of the list of suites.
        clones: Where the suites are checked out; chat templates and data sets are read from there.
    """
    made = 0
    for name, spec in table.get("models", {}).items():
        folder = home / "hub" / f"models--{name.replace('/', '--')}"
        if not folder.exists():
            with _snapshot(folder, name) as snapshot:
                _save_model(snapshot, clones, **spec)
            made += 1
    for name, spec in table.get("datasets", {}).items():
        folder = home / "datasets" / name.replace("/", "___")
        if not folder.exists():
            _save_dataset(folder, name, clones / spec["script"], spec["function"])
            made += 1
    return made


@contextlib.contextmanager
def _snapshot(folder: Path, name: str) -> Any:
    revision = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    snapshot = folder / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    yield snapshot
    (folder / "refs" / "main").write_text(revision)


def _save_model(
    snapshot: Path,
    clones: Path,
    *,
    arch: str,
    template: str = "",
    tokenizer: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> None:
    import torch
    import transformers

    from pytest_decoderonly.tiny import BOS_ID, EOS_ID, PAD_ID, VOCAB_SIZE, tiny_decoder, tiny_tokenizer

    words = tiny_tokenizer(**{"chat_template": bool(template), **(tokenizer or {})})
    if template not in ("", "chatml"):
        words.chat_template = (clones / template).read_text(encoding="utf-8")
    words.save_pretrained(snapshot)
    if arch in _SEQ2SEQ or arch in _ENCODERS:
        sizes = {**(_SEQ2SEQ.get(arch) or _ENCODERS[arch]), **(config or {})}
        made = transformers.AutoConfig.for_model(
            arch,
            vocab_size=VOCAB_SIZE,
            pad_token_id=PAD_ID,
            bos_token_id=BOS_ID,
            eos_token_id=EOS_ID,
            **sizes,
        )
        auto = transformers.AutoModelForSeq2SeqLM if arch in _SEQ2SEQ else transformers.AutoModelForMaskedLM
        made.decoder_start_token_id = PAD_ID
        torch.manual_seed(0)
        auto.from_config(made).save_pretrained(snapshot)
    else:
        tiny_decoder(arch, heat=1.0, **(config or {})).save_pretrained(snapshot)


def _save_dataset(folder: Path, name: str, script: Path, function: str) -> None:
    """Run the script that makes a data set, as its authors published it, and keep what it would push to the hub."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    spec = importlib.util.spec_from_file_location("making", script)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{script}: cannot be read as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules["making"] = module
    spec.loader.exec_module(module)
    revision = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    short = name.rpartition("/")[2]

    def keep(self: Any, _: str, config_name: str = "default", **__: Any) -> None:
        base = folder / config_name / "0.0.0" / revision
        base.mkdir(parents=True)
        splits = self if isinstance(self, dict) else {"train": self}
        info = None
        for split, rows in splits.items():
            path = base / f"{short}-{split}.arrow"
            with ArrowWriter(path=str(path), features=rows.features) as writer:
                for row in rows:
                    writer.write(row)
                number, size = writer.finalize()
            if info is None:
                info = rows.info.copy()
                info.splits = datasets.SplitDict(dataset_name=short)
            info.splits.add(datasets.SplitInfo(name=split, num_bytes=size, num_examples=number))
        if info is not None:
            info.builder_name, info.dataset_name, info.config_name = (
                "parquet",
                short,
                config_name,
            )
            info.version = datasets.Version("0.0.0")
            info.write_to_directory(str(base))

    datasets.DatasetDict.push_to_hub = keep  # type: ignore[method-assign,assignment]
    datasets.Dataset.push_to_hub = keep  # type: ignore[method-assign,assignment]
    getattr(module, function)(0.1, True, name)


def main() -> int:
    """Build what the list names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("home", type=Path)
    parser.add_argument("suites", type=Path)
    parser.add_argument("clones", type=Path)
    options = parser.parse_args()
    print(
        build(options.home, tomllib.loads(options.suites.read_text(encoding="utf-8")), options.clones), "made"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
