"""What all shapes of offices and vendors share: no value raises, and only canonical names come out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed.data.fields import CANONICAL
from patent_embed.data.shapes.base import Shape, shape_of
from patent_embed.data.shapes.bigquery import BIGQUERY
from patent_embed.data.shapes.hupd import HUPD
from patent_embed.data.shapes.kipris import KIPRIS
from patent_embed.data.shapes.lens import LENS
from patent_embed.data.shapes.ops_json import OPS_JSON
from patent_embed.data.shapes.patentsview import PATENTSVIEW
from tests.unit.data.shapes import test_bigquery, test_hupd, test_kipris, test_lens, test_ops_json, test_patentsview

SAMPLES: list[tuple[Shape, dict[str, Any]]] = [
    (BIGQUERY, test_bigquery.ROW),
    (LENS, test_lens.RECORD),
    (HUPD, test_hupd.APPLICATION),
    (PATENTSVIEW, test_patentsview.PATENT),
    (KIPRIS, test_kipris.DETAILS),
    (OPS_JSON, next(iter(OPS_JSON.inner(test_ops_json.answer(1)) or []))[1]),
]
VALUES: Any = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.lists(st.none() | st.integers() | st.text(max_size=3) | st.lists(st.text(max_size=2), max_size=2), max_size=3)
    | st.dictionaries(
        st.sampled_from(["code", "text", "lang", "list", "x"]), st.none() | st.text(max_size=3), max_size=3
    )
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in an object."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


def replaced(fields: dict[str, Any], path: tuple[Any, ...], new: Any) -> dict[str, Any]:
    whole = json.loads(json.dumps(fields))
    here = whole
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = new
    return whole  # type: ignore[no-any-return]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_value_at_any_place(data: st.DataObject) -> None:
    shape, sample = data.draw(st.sampled_from(SAMPLES))
    path = data.draw(st.sampled_from([place for place in places(sample) if place]))
    fields = replaced(sample, path, data.draw(VALUES))
    record = shape.record(fields)
    assert record.keys() <= set(CANONICAL)
    assert all(record.values())
    if shape.inner(fields) is not None:
        list(shape.inner(fields) or [])


@pytest.mark.parametrize(("shape", "sample"), SAMPLES)
def test_each_sample_is_of_its_shape_alone(shape: Shape, sample: dict[str, Any]) -> None:
    assert shape_of(sample) is shape
    assert [other.name for other, _ in SAMPLES if other.recognises(frozenset(sample))] == [shape.name]


def test_the_plain_layout_is_of_none_of_them() -> None:
    names = frozenset(
        {"publication_number", "title", "abstract", "classifications", "claims", "family_id", "publication_date"}
    )
    assert not any(shape.recognises(names) for shape, _ in SAMPLES)
