"""Which version of the distribution is installed."""

from __future__ import annotations


def installed_version() -> str | None:
    """Return the version of pytest-decoderonly, None where it runs from its sources without being installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow, and seldom asked

    try:
        return version("pytest-decoderonly")
    except PackageNotFoundError:
        return None
