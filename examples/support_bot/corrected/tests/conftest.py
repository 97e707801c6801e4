import os

# The model's file is on this disk; nothing is looked up elsewhere.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from support_bot.settings import Settings


@pytest.fixture(scope="session")
def settings():
    """Short replies keep the tests quick."""
    return Settings(max_new_tokens=16)
