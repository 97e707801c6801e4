"""DLM402: a loss that is computed to be read takes padding into its mean."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports labels that keep the padding's ids, where no gradient is computed: a perplexity, or an evaluation."""
