"""What the rules on padding share: is a batch padded on the right, and how sure is that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst

from decoderonly_checker.diagnostics import Applicability, Confidence
from decoderonly_checker.fixes.proposals import Proposal, Step, add_argument, can_change
from decoderonly_checker.flow.values import Const, Tokenizer, Tri, Unknown, alternatives
from decoderonly_checker.immutable import immutable
from decoderonly_checker.rules.evidence import model_story, tokenizer_story

if TYPE_CHECKING:
    from decoderonly_checker.flow.values import Encoding, Model, Site
    from decoderonly_checker.rules.evidence import Chain


@immutable
class RightPadding:
    """How sure it is that an encoding is padded on the right, what says so, and where, if it was set."""

    encoding: Encoding
    sure: Confidence
    said: str
    set_at: Site | None

    def story(self, model: Model, padded: str) -> Chain:
        """Return where the model, the tokenizer, the side and the padding come from; `padded` says what happens there."""
        chain = [*model_story(model), *tokenizer_story(self.encoding)]
        if self.set_at is not None:
            chain.append((self.set_at, self.said))
        else:
            chain = [
                (site, f"{text}; {self.said}" if text.startswith("tokenizer made") else text)
                for site, text in chain
            ]
        chain.append((self.encoding.site, padded))
        return chain

    def fix(self) -> Proposal | None:
        """Propose to pad on the left; others who use the tokenizer are affected."""
        if self.encoding.by_hand:
            return None
        if self.set_at is not None:
            node = self.set_at.node
            if not isinstance(node, cst.SimpleString) or not can_change(self.set_at):
                return None
            step = Step(self.set_at, "replace", '"left"')
            return Proposal("pad on the left", (step,), Applicability.UNSAFE)
        made = [t for t in alternatives(self.encoding.tokenizer) if isinstance(t, Tokenizer)]
        if len(made) != 1 or made[0].origin is None:
            return None
        return add_argument(made[0].origin, "padding_side", '"left"', safe=False)


def surely_padded(encoding: Encoding) -> bool:
    """Whether rows were padded: to a fixed length, or several of them to the longest."""
    return encoding.padded is Tri.YES and (encoding.fixed or encoding.batched is Tri.YES)


def right_padding(encoding: Encoding) -> RightPadding | None:
    """Judge an encoding; None where it is not padded, padded elsewhere, by hand, or nobody knows where.

    That several rows are padded is taken for granted where it may be so: `encoding.batched` is the caller's to ask.
    """
    if (
        encoding.padded is not Tri.YES
        or (encoding.by_hand and encoding.padding_side is None)
        or (encoding.batched is Tri.NO and not encoding.fixed)
    ):
        return None
    made = [t for t in alternatives(encoding.tokenizer) if isinstance(t, Tokenizer)]
    if not made:
        return None
    if encoding.padding_side is None:
        if any(t.outside or t.named for t in made):
            return None
        # Never set, and the checkpoint is not in the table: most tokenizers pad right; of those in processors, many do not.
        processor = any(t.class_name.endswith("Processor") for t in made)
        sure = Confidence.POSSIBLE if processor else Confidence.LIKELY
        return RightPadding(encoding, sure, '`padding_side` is never set to "left"', None)
    sides = alternatives(encoding.padding_side)
    if any(isinstance(s, Unknown) for s in sides):
        return None
    if {s.value if isinstance(s, Const) else None for s in sides} != {"right"}:
        return None
    side = sides[0]
    default = isinstance(side, Const) and side.default
    if default and side.origin == made[0].origin:
        said = "this checkpoint's tokenizer pads right, and `padding_side` is never set"
        return RightPadding(encoding, Confidence.CERTAIN, said, None)
    sure = Confidence.LIKELY if default or encoding.by_hand else Confidence.CERTAIN
    said = "rows are padded on the right here" if encoding.by_hand else '`padding_side` is "right" here'
    return RightPadding(encoding, sure, said, side.origin)
