"""What the classes of transformers are: which return the prompt with the answer, which count positions how.

The table is `data/model_classes.json`, read on first use and written by `checker/generate_model_classes.py`.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

from decoderonly_checker.late import late_pattern

Kind = Literal["decoder-only", "encoder-decoder"]
Positions = Literal["learned", "sinusoidal", "rotary", "alibi", "relative", "derived-from-mask", "none"]

_DATA = Path(__file__).parent / "data" / "model_classes.json"
_FRAMEWORK = late_pattern(r"^(TF|Flax)(?=[A-Z])")
# What a class is called that a checkpoint, a project or another library (PEFT, TRL, Optimum) brings along.
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForCausalLMWithValueHead")
_SEQ2SEQ = ("ForSeq2SeqLM", "ForSpeechSeq2Seq", "ForSeq2SeqLMWithValueHead")


@cache
def _table() -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(_DATA.read_text(encoding="utf-8")))


def _plain(class_name: str) -> str:
    return _FRAMEWORK.sub("", class_name)


@cache
def kind_of_class(class_name: str) -> Kind | None:
    """Return what `generate` of a model class does, by the class's bare name (`GPT2LMHeadModel`).

    Args:
        class_name: Name without its module. TensorFlow and Flax names count as their PyTorch twin.

    Returns:
        `"decoder-only"` where the prompt comes back with the continuation, `"encoder-decoder"` where it does
        not, None where the class generates no text, is unknown, or loads either (`AutoModelForPreTraining`).
    """
    name, table = _plain(class_name), _table()
    if name in table["decoder_only"]:
        return "decoder-only"
    if name in table["encoder_decoder"]:
        return "encoder-decoder"
    auto = table["auto_classes"].get(name)
    if auto is not None:
        return cast("Kind", auto) if auto != "unknown" else None
    if name in table["kind_by_checkpoint"] or name in table["no_text_continuation"]:
        return None
    if name.endswith(_CAUSAL):
        return "decoder-only"
    return "encoder-decoder" if name.endswith(_SEQ2SEQ) else None


@cache
def model_type_of_class(class_name: str) -> str | None:
    """Return the model type (`gpt2`) of a model, tokenizer or processor class; None if unknown or Auto."""
    name, table = _plain(class_name), _table()
    for column in ("decoder_only", "encoder_decoder", "tokenizers", "processors"):
        found = table[column].get(name) or table[column].get(name.removesuffix("Fast"))
        if found is not None:
            return cast("str", found)
    return None


@cache
def kind_of_backbone(class_name: str) -> Kind | None:
    """Return what a family generates whose bare model a class is (`MistralModel`); None for encoders (`BertModel`)."""
    stem, table = _plain(class_name).removesuffix("Model"), _table()
    if not stem or not class_name.endswith("Model"):
        return None
    for head in _CAUSAL[:2]:
        home = table["decoder_only"].get(stem + head)
        if home is not None:
            return kind_of_model_type(home)
    return None


@cache
def kind_of_model_type(model_type: str) -> Kind | None:
    """Return what models of a type generate; None where the type is unknown or holds both kinds."""
    return cast("Kind | None", _table()["model_types"].get(model_type))


@cache
def tokenizer_class(class_name: str) -> Kind | None:
    """Return what the models of a tokenizer's or processor's family are (`T5Tokenizer`: encoder-decoder).

    None for what many families share (`AutoTokenizer`, `RobertaTokenizer`) and for unknown names.
    """
    name, table = _plain(class_name), _table()
    for column in ("tokenizers", "processors"):
        home = table[column].get(name) or table[column].get(name.removesuffix("Fast"))
        if home is not None:
            return kind_of_model_type(home)
    return None


@cache
def positions_of(model_type: str) -> Positions | None:
    """Return how `forward` of a model type finds positions without `position_ids`; None if unknown.

    `learned` and `sinusoidal` are counted over the columns, so left padding shifts them; `derived-from-mask`
    models count over the attention mask; the others depend on distances only, or on none.
    """
    return cast("Positions | None", _table()["positions"].get(model_type))
