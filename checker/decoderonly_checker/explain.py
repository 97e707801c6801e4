"""What the checker believes at a line: which model, which tokenizer, what it saw of them, what it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from decoderonly_checker.analysis import Analyser
from decoderonly_checker.flow.facts import (
    Decode,
    GenerateCall,
    LabelsMade,
    PipelineCall,
    Record,
    TextCut,
    TokenizerCall,
)
from decoderonly_checker.flow.values import (
    Const,
    Generated,
    Ids,
    Kind,
    Length,
    Model,
    Ref,
    Site,
    Tokenizer,
    Tri,
    Unknown,
    Value,
    alternatives,
)
from decoderonly_checker.rules.evidence import decoder_only
from decoderonly_checker.work import loaded_together

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from decoderonly_checker.config import Settings
    from decoderonly_checker.flow.facts import Facts
    from decoderonly_checker.flow.values import Encoding
    from decoderonly_checker.source.files import SourceFile

_TRI = {Tri.YES: "several", Tri.NO: "one", Tri.MAYBE: "one or several"}


class Explainer:
    """Analyses one file, with what it imports and what calls into it, and tells what was seen at a line."""

    def __init__(self, source: SourceFile, settings: Settings) -> None:
        self._source = source
        self._analyser = Analyser([], [settings.root])
        self._facts: Facts = self._analyser.facts(loaded_together(source, settings))

    def lines(self, line: int, cell: int | None = None) -> list[str]:
        """Return the explanation of one line (of one cell of a notebook), empty where nothing was recorded there."""
        told: dict[str, list[str]] = {}
        for record in self._records():
            place = (
                self._analyser.place(record.site) if record.site.source.path == self._source.path else None
            )
            if place is not None and place.cell == cell and place.line <= line <= place.end_line:
                calls = told.setdefault("\n".join(self._tell(record)), [])
                if record.calls:
                    calls.append("  called from " + " > ".join(self._where(site) for site in record.calls))
        return ["\n".join([text, *dict.fromkeys(calls)]) for text, calls in told.items()]

    def known_lines(self) -> list[int]:
        """Return the lines at which something was recorded."""
        places = (
            self._analyser.place(r.site) for r in self._records() if r.site.source.path == self._source.path
        )
        return sorted({place.line for place in places})

    def _records(self) -> Iterator[Record]:
        facts = self._facts
        yield from facts.tokenizer_calls
        yield from facts.generate_calls
        yield from facts.decodes
        yield from facts.text_cuts
        yield from facts.pipeline_calls
        yield from facts.labels_made

    def _tell(self, record: Record) -> Iterator[str]:
        yield f"{self._where(record.site)}: {_TITLES[type(record)]}"
        rows: list[tuple[str, str]] = []
        if isinstance(record, GenerateCall):
            rows += self._generate(record)
        elif isinstance(record, TokenizerCall):
            rows += self._encoding(record.encoding)
        elif isinstance(record, Decode):
            rows.append(
                (
                    "ids",
                    f"returned by generate at {self._where(record.generated.call.site)}, prompt still in front",
                )
            )
            rows += [("text", f"{use.kind} at {self._where(use.site)}") for use in record.uses[:4]]
            rows += [("text", f"cut at {self._where(cut.site)} ({cut.how})") for cut in record.cuts[:4]]
        elif isinstance(record, TextCut):
            rows.append(
                (
                    "cut",
                    f"by {record.how}, {'the prompt' if record.sure else 'what is not known to be the prompt'}",
                )
            )
        elif isinstance(record, PipelineCall):
            rows.append(("pipeline", f"made at {self._where(record.pipeline.origin)}"))
            rows.append(("return_full_text", self._value(record.return_full_text)))
            rows.append(("input", "a conversation" if record.chat else self._value(record.inputs)))
        elif isinstance(record, LabelsMade) and record.labels.encoding is not None:
            rows.append(("labels", f"a copy of ids from {self._where(record.labels.encoding.site)}"))
        width = max((len(name) for name, _ in rows), default=0)
        yield from (f"  {name:<{width}}  {text}" for name, text in rows)

    def _generate(self, call: GenerateCall) -> Iterator[tuple[str, str]]:
        sure = decoder_only(call)
        kind = call.model.kind.value if call.model.kind is not Kind.UNKNOWN else "of unknown kind"
        judged = "not judged as decoder-only" if sure is None else f"taken as decoder-only: {sure}"
        yield "model", f"{kind}, {self._value(call.model)} ({judged})"
        yield "input_ids", self._value(call.ids)
        yield "attention_mask", self._value(call.mask)
        encodings = [
            one.encoding
            for one in alternatives(call.ids)
            if isinstance(one, Ids) and one.encoding is not None
        ]
        for encoding in encodings[:2] or ([call.encoding] if call.encoding is not None else []):
            yield from self._encoding(encoding)
        if call.open is not None:
            yield "not known", f"what `**{getattr(call.open, 'hint', '') or '…'}` holds"

    def _encoding(self, encoding: Encoding) -> Iterator[tuple[str, str]]:
        yield "tokenizer", self._value(encoding.tokenizer)
        yield "prompts", f"{_TRI[encoding.batched]}, tokenized at {self._where(encoding.site)}"
        yield (
            "padding",
            {Tri.YES: "asked for", Tri.NO: "none", Tri.MAYBE: "depends on a setting"}[encoding.padded],
        )
        side = encoding.padding_side
        yield (
            "padding_side",
            "never set, and not known of this checkpoint" if side is None else self._value(side),
        )

    def _value(self, value: Value | None) -> str:
        if value is None:
            return "not given"
        return " or ".join(dict.fromkeys(self._one(one) for one in alternatives(value)))

    def _one(self, value: Value) -> str:
        where = f" at {self._where(value.origin)}" if value.origin is not None else ""
        if isinstance(value, Const):
            return f"{value.value!r}{' by default' if value.default else ''}{where}"
        if isinstance(value, Model | Tokenizer):
            if value.named:
                return f"by its name alone{where}"
            name = next((v.value for v in alternatives(value.checkpoint) if isinstance(v, Const)), None)
            of = f" of {name!r}" if isinstance(name, str) else ""
            return f"{value.class_name or type(value).__name__.lower()}{of} made{where}"
        if isinstance(value, Ids):
            return f"{value.field}{where}"
        if isinstance(value, Generated):
            return f"what generate returned{where}"
        if isinstance(value, Length):
            return f"a length ({value.what}){where}"
        if isinstance(value, Ref):
            return f"a {value.kind}{where}"
        if isinstance(value, Unknown):
            return f"not known (`{value.hint}`)" if value.hint else "not known"
        return f"{type(value).__name__.lower()}{where}"

    def _where(self, site: Site | None) -> str:
        if site is None:
            return "a place that is not known"
        place = self._analyser.place(site)
        cell = "" if place.cell is None else f":cell {place.cell + 1}"
        return f"{place.path}{cell}:{place.line}"


_TITLES: dict[type[Record], str] = {
    GenerateCall: "`generate`",
    TokenizerCall: "text becomes ids",
    Decode: "generated ids become text",
    TextCut: "a prompt is taken off text",
    PipelineCall: "a pipeline is called",
    LabelsMade: "ids become labels",
}


def explain(
    path: Path, line: int, settings: Settings, cell: int | None = None
) -> tuple[list[str], list[int]]:
    """Return the beliefs at a line, and the lines of the file at which there are any.

    Raises:
        SourceError: The file cannot be read.
    """
    from decoderonly_checker.source.files import load_source

    explainer = Explainer(load_source(path), settings)
    return explainer.lines(line, cell), explainer.known_lines()
