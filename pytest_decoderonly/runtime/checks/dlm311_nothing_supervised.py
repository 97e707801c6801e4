"""DLM311: a row reaches the loss with every label -100."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports rows of real tokens without one label that counts; rows of padding alone are left alone."""
