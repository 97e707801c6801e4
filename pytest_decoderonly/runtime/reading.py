"""Reads the library's calls: from models, encodings and arguments to the events that are remembered and judged.

Only reads. Nothing here runs a model, draws a number or keeps an object of the program's alive.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, cast

from pytest_decoderonly.runtime import events, ids
from pytest_decoderonly.runtime.labels import IGNORE
from pytest_decoderonly.runtime.provenance import Encoded, Generated, Padding, Rendered, Tokenized
from pytest_decoderonly.runtime.settings import named_arguments, setting
from pytest_decoderonly.runtime.wrapping import original

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_decoderonly.runtime.frames import Caller, CallPlace
    from pytest_decoderonly.runtime.provenance import Log

_STATELESS = ("encoder_outputs", "encoder_hidden_states", "decoder_input_ids")
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_REMEMBERED_ROWS = 1024
_MADE_FROM_TEXT = frozenset({"__call__", "encode", "encode_plus", "batch_encode_plus"})
_NO_TRUNCATION = (None, False, "do_not_truncate")


def tokenized(
    tokenizer: Any,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Any,
    *,
    who: Caller,
    log: Log,
) -> Tokenized | None:
    """Read what a tokenizer call returned; None where that holds no ids."""
    data = getattr(result, "data", result)
    mask = None
    if isinstance(data, dict):
        mask, data = data.get("attention_mask"), data.get("input_ids")
    rows = None if data is None or isinstance(data, str) else ids.rows_of(data)
    if not rows:
        return None
    texts = _texts(args, kwargs) if method in _MADE_FROM_TEXT else []
    if len(texts) != len(rows):
        texts = []
    chats = {number: log.rendered(text) for number, text in enumerate(texts)}
    if method == "apply_chat_template":
        chats = dict(enumerate(_chats(args, kwargs, who.place)))
    pad_id, eos_id, bos_id = token_ids(tokenizer)
    given = (args[0] if args else kwargs.get("encoded_inputs")) if method == "pad" else None
    return Tokenized(
        place=who.place,
        method=method,
        tokenizer=weakref.ref(tokenizer),
        rows=tuple(rows[:_REMEMBERED_ROWS]),
        padding=_padding(given, mask, rows, pad_id, special={eos_id, bos_id}, log=log),
        row_count=len(rows),
        width=max(map(ids.width, rows)),
        padding_side=str(kwargs.get("padding_side") or getattr(tokenizer, "padding_side", "right")),
        pad_token_id=pad_id,
        eos_token_id=eos_id,
        bos_token_id=bos_id,
        pad_token=tokenizer.pad_token if pad_id is not None else None,
        direct=who.direct,
        adds_special=kwargs.get("add_special_tokens", True) is not False and method in _MADE_FROM_TEXT,
        truncated=_truncated(tokenizer, kwargs, result) if method in _MADE_FROM_TEXT else frozenset(),
        rendered={number: chat for number, chat in chats.items() if chat is not None},
        lengths=tuple(map(len, texts)),
    )


def _padding(
    given: Any,
    mask: Any,
    rows: list[bytes],
    pad_id: int | None,
    *,
    special: set[int | None],
    log: Log,
) -> tuple[Padding, ...] | None:
    """Read the rows' padding from the mask that a tokenizer returned; None where that does not tell.

    `given` is what `pad` got, None for another method. Where that is no mask, `pad` writes 1 at all ids it was given, also at
    padding that they had before: it is known where the ids came from a tokenizer, or where the pad id has no other meaning.
    """
    added = events.padding_by_mask(mask, rows) if mask is not None else None
    if added is None or given is None or pad_id is None or _has_mask(given):
        return added
    pad, found = ids.token_bytes(pad_id), []
    for row, pads in zip(rows, added, strict=True):
        own = row[pads.left * ids.ITEM : len(row) - pads.right * ids.ITEM]
        made = log.tokenized_row(own)
        if made is not None and made[0].padding is not None:
            before = made[0].padding[made[1]]
        else:
            left, right = (ids.run_length(own, pad, at_end=end) for end in (False, True))
            if pad_id in special and max(left, right) > 1:
                return None
            before = Padding() if pad_id in special or left == ids.width(own) else Padding(left, right)
        found.append(Padding(pads.left + before.left, pads.right + before.right))
    return tuple(found)


def _has_mask(given: Any) -> bool:
    first = given[0] if isinstance(given, (list, tuple)) and given else given
    return hasattr(first, "keys") and "attention_mask" in first.keys()  # noqa: SIM118


def rendered(
    args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, place: CallPlace | None, log: Log
) -> None:
    """Remember the texts that a chat template made."""
    texts = [result] if isinstance(result, str) else result
    chats = _chats(args, kwargs, place)
    if isinstance(texts, list) and len(texts) == len(chats) and all(isinstance(text, str) for text in texts):
        log.add_rendered(texts, chats)


def _texts(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    if len(args) > 1 or kwargs.get("text_pair") is not None or kwargs.get("is_split_into_words"):
        return []
    given = args[0] if args else kwargs.get("text", kwargs.get("batch_text_or_text_pairs"))
    if isinstance(given, str):
        return [given]
    if isinstance(given, (list, tuple)) and all(isinstance(text, str) for text in given):
        return list(given)
    return []


def _chats(args: tuple[Any, ...], kwargs: dict[str, Any], place: CallPlace | None) -> list[Rendered]:
    """Read of whom the last message of each conversation is; empty where they have another form."""
    given = args[0] if args else kwargs.get("conversation")
    given = getattr(given, "messages", given)
    if not isinstance(given, (list, tuple)) or not given:
        return []
    found = []
    for messages in [given] if isinstance(given[0], dict) else given:
        turns = getattr(messages, "messages", messages)
        last = turns[-1] if isinstance(turns, (list, tuple)) and turns else None
        if not isinstance(last, dict):
            return []
        opens, continues = (
            bool(kwargs.get(name)) for name in ("add_generation_prompt", "continue_final_message")
        )
        found.append(Rendered(place, str(last.get("role")), opens, continues))
    return found


def _truncated(tokenizer: Any, kwargs: dict[str, Any], result: Any) -> frozenset[int]:
    """Return the rows that lost their end; a tokenizer in plain Python does not tell."""
    if kwargs.get("truncation") in _NO_TRUNCATION and kwargs.get("max_length") is None:
        return frozenset()
    side = kwargs.get("truncation_side") or getattr(tokenizer, "truncation_side", "right")
    encodings = getattr(result, "encodings", None)
    if side != "right" or not encodings or kwargs.get("return_overflowing_tokens"):
        return frozenset()
    return frozenset(number for number, encoding in enumerate(encodings) if encoding.overflowing)


def generate_call(
    who: Caller, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], log: Log
) -> events.GenerateCall | None:
    """Read the arguments of a decoder-only `generate`; None where these are no ids."""
    if is_encoder_decoder(model) or any(kwargs.get(name) is not None for name in _STATELESS):
        return None
    named = named_arguments(args, kwargs)
    value = named.get("input_ids")
    if value is None and getattr(model, "main_input_name", "input_ids") == "input_ids":
        value = named.get("inputs")
    rows = matrix_rows(value)
    if not rows or not rows[0]:
        return None
    made = log.tokenized_rows(rows)
    row_padding = [log.tokenized_row(row) for row in rows]
    pad, special = special_ids(model, named)
    model_pad, ends = pad, end_ids(model, named)
    if pad is None and made is not None:
        pad = made.pad_token_id
    mask = kwargs.get("attention_mask")
    known_by = "its attention mask"
    bits = events.mask_rows(mask, rows)
    if mask is not None:
        padding = events.padding_by_bits(bits)
    elif all(hit is not None and hit[0].padding is not None for hit in row_padding):
        known_by = "the tokenizer's mask"
        hits = cast("list[tuple[Tokenized, int]]", row_padding)
        padding = tuple(cast("tuple[Padding, ...]", event.padding)[number] for event, number in hits)
    else:
        known_by = "its pad ids"
        padding = events.padding_by_id(pad, pad in special, rows)
    return events.GenerateCall(
        caller=who,
        model=type(model).__name__,
        rows=rows,
        has_mask=mask is not None,
        takes_mask=takes_mask(model),
        padding=padding,
        known_by=known_by,
        guessable=model_pad is not None
        and model_pad not in ends
        and any(model_pad in ids.ids_of(row) for row in rows),
        lone_start=len(rows[0]) == ids.ITEM,
        pad_token_id=pad,
        tokenized=made,
        text_of=decoder(made.tokenizer if made is not None else None),
        origins=[
            log.origin(row, pads) for row, pads in zip(rows, padding or [Padding()] * len(rows), strict=True)
        ],
        mask=bits,
        limits=events.Limits(*(_plain(setting(model, named, name, own=False)) for name in _LIMITS)),
        ends=frozenset(map(ids.token_bytes, ends)),
        special=frozenset(special if model_pad is None else special | {model_pad}),
    )


_LIMITS = ("max_length", "max_new_tokens")


def generated(call: events.GenerateCall, result: Any) -> Generated | None:
    """Read what a decoder-only `generate` returned; None where the prompt is not in it."""
    tensor = getattr(result, "sequences", result)
    outputs = matrix_rows(tensor)
    size = len(call.rows[0])
    if not outputs or len(outputs[0]) <= size:
        return None
    left, characters = {}, {}
    for number, (row, pad) in enumerate(
        zip(call.rows, call.padding or [Padding()] * len(call.rows), strict=True)
    ):
        left[row] = pad.left
        origin = call.origins[number] if call.origins else None
        if origin is not None and origin[1] < len(origin[0].lengths):
            characters[row] = origin[0].lengths[origin[1]]
    prompts = [row[:size] for row in outputs]
    if any(prompt not in left for prompt in prompts):
        return None  # it returned new tokens alone, or something of its own making
    call.outputs = outputs
    if call.lone_start and all(ids.ids_of(row)[0] in call.special for row in call.rows):
        return None  # unconditional: there is no prompt that could be repeated
    tail = call.special if call.pad_token_id is None else call.special | {call.pad_token_id}
    return Generated(
        place=call.caller.place,
        model=call.model,
        width=ids.width(call.rows[0]),
        prompts=prompts,
        outputs=outputs,
        left=[left[prompt] for prompt in prompts],
        tokenized=call.tokenized,
        tail=frozenset(map(ids.token_bytes, tail)),
        tensor=weakref.ref(tensor),
        characters=tuple(characters.get(prompt) for prompt in prompts),
        limit=call.limits.max_new_tokens if call.limits is not None else None,
    )


def encoded(
    who: Caller, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, result: Any, log: Log
) -> Encoded | None:
    """Read what an encoder-decoder's `generate` returned; None where its input is no ids."""
    if not is_encoder_decoder(model) or any(kwargs.get(name) is not None for name in _STATELESS):
        return None
    value = kwargs.get("input_ids")
    if value is None:
        value = args[0] if args else kwargs.get("inputs")
    rows = matrix_rows(value)
    tensor = getattr(result, "sequences", result)
    outputs = matrix_rows(tensor)
    if not rows or not outputs or len(outputs) % len(rows):
        return None
    mask = kwargs.get("attention_mask")
    padding = (events.padding_by_mask(mask, rows) if mask is not None else None) or [Padding()] * len(rows)
    times = len(outputs) // len(rows)
    return Encoded(
        place=who.place,
        model=type(model).__name__,
        prompt_width=ids.width(rows[0]),
        prompt_lengths=[
            ids.width(row) - pad.total for row, pad in zip(rows, padding, strict=True) for _ in range(times)
        ],
        outputs=outputs,
        tokenized=log.tokenized_rows(rows),
        tensor=weakref.ref(tensor),
    )


