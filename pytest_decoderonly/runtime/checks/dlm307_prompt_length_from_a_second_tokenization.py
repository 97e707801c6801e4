"""DLM307: the prompt is masked by the length of another tokenization."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports label masks as long as a remembered tokenization of the prompt, which has an end-of-text that the row has not."""
