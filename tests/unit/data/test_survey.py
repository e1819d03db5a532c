"""What inspect counts, and which fields it says are missed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patent_embed.data.fields import FieldNames
from patent_embed.data.inputs import find_input
from patent_embed.data.records import RecordParser
from patent_embed.data.survey import Survey, advice, near_misses, read_all
from tests.conftest import patent, write_json_lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two usable records, one of them twice, in UTF-8; one in GB18030 whose abstract has a strange name; one torn."""
    write_json_lines(tmp_path / "a.jsonl", [patent("CN1A", 备忘="x"), patent("CN2A"), patent("CN1A")])
    strange = patent("CN3A") | {"摘要内容文本": patent("CN3A").pop("abstract")}
    del strange["abstract"]
    (tmp_path / "b.json").write_bytes(json.dumps(strange, ensure_ascii=False).encode("gb18030"))
    (tmp_path / "c.json").write_text('{"publication_number": ')
    return tmp_path


def survey_of(folder: Path, names: FieldNames | None = None, most: int | None = None) -> Survey:
    parser = RecordParser(names=names or FieldNames())
    survey = Survey(parser.names)
    for seen, record in read_all(parser, find_input(str(folder)), most):
        survey.add(seen, record)
    return survey


def test_everything_is_counted(folder: Path) -> None:
    survey = survey_of(folder)
    assert survey.records == 5 == sum(survey.layouts.values()) == sum(survey.encodings.values())
    assert survey.encodings["gb18030"] == 1
    assert dict(survey.reasons) == {"missing_abstract": 1, "invalid_json": 1}
    assert (survey.rejects["missing_abstract"].source, survey.languages) == ("b.json", {"zh": 3})
    assert [record.source for record in survey.examples] == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
    assert survey.repeated == 1


def test_fields_that_are_not_used_and_those_that_are_missed(folder: Path) -> None:
    counts, near = survey_of(folder).unused()
    assert counts == {"备忘": 1, "摘要内容文本": 1}
    assert near == {"摘要内容文本": "abstract"}
    assert advice(near) == ["摘要内容文本 looks like an abstract: set data.fields.abstract=摘要内容文本"]


def test_a_field_that_is_set_is_used(folder: Path) -> None:
    names = FieldNames.of({"abstract": "摘要内容文本"})
    write_json_lines(folder / "a.jsonl", [patent("CN1A")])
    survey = survey_of(folder, names)
    assert survey.unused()[1] == {}
    assert survey.reasons["missing_abstract"] == 1  # that of a.jsonl, where there is no such field


def test_so_many_of_each_file(folder: Path) -> None:
    assert survey_of(folder, most=1).records == 3


def test_names_that_are_data_take_no_memory_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patent_embed.data.survey._MOST_KINDS", 2)
    survey, record = Survey(), next(iter(RecordParser().parse_document(b"{}", "a")))
    for name in ("x", "y", "z", "x"):
        survey.add((name,), record)
    assert survey.unused()[0] == {"x": 2, "y": 1}


def test_near_misses_of_rejects() -> None:
    details = [
        "fields: title, 摘要内容文本, ipc",
        "12 characters; fields: title, abstract",
        "no JSON",
        "G06T; fields: 主分类文字",
    ]
    assert near_misses(details, FieldNames())["摘要内容文本"] == "abstract"
    assert near_misses([], FieldNames()) == {}