def forward_call(
    who: Caller,
    model: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    places: Sequence[CallPlace],
    log: Log,
) -> events.ForwardCall | None:
    """Read the arguments of a decoder-only model's forward; None where it has no ids, or goes on from a cache."""
    if is_encoder_decoder(model) or kwargs.get("past_key_values") is not None:
        return None
    if any(kwargs.get(name) is not None for name in (*_STATELESS, "inputs_embeds")):
        return None
    given = _named(model, args) | kwargs
    rows = matrix_rows(given.get("input_ids"))
    if not rows or not rows[0] or given.get("past_key_values") is not None:
        return None
    labels = matrix_rows(given.get("labels"))
    if labels is not None and [len(row) for row in labels] != [len(row) for row in rows]:
        labels = None
    mask = given.get("attention_mask")
    bits = events.mask_rows(mask, rows)
    pad, _ = special_ids(model, {})
    made = log.tokenized_rows(rows)
    ends = end_ids(model, {})
    torch = sys.modules["torch"]
    return events.ForwardCall(
        caller=who,
        places=tuple(places),
        model=type(model).__name__,
        model_type=str(getattr(model.config, "model_type", "")),
        rows=rows,
        mask=bits,
        mask_given=mask is not None,
        own_padding=events.padding_by_bits(bits),
        has_positions=given.get("position_ids") is not None,
        labels=labels,
        trains=bool(torch.is_grad_enabled() and any(weight.requires_grad for weight in model.parameters())),
        shifts_labels=_by_transformers(model, _CAUSAL),
        is_backbone=_by_transformers(model, ("Model",)),
        eos_ids=frozenset(ends if made is None or made.eos_token_id is None else ends | {made.eos_token_id}),
        pad_token_id=pad,
        text_of=decoder(made.tokenizer if made is not None else None),
        log=log,
    )


