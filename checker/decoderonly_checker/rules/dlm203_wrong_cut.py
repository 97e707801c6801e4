"""DLM203."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.prompts import cut_at_width
from decoderonly_checker.flow.choices import text_of
from decoderonly_checker.flow.state import DictRec, ListRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Const,
    Encoding,
    Generated,
    Hole,
    Ids,
    Length,
    Ref,
    Str,
    Tri,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.immutable import immutable
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import decoder_only, encodings, model_story, weakest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, GenerateCall, IdsCut
    from decoderonly_checker.flow.values import Site

_TOKENS = late_pattern(r"ids|token|inputs?$|encod", re.IGNORECASE)
_NEW_TOKENS = late_pattern(r"new_?tok", re.IGNORECASE)


@immutable
class Reason:
    """Why a cut is wrong."""

    label: str
    effect: str
    confidence: Confidence = Confidence.CERTAIN
    severity: Severity = Severity.ERROR
    related: tuple[tuple[Site, str], ...] = ()


class WrongCut(Rule):
    """Reports ids from a decoder-only `generate` that are cut at something else than the width of the prompt.

    ## Why is this bad?

    `generate` puts the continuation behind the prompt *as it was given*, padding included: column `input_ids.shape[1]` in
    every row. A row's own number of tokens is less than that in a left-padded batch, so that the end of its prompt stays in the
    answer; a number of characters or of rows has nothing to do with it; and the last `max_new_tokens` ids
    reach back into the prompt as soon as the model stops early.

    ## What it does not report

    - `input_ids.shape[1]`, `len(input_ids[0])`, and zip over padded rows.
    - A constant, which may be the width that everything is padded to.
    - A row's own length where there is one row, or where padding is on the right (then only padding stays).
    - The tail of a generation with `min_new_tokens`, or of one single token.

    ## Fix safety

    Safe: the wrong bound becomes the width of the prompt's ids.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "transformers, text generation: outputs are cut at the width of the ids",
            "https://huggingface.co/docs/transformers/llm_tutorial",
        ),
        Reference(
            "lm-evaluation-harness: context and left padding are cut off together",
            "https://github.com/EleutherAI/lm-evaluation-harness/blob/4e7e0d47f33bc71070c1d38394bafbb52b117163/lm_eval/models/huggingface.py#L1681",
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    lengths = encoding["attention_mask"].sum(dim=1)
    answers = [tokenizer.decode(row[n:]) for row, n in zip(output, lengths)]
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2", padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained("gpt2")
    prompts = ["The capital of France is", "The three primary colours are red, yellow and"]
    encoding = tokenizer(prompts, padding=True, return_tensors="pt")
    output = model.generate(**encoding, max_new_tokens=8)
    width = encoding["input_ids"].shape[1]
    answers = [tokenizer.decode(row[width:]) for row in output]
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every cut of generated ids."""
        for cut in facts.ids_cuts:
            finding = self.judge(cut, facts)
            if finding is not None:
                yield finding

    def judge(self, cut: IdsCut, facts: Facts) -> Finding | None:
        """Judge one cut: wrong only where all that the bound may be is wrong."""
        call = cut.generated.call
        sure = decoder_only(call)
        if sure is None:
            return None
        reasons = [self.reason(bound, call, facts) for bound in alternatives(cut.by)]
        first = reasons[0] if reasons else None
        if first is None or any(reason is None for reason in reasons):
            return None
        return Finding(
            cut.site,
            "generated ids are not cut at the width of the prompt",
            first.effect,
            "cut at the width of what `generate` was given: `output[:, input_ids.shape[1]:]`",
            weakest(sure, *(reason.confidence for reason in reasons if reason is not None)),
            first.severity,
            first.label,
            (
                *model_story(call.model),
                (call.site, "returns the prompt, padding and all, followed by the continuation"),
                *first.related,
            ),
            cut_at_width(cut),
        )

    def reason(self, bound: Value, call: GenerateCall, facts: Facts) -> Reason | None:
        """Return why a cut at `bound` is wrong, None where it is not or nobody knows."""
        if isinstance(bound, Const):
            number = literal(bound)
            return self.tail(-number, bound, call) if isinstance(number, int) and number < 0 else None
        if not isinstance(bound, Length):
            return None
        of = bound.of
        if isinstance(of, Generated) and of.call is call and bound.what == "width" and bound.offset < 0:
            return self.tail(-bound.offset, bound, call)
        if bound.what == "-count":
            return self.tail(None, of, call)
        own = list(encodings(call.ids)) or ([call.encoding] if call.encoding is not None else [])
        if not own and not any(isinstance(v, Generated) for v in alternatives(call.ids)):
            return None
        if bound.what == "chars":
            return self.characters(of, own)
        if bound.what in {"rows", "entries"}:
            return self.rows(bound, facts)
        if not isinstance(of, Ids) or of.encoding is None or not own:
            return None
        if bound.what == "real":
            return self.own_row(own)
        return self.other_width(of.encoding, own, call, facts) if bound.what == "width" else None

    @staticmethod
    def tail(count: int | None, bound: Value, call: GenerateCall) -> Reason | None:
        """Judge the last so many ids."""
        if setting(call, "min_new_tokens", "min_length") is not None:
            return None
        wanted = setting(call, "max_new_tokens")
        if count is not None:
            same = count > 1 and any(count == literal(one) for one in alternatives(wanted))
        else:
            hint = getattr(bound, "hint", "")
            same = bool(hint) and (bound == wanted or _NEW_TOKENS.search(hint) is not None)
        if not same:
            return None
        return Reason(
            "a fixed number of ids from the end",
            "where the model stops early there are fewer new ids than that, and the end of the prompt is taken for the answer",
            Confidence.LIKELY,
            Severity.WARNING,
        )

    @staticmethod
    def characters(of: Value, own: list[Encoding]) -> Reason | None:
        """Judge the length of a text."""
        if isinstance(of, Unknown):
            # `len(prompt)` of something that is not known to be a text, but was tokenized as one.
            same = of.hint and not _TOKENS.search(of.hint) and any(of == e.text for e in own)
            sure = Confidence.LIKELY
        else:
            same = isinstance(of, Str) or isinstance(literal(of), str)
            sure = Confidence.CERTAIN
        if not same:
            return None
        return Reason(
            "counts characters, not tokens",
            "a prompt has more characters than tokens, so the beginning of the answer, or all of it, is cut off",
            sure,
        )

    @staticmethod
    def rows(bound: Length, facts: Facts) -> Reason | None:
        """Judge the number of rows, or of a dict's entries."""
        of = bound.of
        if isinstance(of, Ref):
            record = facts.objects.get(of.id)
            items = record.items if isinstance(record, ListRec) else None
            if not items or not all(isinstance(i, Str) or isinstance(literal(i), str) for i in items):
                return None
        elif not isinstance(of, Ids) or of.encoding is None or of.encoding.site is None:
            return None
        what = "entries of the encoding" if bound.what == "entries" else "prompts"
        return Reason(
            f"counts {what}, not tokens",
            f"the number of {what} has nothing to do with the prompt's length: nearly all of the prompt stays",
        )

    @staticmethod
    def own_row(own: list[Encoding]) -> Reason | None:
        """Judge a row's own number of tokens, which is its column only where nothing is padded in front."""
        for encoding in own:
            side = {literal(v) for v in alternatives(encoding.padding_side)}
            if encoding.padded is Tri.NO or encoding.batched is Tri.NO or side == {"right"}:
                return None
        known = all(
            {literal(v) for v in alternatives(e.padding_side)} == {"left"} and e.padded is Tri.YES
            for e in own
        )
        several = all(e.batched is Tri.YES for e in own)
        return Reason(
            "a row's own number of tokens",
            "in a left-padded batch the shorter rows are cut too early: the end of their prompt stays in the answer",
            Confidence.CERTAIN if known and several else Confidence.LIKELY if known else Confidence.POSSIBLE,
            related=tuple((e.site, "rows are padded on the left here") for e in own if known),
        )

    def other_width(
        self, other: Encoding, own: list[Encoding], call: GenerateCall, facts: Facts
    ) -> Reason | None:
        """Judge the width of other ids than those that were given to `generate`."""
        if any(e.site.key == other.site.key or e.text == other.text for e in own):
            return None
        mine = own[0]
        if other.batched is not Tri.YES and mine.batched is not Tri.NO:
            return self.own_row(own) if self.is_row_of(other.text, mine.text, facts) else None
        if other.batched is not Tri.YES and mine.batched is Tri.NO and len(own) == 1:
            if not is_part(other.text, mine.text, facts):
                return None
            return Reason(
                "the length of a part of the prompt",
                "the prompt was longer than that, so its end stays in the answer",
                Confidence.LIKELY,
                related=(
                    (other.site, "this text is measured"),
                    (mine.site, "this one was given to `generate`"),
                ),
            )
        generated = any(
            e.site.key == other.site.key
            for one in facts.generate_calls
            if one is not call and one.site.key != call.site.key
            for e in ([one.encoding] if one.encoding is not None else encodings(one.ids))
        )
        if not generated or not known_text(other.text) or not known_text(mine.text) or len(own) > 1:
            return None
        return Reason(
            "the width of another batch",
            "each batch is padded to a width of its own: too much or too little is cut off",
            Confidence.LIKELY,
            related=((other.site, "this batch is measured"), (mine.site, "this one was given to `generate`")),
        )

    @staticmethod
    def is_row_of(text: Value, batch: Value, facts: Facts) -> bool:
        """Whether a text is one of those that were tokenized together."""
        if isinstance(text, Unknown):
            hint = getattr(batch, "hint", "")
            return bool(text.hint) and isinstance(batch, Unknown) and hint.removesuffix("s") == text.hint
        record = facts.objects.get(batch.id) if isinstance(batch, Ref) else None
        return isinstance(record, ListRec) and text in (record.element, *(record.items or ()))


def setting(call: GenerateCall, *names: str) -> Value | None:
    """Return a generation setting in force at a call: an argument, or a field of a configuration."""
    given = call.args.get(None, *names)
    return given if given is not None else next((call.settings[n] for n in names if n in call.settings), None)


def known_text(text: Value) -> bool:
    """Whether enough is known of a text to tell it from another."""
    return text != UNKNOWN and not (isinstance(text, Unknown) and not text.hint)


def is_part(text: Value, whole: Value, facts: Facts) -> bool:
    """Whether `text` is a part of `whole`, and there is more to it."""
    if not known_text(text) or text == whole:
        return False
    mine: set[Any] = set(text_of(text)) if isinstance(text, Str) else {text}
    mine |= {part.value for part in mine if isinstance(part, Hole)}
    mine -= {part for part in mine if isinstance(part, str) and len(part.strip()) < 12}
    mine.discard(UNKNOWN)
    if isinstance(text, Str) and not all(isinstance(p, str) or known_text(p.value) for p in text.parts):
        return False
    found, more = contents(whole, facts, 0)
    return more and bool(mine) and all(p in found for p in mine if not isinstance(p, Hole))


def contents(value: Value, facts: Facts, depth: int) -> tuple[set[Any], bool]:
    """Return what a prompt is made of, and whether literal text or a template adds to it."""
    if depth > 6:
        return set(), False
    if isinstance(value, Str):
        found: set[Any] = set()
        more = False
        for part in value.parts:
            if isinstance(part, str):
                found.add(part)
                more = more or bool(part.strip())
                continue
            inner, extra = contents(part.value, facts, depth + 1)
            found |= inner
            more = more or extra or part.name == "template"
        return found, more
    record = facts.objects.get(value.id) if isinstance(value, Ref) else None
    inside = (
        [*record.entries.values()]
        if isinstance(record, DictRec)
        else [record.element, *(record.items or ())]
        if isinstance(record, ListRec)
        else []
    )
    found, more = {value}, False
    for one in inside:
        inner, extra = contents(one, facts, depth + 1)
        found |= inner
        more = more or extra
    return found, more
