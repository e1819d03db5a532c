"""What a source of relevance is, and which there are.

A patent's own text answers the queries that were written of it: that is what every training has learnt from, and what
the queries' table says. Every other module of this package holds a source of further pairs, a text that asks and a
text that is a right answer to it. A new one is a new module here, and nothing else:

* ``relevance.NAME`` is its weight, 0 unless set: how often a training sees its pairs in an epoch;
* its settings, where it has any, are settings of ``relevance`` under their own names;
* the table ``relevance`` (``data.schemas.RELEVANCE``) has its pairs, of all splits, for training and evaluation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pydantic import Field, create_model

from patent_embed.registry import Registry
from patent_embed.section import Section

GRADED = "graded"  # a column that no corpus has: each patent's answers as a judge found them, as query, patent, grade
OWN = "own"  # the source that is no module: queries, and the patents that they were written of


class Pair(NamedTuple):
    """A text that asks, and a right answer.

    Attributes:
        asking, answering: rows of the patents that the texts are of.
        query, answer: the texts; None: what is searched of the patent, its passage.
        grade: how right the answer is; 1 is as right as a patent's own text; 0: it is no answer, but no negative.
        label: what it is counted as beside the pairs of its source; empty: nothing.
    """

    asking: int
    answering: int
    query: str | None = None
    answer: str | None = None
    grade: float = 1.0
    label: str = ""


@dataclass(frozen=True)
class Patents:
    """What sources make pairs of.

    Attributes:
        numbers: (patents,) publication numbers.
        columns: the source's ``columns`` of the corpus, rows as in ``numbers``.
        settings: of the source.
    """

    numbers: Sequence[str]
    columns: dict[str, list[Any]]
    settings: Section = field(default_factory=Section)


class Source(ABC):
    """A kind of evidence that one text is a right answer to another.

    Attributes:
        name: of its weight in ``relevance``, and in the table.
        order: where it stands in lists of sources, by this number and then by name.
        about: what its pairs are, for the description of its weight.
        columns: what it reads of the corpus beside the numbers; ``GRADED`` is there where a judge was asked.
        kind: whose prompt the asking text gets. Of symmetric pairs, where either text could be the answer, it is the
            passage's, which the answers always get.
        settings: the model of what it can be told; each field has a default.
        measures: whether its pairs are sure enough to measure by, where both patents are held out of training.
    """

    name: str
    order: int = 100
    about: str
    columns: tuple[str, ...]
    kind: Literal["query", "passage"]
    settings: type[Section] = Section
    measures: bool = True

    @abstractmethod
    def pairs(self, patents: Patents) -> Iterator[Pair]:
        """All pairs, those of one asking text behind one another, in the order of the patents."""

    def settings_of(self, relevance: object) -> Section:
        """This source's settings, out of all those of ``relevance``."""
        return self.settings.model_validate({name: getattr(relevance, name) for name in self.settings.model_fields})


SOURCES: Registry[Source] = Registry(
    "patent_embed.relevance",
    Source,  # type: ignore[type-abstract]
    "relevance",
)


def weights_of_all() -> type[Section]:
    """A section with the weight of every source, in their order, and behind them what else they can be told."""
    given: dict[str, Any] = {}
    for source in SOURCES:
        given[source.name] = (float, Field(0.0, ge=0, le=100, description=f"weight of {source.about}; 0: not used"))
    for source in SOURCES:
        given |= {name: (field.annotation, field) for name, field in source.settings.model_fields.items()}
    return create_model("RelevanceWeights", __base__=Section, **given)
