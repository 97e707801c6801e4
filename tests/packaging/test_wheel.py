"""What a user gets: the files of both archives, and the requirements and entry points of the wheel."""

import configparser
import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both archives; the wheel is made from the source archive, which shows that nothing is missing there."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def sources(folder):
    """Every file of a package that is not made by running it."""
    return {
        path.relative_to(folder.parent).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_holds_both_packages_whole_and_nothing_else(wheel):
    expected = sources(ROOT / "pytest_decoderonly") | sources(ROOT / "checker" / "decoderonly_checker")
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected
    assert {"pytest_decoderonly/py.typed", "decoderonly_checker/py.typed"} <= found


def test_source_archive_holds_what_git_does_and_no_more(built):
    if not (ROOT / ".git").exists():
        pytest.skip("needs git's list of files; this is no clone")
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        found = {
            member.name.partition("/")[2]: member.mode for member in archive.getmembers() if member.isfile()
        }
    assert {name for name in tracked if (ROOT / name).is_file()} | {"PKG-INFO"} == found.keys()
    assert found[".ci/test"] & 0o100, "scripts can be run"


def test_licence_is_in_the_wheel(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("LICENSE"))
    assert wheel.read(name) == (ROOT / "LICENSE").read_bytes()


def test_base_install_is_light(metadata):
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    base = {item.name for item in requirements if item.marker is None or "extra" not in str(item.marker)}
    assert base == {"click", "libcst", "pluggy", "pytest", "tomli"}
    extras = {item.name for item in requirements} - base
    assert {"torch", "transformers"} <= extras


def test_command_and_plugin_are_registered(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    entries = configparser.ConfigParser()
    entries.optionxform = str  # names of plugins are in capitals
    entries.read_string(wheel.read(name).decode())
    assert dict(entries["console_scripts"]) == {"decoderonly": "decoderonly_checker.__main__:command"}
    assert dict(entries["pytest11"]) == {"decoderonly": "pytest_decoderonly.plugin"}
    assert dict(entries["flake8.extension"]) == {"DLM": "decoderonly_checker.flake8_plugin:Plugin"}
