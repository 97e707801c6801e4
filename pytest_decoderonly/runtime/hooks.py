"""The library's other methods that the guard wraps: forwards, processors, pipelines, streamers and collators."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.runtime.wrapping import wrap, wrap_inherited

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from pytest_decoderonly.runtime.watcher import Recorder


def _forwards(recorder: Recorder) -> Callable[[Callable[[Any], Any]], Callable[..., Any]]:
    import torch  # the modules that ask for this have imported it by now

    # Traced code must not see the guard. Old versions of torch do not tell.
    is_compiling = getattr(torch.compiler, "is_compiling", lambda: False)
    local = recorder.local

    def wrapper_of(before_of: Callable[[Any], Any]) -> Callable[..., Any]:
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if is_compiling() or not recorder.active or getattr(local, "busy", 0):
                return before_of(self)(*args, **kwargs)
            recorder.forward_begins(self, args, kwargs)
            local.busy = 1
            try:
                return before_of(self)(*args, **kwargs)
            finally:
                local.busy = 0

        return forward

    return wrapper_of


def _wrap_models(module: ModuleType, recorder: Recorder) -> None:
    owner = module.PreTrainedModel
    # Looked up anew at each call: a tracer may have put another one in its place meanwhile.
    wrap_inherited(owner, "__call__", _forwards(recorder)(lambda self: super(owner, self).__call__))
    own_generate = _own_generates(recorder)
    classes = [owner]
    for known in classes:
        _wrap_own_generate(known, own_generate)
        classes += known.__subclasses__()

    def wrapper_of(before: Any) -> Any:
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            __tracebackhide__ = True
            before(self, *args, **kwargs)
            if recorder.active:
                for made in type(self).__mro__:
                    _wrap_own_generate(made, own_generate)

        return __init__

    wrap(owner, "__init__", wrapper_of)


def _wrap_own_generate(owner: type, wrapper_of: Callable[[Any], Any]) -> None:
    """Wrap the `generate` that a class of the program defines: it may never call the library's."""
    if isinstance(vars(owner).get("generate"), FunctionType) and not owner.__module__.startswith(
        "transformers."
    ):
        wrap(owner, "generate", wrapper_of)


def _own_generates(recorder: Recorder) -> Callable[[Any], Any]:
    def wrapper_of(before: Any) -> Any:
        def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            result = before(self, *args, **kwargs)
            if recorder.active and not getattr(recorder.local, "generate", 0):
                recorder.own_generate_ended(self, args, kwargs, result)
            return result

        return generate

    return wrapper_of


def _wrap_peft(module: ModuleType, recorder: Recorder) -> None:
    """PEFT calls the forward of the model within, and not the model."""
    for name in ("PeftModel", "PeftModelForCausalLM"):
        owner = getattr(module, name, None)
        if owner is not None:
            wrap(owner, "forward", lambda before: _forwards(recorder)(before.__get__))


def _wrap_processors(module: ModuleType, recorder: Recorder) -> None:
    def wrapper_of(before: Any) -> Any:
        def apply_chat_template(self: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            result = before(self, *args, **kwargs)
            if recorder.active:
                recorder.rendered_by_processor(args, kwargs, result)
            return result

        return apply_chat_template

    wrap(module.ProcessorMixin, "apply_chat_template", wrapper_of)


def _birth(recorder: Recorder, what: str) -> Callable[[Any], Any]:
    """Wrap `__init__`, to remember the user's line that makes an object and the options that it writes out."""

    def wrapper_of(before: Any) -> Any:
        names = (
            before.__code__.co_varnames[1 : before.__code__.co_argcount]
            if hasattr(before, "__code__")
            else ()
        )

        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            __tracebackhide__ = True
            if not recorder.active:
                before(self, *args, **kwargs)
                return
            with recorder.inside(what) as outermost:
                before(self, *args, **kwargs)
            if outermost:
                recorder.was_made(self, frozenset(kwargs) | frozenset(names[: len(args)]))

        return __init__

    return wrapper_of


def _wrap_streamers(module: ModuleType, recorder: Recorder) -> None:
    for name in ("TextStreamer", "TextIteratorStreamer", "AsyncTextIteratorStreamer"):
        owner = getattr(module, name, None)
        if owner is not None:
            wrap(owner, "__init__", _birth(recorder, "streamer"))


def _wrap_pipeline(module: ModuleType, recorder: Recorder) -> None:
    def wrapper_of(before: Any) -> Any:
        def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
            __tracebackhide__ = True
            result = before(self, *args, **kwargs)
            if recorder.active:
                recorder.piped(self, args, kwargs, result)
            return result

        return __call__

    wrap(module.TextGenerationPipeline, "__call__", wrapper_of)
    wrap(module.TextGenerationPipeline, "__init__", _birth(recorder, "pipeline"))


def _wrap_collators(module: ModuleType, recorder: Recorder) -> None:
    def wrapper_of(before: Any) -> Any:
        def torch_call(self: Any, examples: Any) -> Any:
            __tracebackhide__ = True
            labels = recorder.labels_given(self, examples) if recorder.active else None
            batch = before(self, examples)
            if labels:
                recorder.collated(self, labels, batch)
            return batch

        return torch_call

    owner = module.DataCollatorForLanguageModeling
    wrap(owner, "torch_call", wrapper_of)
    wrap(owner, "__init__", _birth(recorder, "collator"))


TARGETS: dict[str, Callable[[ModuleType, Recorder], None]] = {
    "transformers.modeling_utils": _wrap_models,
    "transformers.processing_utils": _wrap_processors,
    "transformers.generation.streamers": _wrap_streamers,
    "transformers.pipelines.text_generation": _wrap_pipeline,
    "transformers.data.data_collator": _wrap_collators,
    "peft.peft_model": _wrap_peft,
}
