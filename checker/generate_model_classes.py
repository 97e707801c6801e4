# A script beside the package, not in it.  # noqa: INP001
"""Write the tables that the checker reads: `model_classes.json` and `checkpoints.json` in `knowledge/data`.

Run it after an upgrade of transformers, or after an edit of the tables kept by hand:
`python checker/generate_model_classes.py`. The classes are read off the installed transformers; what cannot
be (classes that left it, classes with a `generate` of their own, position schemes) stands in
`curated_classes.toml`. What is known of published checkpoints stands in `checkpoints.toml`. Both lie beside
the output.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

DATA = Path(__file__).parent / "decoderonly_checker" / "knowledge" / "data"
CLASSES = DATA / "model_classes.json"
CHECKPOINTS = DATA / "checkpoints.json"
CHECKPOINTS_BY_HAND = DATA / "checkpoints.toml"
CURATED = DATA / "curated_classes.toml"

MAPPINGS = (
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "MODEL_FOR_VISION_2_SEQ_MAPPING_NAMES",  # until 4.57
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
)
GENERATING = re.compile(
    r"(ForCausalLM|LMHeadModel|DoubleHeadsModel|ForConditionalGeneration|EncoderDecoderModel|MTModel)$"
)
PREPARING = re.compile(r"(Tokenizer|TokenizerFast|Processor)$")
NOT_FOR_TEXT = re.compile(
    r"(Image|Video|Logits?|FeatureExtraction)Processor(Fast|Pil)?$|^(Auto|PreTrained|Base)"
)
ROTARY = re.compile(r"apply_rotary|RotaryEmbedding")


def candidate_names(transformers: Any) -> set[str]:
    """Names of all classes that may generate text."""
    from transformers.models.auto import modeling_auto

    names = {name for name in dir(transformers) if GENERATING.search(name)}
    for mapping in MAPPINGS:
        for entry in getattr(modeling_auto, mapping, {}).values():
            names.update([entry] if isinstance(entry, str) else entry)
    return {name for name in names if not name.startswith("Auto")}


def is_encoder_decoder(name: str, config: Any) -> bool:
    """Whether the class runs an encoder. A `*ForCausalLM` of such a configuration is the decoder alone."""
    return bool(config.is_encoder_decoder) and not name.endswith(("ForCausalLM", "LMHeadModel"))


def text_module_source(cls: Any, config: Any) -> str:
    """Source of the module with the language model of `cls`; a composite model keeps it in another one."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

    text = config.get_text_config(decoder=True)
    if text is not config:
        for mapping in (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES):
            name = mapping.get(text.model_type)
            inner = getattr(transformers, name, None) if isinstance(name, str) else None
            if inner is not None:
                return inspect.getsource(sys.modules[inner.__module__])
    return inspect.getsource(sys.modules[cls.__module__])


def home_of(name: str, cls: Any, types_by_package: dict[str, str], renamed: dict[str, str]) -> str | None:
    """The model type that a tokenizer or processor belongs to (`GPT2Tokenizer` -> `gpt2`).

    By its name first, because 5.x makes `BartTokenizer` another name of `RobertaTokenizer`.
    """
    match = re.match(r"transformers\.models\.(?:deprecated\.)?(\w+)\.", cls.__module__)
    by_name = PREPARING.sub("", name).lower()
    for package, model_type in types_by_package.items():
        if package.replace("_", "") == by_name:
            return renamed.get(package, model_type)
    if match is None:
        return None
    return renamed.get(match.group(1), types_by_package.get(match.group(1), match.group(1)))


