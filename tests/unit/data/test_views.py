"""What is searched of a patent."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from patent_embed.config.model import ModelConfig
from patent_embed.data.views import view_columns, viewed

CORPUS = pa.table(
    {
        "publication_number": ["A", "B"],
        "title": ["Pump", "Valve {title}"],
        "abstract": ["It pumps.", "It closes."],
        "claims": pa.array([["1. A pump.", "2. The pump of claim 1."], None], pa.list_(pa.string())),
    }
)


def passages(view: str) -> list[str]:
    config = ModelConfig(passage_view=view)
    found: list[str] = viewed(CORPUS.select(["publication_number", *view_columns(config)]), config)[
        "abstract"
    ].to_pylist()
    return found


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ("abstract", ["It pumps.", "It closes."]),
        ("title+abstract", ["Pump\nIt pumps.", "Valve {title}\nIt closes."]),
        ("title+abstract+claim", ["Pump\nIt pumps.\n1. A pump.", "Valve {title}\nIt closes."]),
        ("{title}: {abstract}", ["Pump: It pumps.", "Valve {title}: It closes."]),
        ("{claim} {abstract}", ["1. A pump. It pumps.", "It closes."]),  # no line is left of the second
        ("{abstract}\n({claims})", ["It pumps.\n(1. A pump.\n2. The pump of claim 1.)", "It closes."]),
    ],
)
def test_a_line_with_a_field_that_is_not_there_is_left_out(view: str, expected: list[str]) -> None:
    assert passages(view) == expected


def test_the_abstract_alone_is_the_corpus_as_it_is() -> None:
    assert viewed(CORPUS, ModelConfig()) is CORPUS
    assert view_columns(ModelConfig()) == ["abstract"]


@pytest.mark.parametrize(
    ("view", "says"),
    [
        ("{titel} {abstract}", r"names {titel}.*use {title}, {abstract}"),
        ("{abstract.__class__}", "no field"),
        ("{abstract!r}", "no field"),
        ("{abstract:>10}", "no field"),
        ("{} {abstract}", "names {}"),
        ("title", "shows no field.*title"),
        ("{title}", r"without {abstract}.*add it"),
        ("{abstract", "passage_view"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(view: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        ModelConfig(passage_view=view)
