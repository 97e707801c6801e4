"""DLM310: the prompt is masked from column 0 in a row that is padded on the left."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports label masks that end at the length of a remembered prompt, padding not counted."""
