"""DLM104."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Confidence, Severity
from decoderonly_checker.fixes.masks import compare_mask
from decoderonly_checker.flow.values import Ids, alternatives
from decoderonly_checker.late import late_pattern
from decoderonly_checker.rules.base import Finding, Reference, Rule
from decoderonly_checker.rules.evidence import encodings, tokenizer_story
from decoderonly_checker.rules.prompts import checkpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from decoderonly_checker.flow.facts import Facts, TokenComparison
    from decoderonly_checker.flow.values import Site

_PAD = late_pattern(r"pad", re.IGNORECASE)
_MASK = late_pattern(r"mask", re.IGNORECASE)
# Methods and functions that leave a mask a mask.
_KEEPS = frozenset(
    [
        *("long", "int", "float", "bool", "half", "bfloat16", "byte", "to", "type", "type_as", "cuda", "cpu"),
        *(
            "unsqueeze",
            "squeeze",
            "view",
            "expand",
            "contiguous",
            "detach",
            "clone",
            "astype",
            "tensor",
            "where",
        ),
    ]
)


class MaskByComparison(Rule):
    """Reports a mask computed as `ids != pad_token_id` while the pad token is the EOS token.

    ## Why is this bad?

    Such a mask cannot tell padding from the real EOS tokens that end a turn or an answer: they are hidden as well. In
    an attention mask the model no longer sees where turns end; in a loss mask it never learns to stop.

    ## What it does not report

    - A pad token of its own.
    - Comparisons that do not become a mask: counts of tokens, filters, tests.
    - Labels set to -100 where they equal the pad token (that is DLM303).

    ## Fix safety

    Safe: the comparison becomes one of the mask beside the ids, of the same shape and type. PyTorch's tensors only.
    """

    severity = Severity.ERROR
    references = (
        Reference(
            "NeMo Automodel #1336: a loss mask by the pad id takes EOS along",
            "https://github.com/NVIDIA-NeMo/Automodel/issues/1336",
        ),
        Reference(
            "onnxruntime-genai #1694: an attention mask by the pad id hides EOS",
            "https://github.com/microsoft/onnxruntime-genai/pull/1694",
        ),
        Reference(
            "trl #6357: EOS masked where it is the pad token", "https://github.com/huggingface/trl/pull/6357"
        ),
    )
    bad = """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token

    def collate(texts: list[str]):
        input_ids = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
        attention_mask = (input_ids != tokenizer.pad_token_id).long()
        return {"input_ids": input_ids, "attention_mask": attention_mask}
    """
    good = """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("gpt2")
    tokenizer.pad_token = tokenizer.eos_token

    def collate(texts: list[str]):
        encoding = tokenizer(texts, padding=True, return_tensors="pt")
        return {"input_ids": encoding["input_ids"], "attention_mask": encoding["attention_mask"]}
    """

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Judge every comparison of ids with a pad token that is the EOS token."""
        for made in facts.comparisons:
            same = [getattr(one, "hint", "").startswith("eos_token") for one in alternatives(made.token)]
            if not all(same) or _PAD.search(made.code) is None:
                continue
            name = kept_as(made.site)
            if name is not None and _MASK.search(name) is not None:
                yield self.report(made, name, facts)

    @staticmethod
    def report(made: TokenComparison, name: str, facts: Facts) -> Finding:
        """Describe one comparison."""
        sure = Confidence.LIKELY
        chain: list[tuple[Site, str]] = []
        for encoding in encodings(made.ids):
            known = checkpoints(encoding.tokenizer)
            # A checkpoint with a pad token of its own keeps it where EOS is only what is fallen back to.
            if known and all(
                one is not None and (one.pad_is_eos or one.ships_pad_token is False) for one in known
            ):
                sure = Confidence.CERTAIN
            chain = tokenizer_story(encoding)
            break
        if made.token.origin is not None and made.token.origin.key != made.site.key:
            chain.append((made.token.origin, "the pad token is the EOS token here"))
        return Finding(
            made.site,
            f"`{name}` hides every EOS token: the pad token it is compared with is the EOS token",
            "the EOS tokens that end a turn or an answer are masked like padding",
            "use the tokenizer's `attention_mask`, or give the tokenizer a pad token of its own",
            sure,
            Severity.ERROR,
            "also false at real EOS tokens",
            tuple(chain),
            compare_mask(made.site, made.ids, facts) if isinstance(made.ids, Ids) else None,
        )


def kept_as(site: Site) -> str | None:
    """Return the name under which a mask is kept or passed on; None where it is used for something else."""
    current = site.node
    path = site.around()
    while path:
        parent = path.pop()
        if isinstance(parent, cst.Assign | cst.AnnAssign | cst.NamedExpr):
            target = parent.targets[0].target if isinstance(parent, cst.Assign) else parent.target
            return site.code(target)
        if isinstance(parent, cst.DictElement):
            return site.code(parent.key)
        if isinstance(parent, cst.Return):
            within = [node for node in path if isinstance(node, cst.FunctionDef)]
            return within[-1].name.value if within else None
        if isinstance(parent, cst.Arg) and parent.keyword is not None:
            return parent.keyword.value
        if not _transparent(parent, current):
            return None
        current = parent
    return None


def _transparent(parent: cst.CSTNode, child: cst.CSTNode) -> bool:
    """Whether an expression around a mask is still that mask."""
    if isinstance(parent, cst.Attribute):
        return parent.attr.value in _KEEPS
    if isinstance(parent, cst.Call):
        name = parent.func.attr.value if isinstance(parent.func, cst.Attribute) else ""
        return parent.func is child or name in _KEEPS
    if isinstance(parent, cst.BinaryOperation):
        return isinstance(parent.operator, cst.Multiply | cst.BitAnd)
    return isinstance(parent, cst.Arg | cst.IfExp | cst.UnaryOperation)
