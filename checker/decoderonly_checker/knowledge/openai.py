"""Text-completion APIs in the form of OpenAI's `completions.create`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import libcst as cst

from decoderonly_checker.flow.facts import Completion
from decoderonly_checker.flow.values import (
    Args,
    CompletionOutput,
    DecodedText,
    Hole,
    Method,
    Opaque,
    Site,
    Str,
    Unknown,
    Value,
    literal,
)

if TYPE_CHECKING:
    from decoderonly_checker.flow.interpreter import Interpreter
    from decoderonly_checker.knowledge.registry import Registry

Node = cst.CSTNode
_FUNCTIONS = (
    "openai.Completion.create",
    "openai.Completion.acreate",
    "openai.completions.create",
    "litellm.text_completion",
)


def register(registry: Registry) -> None:
    """Register the handlers of this file."""

    @registry.function(*_FUNCTIONS)
    def create(interp: Interpreter, name: str, args: Args, node: Node) -> Value | None:
        # A Hugging Face pipeline or a server of another kind has no `echo`; without it the prompt stays out.
        if literal(args.get(None, "echo")) is not True:
            return None
        event = Completion(*interp.where(node), args)
        interp.record("completions", event)
        return CompletionOutput(event, id(event), origin=interp.site(node))

    def client(interp: Interpreter, owner: Unknown, name: str, site: Site) -> Value | None:
        """`client.completions` of a client that comes from elsewhere; `client.chat.completions` has no `echo`."""
        return Method(owner, name, origin=site) if name == "completions" and owner.hint != "chat" else None

    registry.attributes.setdefault(Unknown, []).append(client)

    def by_client(interp: Interpreter, receiver: Method, name: str, args: Args, node: Node) -> Value | None:
        if name != "create" or receiver.name != "completions":
            return None
        return create(interp, name, args, node) if isinstance(receiver.receiver, Opaque | Unknown) else None

    registry.any_method.setdefault(Method, []).append(by_client)

    def part(interp: Interpreter, owner: CompletionOutput, name: object, site: Site) -> Value:
        if name == "text":
            return Str((Hole(DecodedText(owner.call, owner.key, origin=site)),), origin=site)
        if name == "logprobs" and interp.recording:
            owner.call.scored = True
        return owner if name == "choices" or not isinstance(name, str) else Unknown(hint=name, origin=site)

    registry.attributes.setdefault(CompletionOutput, []).append(part)

    def item(
        interp: Interpreter, owner: CompletionOutput, index: list[Any], site: Site, node: Node
    ) -> Value | None:
        first = index[0] if index else None
        return part(interp, owner, literal(first) if isinstance(first, Value) else None, site)

    registry.items.setdefault(CompletionOutput, []).append(item)
    registry.iterators[CompletionOutput] = lambda interp, value: value

    def method(
        interp: Interpreter, receiver: CompletionOutput, name: str, args: Args, node: Node
    ) -> Value | None:
        if name in {"get", "pop"} and args.positional:
            return part(interp, receiver, literal(args.positional[0]), interp.site(node))
        return receiver if name in {"model_dump", "to_dict", "dict", "parse"} else None

    registry.any_method.setdefault(CompletionOutput, []).append(method)
