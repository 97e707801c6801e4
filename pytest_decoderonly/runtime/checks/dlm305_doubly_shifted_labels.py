"""DLM305: labels were shifted by hand, for a model that shifts them."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports labels that are the next ids throughout, for models whose forward is transformers' own."""
