"""Which device models run on where nobody names one. Imports torch when it is called, not before."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def device_named(name: str) -> torch.device:
    """Return the device of a name.

    Raises:
        ValueError: torch knows none of that name; the message says what is accepted.
    """
    import torch

    try:
        return torch.device(name)
    except RuntimeError:
        raise ValueError(f"expected a device such as cpu, cuda:1 or mps, got {name!r}") from None


def default_device() -> torch.device:
    """Return CUDA (one GPU a worker under pytest-xdist), else Apple's MPS, else the CPU."""
    import torch

    if torch.cuda.is_available():
        worker = os.environ.get("PYTEST_XDIST_WORKER", "master")
        number = int(worker.removeprefix("gw")) if worker.startswith("gw") and worker[2:].isdigit() else 0
        return torch.device("cuda", number % torch.cuda.device_count())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def shown_device(device: torch.device) -> str:
    """Return a device as results name it: with the name of the GPU, so that numbers can be told apart."""
    import torch

    if device.type == "cuda" and torch.cuda.is_available():
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
