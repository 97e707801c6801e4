"""The tokenizer can make a batch for `generate`.

It has a padding token, pads on the left, masks what it pads, and renders a generation prompt in chats.

Protects from: prompts that cannot be batched, a mask that does not match its padding, a padding id without an
embedding, and a chat template that ignores `add_generation_prompt`, so that the model answers as the user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_decoderonly.conformance.case import PROMPTS, Case, CheckFailed, NotApplicable

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER = 10


def run(case: Case) -> str:
    """Check padding token, left padding, mask and chat template."""
    tokenizer = case.tokenizer
    if tokenizer is None:
        raise NotApplicable("the model comes without a tokenizer")
    problems = list(_problems(case, tokenizer))
    if problems:
        raise CheckFailed(
            "\n".join([f"{case.name}: the tokenizer is not ready for padded generation", *problems])
        )
    template = "with" if getattr(tokenizer, "chat_template", None) else "without"
    return f"pad token {tokenizer.pad_token!r} ({tokenizer.pad_token_id}), {template} chat template"


def _problems(case: Case, tokenizer: Any) -> Iterator[str]:
    if tokenizer.pad_token_id is None:
        eos = (
            f" (tokenizer.pad_token = tokenizer.eos_token, here {tokenizer.eos_token!r}, will do)"
            if tokenizer.eos_token
            else ""
        )
        yield (
            "DLM103  it has no padding token, so prompts of different lengths cannot be "
            f"batched; set one{eos}"
        )
    else:
        yield from _padding(case, tokenizer)
    if getattr(tokenizer, "chat_template", None):
        yield from _template(tokenizer)


def _padding(case: Case, tokenizer: Any) -> Iterator[str]:
    from pytest_decoderonly.assertions.padding import assert_left_padded

    embeddings = _embeddings(case.model)
    if embeddings is not None and tokenizer.pad_token_id >= embeddings:
        yield (
            f"DLM103  the padding id {tokenizer.pad_token_id} has no embedding: the model has {embeddings}; "
            "call model.resize_token_embeddings(len(tokenizer))"
        )
    side = tokenizer.padding_side
    try:
        tokenizer.padding_side = "left"
        batch = tokenizer(list(PROMPTS), padding=True)
        if "attention_mask" not in batch:
            yield "DLM101  a padded batch comes without attention_mask; add it to tokenizer.model_input_names"
        assert_left_padded(batch, tokenizer=tokenizer)
    except AssertionError as error:
        yield f"DLM102  padding on the left does not work: {error}"
    except Exception as error:
        yield (
            f"DLM102  padding on the left raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        )
    finally:
        tokenizer.padding_side = side


def _template(tokenizer: Any) -> Iterator[str]:
    chat = [{"role": "user", "content": PROMPTS[0]}]
    try:
        bare = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=False)
        ready = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        yield f"DLM108  the chat template raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return
    if PROMPTS[0] not in ready:
        yield f"DLM108  the chat template loses the user's message: {ready[:120]!r}"
    elif ready == bare:
        yield (
            "DLM108  the chat template renders no generation prompt: "
            "add_generation_prompt=True changes nothing, so the model may go on as the user"
        )


def _embeddings(model: Any) -> int | None:
    try:
        return int(model.get_input_embeddings().weight.shape[0])
    except Exception:
        return None
