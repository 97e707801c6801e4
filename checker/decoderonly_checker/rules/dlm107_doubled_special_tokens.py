"""DLM107."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.proposals import add_argument
from decoderonly_checker.flow.state import ObjRec
from decoderonly_checker.flow.values import Const, Hole, Rendered, Unknown, Value, alternatives, literal
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import model_story, tokenizer_story, weakest
from decoderonly_checker.rules.prompts import (
    checkpoints,
    overridable,
    pipeline_settings,
    pipeline_texts,
    pipeline_tokenizer,
    prompts,
    standing_in,
    texts,
    tokenizers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.values import Encoding, Site
    from decoderonly_checker.rules.evidence import Chain

# BOS tokens whose tokenizers add them to plain text; `<s>` is also written by many that do not.
_OWN_BOS = late_pattern(r"\s*(<\|begin_of_text\|>|<bos>|<[|｜]begin▁of▁sentence[|｜]>|<s>(?=\s*\[INST\]))")  # noqa: RUF001
_ANY_BOS = late_pattern(r"\s*(<s>)")


class DoubledSpecialTokens(Rule):
    """Reports a prompt that already holds its BOS token and is tokenized with special tokens added once more.

    ## Why is this bad?

    `apply_chat_template(tokenize=False)` writes the BOS token into the text, and the tokenizer then puts another in
    front. The model never saw two in training: answers get worse without an error.

    ## What it does not report

    - `add_special_tokens=False` at the call, `add_bos_token=False` at the tokenizer.
    - Checkpoints whose tokenizer adds none (Qwen, SmolLM2) or whose template writes none.
    - A text whose BOS was taken off, `text.removeprefix(tokenizer.bos_token)`; `apply_chat_template(tokenize=True)`.
    - Texts that do not reach `generate`.
    - A BOS written by hand into the text of a pipeline (`possible`): pipelines add special tokens since transformers 4.43.

    ## Fix safety

    Safe: `add_special_tokens=False` where the text holds these tokens already.
    """

    severity = Severity.WARNING
    references = (
        Reference(
            "DeepSeek-R1 #151: two BOS tokens after `apply_chat_template` and the tokenizer",
            "https://github.com/deepseek-ai/DeepSeek-R1/issues/151",
        ),
        Reference(
            "OpenRLHF #393: the same in training data", "https://github.com/OpenRLHF/OpenRLHF/issues/393"
        ),
    )
    bad = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = "meta-llama/Llama-3.1-8B-Instruct"
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(name)

    def answer(question):
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        encoding = tokenizer(prompt, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """
    good = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name = "meta-llama/Llama-3.1-8B-Instruct"
    tokenizer = AutoTokenizer.from_pretrained(name)
    model = AutoModelForCausalLM.from_pretrained(name)

    def answer(question):
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        encoding = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        output = model.generate(**encoding, max_new_tokens=8)
        return tokenizer.decode(output[0, encoding["input_ids"].shape[1]:], skip_special_tokens=True)
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every text that is tokenized for a `generate`, by the program or by a pipeline."""
        for prompt in prompts(facts):
            encoding = prompt.encoding
            if encoding.template or not self.adds(facts, encoding.tokenizer, encoding.special_tokens):
                continue
            sure = prompt.sure
            if not (encoding.special_tokens is None or isinstance(encoding.special_tokens, Const)):
                sure = Confidence.POSSIBLE
            chain = [*model_story(prompt.call.model), *tokenizer_story(encoding)]
            chain.append((prompt.call.site, "the prompt is continued here"))
            site = encoding.made or encoding.site
            tokenizer = encoding.tokenizer
            if all(known is None or known.adds_bos is None for known in checkpoints(tokenizer)):
                # A tokenizer of a folder or an option: in most programs it is that of the model.
                tokenizer, sure = standing_in(tokenizer, prompt.call.model), weakest(sure, Confidence.LIKELY)
            yield from self.judge(site, texts(encoding), tokenizer, sure, chain)
        for call in facts.pipeline_calls:
            given = call.args.get(None, "add_special_tokens") or pipeline_settings(facts, call).get(
                "add_special_tokens"
            )
            tokenizer = pipeline_tokenizer(facts, call)
            if call.chat or not self.adds(facts, tokenizer, given):
                continue
            origin = call.pipeline.origin
            chain = [] if origin is None else [(origin, "text-generation pipeline made here")]
            chain.append((call.site, "since transformers 4.43 pipelines add special tokens to texts"))
            rows = list(pipeline_texts(facts, call))
            # A text with a BOS written by hand may date from before: there it was right.
            by_hand = any(parts and isinstance(parts[0], str) for parts in rows)
            sure = Confidence.POSSIBLE if by_hand or call.args.open is not None else Confidence.LIKELY
            yield from self.judge(call.site, rows, tokenizer, sure, chain)

    @staticmethod
    def adds(facts: Facts, tokenizer: Value, given: Value | None) -> bool:
        """Whether nothing says that special tokens are left out."""
        if any(literal(one) is False for one in alternatives(given)):
            return False
        for one in tokenizers(tokenizer):
            record = facts.objects.get(one.id)
            attrs = record.attrs if isinstance(record, ObjRec) else {}
            if any(literal(v) is False for v in alternatives(attrs.get("add_bos_token"))):
                return False
        return True

    def judge(
        self,
        site: Site,
        rows: Iterable[tuple[str | Hole, ...]],
        tokenizer: Value,
        sure: Confidence,
        chain: Chain,
    ) -> Iterator[Finding]:
        """Judge the texts of one tokenizer call; one finding for the surest of them."""
        best: tuple[Confidence, str, Site | None] | None = None
        for parts in rows:
            found = self.front(parts[0] if parts else "", tokenizer)
            if found is not None and (best is None or found[0].rank > best[0].rank):
                best = found
        if best is None:
            return
        certainty, source, origin = best
        if overridable(tokenizer):
            certainty = weakest(certainty, Confidence.LIKELY)
        story: Chain = []
        if origin is not None and origin.key != site.key:
            story.append((origin, f"{source} puts a BOS token into the text here"))
        proven = certainty is not Confidence.POSSIBLE
        yield Finding(
            site,
            "text that already begins with a BOS token is tokenized with special tokens added"
            if proven
            else "text that may begin with a BOS token is tokenized with special tokens added",
            ("" if proven else "where it does, and the tokenizer adds one, ")
            + "the prompt begins with two BOS tokens, which the model never saw in training",
            "pass `add_special_tokens=False` here, or let `apply_chat_template` tokenize",
            weakest(sure, certainty),
            Severity.WARNING,
            "puts a second BOS token in front",
            (*story, *chain),
            add_argument(site, "add_special_tokens", "False"),
        )

    def front(self, first: str | Hole, tokenizer: Value) -> tuple[Confidence, str, Site | None] | None:
        """Return how sure it is that a text's front doubles the BOS, what wrote it and where; None where it does not."""
        if isinstance(first, Rendered):
            sure = None if first.bare or first.encoding is None else self.template(first.encoding, tokenizer)
            return None if sure is None else (sure, "the chat template", first.origin)
        adds = {known.adds_bos if known is not None else None for known in checkpoints(tokenizer)}
        if not adds or False in adds:
            return None
        known = adds == {True}
        if isinstance(first, Hole):
            if not (isinstance(first.value, Unknown) and first.value.hint == "bos_token"):
                return None
            return (Confidence.CERTAIN if known else Confidence.POSSIBLE, "`bos_token`", first.origin)
        if _OWN_BOS.match(first):
            return (Confidence.CERTAIN if known else Confidence.LIKELY, "a literal", None)
        if _ANY_BOS.match(first):
            return (Confidence.CERTAIN if known else Confidence.POSSIBLE, "a literal", None)
        return None

    @staticmethod
    def template(rendering: Encoding, tokenizer: Value) -> Confidence | None:
        """Judge a text that a chat template made."""
        adds = {known.adds_bos if known is not None else None for known in checkpoints(tokenizer)}
        entries = checkpoints(rendering.tokenizer)
        told = any(known is not None and known.template_writes_bos is not None for known in entries)
        writes = {
            known.template_writes_bos if known is not None else None
            for known in (entries if told else checkpoints(tokenizer))
        }
        if rendering.chat_template is not None:
            source = literal(rendering.chat_template)
            writes = {"bos_token" in source if isinstance(source, str) and "{" in source else None}
        if not adds or not writes or False in adds | writes:
            return None
        return Confidence.CERTAIN if adds | writes == {True} else Confidence.POSSIBLE
