"""DLM302: padding is learned."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports labels that keep the padding's ids, by the mask of the call or that of the tokenizer, where a gradient is computed.

    Where padding is end-of-text, the first one behind a text may be meant, and is left alone.
    """