def collect() -> dict[str, Any]:
    """Gather the table; what `model_classes.json` holds."""
    import transformers
    from transformers.generation import GenerationMixin
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES, model_type_to_module_name
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    transformers.logging.set_verbosity_error()
    curated = tomllib.loads(CURATED.read_text(encoding="utf-8"))
    no_text = set(curated["no_text_continuation"]["names"]) | set(curated["cross_attending_decoder"]["names"])
    undecided = set(curated["kind_by_checkpoint"]["names"])
    plain = set(curated["prompt_and_continuation"]["names"])

    decoders: dict[str, str] = {**curated["former"]["decoder_only"], **curated["remote"]["decoder_only"]}
    encoders: dict[str, str] = dict(curated["former"]["encoder_decoder"])
    for table in (decoders, encoders):
        table.pop("source", None)
    positions: dict[str, str] = {}
    for name in sorted(candidate_names(transformers)):
        found: Any = getattr(transformers, name, None)
        if not inspect.isclass(found) or not issubclass(found, GenerationMixin):
            continue
        if name in no_text | undecided:
            continue
        cls: Any = found
        try:
            config = cls.config_class()
        except Exception as error:  # a configuration without defaults says nothing of its kind
            sys.stderr.write(f"left out: {name}: {type(error).__name__}\n")
            continue
        if is_encoder_decoder(name, config):
            encoders[name] = config.model_type
            continue
        if cls.generate is not GenerationMixin.generate and name not in plain and "ForCausalLM" not in name:
            sys.stderr.write(f"left out: {name}: own `generate`; read it and add it to {CURATED.name}\n")
            continue
        decoders[name] = config.model_type
        if ROTARY.search(text_module_source(cls, config)) and not config.is_encoder_decoder:
            positions[config.model_type] = "rotary"
            positions.setdefault(config.get_text_config(decoder=True).model_type, "rotary")
    for scheme, entry in curated["positions"].items():
        positions.update(dict.fromkeys(entry["model_types"], scheme))

    types_by_package: dict[str, str] = {}
    for model_type in CONFIG_MAPPING_NAMES:
        package = model_type_to_module_name(model_type)
        if package not in types_by_package or model_type.replace("-", "_") == package:
            types_by_package[package] = model_type
    preparers: dict[str, dict[str, str]] = {"tokenizers": {}, "processors": {}}
    for name in sorted(dir(transformers)):
        if not PREPARING.search(name) or NOT_FOR_TEXT.search(name):
            continue
        cls = getattr(transformers, name, None)
        if not inspect.isclass(cls):
            continue
        home = home_of(name, cls, types_by_package, curated["tokenizer_family"])
        if home is not None:
            preparers["processors" if name.endswith("Processor") else "tokenizers"][name] = home

    preparers["tokenizers"].update(curated["former"]["tokenizers"])
    preparers["tokenizers"].pop("source")
    preparers["tokenizers"] = dict(sorted(preparers["tokenizers"].items()))

    kinds: dict[str, set[str]] = defaultdict(set)
    for kind, table in (("decoder-only", decoders), ("encoder-decoder", encoders)):
        for model_type in table.values():
            if kind == "decoder-only" and model_type in encoders.values():
                continue  # the bare decoder of an encoder-decoder family does not make the family one
            if kind == "decoder-only" and model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
                continue  # BERT has a causal head; its family is not one of generators
            kinds[model_type].add(kind)
    for name in undecided:
        kinds.pop(getattr(transformers, name).config_class.model_type, None)
    auto = {name: kind for name, kind in curated["auto"].items() if name != "source"}
    return {
        "transformers": transformers.__version__,
        "auto_classes": dict(sorted(auto.items())),
        "decoder_only": dict(sorted(decoders.items())),
        "encoder_decoder": dict(sorted(encoders.items())),
        "kind_by_checkpoint": sorted(undecided),
        "no_text_continuation": sorted(no_text),
        "model_types": {mt: next(iter(k)) for mt, k in sorted(kinds.items()) if len(k) == 1},
        "positions": dict(sorted(positions.items())),
        **preparers,
    }


def expand(pattern: str) -> list[str]:
    """Expand `{a,b}` alternatives as a shell does; they do not nest."""
    before, opened, rest = pattern.partition("{")
    if not opened:
        return [pattern]
    choices, _, after = rest.partition("}")
    return [before + choice + end for choice in choices.split(",") for end in expand(after)]


def collect_checkpoints() -> dict[str, Any]:
    """Gather what `checkpoints.json` holds: families in order, facts, and the names that lead to them.

    Raises:
        ValueError: A name stands twice, or an entry lacks its source.
    """
    raw = tomllib.loads(CHECKPOINTS_BY_HAND.read_text(encoding="utf-8"))
    families = raw["family"]
    facts: list[dict[str, Any]] = []
    names: dict[str, int] = {}
    for entry in [*families, *raw["checkpoint"]]:
        if not str(entry.get("source", "")).startswith("https://"):
            raise ValueError(f"{CHECKPOINTS_BY_HAND.name}: {entry['name']}: no source")
    for entry in raw["checkpoint"]:
        for name in (name for pattern in entry["names"] for name in expand(pattern)):
            if name in names:
                raise ValueError(f"{CHECKPOINTS_BY_HAND.name}: {name!r} stands twice")
            family: dict[str, Any] = next((f for f in families if re.search(f["match"], name)), {})
            kept = {key: value for key, value in family.items() if key != "match"}
            merged = {**kept, **{key: value for key, value in entry.items() if key != "names"}}
            if merged not in facts:  # one entry may span families
                facts.append(merged)
            names[name] = facts.index(merged)
    return {"families": families, "facts": facts, "names": names}


def main() -> None:
    """Write both tables."""
    for path, table in ((CLASSES, collect()), (CHECKPOINTS, collect_checkpoints())):
        path.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
