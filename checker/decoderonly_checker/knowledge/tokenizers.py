"""transformers' tokenizers and processors: encodings, templates, decoding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.access import Slice
from decoderonly_checker.flow.choices import each, join_all
from decoderonly_checker.flow.facts import Decode, TokenizerCall
from decoderonly_checker.flow.state import DictRec, ListRec, ObjRec
from decoderonly_checker.flow.values import (
    UNKNOWN,
    Args,
    Choice,
    Const,
    DecodedText,
    Encoding,
    External,
    Generated,
    Hole,
    Ids,
    Length,
    Model,
    Opaque,
    Ref,
    Rendered,
    Site,
    Str,
    Tokenizer,
    Tri,
    Unknown,
    Value,
    alternatives,
    literal,
)
from decoderonly_checker.knowledge.checkpoints import lookup
from decoderonly_checker.knowledge.ids import batched, new_ids
from decoderonly_checker.knowledge.python import new_list
from decoderonly_checker.knowledge.registry import is_none
from decoderonly_checker.knowledge.text import texts_in
from decoderonly_checker.late import late_pattern

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_CLASS = late_pattern(r"(?:Tokenizer(?:Fast|Base)?|Processor)$")
_NOT_TEXT = late_pattern(r"(?:Image|Logits|Feature|Video)\w*Processor$")
_NAME = late_pattern(r"^_?(?:tokenizer|tok|tokeniser|tokenizers|processor)$|_tokenizer$|^tokenizer_")
_SETS_UP = late_pattern(
    r"(?i)token|template|chat|format|set_?up|prepare|special|pad|patch|resize|init|config"
)
PAD_CHECKED = "#pad token checked"  # an attribute: some code runs only where there is a pad token
SET_UP = "#set up"  # an attribute: the tokenizer went through code that is not known
# Options of streamers and pipelines that leave the prompt out, and how; decoding takes them and does nothing.
PROMPT_OPTIONS = {"skip_prompt": True, "return_full_text": False}
_LIMIT = late_pattern(
    r"(?i)^(?!.*prompt).*(?:max_?(?:input_?|seq_?|source_?)?(?:len|tok|size)|limit|context_(?:len|size)|block_size)"
)
_LONG = 256
SLICED = "slice"  # the truncation of ids that were sliced by hand
# What a processor is given beside a text, and what a model is given for it.
_MEDIA_FIELDS = {
    "images": "pixel_values",
    "image": "pixel_values",
    "videos": "pixel_values_videos",
    "audio": "input_features",
    "audios": "input_features",
    "raw_speech": "input_values",
}
_MEDIA = tuple(_MEDIA_FIELDS)
MEDIA_FIELDS = frozenset(_MEDIA_FIELDS.values())
_TEXT_PARAMETERS = ("text", "batch_text_or_text_pairs", "texts")


def is_tokenizer_class(name: str) -> bool:
    """Whether a transformers class name is that of a tokenizer or of a processor that holds one."""
    return _CLASS.search(name) is not None and _NOT_TEXT.search(name) is None


def new_tokenizer(
    interp: Interpreter,
    class_name: str,
    checkpoint: Value,
    site: Site,
    *,
    named: bool = False,
    outside: bool = False,
    attrs: dict[str, Value] | None = None,
) -> Tokenizer:
    """Put a tokenizer on the heap."""
    return Tokenizer(
        interp.store.new(ObjRec(None, attrs or {})), class_name, checkpoint, named, outside, origin=site
    )


def setting(interp: Interpreter, tokenizer: Value, name: str) -> Value | None:
    """Return what was set on a tokenizer, None where nothing was."""
    if not isinstance(tokenizer, Tokenizer):
        return None
    record = interp.store.get(tokenizer.id)
    return (
        interp.restricted(record.attrs[name]) if isinstance(record, ObjRec) and name in record.attrs else None
    )


def checkpoint_names(value: Value) -> list[str]:
    """Return the literal names that a checkpoint argument may be."""
    return [v.value for v in alternatives(value) if isinstance(v, Const) and isinstance(v.value, str)]


def padding_side(interp: Interpreter, tokenizer: Value, args: Args | None) -> Value | None:
    """Return the padding side in force: of the call, set on the tokenizer, or of a known checkpoint; None if unknown."""
    given = args.get(None, "padding_side") if args is not None else None
    if given is not None:
        return given
    chosen = setting(interp, tokenizer, "padding_side")
    if chosen is not None:
        return chosen
    if isinstance(tokenizer, Tokenizer):
        sides = set()
        for name in checkpoint_names(tokenizer.checkpoint):
            known = lookup(name)
            sides.add(known.padding_side if known is not None else None)
        if len(sides) == 1 and (side := sides.pop()) is not None:
            return Const(side, default=True, origin=tokenizer.origin)
    return None


def pad_token(interp: Interpreter, tokenizer: Tokenizer, name: str, site: Site) -> Value:
    """Return what reading `pad_token` or `pad_token_id` gives: what the other of the two was set to, or the checkpoint's.

    A pad token that is the EOS token reads as that, so that a comparison with it can be told.
    """
    given = setting(interp, tokenizer, "pad_token_id" if name == "pad_token" else "pad_token")
    suffix = name.removeprefix("pad_token")
    if given is not None:

        def other(one: Value) -> Value:
            hint = getattr(one, "hint", "").removesuffix("_id")
            return Unknown(hint=f"{hint or 'pad_token'}{suffix}", origin=one.origin)

        return given if is_none(given) else each(given, other)
    names = alternatives(tokenizer.checkpoint)
    entries = {lookup(v.value) if isinstance(v, Const) and isinstance(v.value, str) else None for v in names}
    chosen = any(isinstance(v, Const) and v.default for v in names)  # the user may name another checkpoint
    entry = entries.pop() if len(entries) == 1 and not chosen else None
    if entry is not None and entry.ships_pad_token is False:
        return Const(None, origin=site)
    if entry is not None and entry.pad_is_eos:
        return Unknown(hint=f"eos_token{suffix}", origin=tokenizer.origin)
    if entry is not None and entry.ships_pad_token and entry.pad_is_eos is False:
        return Opaque(name, origin=site)  # surely not None
    return Unknown(hint=name, origin=site)


def _is_limit(upper: Value | None) -> bool:
    """Whether the end of a slice is a limit on the length. A small number takes the start of a text on purpose."""
    number = literal(upper)
    if isinstance(number, int):
        return number >= _LONG
    return isinstance(upper, Unknown) and _LIMIT.search(upper.hint) is not None


def media_in(receiver: Tokenizer, args: Args) -> Value | None:
    """Return what a processor is given beside the text: it puts tokens of its own into the row for it."""
    given = [args.get(None, name) for name in _MEDIA]
    if receiver.class_name.endswith("Processor"):
        given += args.positional[1:2]
    return next((value for value in given if not is_none(value)), args.open and Unknown(hint="**"))


def register(registry: Registry) -> None:
    """Register the handlers of this file."""
    method = registry.method

    def named(interp: Interpreter, name: str, site: Site) -> Value | None:
        if _NAME.search(name.lower()) is None:
            return None
        return new_tokenizer(interp, "", Unknown(), site, named=True, outside=True)

    registry.names.append(named)

    def annotated(interp: Interpreter, name: str, site: Site) -> Value | None:
        class_name = name.rpartition(".")[2]
        if name.startswith("transformers.") and is_tokenizer_class(class_name):
            return new_tokenizer(interp, class_name, Unknown(), site, outside=True)
        return None

    registry.annotations.append(annotated)

    def tokenizer_attribute(interp: Interpreter, owner: Tokenizer, name: str, site: Site) -> Value | None:
        if name in {"tokenizer", "backend_tokenizer", "text_tokenizer"}:
            return owner
        if name in {"pad_token", "pad_token_id"}:
            return pad_token(interp, owner, name, site)
        if name.endswith(("_token", "_token_id")):
            return Unknown(hint=name, origin=site)
        if name in {"padding_side", "truncation_side"}:
            return Unknown(hint=name, origin=site)
        if name in {"model_max_length", "chat_template", "vocab_size", "vocab"}:
            return Unknown(hint=name, origin=site)
        return None

    registry.attributes.setdefault(Tokenizer, []).append(tokenizer_attribute)

    def encode(interp: Interpreter, receiver: Tokenizer, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        text = args.get(None, *_TEXT_PARAMETERS)
        if text is None:
            text = args.get(0)
        target = args.get(None, "text_target")
        if text is None:
            text, target = target, None
        media = media_in(receiver, args)
        if is_none(text) and not is_none(media) and args.open is None and args.star is None:
            return media_alone(interp, args, site)
        many = Tri.YES if name == "batch_encode_plus" else batched(interp, text)
        if name in {"encode", "encode_plus", "tokenize"}:
            many = Tri.NO
        pad = args.get(1 if name == "pad" else None, "padding")
        padded = Tri.NO
        for one in alternatives(pad):
            value = literal(one)
            this = (
                Tri.YES
                if value in (True, "longest", "max_length")
                else Tri.MAYBE
                if not isinstance(one, Const)
                else Tri.NO
            )
            padded = this if padded is Tri.NO else padded | this
        if literal(pad) is not True and isinstance(pad, External):
            padded = Tri.YES
        if many is Tri.NO and literal(pad) != "max_length" and padded is Tri.YES:
            padded = Tri.NO  # one text has nothing to be padded to
        special = args.get(None, "add_special_tokens")
        if special is None and name == "tokenize":
            special = Const(False, origin=site)
        encoding = Encoding(
            site,
            receiver,
            text if text is not None else UNKNOWN,
            many,
            padded,
            padding_side(interp, receiver, args),
            args.get(None, "truncation"),
            args.get(None, "max_length"),
            args.get(None, "truncation_side") or setting(interp, receiver, "truncation_side"),
            special,
            texts=tuple(texts_in(interp, text)) if text is not None else (),
            media=media,
            fixed=literal(pad) == "max_length",
        )
        interp.record("tokenizer_calls", TokenizerCall(*interp.where(node), receiver, encoding, args))
        tensors = not is_none(args.get(None, "return_tensors"))
        rank = "batch" if tensors or many is Tri.YES else "row"
        if name in {"encode", "tokenize"}:
            return new_ids(interp, encoding, "input_ids", rank, site)
        entries: dict[object, Value] = {"input_ids": new_ids(interp, encoding, "input_ids", rank, site)}
        if literal(args.get(None, "return_attention_mask")) is not False:
            entries["attention_mask"] = new_ids(interp, encoding, "attention_mask", rank, site)
        if literal(args.get(None, "return_length")) is True:
            entries["length"] = Length(entries["input_ids"], "width", origin=site)
        if target is not None and not is_none(target):
            # The labels of an encoder-decoder: tokenized apart.
            other = replace(encoding, text=target, texts=tuple(texts_in(interp, target)))
            entries["labels"] = new_ids(interp, other, "input_ids", rank, site)
            interp.labels_in_dict(entries, node)
        return Ref(interp.store.new(DictRec(entries, None, encoding)), "dict", origin=site)

    def media_alone(interp: Interpreter, args: Args, site: Site) -> Value:
        """Return what a processor makes of images, videos or sounds without a text: there are no ids of a prompt."""
        made = {
            field: Opaque(field, origin=site) for name, field in _MEDIA_FIELDS.items() if args.get(None, name)
        }
        return Ref(interp.store.new(DictRec(made)), "dict", origin=site)

    @method(
        Tokenizer,
        "__call__",
        "encode",
        "encode_plus",
        "batch_encode_plus",
        "tokenize",
        "_call_one",
        "prepare_for_model",
    )
    def encode_method(interp: Interpreter, receiver: Tokenizer, name: str, args: Args, node: Node) -> Value:
        return encode(interp, receiver, name, args, node)

    registry.objects[Tokenizer] = encode

    @method(Tokenizer, "pad")
    def pad(interp: Interpreter, receiver: Tokenizer, name: str, args: Args, node: Node) -> Value:
        source = args.get(0, "encoded_inputs")
        site = interp.site(node)
        inner = next((e for e in encodings_in(interp, source) if e is not None), None)
        text = inner.text if inner is not None else UNKNOWN
        side = padding_side(interp, receiver, args)
        if inner is None:
            encoding = Encoding(site, receiver, text, Tri.YES, Tri.YES, side)
        else:
            encoding = replace(
                inner,
                site=site,
                tokenizer=receiver,
                batched=Tri.YES,
                padded=Tri.YES,
                padding_side=side,
                by_hand=False,
                made=inner.made or inner.site,
            )
        interp.record("tokenizer_calls", TokenizerCall(*interp.where(node), receiver, encoding, args))
        entries: dict[object, Value] = {
            "input_ids": new_ids(interp, encoding, "input_ids", "batch", site),
            "attention_mask": new_ids(interp, encoding, "attention_mask", "batch", site),
        }
        return Ref(interp.store.new(DictRec(entries, Unknown(), encoding)), "dict", origin=site)

    @method(Tokenizer, "apply_chat_template")
    def template(interp: Interpreter, receiver: Tokenizer, name: str, args: Args, node: Node) -> Value:
        site = interp.site(node)
        messages = args.get(0, "conversation", "conversations") or UNKNOWN
        many = conversations(interp, messages)
        tokenize = args.get(6, "tokenize")
        begins = args.get(4, "add_generation_prompt")
        if begins is None and args.open is not None:
            begins = Unknown(hint="**")
        begun = goes_on(args) or answered(interp, messages)
        # A processor renders text unless it is told otherwise; a tokenizer tokenizes.
        if literal(tokenize) is False or (tokenize is None and receiver.class_name.endswith("Processor")):
            how = Encoding(
                site,
                receiver,
                messages,
                many,
                Tri.NO,
                template=True,
                generation_prompt=begins,
                chat_template=template_given(interp, receiver, args),
                begun=begun,
                turns=turns_of(interp, messages),
            )
            text: Value = Str((Rendered(messages, "template", how, origin=site),), origin=site)
            return new_list(interp, None, text, site) if many is Tri.YES else text
        pad_arg = args.get(None, "padding")
        padded = (
            Tri.YES if literal(pad_arg) in (True, "longest", "max_length") and many is not Tri.NO else Tri.NO
        )
        encoding = Encoding(
            site,
            receiver,
            Str((Hole(messages, "template"),)),
            many,
            padded,
            padding_side(interp, receiver, args),
            args.get(None, "truncation"),
            args.get(None, "max_length"),
            args.get(None, "truncation_side") or setting(interp, receiver, "truncation_side"),
            template=True,
            generation_prompt=begins,
            chat_template=template_given(interp, receiver, args),
            begun=begun,
            turns=turns_of(interp, messages),
        )
        interp.record("tokenizer_calls", TokenizerCall(*interp.where(node), receiver, encoding, args))
        tensors = not is_none(args.get(None, "return_tensors"))
        rank = "batch" if tensors or many is Tri.YES else "row"
        ids = new_ids(interp, encoding, "input_ids", rank, site)
        if literal(args.get(None, "return_dict")) is True:
            entries: dict[object, Value] = {
                "input_ids": ids,
                "attention_mask": new_ids(interp, encoding, "attention_mask", rank, site),
            }
            return Ref(interp.store.new(DictRec(entries, None, encoding)), "dict", origin=site)
        return ids

    def template_given(interp: Interpreter, receiver: Tokenizer, args: Args) -> Value | None:
        """Return a template that is not the checkpoint's own, None where it is."""
        given = args.get(3, "chat_template")
        return setting(interp, receiver, "chat_template") if is_none(given) else given

    def turns_of(interp: Interpreter, messages: Value) -> tuple[Value, ...] | None:
        """Return a conversation's messages as they stand at a call, where all are known."""
        record = interp.store.get(messages.id) if isinstance(messages, Ref) else None
        return record.items if isinstance(record, ListRec) else None

    def goes_on(args: Args) -> bool:
        """Whether the last message is (or may be) continued instead of answered."""
        given = args.get(5, "continue_final_message")
        return not is_none(given) and literal(given) is not False

    def answered(interp: Interpreter, messages: Value) -> bool:
        """Whether a conversation may end with the assistant's turn."""
        for one in alternatives(messages):
            record = interp.store.get(one.id) if isinstance(one, Ref) else None
            if not isinstance(record, ListRec):
                continue
            last = record.items[-1] if record.items else record.element
            for turn in alternatives(last):
                inner = interp.store.get(turn.id) if isinstance(turn, Ref) else None
                if isinstance(inner, ListRec) and answered(interp, turn):
                    return True
                role = inner.entries.get("role") if isinstance(inner, DictRec) else None
                # A list that grows in a loop: its last turn is not known unless all are listed.
                if record.items and any(literal(r) in {"assistant", "model"} for r in alternatives(role)):
                    return True
        return False

    def conversations(interp: Interpreter, messages: Value) -> Tri:
        """Whether a template is given several conversations."""
        for one in alternatives(messages):
            record = interp.store.get(one.id) if isinstance(one, Ref) else None
            if isinstance(record, ListRec):
                element = record.items[0] if record.items else record.element
                inner = interp.store.get(element.id) if isinstance(element, Ref) else None
                if isinstance(inner, ListRec):
                    return Tri.NO if record.items is not None and len(record.items) == 1 else Tri.YES
        return Tri.NO

    def front_kept(interp: Interpreter, owner: Ids, index: list[Any], site: Site, node: Node) -> Value | None:
        """Note that a slice keeps the front of each row, up to a limit: truncation by hand."""
        last = index[-1] if index else None
        axes = len(index) == (2 if owner.rank == "batch" else 1)
        if not (axes and isinstance(last, Slice) and last.lower is None and last.step is None):
            return None
        if owner.encoding is None or owner.field != "input_ids" or not _is_limit(last.upper):
            return None
        row = len(index) == 2 and not isinstance(index[0], Slice)
        cut = replace(
            owner.encoding,
            truncation=Const(SLICED, origin=site),
            max_length=last.upper,
            truncation_side=Const("right", origin=site),
        )
        return replace(owner, encoding=cut, rank="row" if row else owner.rank)

    # Asked before the general answer for slices.
    registry.items.setdefault(Ids, []).insert(0, front_kept)

    def encodings_in(interp: Interpreter, value: Value | None) -> list[Encoding | None]:
        found: list[Encoding | None] = []
        for one in alternatives(value):
            record = interp.store.get(one.id) if isinstance(one, Ref) else None
            if isinstance(record, DictRec):
                found.append(record.encoding)
                for entry in record.entries.values():
                    found.extend(encodings_in(interp, entry))
            elif isinstance(record, ListRec):
                found.extend(encodings_in(interp, record.element))
            elif isinstance(one, Ids):
                found.append(one.encoding)
        return found

    # -- decoding ------------------------------------------------------------------------------------------------

    def decode(interp: Interpreter, receiver: Value, name: str, args: Args, node: Node) -> Value | None:
        source = args.get(0, "token_ids", "sequences", "generated_outputs")
        site = interp.site(node)
        texts: list[Value] = []
        before = len(interp.facts.decodes)
        for one in alternatives(source):
            if isinstance(one, Ref):
                record = interp.store.get(one.id)
                if isinstance(record, ListRec):
                    texts.extend(
                        decoded(interp, receiver, item, name, args, node)
                        for item in alternatives(interp.iterate(one))
                    )
                    continue
            texts.append(decoded(interp, receiver, one, name, args, node))
        text = join_all(texts)
        if isinstance(source, Choice) and cut_by_switch(source):
            for event in interp.facts.decodes[before:]:
                event.echo_expected = True
        known = any(isinstance(one, Generated | Ids) for one in alternatives(source)) or texts
        if not known and not isinstance(receiver, Tokenizer):
            return None
        whole_batch = name == "batch_decode" or any(
            isinstance(v, Generated) and v.rank == "batch" for v in alternatives(source)
        )
        if not whole_batch:
            return text
        return new_list(interp, None, text, site)

    def cut_by_switch(source: Choice) -> bool:
        """Whether a switch decides if the prompt is cut off: then it is kept on purpose where it is kept."""
        generated = [(alt.value, alt.guards) for alt in source.alts if isinstance(alt.value, Generated)]
        return any(
            whole.call is cut.call and any((owner, text, not truth) in where for owner, text, truth in other)
            for whole, where in generated
            for cut, other in generated
            if whole.cut is None and cut.cut is not None
        )

    def decoded(  # noqa: PLR0917
        interp: Interpreter, tokenizer: Value, ids: Value, name: str, args: Args, node: Node
    ) -> Value:
        site = interp.site(node)
        if isinstance(ids, Generated):
            if ids.cut is not None:
                return Str((Hole(Unknown(hint="answer")),), origin=site)
            if ids.rank == "token":
                return Str((Hole(Unknown(hint="piece")),), origin=site)
            event = Decode(*interp.where(node), ids, tokenizer, name == "batch_decode")
            event.ignored = next(
                (o for o, on in PROMPT_OPTIONS.items() if literal(args.get(None, o)) is on), ""
            )
            if event.ignored and interp.recording:
                ids.call.prompt_expected = True
            interp.record("decodes", event)
            return Str((Hole(DecodedText(event, id(event), origin=site)),), origin=site)
        if isinstance(ids, Ids) and name == "convert_ids_to_tokens":
            return ids  # pieces, not a text: as many as there are ids
        if isinstance(ids, Ids) and ids.encoding is not None:
            return Str((Hole(ids.encoding.text, "decoded prompt"),), origin=site)
        return Str((Hole(Unknown(hint="text")),), origin=site)

    method(Tokenizer, "decode", "batch_decode", "post_process_image_text_to_text", "convert_ids_to_tokens")(
        decode
    )

    def decode_by_unknown(
        interp: Interpreter, receiver: Value, name: str, args: Args, node: Node
    ) -> Value | None:
        """Decode with something that is not known to be a tokenizer: the ids tell."""
        if name not in {"decode", "batch_decode"} or not args.positional:
            return None
        ids = [v for v in alternatives(args.positional[0]) if isinstance(v, Generated)]
        inner = interp.iterate(args.positional[0]) if isinstance(args.positional[0], Ref) else UNKNOWN
        if ids or any(isinstance(v, Generated) for v in alternatives(inner)):
            return decode(interp, receiver, name, args, node)
        return None

    for kind in (Unknown, Opaque, Ref, Model):
        registry.any_method.setdefault(kind, []).append(decode_by_unknown)

    @method(Tokenizer, "convert_tokens_to_string")
    def to_string(interp: Interpreter, receiver: Tokenizer, name: str, args: Args, node: Node) -> Value:
        pieces = args.get(0) or UNKNOWN
        if isinstance(pieces, Ids) and pieces.encoding is not None:
            return Str((Hole(pieces.encoding.text, "decoded prompt"),), origin=interp.site(node))
        return pieces

    @method(
        Tokenizer,
        "save_pretrained",
        "push_to_hub",
        "add_tokens",
        "get_vocab",
        "convert_tokens_to_ids",
        "train_new_from_iterator",
    )
    def nothing(interp: Interpreter, receiver: Tokenizer, name: str, args: Args, node: Node) -> Value:
        return Unknown(hint=f"{name}", origin=interp.site(node))

    @method(Tokenizer, "add_special_tokens")
    def add_special(interp: Interpreter, receiver: Tokenizer, name: str, args: Args, node: Node) -> Value:
        record = interp.dict_record(args.get(0, "special_tokens_dict") or UNKNOWN)
        if record is None or record.open is not None:
            interp.set_attribute(receiver, "pad_token", Unknown(hint="special_tokens"), node)
        elif "pad_token" in record.entries:
            interp.set_attribute(receiver, "pad_token", record.entries["pad_token"], node)
        return UNKNOWN

    def handed(interp: Interpreter, args: Args, to: str, node: Node) -> None:
        """A tokenizer given to something unknown that, by its name, may set special tokens or padding."""
        if not _SETS_UP.search(to):
            return
        for value in args.all():
            for one in alternatives(value):
                record = interp.store.get(one.id) if isinstance(one, Tokenizer) else None
                if isinstance(one, Tokenizer) and isinstance(record, ObjRec):
                    interp.store.set(one.id, record.with_attr(SET_UP, Unknown(hint=to)))

    registry.listeners.append(handed)

    def checked(interp: Interpreter, tokenizer: Tokenizer, name: str) -> None:
        """The code goes on only with a pad token: `if tokenizer.pad_token is None: raise …`."""
        record = interp.store.get(tokenizer.id)
        if name.startswith("pad_token") and isinstance(record, ObjRec):
            interp.store.set(tokenizer.id, record.with_attr(PAD_CHECKED, Const(True)))

    registry.checks.setdefault(Tokenizer, []).append(checked)


__all__ = [
    "MEDIA_FIELDS",
    "checkpoint_names",
    "is_tokenizer_class",
    "new_tokenizer",
    "padding_side",
    "register",
    "setting",
]
