"""DLM102."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.flow.values import Const, Tokenizer, Tri, Unknown, alternatives
from decoderonly_checker.rules.base import Finding, Rule
from decoderonly_checker.rules.evidence import decoder_only, encodings, model_story, tokenizer_story, weakest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, GenerateCall
    from decoderonly_checker.flow.values import Encoding, Site


class RightPaddedGeneration(Rule):
    """Reports a padded batch of prompts that goes to a decoder-only `generate` while padding is on the right.

    ## Why is this bad?

    A decoder-only model continues the last position of every row. With padding on the right that position is padding: the
    shorter prompts are continued after a gap, and often answered with an empty line. The attention mask does not cure it.

    ## What it does not report

    - One prompt (a list of one literal text is one prompt); padding that is not asked for.
    - `padding_side="left"` at the tokenizer, at the call, or at `pad()`; checkpoints whose tokenizer pads left by default.
    - Left padding built by hand; a tokenizer that comes from outside the analysed code.
    """

    severity = Severity.ERROR
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    answers = tokenizer.batch_decode(output[:, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    answers = tokenizer.batch_decode(output[:, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge the encodings of every `generate` call."""
        for call in facts.generate_calls:
            sure = decoder_only(call)
            if sure is None:
                continue
            found = list(encodings(call.ids)) or ([call.encoding] if call.encoding is not None else [])
            for encoding in found:
                finding = self.judge(call, encoding, sure)
                if finding is not None:
                    yield finding
                    break

    def judge(self, call: GenerateCall, encoding: Encoding, sure: Confidence) -> Finding | None:
        """Judge one encoding that reaches a `generate` call."""
        if encoding.batched is not Tri.YES or encoding.padded is not Tri.YES or encoding.by_hand:
            return None
        made = [t for t in alternatives(encoding.tokenizer) if isinstance(t, Tokenizer)]
        if not made:
            return None
        side_site: Site | None = None
        if encoding.padding_side is None:
            if any(t.outside or t.named for t in made):
                return None
            # Never set, and the checkpoint is not in the table: most tokenizers pad right.
            confidence, said = Confidence.LIKELY, '`padding_side` is never set to "left"'
        else:
            sides = alternatives(encoding.padding_side)
            values = {s.value if isinstance(s, Const) else None for s in sides}
            if values != {"right"}:
                return None
            if any(isinstance(s, Unknown) for s in sides):
                return None
            side = sides[0]
            if isinstance(side, Const) and side.default and side.origin == made[0].origin:
                confidence, said = (
                    Confidence.CERTAIN,
                    "this checkpoint's tokenizer pads right, and `padding_side` is never set",
                )
            else:
                confidence = (
                    Confidence.LIKELY if isinstance(side, Const) and side.default else Confidence.CERTAIN
                )
                said, side_site = '`padding_side` is "right" here', side.origin
        chain = [*model_story(call.model), *tokenizer_story(encoding)]
        if side_site is not None:
            chain.append((side_site, said))
        else:
            chain = [
                (site, f"{text}; {said}" if text.startswith("tokenizer made") else text)
                for site, text in chain
            ]
        chain.append((encoding.site, "several prompts; rows get padded here"))
        return Finding(
            call.site,
            "a batch that is padded on the right goes to `generate`",
            "shorter prompts are continued from padding, not from their last word; their text differs from a run on their own",
            'set `padding_side="left"` where the tokenizer is made',
            weakest(sure, confidence),
            Severity.ERROR,
            "continues after the padding of the shorter rows",
            tuple(chain),
        )
