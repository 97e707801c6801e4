"""What the runs inside need is imported here once, as in tests/conformance: torch imported twice crashes."""

from pytest_decoderonly import tiny_decoder
from pytest_decoderonly.conformance import checks, plugin  # noqa: F401

tiny_decoder("llama")  # brings torch and transformers, whole
