"""What findings say of the result, where that depends on more than the rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from decoderonly_checker.config import Settings
from decoderonly_checker.runner import check_paths

_ANSWER = """
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
tokenizer.pad_token = {pad}
model = AutoModelForCausalLM.from_pretrained("gpt2")

def answer(prompts: list[str]):
    batch = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(batch["input_ids"], {told}max_new_tokens=8)
    return tokenizer.batch_decode(output[:, batch["input_ids"].shape[1]:])
"""


@pytest.mark.parametrize(
    ("pad", "told", "guesses"),
    [
        ('"<pad>"', "pad_token_id=tokenizer.pad_token_id, ", True),
        ("tokenizer.unk_token", "pad_token_id=tokenizer.pad_token_id, ", True),
        ("tokenizer.eos_token", "pad_token_id=tokenizer.pad_token_id, ", False),
        ('"<|endoftext|>"', "pad_token_id=tokenizer.pad_token_id, ", False),
        ('"<pad>"', "pad_token_id=tokenizer.eos_token_id, ", False),
        ('"<pad>"', "", False),
    ],
)
def test_a_missing_mask_is_guessed_only_from_a_pad_id_of_its_own(
    pad: str, told: str, guesses: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`_prepare_attention_mask_for_generation` compares with the pad id where that is no end token."""
    monkeypatch.chdir(tmp_path)
    Path("main.py").write_text(_ANSWER.format(pad=pad, told=told), encoding="utf-8")
    (finding,) = check_paths([tmp_path], Settings()).diagnostics
    assert finding.code == "DLM101"
    assert ("guesses a mask" in finding.effect) is guesses
