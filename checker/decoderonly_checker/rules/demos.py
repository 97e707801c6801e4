"""Demonstrations that a base model continues a text: there the prompt is a part of what is to be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from decoderonly_checker.flow.values import Const, alternatives, literal
from decoderonly_checker.knowledge.checkpoints import is_published, lookup
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.prompts import texts, tokenizers

if TYPE_CHECKING:
    from decoderonly_checker.flow.facts import Decode
    from decoderonly_checker.flow.values import Value

# What the name of a checkpoint that was taught to answer, or tuned for a task, says of it.
_TAUGHT = late_pattern(
    r"chat|instruct|inst\b|[-_]it(?:[-_]|$)|sft|dpo|ppo|orpo|rlhf|align|assist|dialo|thinking|reason|distill|r1\b|"
    r"tuned|tune|[-_]ft|lora|adapter|task|[-_]qa\b|sql|summar|translat|guard|math|alpaca|vicuna|zephyr|koala|guanaco|dolly|"
    r"hermes|wizard|orca|tulu|oasst|openchat|starling|bloomz|iml|mt0|chatglm|gpt-oss|qwq|yi-34b-200k|beaver|"
    r"phi-?(?:3|3\.5|4)|qwen3(?!.*base)|glm-?4\.|minicpm|storywriter",
    re.IGNORECASE,
)
# What a prompt that wants an answer holds: a question, an instruction, the turns of a chat, a slot to be filled in.
_ASKS = late_pattern(
    r"\?|###|<[\w|-]+>|\[/?INST|<<SYS|</?s>|<start_of_turn>|\b(?:instruction|question|answer|response|user|human|assistant|system|input|"
    r"output|context|label|sentiment|summary|translation|category|tl;dr)s?\s*:|\b[QA]:|"
    r"^\W*(?:please|write|explain|tell|give|list|describe|translate|summari[sz]e|what|who|whom|whose|why|how|when|where|"
    r"which|hello|hi|hey|dear|create|generate|classify|correct|rewrite|name|find|compute|calculate|solve|answer|imagine|you are|"
    r"can you|could you|is|are|do|does|did|should|let's|help|show|make|convert|suggest|design|compare|provide|given)\b",
    re.IGNORECASE,
)

_FEWEST_WORDS = 3  # of the beginning of a text


def continues_a_text(decode: Decode) -> bool:
    """Whether a base model, known by its name, continues a literal text that asks for no answer."""
    call = decode.generated.call
    if call.encoding is None or call.encoding.template or call.encoding.turns is not None:
        return False
    named = [call.model.checkpoint, *(t.checkpoint for t in tokenizers(call.encoding.tokenizer))]
    # A model that is not named itself is told by its tokenizer's name.
    if not any(is_base(name) for name in named) or any(is_taught(name) for name in named):
        return False
    prompts = [text for text in texts(call.encoding) if text]
    return bool(prompts) and all(
        len(parts) == 1
        and isinstance(parts[0], str)
        and len(parts[0].split()) >= _FEWEST_WORDS
        and not _ASKS.search(parts[0])
        for parts in prompts
    )


def is_base(checkpoint: Value) -> bool:
    """Whether a checkpoint is surely a decoder-only one that was trained on raw text alone, as far as its name tells."""
    names = [literal(one) for one in alternatives(checkpoint)]
    return all(
        isinstance(name, str)
        and is_published(name)
        and (known := lookup(name)) is not None
        and known.kind == "decoder-only"
        and not _TAUGHT.search(name)
        for name in names
    ) and bool(names)


def is_taught(checkpoint: Value) -> bool:
    """Whether a checkpoint's name says that it was taught to answer."""
    return any(
        isinstance(one, Const) and isinstance(one.value, str) and _TAUGHT.search(one.value) is not None
        for one in alternatives(checkpoint)
    )