def pipeline_call(
    who: Caller,
    pipe: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    places: tuple[CallPlace, ...],
    result: Any,
) -> events.PipelineCall | None:
    """Read a pipeline's call with texts, made by the user's own code; None where no text was returned."""
    if who.ours or not who.direct or not places or is_encoder_decoder(pipe.model):
        return None
    given = args[0] if args else kwargs.get("text_inputs")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        return None  # chats, and generators, which yield later
    first = result[0] if isinstance(result, list) and result else None
    first = first[0] if isinstance(first, list) and first else first
    text = first.get("generated_text") if isinstance(first, dict) else None
    if not isinstance(text, str) or not texts[0] or not text.startswith(texts[0]):
        return None
    asked = any(name in kwargs for name in _FULL_TEXT) or "return_type" in getattr(
        pipe, "_postprocess_params", {}
    )
    return events.PipelineCall(places, len(texts), (texts[0], text), asked)


_FULL_TEXT = ("return_full_text", "return_text", "return_tensors", "return_type")


def labels_of(examples: Any) -> list[list[int]] | None:
    """Return the labels of a collator's examples; None where they have none, or none that are masked."""
    if not isinstance(examples, (list, tuple)) or not examples or not hasattr(examples[0], "keys"):
        return None
    found = [example["labels"] for example in examples if "labels" in example]
    rows = ids.rows_of([row.tolist() if hasattr(row, "tolist") else row for row in found]) if found else None
    if rows is None or len(rows) != len(examples):
        return None
    labels = [ids.ids_of(row) for row in rows]
    return labels if any(IGNORE in row for row in labels) else None


