"""What the interpreter saw, for the rules to judge. Records hold values and places, never verdicts."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from decoderonly_checker.flow.values import Tri
from decoderonly_checker.immutable import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from decoderonly_checker.flow.project import Module
    from decoderonly_checker.flow.scores import Logits
    from decoderonly_checker.flow.values import (
        Args,
        Encoding,
        Generated,
        Ids,
        Model,
        Pipeline,
        Site,
        Tokenizer,
        Value,
    )


@record
class Record:
    """Base of all records: where it happened, in which module, called from where (outermost first)."""

    site: Site
    module: Module
    calls: tuple[Site, ...]


@record
class GenerateCall(Record):
    """`model.generate(…)`, however it was reached.

    `args` is all that the call is given: `args.get(None, "do_sample")` is one by its name. `ids` and `mask` are what is
    passed as `input_ids` and `attention_mask`, None where nothing is. `open` is set where a
    `**` holds entries that are not known. `encoding` is set where a whole encoding was unpacked. `prompt_expected` is set
    where the code shows later that it expects the prompt in the output, as only a decoder-only model returns it. `by_trainer`
    is set where a trainer generates, from batches of the collator that it trains on.
    """

    model: Model
    ids: Value | None
    mask: Value | None
    args: Args
    open: Value | None
    encoding: Encoding | None
    settings: Mapping[str, Value] = field(default_factory=dict)  # lengths in force, also from configs
    prompt_expected: bool = False
    discarded: bool = False  # a warm-up: nobody reads what comes out
    beside_own: bool = False  # the model may as well be one whose `generate` the project wrote
    by_trainer: bool = False


@record
class Use:
    """Something was done with a text: "printed", "returned", "stored", "passed", "compared", "searched" or "kept".

    "stated": a test states what it is, or only its type is asked for: nobody takes it for an answer.
    "handed": a function that something unknown was given returned it; whoever gave it may get it back.
    """

    kind: str
    site: Site


@record
class TextCut(Record):
    """A prompt was taken off decoded text.

    `how` is "slice", "replace", "split" or "removeprefix"; `by` is the length, the marker or the prompt;
    `sure` is false where what was taken off is not known to be the prompt.
    """

    how: str
    by: Value
    text: Value
    sure: bool


@record
class Decode(Record):
    """Generated ids became text. `uses` and `cuts` are filled in as the text flows on.

    `echo_expected` is set where the text is asked whether it begins with the prompt.

    `ignored` names an option of another call that was given to leave the prompt out.
    """

    generated: Generated
    tokenizer: Value
    batch: bool
    uses: list[Use] = field(default_factory=list)
    cuts: list[TextCut] = field(default_factory=list)
    echo_expected: bool = False
    ignored: str = ""


@record
class IdsCut(Record):
    """Generated ids were sliced from `by` on."""

    generated: Generated
    by: Value


@record
class PipelineCall(Record):
    """A pipeline was called. `uses` and `cuts` as for `Decode`, of its `generated_text`."""

    pipeline: Pipeline
    args: Args
    inputs: Value | None
    return_full_text: Value | None
    chat: bool
    reads: list[Site] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    cuts: list[TextCut] = field(default_factory=list)


@record
class PipelineHandedOn(Record):
    """A text-generation pipeline was given to another library, which reads its output."""

    pipeline: Pipeline
    to: str


@record
class TokenizerCall(Record):
    """A tokenizer or template made an encoding."""

    tokenizer: Tokenizer
    encoding: Encoding
    args: Args


@record
class LabelsMade(Record):
    """Ids became labels: `labels` is the buffer, `inputs` are the `input_ids` beside it, where they are known.

    `where` says how: "dict", or "forward" with the model that was called.
    """

    labels: Ids
    where: str
    inputs: Value | None = None
    model: Model | None = None


@record
class IgnoreWrite(Record):
    """-100 was written into labels. `selector` is the index or mask that was written to, as a value.

    `kind` is "slice" (the front, up to `selector`), "span" (from somewhere to `selector`), "tail" (to the end), "mask", "list"
    (`[-100] * n` joined with ids; `selector` is n), "padding" (the filling of padded rows) or "unknown" (something that is not
    known was written).
    `target` is None where it is not known which buffer was written to.
    """

    target: Ids | None
    selector: Value | None
    kind: str


@record
class LabelBoundary(Record):
    """The front of labels, up to column `count`, was set to -100 (or left so while the rest was filled in).

    `labels` is what the rest holds; `how` is "slice", "index", "mask", "order" (positions that need not be columns) or "rest".
    """

    labels: Ids
    count: Value
    how: str


@record
class IdsWrite(Record):
    """Something other than -100 was written into ids; `selector` and `kind` as for `IgnoreWrite`."""

    target: Ids
    selector: Value | None
    kind: str
    value: Value


@record
class Collation(Record):
    """Rows of a dataset became a batch, at the construction of a loader or trainer.

    `collator` is what joined them: a function or object of the project, or a `Lib` named after the library's class;
    the literal None where rows are stacked as they are. `row` and `batch` are one row and what it became, mostly dicts.
    `sure` is false where another collator may take the rows as well.
    """

    collator: Value
    row: Value
    batch: Value
    sure: bool


@record
class TrainingRun(Record):
    """A trainer of transformers or trl was made. `trainer` is its class (of the library, for the project's subclass).

    `collator` is the one that it uses, also where that is the library's default; None where that depends on the
    library's version. `row` is one row of the training data as the trainer was given it; `text` is what a trainer that
    tokenizes by itself learns from, `appends_eos` whether it ends that with EOS. `settings` holds its `args` and its own
    keywords; `#open` where there may be more.
    """

    trainer: str
    model: Value
    tokenizer: Value | None
    collator: Value | None
    row: Value
    batch: Value
    settings: Mapping[str, Value] = field(default_factory=dict)
    text: Value | None = None
    appends_eos: Tri = Tri.NO


@record
class Stream(Record):
    """The text of an iterated streamer was read; `streamer` is its number on the heap. `uses` and `cuts` as for `Decode`."""

    streamer: int
    uses: list[Use] = field(default_factory=list)
    cuts: list[TextCut] = field(default_factory=list)


@record
class Completion(Record):
    """A text-completion API was asked with `echo`. `scored` is set where its log-probabilities are read."""

    args: Args
    scored: bool = False
    uses: list[Use] = field(default_factory=list)
    cuts: list[TextCut] = field(default_factory=list)


@record
class TokenComparison(Record):
    """`ids != token`, token by token; `code` is the source of the right side."""

    ids: Value
    token: Value
    code: str


@record
class ForwardCall(Record):
    """A model was called. `ids` and `mask` as in `GenerateCall`; `reads` holds what was read from the output.

    `gradients` is false under `torch.no_grad()`; `overwritten` is set where something was written into its scores.
    """

    model: Model
    ids: Value | None
    mask: Value | None
    args: Args
    reads: set[str] = field(default_factory=set)
    gradients: bool = True
    overwritten: bool = False


@record
class PositionRead(Record):
    """Positions were picked from a forward's scores: one of each row (`index`), or those from `lower` to `upper`.

    `axes` is how many axes the subscript named, and `conditions` what was asked before it is reached.
    """

    scores: Logits
    index: Value | None
    lower: Value | None
    upper: Value | None
    axes: int
    conditions: tuple[str, ...] = ()


@record
class Reduction(Record):
    """The scores of positions became one number: `how` is "loss" (the model's own), "cross-entropy", "mean" or "sum".

    `labels` are the ids that the scores were compared to or taken at, `uses` what became of the number: those of `Use`, and
    "exponentiated", "number" (taken out of the tensor) and "backward".
    """

    call: ForwardCall
    how: str
    labels: Value | None
    uses: list[Use] = field(default_factory=list)


@record
class Facts:
    """All records of a run, in the order in which they were made."""

    generate_calls: list[GenerateCall] = field(default_factory=list)
    decodes: list[Decode] = field(default_factory=list)
    text_cuts: list[TextCut] = field(default_factory=list)
    ids_cuts: list[IdsCut] = field(default_factory=list)
    pipeline_calls: list[PipelineCall] = field(default_factory=list)
    pipelines_handed_on: list[PipelineHandedOn] = field(default_factory=list)
    tokenizer_calls: list[TokenizerCall] = field(default_factory=list)
    labels_made: list[LabelsMade] = field(default_factory=list)
    ignore_writes: list[IgnoreWrite] = field(default_factory=list)
    label_boundaries: list[LabelBoundary] = field(default_factory=list)
    collations: list[Collation] = field(default_factory=list)
    training_runs: list[TrainingRun] = field(default_factory=list)
    ids_writes: list[IdsWrite] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    comparisons: list[TokenComparison] = field(default_factory=list)
    forward_calls: list[ForwardCall] = field(default_factory=list)
    position_reads: list[PositionRead] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)
    objects: Mapping[int, object] = field(default_factory=dict)
