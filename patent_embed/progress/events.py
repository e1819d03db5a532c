"""What happens in a run, as typed events.

Everything that is told of a run's course is told with one of these: on the terminal, in ``progress.jsonl``, to trackers
and as metrics. They become JSON in one place and are read in one place. A new kind of event is a class here, named in
``_CLASSES``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import TypeAdapter, ValidationError

from patent_embed.folders import json_of

_DIGITS = 3  # of a wall time in seconds


class Rate(NamedTuple):
    """How fast a step is at work: what it counts (patents, texts, triplets, ...) a second."""

    step: str
    per_second: float


@dataclass(frozen=True)
class Event:
    """Something that happened. ``kind`` is its name in JSON."""

    kind: ClassVar[str]

    def rate(self) -> Rate | None:
        """The rate that the event tells; None where it tells none."""
        return None


@dataclass(frozen=True)
class StepFinished(Event):
    """A step of the run has a result, made now or by an earlier run."""

    kind: ClassVar[str] = "stage"

    step: str  # the name of its folder: step and digest
    reused: bool
    rows: Mapping[str, int]  # what was counted → how many
    seconds: float  # that making it took

    @property
    def name(self) -> str:
        """The step without its digest."""
        return self.step.rpartition("-")[0]

    def rate(self) -> Rate | None:
        """That of what there is most of; None for a reused step."""
        if self.reused or not self.seconds:
            return None
        return Rate(self.name, max(self.rows.values(), default=0) / self.seconds)


@dataclass(frozen=True)
class PiecesRead(Event):
    """So many pieces of the input are read, and the records in them."""

    kind: ClassVar[str] = "read"

    done: int
    total: int
    records: int
    seconds: float  # since the first one

    def rate(self) -> Rate | None:
        """Records a second."""
        return Rate("ingest", self.records / self.seconds) if self.seconds else None


@dataclass(frozen=True)
class Amount(Event):
    """So much of a step's work is done: ``done`` of ``total`` ``things`` in ``seconds``."""

    things: ClassVar[str]
    works_for: ClassVar[str] = ""  # the step whose rate it is; empty: of no use as a rate

    done: int
    total: int
    seconds: float

    def rate(self) -> Rate | None:
        """Things a second, where they are rows of a step."""
        return Rate(self.works_for, self.done / self.seconds) if self.works_for and self.seconds else None


@dataclass(frozen=True)
class QueriesWritten(Amount):
    """A language model has answered."""

    kind: ClassVar[str] = "generated"
    things: ClassVar[str] = "queries"
    works_for: ClassVar[str] = "queries"


@dataclass(frozen=True)
class PairsGraded(Amount):
    """A judge has graded queries and patents."""

    kind: ClassVar[str] = "judged"
    things: ClassVar[str] = "pairs"


@dataclass(frozen=True)
class TextsEmbedded(Amount):
    """A batch of texts has vectors."""

    kind: ClassVar[str] = "embedded"
    things: ClassVar[str] = "texts"
    works_for: ClassVar[str] = "embed"


@dataclass(frozen=True)
class ShardsSearched(Amount):
    """A shard of the corpus was searched for all queries."""

    kind: ClassVar[str] = "searched"
    things: ClassVar[str] = "shards"


@dataclass(frozen=True)
class TrainingStarted(Event):
    """The training loop begins, or goes on after an interruption."""

    kind: ClassVar[str] = "start"

    triplets: int  # of one epoch
    texts: int  # distinct ones among them
    tokens: int  # of those texts
    val_queries: int
    trained_parameters: int
    device: str
    pid: int  # of the first worker
    node: str  # where it runs
    from_epoch: int  # epochs that were done before; 0: from the start


@dataclass(frozen=True)
class TrainingStep(Event):
    """An optimizer step is done."""

    kind: ClassVar[str] = "step"

    epoch: int  # at work, from 1
    epochs: int
    step: int  # since the start of the training, from 1
    steps: int  # of all epochs
    lr: float
    loss: float  # mean of the batch
    triplets_per_s: float  # mean of this epoch
    eta_s: float  # to the end of the last epoch

    def rate(self) -> Rate | None:
        """Triplets a second."""
        return Rate("train", self.triplets_per_s)


@dataclass(frozen=True)
class EpochEnded(Event):
    """An epoch is over and was judged. Epoch 0 is the model before training: it has a ``val_ndcg`` and nothing else."""

    kind: ClassVar[str] = "epoch"

    epoch: int
    loss: float | None = None  # mean over the epoch's triplets
    train_seconds: float | None = None  # without judging
    val_ndcg: float | None = field(default=None, metadata={"key": "val_ndcg@10"})  # None: no validation
    kept_epoch: int | None = None  # whose weights would be published now
    best_val: float | None = None  # the best ``val_ndcg`` so far
    stopped: bool | None = None  # by early stopping


_CLASSES: tuple[type[Event], ...] = (
    *(StepFinished, PiecesRead, QueriesWritten, PairsGraded, TextsEmbedded, ShardsSearched),
    *(TrainingStarted, TrainingStep, EpochEnded),
)
_BY_KIND = {each.kind: each for each in _CLASSES}
_TYPES: Mapping[type[Event], TypeAdapter[Any]] = {each: TypeAdapter(each) for each in _CLASSES}


def to_json(event: Event) -> dict[str, Any]:
    """The event as a JSON object: ``event`` (its kind), then its fields in their order, seconds to the millisecond.

    A value that there is not has no key, except that the best value of a trained epoch without validation is null.
    """
    trained = isinstance(event, EpochEnded) and event.stopped is not None
    content: dict[str, Any] = {"event": event.kind}
    for each in fields(event):
        value = getattr(event, each.name)
        if value is None and not (trained and each.name == "best_val"):
            continue
        if isinstance(value, Mapping):
            value = dict(value)
        elif each.name == "seconds":
            value = round(value, _DIGITS)
        content[each.metadata.get("key", each.name)] = value
    return content


def read_events(path: Path) -> Iterator[Event]:
    """The events of a ``progress.jsonl``, in order; none where there is no such file.

    What is no whole event of a known kind (a line torn by a kill, a kind of another version) is passed over.
    """
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                content = json_of(line)
            except ValueError:
                continue
            event = _from_json(content)
            if event is not None:
                yield event


def _from_json(content: Any) -> Event | None:
    """The event that ``content`` is; None if it is none. Keys that its class does not know are left out."""
    kind = content.get("event") if isinstance(content, dict) else None
    cls = _BY_KIND.get(kind) if isinstance(kind, str) else None
    if cls is None:
        return None
    values = {}
    for each in fields(cls):
        key = each.metadata.get("key", each.name)
        if key in content:
            values[each.name] = content[key]
        elif each.default is MISSING:
            return None
    try:
        event: Event = _TYPES[cls].validate_python(values)
    except ValidationError:
        return None
    return event
