"""Runs to report on: a small one with every kind of thing in it."""

from __future__ import annotations

from collections import Counter

from pytest_decoderonly.compare.verdict import Culprit
from pytest_decoderonly.conformance.outcome import LayerDeviation, Number, Outcome
from pytest_decoderonly.reporting.run import Environment, Found, Run, Unchecked

CHECKS = (
    "tokenizer-ready",
    "masked-content",
    "left-padding",
    "cached-steps",
    "cache-kinds",
    "attention-backends",
    "inputs-embeds",
    "prompt-cut",
    "training-step",
)

FINDING = {
    "code": "DLM101",
    "name": "missing-attention-mask",
    "severity": "error",
    "confidence": "certain",
    "path": "app/serve.py",
    "cell": None,
    "line": 11,
    "column": 14,
    "end_line": 11,
    "end_column": 66,
    "message": "`generate` gets token ids of a padded batch and no `attention_mask`",
    "effect": "padding is read as text, and the answers of the shorter prompts are others",
    "help": "pass the whole encoding: `model.generate(**encoding, ...)`",
    "related": [
        {
            "message": "rows are padded here",
            "path": "app/serve.py",
            "cell": None,
            "line": 10,
            "column": 16,
            "end_line": 10,
            "end_column": 20,
        }
    ],
    "fix": None,
}


def outcome(model: str = "SmolLM2-135M-Instruct", check: str = "left-padding", **more: object) -> Outcome:
    """An item that passed, but for what is given."""
    fields = {
        "spec": "tiny:llama",
        "item": f"decoderonly::{model}::{check}",
        "verdict": "passed",
        "seen": "batch-vs-solo 3.1e-06, pad-amount 2.2e-06",
        "protects_from": "Positions counted over the padding, a new token placed by the padded width.",
        "seconds": 1.25,
        "device": "cpu",
        "dtype": "bfloat16",
        "numbers": (
            Number("batch-vs-solo", "equal up to rounding", 3.1e-06, 2.1e-02, "bfloat16", 1e-4),
            Number("pad-amount", "equal up to rounding", 2.2e-06, 0.0, "bfloat16", 1e-4),
        ),
        **more,
    }
    return Outcome(model=model, check=check, **fields)  # type: ignore[arg-type]


def failed(model: str = "tiny-broken", check: str = "left-padding", **more: object) -> Outcome:
    """An item that failed, with all that a failure brings."""
    layers = [LayerDeviation("the embeddings (before the first layer)", 0.0)]
    layers += [
        LayerDeviation(f"model.layers.{i}.self_attn", (1e-7, 3e-7, 0.4, 0.9, 1.2)[i]) for i in range(5)
    ]
    rows = (
        "row 0     __________________________=====|====",
        "                                         ^ batch-vs-solo, 33 columns",
        "row 1     ______________==xxxxxxxxxxxxxxxxx|xxxx",
        "                          ^ batch-vs-solo, 33 columns: first wrong at prompt token 2 of 19, off by 8.1e-01",
        "signs: _ padding, = equal, x wrong, | the cached steps begin",
    )
    fields = {
        "verdict": "failed",
        "seen": "batch-vs-solo DIFFERENT, not rounding",
        "numbers": (
            Number("batch-vs-solo", "different", 8.1e-01, 7.9e-01, "bfloat16", 1e-4),
            Number("pad-amount", "different", float("nan"), None, "bfloat16", 1e-4),
            Number("row-order", "equal", 0.0, 0.0, "bfloat16", 1e-4),
        ),
        "rows": rows,
        "text": "tiny-broken: DIFFERENT, not rounding (positions)\n" + "\n".join(rows),
        "culprit": Culprit(
            "position ids", "positions are counted over the padding", "count them from the attention mask"
        ),
        "first_layer": "model.layers.2.self_attn: row 1, prompt token 2 of 19",
        "profile": tuple(layers),
        "parameters": {"batch": 4, "length": 33, "dtype": "bfloat16"},
        "notes": ("the batch was halved to 2 rows: 4 rows did not fit into memory",),
        **more,
    }
    return outcome(model, check, **fields)


def environment(**more: object) -> Environment:
    """An environment."""
    fields = {
        "command": "pytest --decoderonly-checks --decoderonly-model=tiny:llama",
        "python": "3.11.9",
        "platform": "Linux 6.1, x86_64",
        "packages": {"torch": "2.13.0", "transformers": "5.23.0"},
        **more,
    }
    return Environment(**fields)  # type: ignore[arg-type]


def whole_run() -> Run:
    """A run with every kind of thing in it."""
    outcomes = [outcome(check=check, seconds=0.2 * i) for i, check in enumerate(CHECKS)]
    outcomes += [outcome("tiny-broken", check) for check in CHECKS[:2]]
    outcomes += [failed(), failed(parameters={"batch": 2, "length": 65, "dtype": "bfloat16"})]
    outcomes += [
        outcome("tiny-broken", verdict="passed", parameters={"batch": 1, "length": 8, "dtype": "bfloat16"}),
        outcome(
            "tiny-broken", "cache-kinds", verdict="not applicable", seen="the model has no cache", numbers=()
        ),
        outcome(
            "a.very.long.module.name.of.mine:build_the_model_with_everything",
            "tokenizer-ready",
            verdict="error",
            seen="mine:build: the factory raised RuntimeError: no weights here",
            text="mine:build: the factory raised RuntimeError: no weights here",
            numbers=(),
        ),
    ]
    guard = {**FINDING, "count": 3, "test": None, "rows": [{"label": "row 1", "text": "____abc"}]}
    return Run(
        started="2026-11-23T16:00:00+00:00",
        environments=[environment()],
        seconds=75.2,
        selected=40,
        ran=38,
        interrupted="stopping after 1 failures",
        exit_status=1,
        tests=Counter(passed=12, failed=1),
        outcomes=outcomes,
        findings=[
            Found(
                "static",
                "app/serve.py::decoderonly-static",
                FINDING,
                "error[DLM101]: ...\n  --> app/serve.py:11:14",
            ),
            Found("guard", "tests/test_serve.py::test_answer", guard),
            Found(
                "guard",
                "tests/test_thread.py::test_it",
                {**guard, "path": None, "line": None, "column": None},
            ),
        ],
        unchecked=[Unchecked("app/broken.py", "does not parse", 3)],
    )
