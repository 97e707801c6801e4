"""Finds the silent mistakes of code for decoder-only language models, from pytest.

The names below are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_decoderonly.assertions.answers import assert_answers_whole
    from pytest_decoderonly.assertions.canaries import assert_only_responses_supervised
    from pytest_decoderonly.assertions.equivalence import assert_batch_equals_single, assert_same_with
    from pytest_decoderonly.assertions.labels import assert_labels_mask_prompt
    from pytest_decoderonly.assertions.loss import (
        assert_accumulation_equals_full_batch,
        assert_loss_ignores_prompt,
    )
    from pytest_decoderonly.assertions.outputs import assert_no_prompt
    from pytest_decoderonly.assertions.padding import assert_left_padded, assert_right_padded
    from pytest_decoderonly.assertions.prompts import assert_prompts_whole
    from pytest_decoderonly.assertions.scores import assert_scores_keep
    from pytest_decoderonly.compare.attribution import Attribution, UndecidedError
    from pytest_decoderonly.compare.canaries import Canary, canaries
    from pytest_decoderonly.compare.supervision import SupervisionAudit
    from pytest_decoderonly.compare.verdict import BatteryResult, ChangeResult, Relation, Verdict
    from pytest_decoderonly.compare.weights import WeightAudit
    from pytest_decoderonly.recording import record_generate
    from pytest_decoderonly.runtime.expectations import decoderonly_allow, decoderonly_expect
    from pytest_decoderonly.runtime.report import DecoderOnlyWarning
    from pytest_decoderonly.runtime.session import DecoderOnlyError, Guarded, guard
    from pytest_decoderonly.tiny import TinyModelError, tiny_architectures, tiny_decoder, tiny_tokenizer

_HOMES = {
    "Attribution": "compare.attribution",
    "BatteryResult": "compare.verdict",
    "Canary": "compare.canaries",
    "ChangeResult": "compare.verdict",
    "DecoderOnlyError": "runtime.session",
    "DecoderOnlyWarning": "runtime.report",
    "Guarded": "runtime.session",
    "Relation": "compare.verdict",
    "SupervisionAudit": "compare.supervision",
    "TinyModelError": "tiny",
    "UndecidedError": "compare.attribution",
    "Verdict": "compare.verdict",
    "WeightAudit": "compare.weights",
    "assert_accumulation_equals_full_batch": "assertions.loss",
    "assert_answers_whole": "assertions.answers",
    "assert_batch_equals_single": "assertions.equivalence",
    "assert_labels_mask_prompt": "assertions.labels",
    "assert_left_padded": "assertions.padding",
    "assert_loss_ignores_prompt": "assertions.loss",
    "assert_no_prompt": "assertions.outputs",
    "assert_only_responses_supervised": "assertions.canaries",
    "assert_prompts_whole": "assertions.prompts",
    "assert_right_padded": "assertions.padding",
    "assert_same_with": "assertions.equivalence",
    "assert_scores_keep": "assertions.scores",
    "canaries": "compare.canaries",
    "decoderonly_allow": "runtime.expectations",
    "decoderonly_expect": "runtime.expectations",
    "guard": "runtime.session",
    "record_generate": "recording",
    "tiny_architectures": "tiny",
    "tiny_decoder": "tiny",
    "tiny_tokenizer": "tiny",
}

__all__ = [
    "Attribution",
    "BatteryResult",
    "Canary",
    "ChangeResult",
    "DecoderOnlyError",
    "DecoderOnlyWarning",
    "Guarded",
    "Relation",
    "SupervisionAudit",
    "TinyModelError",
    "UndecidedError",
    "Verdict",
    "WeightAudit",
    "assert_accumulation_equals_full_batch",
    "assert_answers_whole",
    "assert_batch_equals_single",
    "assert_labels_mask_prompt",
    "assert_left_padded",
    "assert_loss_ignores_prompt",
    "assert_no_prompt",
    "assert_only_responses_supervised",
    "assert_prompts_whole",
    "assert_right_padded",
    "assert_same_with",
    "assert_scores_keep",
    "canaries",
    "decoderonly_allow",
    "decoderonly_expect",
    "guard",
    "record_generate",
    "tiny_architectures",
    "tiny_decoder",
    "tiny_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import importlib

        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value  # asked once
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
