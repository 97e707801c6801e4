"""Models that one device does not hold: layers offloaded by accelerate, weights shared out by tensor parallelism."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_decoderonly import tiny_decoder, tiny_tokenizer
from pytest_decoderonly.conformance import ranks

CHECKS = ("cached-steps", "masked-content", "prompt-cut")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a saved model."""
    pytester.mkdir("nothing")
    pytester.makeini("[pytest]\ndecoderonly_paths = nothing\n")
    tiny_decoder("llama", num_hidden_layers=4).save_pretrained(pytester.path / "saved")
    tiny_tokenizer().save_pretrained(pytester.path / "saved")
    return pytester


OFFLOADED = """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def build():
        # What accelerate does where the GPUs' memory ends: some layers stay on the CPU, some are read from disk.
        places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
        places |= {f"model.layers.{i}": "disk" if i % 2 else "cpu" for i in range(4)}
        model = AutoModelForCausalLM.from_pretrained("saved", device_map=places, offload_folder="weights")
        assert any(parameter.device.type == "meta" for parameter in model.parameters())
        return model, AutoTokenizer.from_pretrained("saved")
"""


def test_a_model_whose_layers_lie_on_disk(project):
    pytest.importorskip("accelerate", reason="needs accelerate to offload layers")
    project.makepyfile(big=OFFLOADED)
    result = project.runpytest_inprocess(
        "--decoderonly-checks",
        "--decoderonly-model=big:build",
        *(f"decoderonly::big.build::{check}" for check in CHECKS),
        "-p",
        "no:cacheprovider",
    )
    found = result.parseoutcomes()
    assert found.get("failed", 0) == 0
    assert found["passed"] >= len(CHECKS)


APART = f"""
    import os, sys
    sys.path.insert(0, {str(Path(__file__).parents[1])!r})
    import mutants
    from pytest_decoderonly import tiny_decoder, tiny_tokenizer

    def build():
        # One process of two has a fault: a broken card, another version of a library.
        model = tiny_decoder("llama")
        return (mutants.mask_dropped(model) if os.environ["RANK"] == "1" else model), tiny_tokenizer()
"""


def test_two_processes_share_one_model_and_make_one_report(project):
    """Tensor parallelism of transformers, under torchrun, with gloo on the CPU; and a model that is not the same on both."""
    project.makepyfile(apart=APART)
    command = [
        *(
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            "-m",
            "pytest",
        ),
        *("--decoderonly-checks", "--decoderonly-model=saved,tp_plan=auto", "-p", "no:cacheprovider"),
        "--decoderonly-model=apart:build",
        "--decoderonly-report=out.json",
        *(f"decoderonly::saved::{check}" for check in CHECKS),
        "decoderonly::apart.build::masked-content[neighbours-batch3-len33]",
        "decoderonly::apart.build::masked-content[padding-batch3-len33]",
    ]
    done = subprocess.run(command, cwd=project.path, capture_output=True, text=True, timeout=500, check=False)
    assert done.stdout.count("test session starts") == 1
    data = json.loads((project.path / "out.json").read_text())
    assert data["environments"][0]["processes"] == 2
    assert len(data["outcomes"]) == data["items"]["ran"] == data["items"]["selected"]
    shared = [one for one in data["outcomes"] if one["model"] == "saved"]
    assert len(shared) > len(CHECKS)
    assert {one["verdict"] for one in shared} <= {"passed", "not applicable"}
    assert not [note for one in shared for note in one["notes"] if "process 1 says" in note]
    # What the first process finds sound, and another does not, is a failure of the run.
    assert done.returncode == 1, done.stdout + done.stderr
    padding, neighbours = (one for one in data["outcomes"] if one["model"] == "apart.build")
    assert neighbours["verdict"] == "passed"
    assert padding["verdict"] == "failed"
    assert "process 0 says passed: pad-content: equal" in padding["notes"][0]
    assert "process 1 says failed: pad-content: different" in padding["notes"][0]
    assert f"{padding['item']}   {padding['notes'][0]}" in done.stdout


def test_without_torchrun_there_is_one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert (ranks.rank(), ranks.world()) == (0, 1)
    # A cluster's own launcher may set these for programs that are no group.
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (ranks.rank(), ranks.world()) == (0, 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert (ranks.rank(), ranks.world()) == (3, 4)
