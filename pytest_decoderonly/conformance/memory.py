"""`--decoderonly-max-memory`: how much the suite may take, by the limits of the system and of torch's allocator."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_decoderonly.conformance.spec import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORM = "SIZE such as 10GiB, or DEVICE=SIZE for cpu and numbers of GPUs, such as 0=10GiB,1=10GiB,cpu=30GiB"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B)")
_UNITS = {
    f"{letter}{kind}": base**power
    for power, letter in enumerate("KMGT", 1)
    for kind, base in (("B", 1000), ("iB", 1024))
}
# Below this Python itself would not get far.
_LEAST_ROOM = 64 << 20
ALL = "all"

Limits = dict[str | int, int]


def read_limits(text: str) -> Limits:
    """Read the option's value.

    Returns:
        Bytes by device: `cpu`, the number of a GPU, or `ALL` for the one that a model runs on. Empty without a value.

    Raises:
        ValueError: Another form; the message says which is accepted.
    """
    limits: Limits = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        device, equals, size = part.rpartition("=")
        match = _SIZE.fullmatch(size.strip())
        known = not equals or device == "cpu" or device.isdecimal()
        if match is None or not known or (not equals and "," in text):
            raise ValueError(f"expected {FORM}, got {text!r}")
        key = int(device) if device.isdecimal() else device or ALL
        limits[key] = int(float(match[1]) * _UNITS[match[2]])
    return limits


def for_device_map(limits: Limits) -> dict[str | int, int] | None:
    """Return what accelerate takes as `max_memory` to spread a model over devices, None where nothing is limited."""
    if not limits:
        return None
    if ALL not in limits:
        return dict(limits)
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ("cpu",)
    return dict.fromkeys(devices, limits[ALL])


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Let no run inside the block take more; what would, fails as if there were no more.

    On GPUs torch's allocator is limited. Of the CPU's memory the system limits what the process has for itself (data, heap,
    stacks of threads; not files that are mapped), weights and Python included.

    Raises:
        SpecError: The limit is below what is taken already, or this system has none.
    """
    bounds = for_device_map(limits) or {}
    on_gpus = {device: size for device, size in bounds.items() if isinstance(device, int)}
    with _gpus(on_gpus), _process(bounds.get("cpu")):
        yield


@contextmanager
def _gpus(bounds: Mapping[int, int]) -> Iterator[None]:
    if not bounds:
        yield
        return
    import torch

    if max(bounds) >= torch.cuda.device_count():
        raise SpecError(
            f"--decoderonly-max-memory: there is no GPU {max(bounds)}; torch sees {torch.cuda.device_count()}"
        )
    for device, size in bounds.items():
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), device)
    try:
        yield
    finally:
        for device in bounds:
            torch.cuda.set_per_process_memory_fraction(1.0, device)


@contextmanager
def _process(size: int | None) -> Iterator[None]:
    if size is None:
        yield
        return
    if sys.platform != "linux":
        raise SpecError("--decoderonly-max-memory: only Linux can limit the memory of a process on the CPU")
    import resource

    taken = _taken()
    if size < taken + _LEAST_ROOM:
        raise SpecError(
            f"--decoderonly-max-memory: {size >> 20} MiB are less than the {taken >> 20} MiB that the process takes "
            "already and 64 MiB to work in"
        )
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _taken() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - no file of the user's
        return next((int(line.split()[1]) << 10 for line in file if line.startswith("VmData")), 0)
