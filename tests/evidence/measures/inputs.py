"""What goes into the model: DLM101 to DLM110."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from bench import drive, evidence
from checkpoints import LIKE_GPT2, LIKE_LLAMA, SMOLLM2_REAL, TINY_GPT2
from transformers import AutoModelForCausalLM

from measures.common import alone, next_token, shown
from pytest_decoderonly import record_generate

if TYPE_CHECKING:
    from bench import Program, Programs


def _batch_against_single(programs: Programs) -> tuple[str, str]:
    """The longer prompt needs no padding; what the shorter one is answered tells whether padding was harmless."""
    bad, good = programs.bad, programs.good
    reference = [alone(good["model"], good["tokenizer"], prompt) for prompt in good["prompts"]]
    assert good["answers"] == reference
    assert bad["answers"][0] != reference[0]
    assert bad["answers"][1] == reference[1]
    padding = int((bad["encoding"]["attention_mask"][0] == 0).sum())
    assert padding
    prompt = bad["prompts"][0]
    return (
        (
            f"{shown(prompt)} with {padding} padding tokens is continued with {shown(bad['answers'][0])}, "
            f"alone with {shown(reference[0])}"
        ),
        "both prompts of the batch are continued with the tokens that they get alone",
    )


evidence("DLM101", gpt2=LIKE_GPT2)(_batch_against_single)
evidence("DLM102", gpt2=LIKE_GPT2)(_batch_against_single)


@drive("DLM103")
def _run(_: Program) -> None:
    """Do nothing: the program has run by then."""


@evidence("DLM103", gpt2=LIKE_GPT2)
def missing_pad_token(programs: Programs) -> tuple[str, str]:
    said = None
    try:
        _ = programs.bad
    except ValueError as error:
        said = str(error).partition(".")[0]
    assert said == "Asking to pad but the tokenizer does not have a padding token"
    good = programs.good
    assert good["answers"] == [alone(good["model"], good["tokenizer"], prompt) for prompt in good["prompts"]]
    return f"`ValueError: {said}`", "the batch is padded, and both prompts get the tokens that they get alone"


@drive("DLM104")
def _read_conversations(program: Program) -> None:
    conversation = "Is it raining?<|im_end|>No.<|im_end|>"
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    model(**program.call("collate", [conversation, "Hi." + conversation]))


@evidence("DLM104", gpt2=LIKE_GPT2)
def mask_by_comparison(programs: Programs) -> tuple[str, str]:
    conversation = "Is it raining?<|im_end|>No.<|im_end|>"
    texts = [conversation, conversation + "And tomorrow, what will it be?<|im_end|>"]
    counts = []
    for program in (programs.bad, programs.good):
        batch = program.call("collate", texts)
        eos = program["tokenizer"].eos_token_id
        own = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        for row, text in enumerate(texts):
            own[row, : len(program["tokenizer"](text)["input_ids"])] = True
        ends = own & (batch["input_ids"] == eos)
        assert int(ends.sum()) == 5
        assert not bool(batch["attention_mask"][~own].any())
        counts.append(int((batch["attention_mask"][ends] == 0).sum()))
    assert counts == [5, 0]
    return (
        "all 5 end-of-turn tokens of two conversations get the mask 0, as if they were padding",
        "the 5 end-of-turn tokens get the mask 1, and padding alone gets 0",
    )


@evidence("DLM105", gpt2=LIKE_GPT2)
def right_truncated_prompt(programs: Programs) -> tuple[str, str]:
    document = "The shop sells bread, milk and fruit, and it is open on every day but Sunday. " * 40
    question = "When is the shop closed?"
    seen, answers = [], []
    for program in (programs.bad, programs.good):
        with record_generate() as recorder:
            answers.append(program.call("answer", document, question))
        assert recorder.call.prompt_width == 512
        seen.append(question in program["tokenizer"].decode(recorder.call.input_ids[0]))
    assert seen == [False, True]
    assert "Sunday" not in answers[0]
    assert "Sunday" in answers[1]
    return (
        (
            f"of a document with {shown(question)} behind it, the model gets 512 tokens without the question, "
            f"and writes {shown(answers[0])}"
        ),
        f"the 512 tokens end with the question, and the model writes {shown(answers[1])}",
    )


LONG_QUESTION = (
    "Anna is the manager of the office, Peter is the driver, and Maria is the accountant. All three have worked "
    "together for ten years, and they know each other well. In the morning, when the office opens, the first "
    "thing that Anna does is"
)


@evidence("DLM106", gpt2=LIKE_GPT2)
def max_length_counts_prompt(programs: Programs) -> tuple[str, str]:
    question, answers, new = LONG_QUESTION, [], []
    for program in (programs.bad, programs.good):
        with record_generate() as recorder:
            answers.append(program.call("answer", question))
        width = recorder.call.prompt_width
        new.append(recorder.call.new_tokens.shape[1])
    assert 0 < new[0] == 64 - width
    assert answers[1].startswith(answers[0])
    assert len(answers[1]) > len(answers[0])
    return (
        f"after a prompt of {width} tokens, {new[0]} of the 64 are left: {shown(answers[0])}",
        f"the same prompt is answered in full: {shown(answers[1], 100)}",
    )


@evidence("DLM107", metallamaLlama318BInstruct=LIKE_LLAMA)
def doubled_special_tokens(programs: Programs) -> tuple[str, str]:
    question = "Hi."
    starts, answers = [], []
    for program in (programs.bad, programs.good):
        with record_generate() as recorder:
            answers.append(program.call("answer", question))
        ids, bos = recorder.call.input_ids[0].tolist(), program["tokenizer"].bos_token_id
        starts.append([i == bos for i in ids].index(False))
        assert bos not in ids[starts[-1] :]
    assert starts == [2, 1]
    assert answers[0] != answers[1]
    return (
        f"the prompt begins with two BOS tokens, and {shown(question)} is answered {shown(answers[0])}",
        f"one BOS token, and the answer is {shown(answers[1])}",
    )


@evidence("DLM108", QwenQwen2505BInstruct=SMOLLM2_REAL)
def missing_generation_prompt(programs: Programs) -> tuple[str, str]:
    question = "Name three primary colours."
    bad, good = programs.bad.call("answer", question), programs.good.call("answer", question)
    assert bad.startswith("assistant\n")
    assert not good.startswith("assistant")
    assert "colours" in good
    return (
        f"{shown(question)} is answered {shown(bad)}: the model writes the turn's header first",
        f"the answer is {shown(good)}",
    )


def _next_tokens(program: Program) -> list[bool]:
    """Does each row get the most probable next token that its prompt gets alone?"""
    reference = [next_token(program["model"], program["tokenizer"], prompt) for prompt in program["prompts"]]
    return [a == b for a, b in zip(program["following"].tolist(), reference, strict=True)]


@evidence("DLM109", gpt2=TINY_GPT2)
def forward_without_position_ids(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad, programs.good
    assert _next_tokens(bad) == [False, True]
    assert _next_tokens(good) == [True, True]
    padding = int((bad["encoding"]["attention_mask"][0] == 0).sum())
    return (
        f"{padding} padding tokens on the left change the most probable next token of {shown(bad['prompts'][0])}",
        "both rows get the most probable next token that their prompt gets alone",
    )


@evidence("DLM110", gpt2=LIKE_GPT2)
def forward_without_attention_mask(programs: Programs) -> tuple[str, str]:
    bad, good = programs.bad, programs.good
    assert _next_tokens(bad) == [False, True]
    assert _next_tokens(good) == [True, True]
    words = [program["tokenizer"].decode(program["following"][:1]) for program in (bad, good)]
    return (
        f"the most probable next token of {shown(bad['prompts'][0])} is {shown(words[0])} in the batch",
        f"it is {shown(words[1])}, as without padding",
    )
