"""Records the `generate` calls of a test: what went in, what came back, from which line.

The wrapping is the guard's (`runtime/patches.py`); results, tensors and random state stay as they were.
Importing this module costs no import of torch or transformers.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from pytest_decoderonly.runtime.frames import Caller, CallPlace

__all__ = ["GenerateRecorder", "RecordedCall", "record_generate"]

_DEFAULT_LENGTH = 20  # new tokens of a call that sets no limit, since transformers 4.39


@dataclass(eq=False)
class RecordedCall:
    """One call of `generate`. Tensors are copies on the CPU.

    Attributes:
        model: Class of the model.
        place: The user's line that made the call, None where a thread runs `generate` itself.
        input_ids: The prompts, (rows, width); None where the call has none.
        attention_mask: The mask that was given, None without one.
        mask_shape: Shape of the mask that was given, also where it is none of rows and positions.
        embeds_shape: Shape of `inputs_embeds` where these were given, (rows, width, hidden).
        given: Names of the arguments that were given.
        settings: Generation settings in force: the call's, over its generation_config's, over the model's.
        context: Positions that the model is made for; None where its configuration does not say.
        cached: Tokens in the cache that the call was given.
        is_encoder_decoder: The model is one.
        sequences: The ids that came back; None where the call failed.
        error: What it raised.
        nested: Calls that this one made (an assistant model's, those of a `generate` that calls another).
    """

    model: str
    place: CallPlace | None
    input_ids: torch.Tensor | None = None
    attention_mask: torch.Tensor | None = None
    mask_shape: tuple[int, ...] | None = None
    embeds_shape: tuple[int, ...] | None = None
    given: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    context: int | None = None
    cached: int = 0
    is_encoder_decoder: bool = False
    sequences: torch.Tensor | None = None
    error: str | None = None
    nested: list[RecordedCall] = field(default_factory=list)
    _owner: weakref.ref[Any] | None = field(default=None, repr=False)
    _tokenizer: weakref.ref[Any] | None = field(default=None, repr=False)
    _before: RecordedCall | None = field(default=None, repr=False)

    def __str__(self) -> str:
        ids, out = (None if t is None else tuple(t.shape) for t in (self.input_ids, self.sequences))
        given = f"embeddings {self.embeds_shape}" if ids is None and self.embeds_shape else f"ids {ids}"
        mask = "with" if self.mask_shape is not None else "without"
        return f"{self.where}: {given} {mask} a mask -> {out if self.error is None else self.error}"

    @property
    def where(self) -> str:
        """The call in words: model and line."""
        return f"{self.model}.generate" + (f" at {self.place}" if self.place is not None else "")

    @property
    def prompt_width(self) -> int:
        """Columns of the prompt in `sequences`, padding included; 0 where these hold new tokens alone."""
        if self.input_ids is None or self.is_encoder_decoder:
            return 0
        return int(self.input_ids.shape[1])

    @property
    def new_tokens(self) -> torch.Tensor:
        """What was generated, (rows, new tokens), with the padding behind a row's end.

        Raises:
            ValueError: The call returned nothing.
        """
        if self.sequences is None:
            raise ValueError(
                f"sequences: {self.where} returned none" + (f": {self.error}" if self.error else "")
            )
        return self.sequences[:, self.prompt_width :]

    def assert_left_padded(self, tokenizer: Any = None) -> None:
        """Assert that the prompts were padded on the left and the mask agrees, as `assert_left_padded` does.

        Args:
            tokenizer: Gives the padding id and the text of tokens; without one, the call's `pad_token_id`.

        Raises:
            AssertionError: They were not.
            TypeError: Neither a mask nor a padding id is known.
        """
        __tracebackhide__ = True
        from pytest_decoderonly.assertions.padding import assert_left_padded

        ids, mask = self._ids(), self._mask()
        own, eos = _first_id(self.settings.get("pad_token_id")), self.settings.get("eos_token_id")
        pad = getattr(tokenizer, "pad_token_id", None)
        pad = own if pad is None else pad
        shared = tokenizer is None and pad is not None and pad in _ids_of(eos)
        if mask is None and len(ids) == 1 and (pad is None or shared):
            return  # one prompt, and nothing that it could be padded with
        batch = {"input_ids": ids} if mask is None else {"input_ids": ids, "attention_mask": mask}
        model = self._owner() if self._owner is not None else None
        if mask is None and pad is not None and pad == own:
            model = None  # generate makes the mask from this id
        assert_left_padded(
            batch,
            tokenizer=tokenizer,
            pad_token_id=pad,
            eos_token_id=eos if tokenizer is None else None,
            model=model,
        )

    def assert_prompts_whole(self, prompts: Any, tokenizer: Any, **options: Any) -> None:
        """Assert that the call got these prompts whole, as `assert_prompts_whole` does.

        Raises:
            AssertionError: Something of a prompt is lost.
        """
        __tracebackhide__ = True
        from pytest_decoderonly.assertions.prompts import assert_prompts_whole

        assert_prompts_whole(self._ids(), prompts, tokenizer, attention_mask=self._mask(), **options)

    def assert_answers_whole(self, answers: Any, tokenizer: Any = None, **options: Any) -> None:
        """Assert that these are the answers of this call, as `assert_answers_whole` does.

        They may end at the call's stop strings.

        Raises:
            AssertionError: An answer is cut elsewhere.
            ValueError: The call returned nothing.
        """
        __tracebackhide__ = True
        from pytest_decoderonly.assertions.answers import assert_answers_whole

        _ = self.new_tokens
        if tokenizer is None and self._tokenizer is not None:
            tokenizer = self._tokenizer()
        if tokenizer is not None:
            options.setdefault("stops", self.settings.get("stop_strings") or ())
        assert_answers_whole(
            answers,
            self.sequences,
            self.input_ids,
            tokenizer=tokenizer,
            attention_mask=self._mask(),
            prompt_in_output=self.prompt_width > 0,
            **{"pad_token_id": _first_id(self.settings.get("pad_token_id")), **options},
        )

    def assert_stopped(self, stops: Sequence[str] = (), tokenizer: Any = None) -> None:
        """Assert that generation ended when every row had stopped, and not before.

        A row stops at an EOS or a stop string of the call's settings, or at one of `stops`. Rows that are
        filled with padding have stopped.

        Args:
            stops: Texts that end a row, where the call has stopping criteria of its own.
            tokenizer: Decodes the rows; needed with stops, where the call was given none.

        Raises:
            AssertionError: Tokens were generated after all rows had stopped, or the call ended before its
                limit though a row had not stopped.
            TypeError: Stops without a tokenizer.
            ValueError: The call ended early by criteria of its own, and `stops` does not say what they are.
        """
        __tracebackhide__ = True
        from pytest_decoderonly.assertions.calls import stops_message
        from pytest_decoderonly.compare.calls import Stops, audit_stops

        settings = self.settings
        own = settings.get("stop_strings") or ()
        texts = (*([own] if isinstance(own, str) else own), *([stops] if isinstance(stops, str) else stops))
        if tokenizer is None and self._tokenizer is not None:
            tokenizer = self._tokenizer()
        if texts and not hasattr(tokenizer, "decode"):
            raise TypeError("tokenizer: is needed to look for stops, which are texts")
        wanted = Stops(
            _ids_of(settings.get("eos_token_id")),
            self._limit(),
            texts,
            _first_id(settings.get("pad_token_id")),
        )
        rows, width = self.new_tokens.tolist(), self.prompt_width
        before = self.sequences[:, :width].tolist() if self.sequences is not None and width else None
        found = audit_stops(rows, wanted, tokenizer, before)
        if found is None or (found.kind == "early" and "max_time" in settings):
            return
        if found.kind == "early" and not stops and "stopping_criteria" in self.given:
            raise ValueError(
                "stops: the call has stopping_criteria of its own: name the texts at which they end a row"
            )
        raise AssertionError(stops_message(found, self.where, rows, getattr(tokenizer, "decode", None)))

    def assert_continues_cache(self) -> None:
        """Assert that a call with a cache got the whole text, not only what is new.

        `generate` itself leaves out what the cache holds, by counting; ids of the new turn alone are cut again,
        unless the mask is as wide as the cache and they together.

        Raises:
            AssertionError: The ids do not begin with what the cache was made from, or are no longer than it; or
                they are new ones alone (the mask tells) that leave out the last token generated before.
        """
        __tracebackhide__ = True
        from pytest_decoderonly.assertions.calls import cache_message
        from pytest_decoderonly.compare.calls import uncontinued

        if not self.cached:
            return
        old, mask = self._before.sequences if self._before is not None else None, self.attention_mask
        problem = uncontinued(
            self._ids().tolist(),
            self.cached,
            None if old is None else old.tolist(),
            None if mask is None else int(mask.shape[1]),
        )
        if problem is not None:
            raise AssertionError(cache_message(problem, self.where))

    def assert_room(self, new_tokens: int) -> None:
        """Assert that the call could generate so many tokens behind each prompt.

        `max_length` counts the prompts, padding included; the model is made for so many positions.

        Args:
            new_tokens: How many tokens every row must be able to generate.

        Raises:
            AssertionError: The call could generate fewer, or they would lie beyond the model's positions.
            ValueError: `new_tokens` is not positive.
        """
        __tracebackhide__ = True
        from pytest_decoderonly.assertions.calls import context_message, room_message

        if new_tokens < 1:
            raise ValueError(f"new_tokens: must be positive, got {new_tokens}")
        message = room_message(self.settings, self._limit(), new_tokens, self.where) or context_message(
            self.context, self._longest(), new_tokens, self.where
        )
        if message:
            raise AssertionError(message)

    def _ids(self) -> torch.Tensor:
        if self.input_ids is None:
            raise ValueError(f"input_ids: {self.where} got none, but {', '.join(self.given) or 'nothing'}")
        return self.input_ids

    def _mask(self) -> torch.Tensor | None:
        """The mask of the prompts: a given one may cover a cache too.

        Raises:
            ValueError: The call got a mask that is not of shape (rows, positions).
        """
        if self.attention_mask is None and self.mask_shape is not None:
            raise ValueError(
                f"attention_mask: {self.where} got one of shape {self.mask_shape}, expected (rows, positions)"
            )
        if self.attention_mask is None or self.input_ids is None:
            return None
        return self.attention_mask[:, -self.input_ids.shape[1] :]

    def _longest(self) -> int:
        """Tokens of the longest prompt, without its padding where that is known."""
        if self.attention_mask is not None:
            return int(self.attention_mask.sum(1).max())
        return self.embeds_shape[1] if self.embeds_shape is not None else self.prompt_width

    def _limit(self) -> int:
        """How many tokens the call may generate, as generate reckons it."""
        limit, length = self.settings.get("max_new_tokens"), self.settings.get("max_length")
        if isinstance(limit, int):
            return limit
        # Before transformers 5 a configuration that says nothing holds the default.
        if not isinstance(length, int) or (length == _DEFAULT_LENGTH and "max_length" not in self.given):
            return _DEFAULT_LENGTH
        width = self.embeds_shape[1] if self.embeds_shape is not None and self.input_ids is None else None
        return length - (self.prompt_width if width is None else width)


class GenerateRecorder(Sequence[RecordedCall]):
    """The calls of `generate`, in the order in which they began, those of threads too."""

    def __init__(self) -> None:
        self._calls: list[RecordedCall] = []
        self._lock = threading.Lock()
        self._open = threading.local()
        self._by_cache: dict[int, tuple[weakref.ref[Any], RecordedCall]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    @overload
    def __getitem__(self, index: int) -> RecordedCall: ...

    @overload
    def __getitem__(self, index: slice) -> list[RecordedCall]: ...

    def __getitem__(self, index: int | slice) -> RecordedCall | list[RecordedCall]:
        return self._calls[index]

    def __repr__(self) -> str:
        return f"<{len(self)} calls of generate" + "".join(f"; {call}" for call in self) + ">"

    @property
    def calls(self) -> list[RecordedCall]:
        """All calls, without those that another one made (`nested`)."""
        return list(self._calls)

    @property
    def call(self) -> RecordedCall:
        """The only call.

        Raises:
            AssertionError: There was none, or more than one.
        """
        if len(self) != 1:
            listed = "".join(f"\n        {call}" for call in self)
            raise AssertionError(f"expected one call of generate, recorded {len(self)}{listed}")
        return self[0]

    def begins(
        self, who: Caller, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[Any, BaseException | None], None]:
        """Record a call that begins; the guard's wrapper calls this."""
        stack = self._open.__dict__.setdefault("stack", [])
        call = _read(who, model, args, kwargs)
        cache = kwargs.get("past_key_values")
        if cache is not None:
            held, before = self._by_cache.get(id(cache), (None, None))
            call._before = before if held is not None and held() is cache else None
        with self._lock:
            (stack[-1].nested if stack else self._calls).append(call)
        stack.append(call)

        def ends(result: Any, error: BaseException | None) -> None:
            stack.remove(call)
            call.error = repr(error) if error is not None else None
            call.sequences = _copy(getattr(result, "sequences", result))
            if call.sequences is None:
                return
            made = getattr(result, "past_key_values", None)
            for used in (made, cache):
                if hasattr(used, "get_seq_length"):
                    self._by_cache[id(used)] = weakref.ref(used), call

        return ends


def _read(who: Caller, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RecordedCall:
    from pytest_decoderonly.runtime.settings import named_arguments, settings

    named = named_arguments(args, kwargs)
    ids = named.get("input_ids")
    if ids is None and getattr(model, "main_input_name", "input_ids") == "input_ids":
        ids = named.get("inputs")
    cache, embeds = named.get("past_key_values"), named.get("inputs_embeds")
    mask = named.get("attention_mask")
    count = getattr(cache, "get_seq_length", None)
    tokenizer = named.get("tokenizer")
    return RecordedCall(
        model=type(model).__name__,
        place=who.place,
        input_ids=_copy(ids),
        attention_mask=_copy(mask),
        mask_shape=tuple(mask.shape) if mask is not None else None,
        embeds_shape=tuple(embeds.shape) if embeds is not None else None,
        context=_context(model),
        given=tuple(named),
        settings=settings(model, named),
        cached=int(count()) if callable(count) else 0,
        is_encoder_decoder=bool(getattr(model.config, "is_encoder_decoder", False)),
        _owner=weakref.ref(model),
        _tokenizer=weakref.ref(tokenizer) if tokenizer is not None else None,
    )


def _copy(value: Any) -> torch.Tensor | None:
    """Return a copy of a matrix on the CPU; None for anything else."""
    from pytest_decoderonly.runtime import ids

    if not ids.readable_tensor(value) or value.dim() != 2:
        return None
    copied: torch.Tensor = value.detach().to("cpu", copy=True)
    return copied


def _context(model: Any) -> int | None:
    config = model.config
    if getattr(config, "is_encoder_decoder", False):
        return None
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    found = getattr(text, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def _ids_of(value: Any) -> frozenset[int]:
    return frozenset({value} if isinstance(value, int) else value or ())


def _first_id(value: Any) -> int | None:
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    return value if isinstance(value, int) else None


@contextmanager
def record_generate() -> Iterator[GenerateRecorder]:
    """Record every `generate` call of transformers models in the block, of threads too.

    Calls give what they would have given, and raise what they would have raised. Calls of a wrapper (PEFT,
    torch.compile, a pipeline, a trainer) are recorded at the transformers model that they reach; a class that
    replaces `generate` and does not call it is not heard. Left out are calls inside compiled code and those
    that this package's own checks make.

    Yields:
        The recorder: a sequence of calls that is filled while the block runs. What is recorded of a call
        may be read later, too.

    Example:
        >>> with record_generate() as recorded:
        ...     answers = ask(model, tokenizer, questions)
        >>> recorded.call.assert_left_padded(tokenizer)
        >>> recorded.call.assert_answers_whole(answers, tokenizer)
    """
    from pytest_decoderonly.runtime.watcher import recorder

    listener = GenerateRecorder()
    recorder().listen(listener)
    try:
        yield listener
    finally:
        recorder().unlisten(listener)
