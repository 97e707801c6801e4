"""What the assertions say of a bug."""

from __future__ import annotations

import pytest


def report(check, *args, **options):
    with pytest.raises(AssertionError) as caught:
        check(*args, **options)
    return str(caught.value)


def says(text, *words):
    for word in words:
        assert word in text, text