def collator_call(
    who: Caller, collator: Any, labels: list[list[int]], batch: Any
) -> events.CollatorCall | None:
    """Read a collator's batch; None where it holds no labels."""
    after, rows = matrix_rows(batch.get("labels")), matrix_rows(batch.get("input_ids"))
    if after is None or rows is None or len(after) != len(labels):
        return None
    tokenizer = getattr(collator, "tokenizer", None)
    return events.CollatorCall(
        who,
        type(collator).__name__,
        labels,
        [ids.ids_of(row) for row in after],
        [ids.ids_of(row) for row in rows],
        decoder(weakref.ref(tokenizer) if tokenizer is not None else None),
    )


def _named(model: Any, args: tuple[Any, ...]) -> dict[str, Any]:
    """Give positional arguments of a forward their names."""
    if not args:
        return {}
    code = getattr(_forward(model), "__code__", None)
    names = code.co_varnames[1 : code.co_argcount] if code is not None else ()
    if not names:
        return {"input_ids": args[0]}  # a forward that passes everything on
    return dict(zip(names, args, strict=False))


def _forward(model: Any) -> Any:
    forward = type(model).forward
    while hasattr(forward, "__wrapped__"):
        forward = forward.__wrapped__
    return forward


def _by_transformers(model: Any, endings: tuple[str, ...]) -> bool:
    """Whether the model's forward is transformers' own, of a class of one of these names: those shift labels."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    module = str(getattr(_forward(base), "__module__", ""))
    return module.startswith("transformers.") and type(base).__name__.endswith(endings)


def is_encoder_decoder(model: Any) -> bool:
    """Whether the model's configuration says so."""
    return bool(getattr(model.config, "is_encoder_decoder", False))


_decoders: weakref.WeakKeyDictionary[type, bool] = weakref.WeakKeyDictionary()


