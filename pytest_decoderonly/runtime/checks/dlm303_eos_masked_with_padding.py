"""DLM303: the end-of-text that ends a row is masked, because padding has its id."""

from __future__ import annotations

from pytest_decoderonly.runtime.checks.base import LabelCheck


class Check(LabelCheck):
    """Reports rows whose end-of-text is real by the mask and not in the loss, while the token before it is.

    No end-of-text of the batch may be in the loss.
    """
