"""Wraps the library's methods while somebody watches or listens, and puts back exactly what was there.

A module that is not imported yet is wrapped when the program imports it; the guard imports none of them.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Any

from pytest_decoderonly.runtime import hooks
from pytest_decoderonly.runtime.wrapping import restore_all
from pytest_decoderonly.runtime.wrapping import wrap as _wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from pytest_decoderonly.runtime.watcher import Recorder

_GENERATION = "transformers.generation.utils"
_TOKENIZATION = "transformers.tokenization_utils_base"


_finder: _AfterImport | None = None
_nobody = contextlib.nullcontext(None)


def install(recorder: Recorder) -> None:
    """Wrap what is imported already, and wait for the rest. A failure on the way leaves nothing wrapped."""
    global _finder  # noqa: PLW0603 - one set of wrappers for the process
    try:
        waiting: dict[str, Callable[[ModuleType], None]] = {}
        for module_name, act in _TARGETS.items():
            module = sys.modules.get(module_name)
            if module is not None:
                act(module, recorder)
            else:
                waiting[module_name] = functools.partial(_call_back, act, recorder)
        if waiting:
            _finder = _AfterImport(waiting)
            sys.meta_path.insert(0, _finder)
    except BaseException:  # also Ctrl-C: no half of the wrappers stays in place
        uninstall()
        raise


def uninstall() -> None:
    """Restore every method. One that somebody else replaced meanwhile is theirs, and left alone."""
    global _finder  # noqa: PLW0603
    if _finder is not None:
        _finder.waiting.clear()
        if _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
        _finder = None
    restore_all()


def _call_back(act: Callable[[ModuleType, Recorder], None], recorder: Recorder, module: ModuleType) -> None:
    act(module, recorder)


def _wrap_generation(module: ModuleType, recorder: Recorder) -> None:
    import torch  # transformers' generation module has imported it by now

    # Traced code must not see the guard. Old versions of torch do not tell.
    is_compiling = getattr(torch.compiler, "is_compiling", lambda: False)

    def wrapper_of(before: Any) -> Any:
        def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if is_compiling() or not (recorder.active or recorder.heard):
                return before(self, *args, **kwargs)
            local = recorder.local
            busy = getattr(local, "busy", 0)
            depth = getattr(local, "generate", 0)
            local.generate = depth + 1
            try:
                with recorder.hearing(self, args, kwargs) if recorder.heard else _nobody as heard:
                    call = recorder.generate_begins(self, args, kwargs) if recorder.active else None
                    local.busy = 1  # the forwards within are the library's
                    try:
                        result = before(self, *args, **kwargs)
                    finally:
                        local.busy = busy
                    if heard is not None:
                        heard(result)
            finally:
                local.generate = depth
            if call is not None:
                recorder.generate_ended(call, self, args, kwargs, result)
            return result

        return generate

    _wrap(module.GenerationMixin, "generate", wrapper_of)


def _wrap_tokenization(module: ModuleType, recorder: Recorder) -> None:
    local = recorder.local

    def tokenizing(method: str) -> Callable[[Any], Any]:
        def wrapper_of(before: Any) -> Any:
            def tokenize(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                if not recorder.active:
                    return before(self, *args, **kwargs)
                depth = getattr(local, "tokenize", 0)
                local.tokenize = depth + 1
                try:
                    result = before(self, *args, **kwargs)
                except ValueError as error:
                    if not depth:
                        recorder.not_tokenized(self, error)
                    raise
                finally:
                    local.tokenize = depth
                if not depth:
                    recorder.tokenized(self, method, args, kwargs, result)
                return result

            return tokenize

        return wrapper_of

    def decoding(method: str) -> Callable[[Any], Any]:
        def wrapper_of(before: Any) -> Any:
            def decode(self: Any, *args: Any, **kwargs: Any) -> Any:
                __tracebackhide__ = True
                if not recorder.active:
                    return before(self, *args, **kwargs)
                depth = getattr(local, "decode", 0)
                local.decode = depth + 1
                try:
                    result = before(self, *args, **kwargs)
                finally:
                    local.decode = depth
                if not depth:
                    value = args[0] if args else kwargs.get("token_ids", kwargs.get("sequences"))
                    recorder.decoded(self, method, value)
                return result

            return decode

        return wrapper_of

    owner = module.PreTrainedTokenizerBase
    for name in ("__call__", "encode", "encode_plus", "batch_encode_plus", "pad", "apply_chat_template"):
        _wrap(owner, name, tokenizing(name))
    for name in ("decode", "batch_decode"):
        _wrap(owner, name, decoding(name))


_TARGETS: dict[str, Callable[[ModuleType, Recorder], None]] = {
    _GENERATION: _wrap_generation,
    _TOKENIZATION: _wrap_tokenization,
    **hooks.TARGETS,
}


class _AfterImport:
    """A finder that finds nothing itself: it lets the others find the module, and acts once that has run."""

    def __init__(self, waiting: dict[str, Callable[[ModuleType], None]]) -> None:
        self.waiting = waiting

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.waiting:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                self._act_after(spec)
                return spec
        return None

    def _act_after(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        if loader is None or not hasattr(loader, "exec_module"):
            return
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # the loader is the module's own again, whatever happens next
            execute(module)
            act = self.waiting.pop(module.__name__, None)
            if act is not None:
                act(module)

        loader.exec_module = exec_module