def decodes_only(model: Any) -> bool:
    """Whether a model's class is known to be a decoder-only language model's, with its head or without."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = _decoders.get(type(base))
    if known is None:
        known = _decoders[type(base)] = any(map(_names_a_decoder, type(base).__mro__))
    return known and not is_encoder_decoder(base)


def _names_a_decoder(owner: type) -> bool:
    from decoderonly_checker.knowledge.model_classes import kind_of_backbone, kind_of_class

    kinds = (kind_of_class(owner.__name__), kind_of_backbone(owner.__name__))
    return owner.__module__.startswith("transformers.") and "decoder-only" in kinds


def matrix_rows(value: Any) -> list[bytes] | None:
    """Return the rows of a 2-D tensor of ids; None for anything else."""
    return ids.rows_of(value) if ids.readable_tensor(value) and value.dim() == 2 else None


def row_objects(value: Any, count: int) -> list[Any]:
    """Return the object that each row is held in: views of a tensor, the members of a list."""
    if isinstance(value, (list, tuple)) and len(value) == count and not isinstance(value[0], int):
        return list(value)
    if ids.readable_tensor(value) and value.dim() == 2:
        return list(value.unbind(0))
    return [value] * count


def is_empty(value: Any) -> bool:
    """Whether ids that are decoded are none: a view behind the last column."""
    return ids.readable_tensor(value) and value.numel() == 0 and value.dim() == 1


def decoder(tokenizer: weakref.ref[Any] | None) -> Callable[[bytes], str]:
    """Return a function from a row to its text; ids as numbers where the tokenizer is not known."""

    def text_of(row: bytes) -> str:
        held = tokenizer() if tokenizer is not None else None
        numbers = ids.ids_of(row)
        decode = original("decode")
        if held is None or decode is None:
            return " ".join(map(str, numbers))
        return str(decode(held, numbers))

    return text_of


def token_ids(tokenizer: Any) -> tuple[int | None, int | None, int | None]:
    """Return the ids of padding, end and start of text; None for each that the tokenizer has not."""
    tokens = getattr(tokenizer, "_special_tokens_map", None)
    if not isinstance(tokens, dict):  # before transformers 4.45
        tokens = {name: getattr(tokenizer, f"_{name}", None) for name in _SPECIAL}
    names = tuple(None if tokens.get(name) is None else str(tokens[name]) for name in _SPECIAL)
    known = _token_ids.get(tokenizer)
    if known is not None and known[0] == names:
        return known[1]
    # Asked only for those that are set: some versions write a log line for the others.
    values = [
        getattr(tokenizer, f"{name}_id", None) if text else None
        for name, text in zip(_SPECIAL, names, strict=True)
    ]
    pad, eos, bos = (value if isinstance(value, int) else None for value in values)
    _token_ids[tokenizer] = names, (pad, eos, bos)
    return pad, eos, bos


_SPECIAL = ("pad_token", "eos_token", "bos_token")
_token_ids: weakref.WeakKeyDictionary[
    Any, tuple[tuple[str | None, ...], tuple[int | None, int | None, int | None]]
]
_token_ids = weakref.WeakKeyDictionary()


def _plain(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _integers(value: Any) -> set[int]:
    if ids.readable_tensor(value):
        value = value.tolist()
    members = value if isinstance(value, (list, tuple)) else [value]
    return {member for member in members if isinstance(member, int)}


def end_ids(model: Any, named: Mapping[str, Any]) -> set[int]:
    """Return the ids at which a call with these arguments ends a row."""
    return _integers(setting(model, named, "eos_token_id"))


def special_ids(model: Any, named: Mapping[str, Any]) -> tuple[int | None, set[int]]:
    """Return the pad id of a call with these arguments, and the ids that begin or end a text."""
    pad = min(_integers(setting(model, named, "pad_token_id")), default=None)
    starts = _integers(setting(model, named, "bos_token_id"))
    return pad, end_ids(model, named) | starts


def takes_mask(model: Any) -> bool:
    """Whether the model's forward has an attention mask at all (some recurrent models have none)."""
    code = getattr(getattr(type(model).forward, "__wrapped__", type(model).forward), "__code__", None)
    if code is None:
        return True
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    # A forward that names not even the ids passes everything on; one that names them and no mask has none.
    return "attention_mask" in names or "input_ids" not in names
