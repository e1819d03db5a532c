"""Objects that hold records."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patent_embed.data.records import RecordParser
from tests.conftest import patent

ONE, TWO = patent("CN110000001A"), patent("CN110000002A")
BARE_ONE, BARE_TWO = ({k: v for k, v in each.items() if k != "publication_number"} for each in (ONE, TWO))


def hit(record: dict[str, Any], key: str = "_source") -> dict[str, Any]:
    return {"_index": "p", "_id": record.get("publication_number", "x"), "_score": 1.0, key: record}


@pytest.mark.parametrize(
    ("document", "places"),
    [
        ({"total": 2, "data": [ONE, TWO]}, ["x.data[0]", "x.data[1]"]),
        ({"status": "ok", "data": {"total": 2, "items": [ONE, TWO]}}, ["x.data.items[0]", "x.data.items[1]"]),
        ({"response": {"numFound": 2, "docs": [ONE, TWO]}}, ["x.response.docs[0]", "x.response.docs[1]"]),
        ({"hits": {"total": 2, "hits": [hit(ONE), hit(TWO)]}}, ["x.hits.hits[0]", "x.hits.hits[1]"]),
        ([hit(ONE), hit(TWO)], ["x[0]", "x[1]"]),
        ([[ONE], [TWO]], ["x[0][0]", "x[1][0]"]),
        ([json.dumps(ONE), json.dumps(TWO)], ["x[0]", "x[1]"]),
        ([{"index": {"_id": "1"}}, ONE, {"create": {}}, TWO], ["x[1]", "x[3]"]),  # Elasticsearch's bulk
        ({"data": [{"id": "1", "type": "p", "attributes": r} for r in (ONE, TWO)]}, ["x.data[0]", "x.data[1]"]),
        ({"patents": [{"patent": ONE}, {"patent": TWO}]}, None),
        (
            {r["publication_number"]: b for r, b in ((ONE, BARE_ONE), (TWO, BARE_TWO))},
            ["x.CN110000001A", "x.CN110000002A"],
        ),
        ({"0": ONE, "1": TWO}, ["x.0", "x.1"]),
        ({name: {"0": ONE[name], "1": TWO[name]} for name in ONE}, ["x[0]", "x[1]"]),  # pandas' own default
        (
            {"columns": list(ONE), "index": [0, 1], "data": [list(ONE.values()), list(TWO.values())]},
            ["x.data[0]", "x.data[1]"],
        ),
        ({"schema": {"fields": []}, "data": [{"index": 0, **ONE}, {"index": 1, **TWO}]}, ["x.data[0]", "x.data[1]"]),
    ],
)
def test_every_inner_object_is_a_record(document: object, places: list[str] | None) -> None:
    records = list(RecordParser().parse_document(json.dumps(document).encode(), "x"))
    if places is None:  # not unwrapped: neither a list of records nor one
        assert [record.reason for record in records] == ["missing_publication_number"]
        return
    assert [(record.publication_number, record.reason) for record in records] == [
        ("CN110000001A", ""),
        ("CN110000002A", ""),
    ]
    assert [record.source for record in records] == places


@pytest.mark.parametrize(
    "document",
    [
        ONE | {"similar_documents": [TWO, TWO]},
        ONE | {"data": [TWO]},
        {"abstract": ONE["abstract"], "citations": [TWO, TWO]},
        {"meta": {"title": ONE["title"], "publication_number": "CN110000001A"}, "text": {"abstract": ONE["abstract"]}},
    ],
)
def test_what_stands_inside_a_record_is_no_record(document: object) -> None:
    assert len(list(RecordParser().parse_document(json.dumps(document).encode(), "x"))) == 1


def test_an_empty_answer_is_one_reject_that_names_its_fields() -> None:
    (record,) = RecordParser().parse_document(b'{"total": 0, "data": []}', "x")
    assert (record.reason, record.detail) == ("missing_publication_number", "fields: total, data")
