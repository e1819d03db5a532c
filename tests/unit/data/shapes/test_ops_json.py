from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.shapes.base import shape_of
from patent_embed.data.shapes.ops_json import OPS_JSON
from patent_embed.data.xml_tree import children, local
from tests import offices

OPS = "http://ops.epo.org"


def as_json(element: Any, text: str = "$") -> Any:
    """An element as JSON, as the EPO and xmltodict write it."""
    whole: dict[str, Any] = {f"@{name}": value for name, value in element.attrib.items()}
    for below in element:
        name, value = local(below), as_json(below, text)
        if name in whole:
            whole[name] = [*(whole[name] if isinstance(whole[name], list) else [whole[name]]), value]
        else:
            whole[name] = value
    if (element.text or "").strip():
        whole[text] = element.text
    return whole[text] if text != "$" and set(whole) == {text} else whole


def answer(*numbers: int, text: str = "$") -> dict[str, Any]:
    root = fromstring(offices.ops_file(*map(offices.ops_document, numbers)))
    return {"ops:world-patent-data": {"@xmlns": {"ops": OPS}} | as_json(root, text)}


RIGHT = {
    "publication_number": "EP3000001A1",
    "title": [{"lang": "fr", "text": "Dispositif de test"}, {"lang": "en", "text": "TEST DEVICE 1"}],
    "abstract": [{"lang": "en", "text": offices.PLAIN.format(n=1)}],
    "classifications": ["H04W84/20", "H04W88/04"],
    "citations": ["WO02054790A2"],
    "family_id": "701",
    "publication_date": "20160323",
    "applicants": ["GAMMA OY"],
}


def documents(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    inside = OPS_JSON.inner(fields)
    assert inside is not None
    return list(inside)


@pytest.mark.parametrize("text", ["$", "#text"])
def test_an_answer(text: str) -> None:
    whole = answer(1, text=text)
    assert shape_of(whole) is OPS_JSON
    ((place, document),) = documents(whole)
    assert place == ".ops:world-patent-data.exchange-documents.exchange-document"
    assert shape_of(document) is OPS_JSON
    assert OPS_JSON.inner(document) is None
    assert OPS_JSON.record(document) == RIGHT


def test_an_answer_with_several_documents() -> None:
    found = documents(answer(1, 2, 3))
    assert [place.rpartition(".")[2] for place, _ in found] == [f"exchange-document[{number}]" for number in range(3)]
    numbers = [OPS_JSON.record(document)["publication_number"] for _, document in found]
    assert numbers == ["EP3000001A1", "EP3000002A1", "EP3000003A1"]


def test_a_list_of_documents_and_a_bare_document() -> None:
    ((_, document),) = documents(answer(1))
    bare = document["exchange-document"]
    assert shape_of(bare) is OPS_JSON
    assert OPS_JSON.inner(bare) is None
    assert OPS_JSON.record(bare) == RIGHT
    assert len(documents({"exchange-document": [bare, bare]})) == 2
    assert documents({"exchange-documents": None}) == []


def test_paragraphs_are_kept_apart() -> None:
    document = {
        "@country": "EP",
        "bibliographic-data": {},
        "abstract": {"@lang": "en", "p": [{"$": "One."}, {"$": "Two."}]},
    }
    assert OPS_JSON.record(document)["abstract"] == [{"lang": "en", "text": "One. Two."}]


def test_grants_of_the_uspto_as_xmltodict_writes_them() -> None:
    root = fromstring(offices.grant(1).partition("]>")[2])
    whole = {"us-patent-grant": as_json(root, "#text")}
    assert shape_of(whole) is OPS_JSON
    assert OPS_JSON.inner(whole) is None
    fields = OPS_JSON.record(whole)
    assert (fields["publication_number"], fields["publication_date"]) == ("US8000001B2", "20150106")
    assert fields["classifications"] == ["G06F15/16", "H04L67/146", "H04L65/1006"]


def test_deep_objects_take_no_recursion() -> None:
    deep: Any = {"$": "x"}
    for _ in range(5000):
        deep = {"p": deep}
    assert OPS_JSON.record({"bibliographic-data": {}, "abstract": deep})["abstract"][0]["text"] == "x"
    assert documents({"exchange-documents": deep}) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["exchange-document", "bibliographic-data", "$", "@lang", "abstract", "p", "text", "ops:x", ""]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["exchange-document", "bibliographic-data", "abstract", "x"]), JSON, max_size=3))
def test_no_value_raises(fields: dict[str, Any]) -> None:
    for _, document in OPS_JSON.inner(fields) or []:
        assert OPS_JSON.inner(document) is not fields
        OPS_JSON.record(document)
    assert isinstance(OPS_JSON.record(fields), dict)


def test_children_of_the_tree_are_in_the_order_of_the_object() -> None:
    from patent_embed.data.shapes.ops_json import element

    root = element("a", {"b": [{"$": 1}, {"$": 2}], "x:b": 3, "@y:c": 4})
    assert [each.text for each in children(root, "b")] == ["1", "2", "3"]
    assert root.attrib == {"c": "4"}
