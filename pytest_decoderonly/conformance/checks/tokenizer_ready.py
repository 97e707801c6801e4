"""The tokenizer can make a batch for `generate`.

It has a padding token, pads on the left and masks what it pads; it truncates on the left; it puts BOS once; its chat
template renders a generation prompt; and answers are whole when the prompt is cut off as tokens.

Protects from: prompts that cannot be batched, a mask that does not match its padding, questions that truncation throws
away, a doubled BOS, a model that goes on as the user, and answers that lose their beginning.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.conformance.case import PROMPTS, TEXT, Case
from pytest_decoderonly.conformance.checks import Variant, variants
from pytest_decoderonly.conformance.found import Found, NotApplicable, failed
from pytest_decoderonly.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ORDER = 10
KIND = "tokenizer"
VARIANTS = variants(what=("padding", "truncation", "bos", "generation-prompt", "prompt-cut"))
_ANSWER = " The answer is forty-two, of course."
_CODE = re.compile(r"DLM\d+")


def run(case: Case, variant: Variant) -> Found:
    """Check one thing that a tokenizer must do."""
    if case.tokenizer is None:
        raise NotApplicable("the model comes without a tokenizer")
    problems = list(_PARTS[str(variant.parameters["what"])](case, case.tokenizer))
    if problems:
        codes = tuple(dict.fromkeys(_CODE.findall("\n".join(problems))))
        return failed(f"{case.name}: the tokenizer is not ready for padded generation", problems, codes=codes)
    return Found(_seen(str(variant.parameters["what"]), case.tokenizer))


def _seen(what: str, tokenizer: Any) -> str:
    if what == "padding":
        return f"pad token {tokenizer.pad_token!r} ({tokenizer.pad_token_id}), pads left with a mask"
    if what == "truncation":
        return 'truncation_side="left" keeps the end of a prompt'
    if what == "bos":
        first = tokenizer(PROMPTS[0])["input_ids"][:1] == [tokenizer.bos_token_id]
        return "BOS once" if first and tokenizer.bos_token_id is not None else "no BOS is added"
    if what == "generation-prompt":
        return "the chat template renders a generation prompt"
    return "answers are whole behind a prompt that is cut off as tokens"


def _padding(case: Case, tokenizer: Any) -> Iterator[str]:
    from pytest_decoderonly.assertions.padding import assert_left_padded
    from pytest_decoderonly.compare.embeddings import embedding_table

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
        return
    table = embedding_table(case.model)
    if table is not None and tokenizer.pad_token_id >= len(table):
        yield (
            f"DLM103  the padding id {tokenizer.pad_token_id} has no embedding: the model has {len(table)}; "
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
        yield f"DLM102  padding on the left raises {one_line(error)}"
    finally:
        tokenizer.padding_side = side


def _truncation(_case: Case, tokenizer: Any) -> Iterator[str]:
    side = tokenizer.truncation_side
    try:
        tokenizer.truncation_side = "left"
        whole = list(tokenizer(TEXT)["input_ids"])
        limit = max(4, len(whole) // 2)
        cut = list(tokenizer(TEXT, truncation=True, max_length=limit)["input_ids"])
    except Exception as error:
        yield f"DLM105  truncation on the left raises {one_line(error)}"
        return
    finally:
        tokenizer.truncation_side = side
    if len(cut) > limit:
        yield f"DLM105  max_length={limit} leaves {len(cut)} ids: nothing is truncated"
    elif cut[-3:] != whole[-3:]:
        yield (
            'DLM105  truncation_side="left" cuts the end off all the same: the question at the end of a long prompt '
            f"goes; the last ids are {cut[-3:]}, those of the prompt {whole[-3:]}"
        )


def _bos(_case: Case, tokenizer: Any) -> Iterator[str]:
    bos = tokenizer.bos_token_id
    plain = list(tokenizer(PROMPTS[0])["input_ids"])
    if bos is None:
        return
    if plain[:2] == [bos, bos]:
        yield f"DLM107  a plain text begins with BOS twice: {plain[:4]}"
    if not getattr(tokenizer, "chat_template", None):
        return
    try:
        chat = tokenizer.apply_chat_template(_chat(), tokenize=True, add_generation_prompt=True)
    except Exception:  # said by the item about the generation prompt
        return
    ids = list(getattr(chat, "input_ids", chat))
    if ids[:2] == [bos, bos]:
        yield f"DLM107  a rendered chat begins with BOS twice: {ids[:4]}"


def _generation_prompt(_case: Case, tokenizer: Any) -> Iterator[str]:
    if not getattr(tokenizer, "chat_template", None):
        raise NotApplicable("the tokenizer has no chat template")
    chat = _chat()
    try:
        bare = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=False)
        ready = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except Exception as error:
        yield f"DLM108  the chat template raises {one_line(error)}"
        return
    if PROMPTS[0] not in ready:
        yield f"DLM108  the chat template loses the user's message: {ready[:120]!r}"
    elif ready == bare:
        yield (
            "DLM108  the chat template renders no generation prompt: "
            "add_generation_prompt=True changes nothing, so the model may go on as the user"
        )


def _prompt_cut(_case: Case, tokenizer: Any) -> Iterator[str]:
    """A prompt and an answer, joined as ids as `generate` does: what is decoded behind the prompt is the answer."""
    answer = list(tokenizer(_ANSWER, add_special_tokens=False)["input_ids"])
    for prompt in PROMPTS:
        ids = list(tokenizer(prompt)["input_ids"])
        whole = tokenizer.decode([*ids, *answer], skip_special_tokens=True)
        cut = tokenizer.decode(answer, skip_special_tokens=True)
        if not whole.rstrip().endswith(cut.strip()) or not cut.strip():
            yield (
                f"DLM203  behind the prompt {prompt!r} the answer is decoded as {cut!r}, "
                f"in one piece with it as {whole[-len(_ANSWER) - 8 :]!r}"
            )


_PARTS: dict[str, Callable[[Case, Any], Iterator[str]]] = {
    "padding": _padding,
    "truncation": _truncation,
    "bos": _bos,
    "generation-prompt": _generation_prompt,
    "prompt-cut": _prompt_cut,
}


def _chat() -> list[dict[str, str]]:
    return [{"role": "user", "content": PROMPTS[0]}]
