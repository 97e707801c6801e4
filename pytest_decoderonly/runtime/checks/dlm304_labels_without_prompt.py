"""DLM304: labels are another text than the ids."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports labels that a tokenizer made of one text beside ids that it made of another.

    Labels of unknown origin are left alone: tests make them by chance.
    """
