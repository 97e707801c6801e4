"""DLM301: a prompt and its answer, joined, are learned together."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports rows that are two tokenized texts joined by the user's own code, every label counted.

    The first must end without an end-of-text and the second with one, so that documents packed together are left alone. A
    text that was joined before it was tokenized does not show where its prompt ends.
    """
