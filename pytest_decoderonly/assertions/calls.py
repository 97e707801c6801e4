"""What is said of a recorded call of `generate` that went wrong: where its rows stopped, its room, its cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_decoderonly.assertions.drawing import (
    Block,
    advice,
    legend,
    listing,
    plural,
    quoted,
    statement,
    strip,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from pytest_decoderonly.assertions.drawing import Facts
    from pytest_decoderonly.compare.calls import CacheProblem, StopAudit

_ONE_A_ROW = "let the stopping criterion return one truth value a row, of shape (rows,), True where that row's own end "


def stops_message(
    found: StopAudit, where: str, rows: Sequence[Sequence[int]], decode: Callable[[list[int]], str] | None
) -> str:
    """Draw what was generated before and behind the place where each row stopped.

    Args:
        found: What is wrong.
        where: Names the call.
        rows: What each row generated.
        decode: Gives the text of ids, where a tokenizer is known.
    """
    do = advice(*_stops_advice(found))
    order = list(range(len(rows)))
    if found.kind == "early":
        order.sort(key=lambda i: found.places[i] is not None)
    blocks = [_stops_block(i, found, rows[i], decode, do) for i in order]
    drawn = "".join(block.drawing[0] for block in blocks)
    meanings = {"A": "answer", "x": "behind the row's own end"}
    return listing(f"{where} {_stops_what(found)}", blocks, [legend(drawn, meanings)])


def _stops_what(found: StopAudit) -> str:
    if found.kind == "beyond":
        return f"generated {plural(found.length, 'token')}, its limit leaves {found.limit}"
    if found.kind == "late":
        count = plural(found.length - found.last, "token")
        return f"went on for {count} after every row had stopped, at token {found.last} of {found.length}"
    missing = [i for i, place in enumerate(found.places) if place is None]
    shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
    return (
        f"ended after {found.length} of {found.limit} tokens, though row{'s' * (len(missing) > 1)} {shown} "
        "had not stopped"
    )


def _stops_advice(found: StopAudit) -> tuple[str, str]:
    if found.kind == "beyond":
        return (
            "the same prompt gets an answer of another length where it is given in another way (ids, embeddings)",
            "set max_new_tokens; in a generate of your own, count embeddings against max_length",
        )
    if found.kind == "late":
        return (
            "answers run on behind their end, and every batch takes as long as its limit",
            f"{_ONE_A_ROW}matches; EOS belongs into eos_token_id",
        )
    return (
        "an answer is cut short by the end of another row",
        f"{_ONE_A_ROW}matches: compare row by row, never the flattened batch",
    )


def _stops_block(
    row: int, found: StopAudit, ids: Sequence[int], decode: Callable[[list[int]], str] | None, do: Facts
) -> Block:
    place = found.places[row]
    end = len(ids) if place is None else place
    head = f"row {row}   " + ("not stopped" if place is None else f"stopped at token {place}")
    signs, pointer = strip(["A"] * end + ["x"] * (len(ids) - end), max(0, end - 1))
    facts = []
    if decode is not None:
        facts.append(("answer", quoted(decode(list(ids[:end])))))
        if end < len(ids):
            facts.append(("then", quoted(decode(list(ids[end:])))))
    return Block(head, (signs, f"{pointer} token {end}"), facts=tuple(facts), advice=do)


def room_message(settings: Mapping[str, Any], limit: int, wanted: int, where: str) -> str:
    """Say that a call could generate fewer than `wanted` tokens; empty where it could."""
    if limit >= wanted:
        return ""
    length = settings.get("max_length")
    counted = settings.get("max_new_tokens") is None and length is not None and limit != length
    why = f"max_length {length} counts the prompt" if counted else f"its limit is {limit}"
    effect = "answers are cut short" + (
        ", the more the longer the batch's longest prompt is" if counted else ""
    )
    do = "set max_new_tokens instead of max_length" if counted else f"set max_new_tokens to {wanted} or more"
    return statement(
        f"{where} had room for {max(0, limit)} new tokens, expected {wanted}: {why}",
        "DLM106" if counted else "",
        advice(effect, do),
    )


def context_message(context: int | None, longest: int, wanted: int, where: str) -> str:
    """Say that prompt and answer do not fit into the model's positions; empty where they do."""
    if context is None or longest + wanted <= context:
        return ""
    return statement(
        f"{where} got a prompt of {plural(longest, 'token')}: with {wanted} more it has {longest + wanted}, and the "
        f"model is made for {context} positions",
        "",
        advice(
            "behind them a model fails (learned positions) or writes nonsense (rotary ones)",
            "shorten the context inside the prompt, or generate less",
        ),
    )


def cache_message(problem: CacheProblem, where: str) -> str:
    """Say what is wrong with ids that were given with a filled cache."""
    return statement(f"{where} {problem.what}", "", advice(problem.effect, problem.advice))
