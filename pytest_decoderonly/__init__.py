"""The pytest plugin of pytest-decoderonly."""
