"""Rows for a model, the battery over them, and what names the culprit in its report."""

from __future__ import annotations

import random

from reports import says

from pytest_decoderonly import assert_batch_equals_single

_draw = random.Random(0)  # noqa: S311 - test data
ROWS = [[_draw.randrange(5, 300) for _ in range(n)] for n in (6, 19, 33)]


def batched(model, rows=ROWS, **options):
    return assert_batch_equals_single(model, None, rows, new_tokens=2, widths=(8, 33, 40), **options)


def names(text, culprit, *words):
    says(text, f"\nculprit:  {culprit}: ", *words)
