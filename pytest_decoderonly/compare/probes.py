"""A few more runs of a model that failed, where the failing pattern leaves open what is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.compare import ways
from pytest_decoderonly.compare.culprit import lone_failures
from pytest_decoderonly.compare.drive import Batch, CannotDriveError, Trace
from pytest_decoderonly.compare.lengths import Lengths
from pytest_decoderonly.compare.measure import row_error
from pytest_decoderonly.compare.shapes import reach_of
from pytest_decoderonly.compare.verdict import Culprit, Relation, RelationResult, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_decoderonly.compare.drive import Driver, Row
    from pytest_decoderonly.compare.verdict import Limits

# Around the borders of blocks of 4 to 64, and enough between them to tell blocks from a length that is passed.
_LENGTHS = (3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 18, 24, 31, 32, 33, 34, 48, 63, 64, 65, 66)


class Probes:
    """More runs of the same model, as it stands: the caller has chosen the precision."""

    def __init__(self, model: Any, driver: Driver, row: Row, words: tuple[int, ...], limits: Limits) -> None:
        self.model = model
        self.driver = driver
        self.row = row
        self.words = words
        self.limits = limits

    def random(self) -> bool:
        """Whether the same input gives something else each time, and the same once the random generator is set."""
        import torch

        batch = self._alone(self.row, self.row[:1])
        self.driver.run(batch)  # from here on, what a call leaves behind is the same each time
        if not self._differ(self.driver.run(batch), self.driver.run(batch), batch):
            return False
        runs = []
        for _ in range(2):
            torch.manual_seed(0)
            runs.append(self.driver.run(batch))
        return not self._differ(runs[0], runs[1], batch)

    def later_tokens_visible(self) -> bool:
        """Whether other tokens behind a text move the logits of the text: same shapes, so bits must agree."""
        first, second = (self.driver.full(self._alone(self.row, more)) for more in self._two_continuations())
        return self._differ(Trace(first.prefill, [p[:0] for p in first.prefill]), second, None)

    def lengths(self, *, cached: bool) -> Lengths:
        """At which lengths of one unpadded text its last tokens are read otherwise than in a longer text.

        `cached` reads the last token in a cached step; else all of the text is one forward pass.
        """
        reach = reach_of(self.model)
        tried = [n for n in _LENGTHS if reach is None or n + 3 < reach]
        found = []
        for more in (1, 2):  # the longer text may itself have a wrong length
            text = tuple(self.row[i % len(self.row)] for i in range(max(tried) + more))
            whole = self.driver.full(self._alone(text[:-1], text[-1:])).row(0)
            wrong = tuple(n for n in tried if self._wrong_at(n, text, whole, cached=cached))
            found.append(Lengths(wrong, tuple(n for n in tried if n not in wrong)))
        best = min(found, key=lambda lengths: len(lengths.wrong))
        return best if best.right or cached else self._beside_shortest(tried)

    def _beside_shortest(self, tried: list[int]) -> Lengths:
        """The same, held against a text of the least length: what is scaled by length may begin further on."""
        text = tuple(self.row[i % len(self.row)] for i in range(max(tried)))
        least = min(tried)
        traces = {
            n: self.driver.full(self._alone(text[: n - 1], text[n - 1 : n])).row(0)[:least] for n in tried
        }
        wrong = tuple(n for n in tried if self._apart(traces[n], traces[least]))
        return Lengths(wrong, tuple(n for n in tried if n not in wrong))

    def _wrong_at(self, length: int, text: Row, whole: Any, *, cached: bool) -> bool:
        batch = self._alone(text[: length - 1], text[length - 1 : length])
        trace = self.driver.run(batch) if cached else self.driver.full(batch)
        mine = trace.row(0)[-1:] if cached else trace.row(0)
        theirs = whole[:length][-mine.shape[0] :]
        return self._apart(mine, theirs)

    def visible_widths(self) -> Lengths:
        """At which widths what stands under the padding of a lone row moves it."""
        reach = reach_of(self.model)
        least = len(self.row)
        tried = [n for n in _LENGTHS if n > least and (reach is None or n + 2 < reach)]
        wrong = tuple(n for n in tried if self._visible(n))
        return Lengths(wrong, tuple(n for n in tried if n not in wrong))

    def _visible(self, width: int) -> bool:
        first, second = (self._padded(fill, width) for fill in self.words[:2])
        return self._differ(self.driver.run(first), self.driver.run(second), second)

    def visible_in_forward(self) -> bool:
        """Whether padding is visible in one forward pass that is given mask and positions, without `generate`."""
        width = len(self.row) + 5
        first, second = (self._padded(fill, width) for fill in self.words[:2])
        return self._differ(self._forward(first), self._forward(second), second)

    def told_by_id(self) -> bool:
        """Whether all ordinary ids under the padding do the same, and the padding id does something else."""
        width = len(self.row) + 5
        traces = [self.driver.run(self._padded(fill, width)) for fill in self.words[:4]]
        plain = self.driver.run(self._padded(self.driver.pad_id, width))
        return all(self._differ(plain, trace, None) for trace in traces) and not any(
            self._differ(traces[0], trace, None) for trace in traces[1:]
        )

    def mask_unused(self) -> bool:
        """Whether one forward pass gives the same whatever the mask says, positions being given."""
        batch = self._padded(self.words[0], len(self.row) + 5)
        return not self._differ(self._forward(batch), self._forward(batch, ones=True), batch)

    def _forward(self, batch: Batch, *, ones: bool = False) -> Trace:
        found = self.driver.guarded(batch, lambda: ways.plain(self.driver, batch, all_ones=ones))
        return Trace(found, [row[:0] for row in found])

    def _alone(self, row: Row, more: Row) -> Batch:
        return Batch((row,), ((),), (more,))

    def _padded(self, fill: int, width: int) -> Batch:
        return Batch((self.row,), ((fill,) * (width - len(self.row)),), (self.row[:1],))

    def _two_continuations(self) -> Iterable[Row]:
        return tuple(self.words[:4]), tuple(self.words[4:8][::-1] or self.words[:4][::-1])

    def _apart(self, mine: Any, theirs: Any) -> bool:
        return self._differ(Trace([theirs], [theirs[:0]]), Trace([mine], [mine[:0]]), None)

    def _differ(self, first: Trace, second: Trace, batch: Batch | None) -> bool:
        steps = min(first.steps[0].shape[0], second.steps[0].shape[0])
        mine, theirs = (Trace(t.prefill, [t.steps[0][:steps]]) for t in (first, second))
        error = row_error(0, (mine, 0), (theirs, 0), batch or Batch(((0,),), ((),), ((),)))
        return not error.worst <= self.limits.suspicious


def refine(culprit: Culprit, results: Mapping[Relation, RelationResult], probes: Probes) -> Culprit:
    """Return the culprit, or one that more runs have told from it.

    Raises:
        CannotDriveError: A run failed.
    """
    failed = {relation for relation, result in results.items() if result.verdict is Verdict.DIFFERENT}
    if culprit.name == "state between calls":
        return _random(culprit) if probes.random() else culprit
    lone = lone_failures(results)
    if (
        culprit.name in ("cache", "positions", "decode position", "alignment", "total length", "batch only")
        and lone
    ):
        limit = results[Relation.CACHED_VS_FULL].limit
        early = any((error.first(limit) or 0) < error.prefill for error in lone)
        return _alone(culprit, probes, early=early)
    if culprit.name == "padding visible":
        return _visible(culprit, failed, probes)
    if culprit.name == "forward with padding":
        return _forward(culprit, probes)
    return culprit


def _random(culprit: Culprit) -> Culprit:
    return replace(
        culprit,
        name="not deterministic",
        sentence="the same row, run again, gives other logits, and the same once the random generator is set anew: "
        "noise is drawn in evaluation too (dropout, sampling, jitter of a router)",
        advice="hand self.training on to functional dropout, and draw no noise outside of training",
    )


def _alone(culprit: Culprit, probes: Probes, *, early: bool) -> Culprit:
    """One row without padding is wrong by itself: padding and batch have no part in it."""
    if early and probes.later_tokens_visible():
        return Culprit(
            "later tokens visible",
            "other tokens behind a text move the logits of the text, in one forward pass without padding or batch: "
            "attention is not causal, so training sees what it is to predict",
            "look at the causal part of the mask (its diagonal, is_causal with a mask of one's own, blocks that are "
            "read in both directions)",
        )
    lengths = probes.lengths(cached=not early)
    what = "one forward pass" if early else "a cached step"
    if lengths.some:
        return Culprit(
            "alignment",
            f"{what} is wrong at some total lengths only ({lengths}), without any padding or batch: a kernel or a "
            "chunked loop fails at one alignment",
            "look for block sizes (8, 16, 32, 64, a chunk length) and what happens to the last, partly filled block",
        )
    since = lengths.since if len(lengths.right) > 1 else None
    if early and lengths.wrong:
        return _total_length("at every length" if since is None else f"from {since} tokens on")
    if since is not None:
        return Culprit(
            "cache",
            f"cached steps are wrong from {since} tokens on, without any padding or batch: something ends there (a "
            "window, a ring, a table of positions), and what the cache holds no longer is what was read",
            "look at what happens when the cache reaches that length: what is dropped, where new keys are written, "
            "which positions they have",
        )
    return culprit


def _total_length(where: str) -> Culprit:
    return Culprit(
        "total length",
        f"the logits of a text change with the number of columns that are run with it ({where}), whatever stands in "
        "them: a scale, a frequency or a chunk is taken from the length of the whole input",
        "take it from each token's own position, or from a constant; padding and later tokens must not count",
    )


def _visible(culprit: Culprit, failed: set[Relation], probes: Probes) -> Culprit:
    more = []
    try:
        right = Relation.BATCH_VS_SOLO not in failed and Relation.PAD_AMOUNT not in failed
        if right and probes.mask_unused():
            return _from_ids(
                "mask from ids",
                "what is padding is told from the ids, not from attention_mask: with the padding id all is right, other "
                "ids under the mask are read as text",
            )
        widths = probes.visible_widths()
        if right and not widths.wrong and probes.told_by_id():
            return _from_ids(
                "positions from ids",
                "two ordinary ids under the padding do the same, the padding id does something else, and does it right: "
                "what is padding is told from the ids, most likely to count positions",
            )
        if widths.some:
            return Culprit(
                "alignment",
                f"padding is visible at some total lengths only ({widths}): the mask is lost in a kernel, or in a "
                "chunked loop, at one alignment",
                "look for block sizes (8, 16, 32, 64, a chunk length) and what happens to the last, partly filled block",
            )
        if probes.mask_unused():
            more.append(
                "a forward pass gives the same with a mask of ones: attention_mask is not used at all"
            )
        elif not probes.visible_in_forward():
            more.append(
                "one forward pass with mask and positions is right: it is on the way through generate, or at cached "
                "steps, that the mask is lost"
            )
    except CannotDriveError:
        return culprit
    return replace(culprit, sentence="; ".join([culprit.sentence, *more]))


def _from_ids(name: str, sentence: str) -> Culprit:
    return Culprit(
        name,
        f"{sentence}; a real token that has the padding id (EOS used as padding) is taken for padding",
        "use the attention_mask that the caller gives; make one from the ids only where there is none",
    )


def _forward(culprit: Culprit, probes: Probes) -> Culprit:
    if probes.visible_in_forward():
        return replace(
            culprit,
            name="padding visible",
            sentence="in one forward pass over a padded batch, which is how training and scoring run it, what stands "
            "under the padding moves the logits of real tokens; generate is right",
            advice="hand the 2-D attention_mask on where there is no cache, too",
        )
    return culprit
