"""The peers, each in a virtual environment of its own, with the versions of `peers.txt`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class NotInstalled(Exception):  # noqa: N818 - it is a state, and goes into the table
    """A peer could not be installed; the message says why in one line."""


@dataclass(frozen=True)
class Peer:
    """One line of `peers.txt`: requirements, of which the first is the tool."""

    requirements: tuple[str, ...]

    @property
    def name(self) -> str:
        """The tool's name on PyPI, in lower case."""
        return self.requirements[0].partition("==")[0].lower()

    @property
    def version(self) -> str:
        """The tool's version."""
        return self.requirements[0].partition("==")[2]


def read_peers(file: Path) -> dict[str, Peer]:
    """Read the pins, by the tool's name.

    Raises:
        ValueError: A requirement is not pinned.
        OSError: The file cannot be read.
    """
    peers = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        words = tuple(line.partition("#")[0].split())
        if not words:
            continue
        for word in words:
            if "==" not in word:
                raise ValueError(f"{file}:{number}: {word!r} has no version; write NAME==VERSION")
        peer = Peer(words)
        peers[peer.name] = peer
    return peers


def program(peer: Peer, folder: Path, command: str = "") -> Path:
    """The peer's program; its environment is made if there is none with just these versions.

    Args:
        peer: The tool.
        folder: Where environments are kept.
        command: What the program is called, where that is not the tool's name.

    Raises:
        NotInstalled: With pip's last words.
    """
    key = hashlib.sha256(" ".join((sys.version, *peer.requirements)).encode()).hexdigest()[:10]
    home = folder / f"{peer.name}-{peer.version}-{key}"
    found = home / "bin" / (command or peer.name)
    done = home / "installed"  # written last: an interrupted installation is made again
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        _call([sys.executable, "-m", "venv", str(home)])
        pip = [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        _call([*pip, *peer.requirements])
        if not found.exists():
            raise NotInstalled(f"{peer.requirements[0]} brings no program {peer.name!r}")
        done.write_text("\n".join(peer.requirements) + "\n")
    return found


def _call(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise NotInstalled(f"{type(problem).__name__}: {problem}") from problem
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if line.startswith("ERROR")]
        raise NotInstalled((errors or said or [f"exit code {done.returncode}"])[-1].strip())
