"""Assertions that say what is wrong, where, why it matters and what to do."""

from __future__ import annotations

from pytest_decoderonly.assertions.answers import assert_answers_whole
from pytest_decoderonly.assertions.canaries import assert_only_responses_supervised
from pytest_decoderonly.assertions.equivalence import assert_batch_equals_single
from pytest_decoderonly.assertions.labels import assert_labels_mask_prompt
from pytest_decoderonly.assertions.loss import (
    assert_accumulation_equals_full_batch,
    assert_loss_ignores_prompt,
)
from pytest_decoderonly.assertions.outputs import assert_no_prompt
from pytest_decoderonly.assertions.padding import assert_left_padded, assert_right_padded
from pytest_decoderonly.assertions.prompts import assert_prompts_whole
from pytest_decoderonly.assertions.scores import assert_scores_keep

__all__ = [
    "assert_accumulation_equals_full_batch",
    "assert_answers_whole",
    "assert_batch_equals_single",
    "assert_labels_mask_prompt",
    "assert_left_padded",
    "assert_loss_ignores_prompt",
    "assert_no_prompt",
    "assert_only_responses_supervised",
    "assert_prompts_whole",
    "assert_right_padded",
    "assert_scores_keep",
]
