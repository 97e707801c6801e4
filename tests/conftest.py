"""What every test of this repository shares: no network, few threads, pytest's own test harness."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

# Before anything imports torch or transformers: both read these once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tiny tensors: more threads cost more than they give, and much more where other work shares the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["pytester"]
# Behind all else, so that what is installed is what is tested: the folders that are not part of a package's archive.
_ROOT = Path(__file__).parents[1]
sys.path += [str(_ROOT), str(_ROOT / "docs")]
_SHARED = "DECODERONLY_TESTS_SHARED"

# A busy machine, or a run of drawn examples that an `assume` turns away, is no failure.
hypothesis.settings.register_profile(
    "repository",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
hypothesis.settings.load_profile("repository")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make a folder for what is made once a run, whichever process makes it, and remove it at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    os.environ[_SHARED] = tempfile.mkdtemp(prefix="decoderonly-tests-")
    config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(_SHARED)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder that all processes of a run share; who makes something in it holds a lock of its name."""
    return Path(os.environ[_SHARED])


@pytest.fixture(scope="session")
def smollm2(shared: Path) -> Path:
    """A folder with the real model: reading it from its GGUF file takes a quarter of a minute, so it is read once."""
    import smollm2
    from filelock import FileLock

    folder = shared / "smollm2"
    with FileLock(shared / "smollm2.lock"):
        if not folder.exists():
            smollm2.write(shared / "smollm2.part")
            (shared / "smollm2.part").rename(folder)
    return folder


@pytest.fixture(autouse=True)
def _not_on_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep inner runs of pytest alike everywhere: under CI it repeats whole reports in its short summary."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU, and say why, where there is none."""
    if item.get_closest_marker("gpu") is None:
        return
    torch = pytest.importorskip("torch", reason="needs torch with a CUDA device; torch is not installed")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; torch sees none on this machine")
