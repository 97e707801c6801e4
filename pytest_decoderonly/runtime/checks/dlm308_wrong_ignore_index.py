"""DLM308: another value than -100 stands where labels are to be ignored."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports one value over the start of a row or over its padding, where the other labels are the ids."""
