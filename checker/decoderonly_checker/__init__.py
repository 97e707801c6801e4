"""The static checker of pytest-decoderonly."""
