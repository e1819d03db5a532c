"""Records as they are found: every layout and encoding, and a reason for what cannot be used."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.data import records
from patent_embed.data.fields import FieldNames
from patent_embed.data.files import list_files
from patent_embed.data.raw import REASONS
from patent_embed.data.records import PatentTextParser, RecordParser, TextParser
from tests.conftest import patent

PARSER = RecordParser()


def parse(raw: object) -> records.Record:
    (record,) = PARSER.parse_document(json.dumps(raw, ensure_ascii=False).encode(), "x.json")
    return record


@pytest.mark.parametrize(
    "classifications",
    [
        [{"code": "G06T3/4076"}, {"code": "G06T 5/00"}],
        ["G06T3/4076", "G06T5/00(2006.01)I"],
        {"code": "G06T3/4076;G06T5/00"},
        "G06T 3/4076; G06T5/00",
        [{"code": "G06T3/4076", "description": "A01B1/00 is not a code here"}, {"code": "G06T5/00"}],
    ],
)
def test_classification_layouts(classifications: object) -> None:
    record = parse(patent("CN1A", classifications=classifications))
    assert (record.reason, record.codes) == ("", ["G06T3/4076", "G06T5/00"])


def test_a_hierarchical_path_is_its_last_code() -> None:
    record = parse(patent("CN1A", classifications=[{"code": "B → B25 → B25B → B25B21/00 → B25B21/004"}]))
    assert record.codes == ["B25B21/004"]


def test_indexing_codes_are_kept_apart() -> None:
    record = parse(patent("CN1A", classifications="G06T3/40, G06T2207/10, Y02P20/134"))
    assert (record.codes, record.indexing_codes) == (["G06T3/40"], ["G06T2207/10", "Y02P20/134"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"publication_number": None}, "missing_publication_number"),
        ({"publication_number": " \u200b"}, "missing_publication_number"),
        ({"title": ""}, "missing_title"),
        ({"abstract": None}, "missing_abstract"),
        ({"abstract": "\n\u3000\x00"}, "missing_abstract"),
        ({"abstract": "这是一个花瓶的外形。"}, "abstract_too_short"),
        ({"classifications": []}, "missing_classifications"),
        ({"classifications": [{"code": ""}]}, "missing_classifications"),
        ({"classifications": "H01M"}, "no_full_code"),
        ({"classifications": "21-01-C0293"}, "no_full_code"),
        ({"classifications": 12}, "missing_classifications"),
        ({"classifications": ["nan", None]}, "missing_classifications"),
        ({"classifications": "Y02P20/134"}, "only_indexing_codes"),
    ],
)
def test_rejects(changes: dict[str, object], reason: str) -> None:
    record = parse(patent("CN1A", **changes))
    assert record.reason == reason
    assert "fields: publication_number, title, abstract, classifications" in record.detail  # what it had, people see
    assert reason in REASONS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_encodings(encoding: str) -> None:
    content = json.dumps(patent("CN1A"), ensure_ascii=False).encode(encoding)
    (record,) = PARSER.parse_document(content, "x.json")
    assert (record.reason, record.title) == ("", "一种测试装置CN1A")


def test_broken_documents_are_rejects_not_errors() -> None:
    reasons = [
        next(PARSER.parse_document(content, "x")).reason
        for content in (b'{"a": ', b"", b"[1]", b'"text"', b"\xff\xff\xff", b"[" * 100_000)
    ]
    assert reasons == ["invalid_json", "invalid_json", "not_an_object", "not_an_object", "bad_encoding", "invalid_json"]


def test_json_that_only_a_lenient_reader_takes() -> None:
    text = json.dumps(patent("CN1A"))[:-1] + ', "score": NaN, "big": 123456789012345678901234567890}'
    (record,) = PARSER.parse_document(text.encode(), "x")
    assert record.reason == ""


def test_text_is_cleaned() -> None:
    record = parse(
        patent(
            "CN1A",
            abstract="摘要：本发明提供一种可折叠花架，\n 立柱由带有孔\n洞的铝管制成，\u3000横杆 A  B。\ufeff",
        )
    )
    assert record.abstract == "本发明提供一种可折叠花架，立柱由带有孔洞的铝管制成，横杆 A B。"


def test_a_long_abstract_is_cut_and_says_so() -> None:
    record = RecordParser(max_abstract_chars=100).parse_record(patent("CN1A", abstract="长" * 130), "x")
    assert (len(record.abstract), record.cut_chars, record.reason) == (100, 30, "")


def test_chinese_version_is_preferred() -> None:
    versions = [
        {"lang": "EN", "text": "A method " * 10},
        {"lang": "CN", "text": "一种让台灯随环境变暗的方法。" * 3},
    ]
    assert parse(patent("CN1A", abstract=versions)).language == "zh"


def test_every_container_gives_the_same_records(tmp_path: Path) -> None:
    rows = [patent(f"CN{i}A") for i in range(5)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.jsonl").write_text(lines + "\n")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "e.parquet")
    files, ignored = list_files(tmp_path)
    assert ([file.name[0] for file in files], ignored) == (list("abcde"), 0)
    for file in files:
        parsed = list(PARSER.parse_file(file, file.name))
        assert [(r.publication_number, r.codes, r.reason) for r in parsed] == [
            (f"CN{i}A", ["G06T3/40"], "") for i in range(5)
        ]


def test_damaged_containers_lose_only_what_is_damaged(tmp_path: Path) -> None:
    lines = "".join(json.dumps(patent(f"CN{i}A")) + "\n" for i in range(2000)).encode()
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(lines)[:-2000])
    (tmp_path / "bad.jsonl").write_bytes(b'{"torn\n' + lines)
    (tmp_path / "no.parquet").write_bytes(b"PAR1 not parquet")
    (tmp_path / "dir.json").symlink_to(tmp_path / "gone.json")
    cut = Counter(r.reason for r in PARSER.parse_file(tmp_path / "cut.jsonl.gz", "cut"))
    assert cut["unreadable_file"] == 1
    assert cut[""] > 100
    assert Counter(r.reason for r in PARSER.parse_file(tmp_path / "bad.jsonl", "bad")) == {"invalid_json": 1, "": 2000}
    for name in ("no.parquet", "dir.json"):
        assert [r.reason for r in PARSER.parse_file(tmp_path / name, name)] == ["unreadable_file"]


# What each messy export holds, by reason; "" is a usable patent.
MESSY = {
    "01_bom_multiline_quoted_json_codes.csv": {"": 2},
    "02_blank_rows.csv": {"": 1},
    "04_many_codes_one_string.json": {"": 5},
    "06_locarno_design_codes.json": {"no_full_code": 3, "abstract_too_short": 2},
    "07_too_short_abstracts.json": {"no_full_code": 5, "abstract_too_short": 1},
    "08_identical_abstracts_other_numbers.json": {"": 4},
    "09_whitespace_in_abstract.json": {"": 3},
    "13_id_abstract_lines.txt": {"missing_title": 6},
    "14_empty_abstracts.txt": {"missing_title": 6},
    "15_japanese_bracket_headings.txt": {"missing_publication_number": 1},
    "17_kipris_list_of_codes.json": {"": 1},
    "20_subclass_only_codes_and_paragraph_marks.json": {"no_full_code": 2, "missing_classifications": 1},
    "21_python_list_strings.json": {"": 2},
    "23_epo_ops_json.json": {"invalid_json": 1},
    "24_uspto_xml_2014.xml": {"invalid_xml": 1},
    "25_uspto_greenbook_1976.txt": {"": 1},
    "27_lens_json.json": {"": 1},
    "29_abstract_with_heading_word.json": {"": 1},
    "30_abstract_in_two_languages.json": {"missing_title": 1},
}


def test_messy_exports_are_read_or_rejected_for_the_right_reason(shared_data: Path) -> None:
    files, ignored = list_files(shared_data / "messy")
    assert ({f.name for f in files}, ignored) == (set(MESSY), 1)  # its INDEX.md
    by_file = {f.name: list(PARSER.parse_file(f, f.name)) for f in files}
    assert {name: dict(Counter(r.reason for r in found)) for name, found in by_file.items()} == MESSY
    for found in by_file.values():
        for record in found:
            if not record.reason:
                assert record.codes
                assert "\n" not in record.abstract
                assert not record.abstract.startswith(("[0000]", "Abstract"))
    assert by_file["29_abstract_with_heading_word.json"][0].codes[0] == "B25B21/004"
    assert by_file["04_many_codes_one_string.json"][0].codes == ["E01C5/08", "E01C7/14", "E01C11/02", "E01C11/10"]
    assert by_file["04_many_codes_one_string.json"][0].publication_number == "CN202644340U"  # not the application's
    assert by_file["01_bom_multiline_quoted_json_codes.csv"][0].codes[:2] == ["G06F16/3329", "G06F16/35"]
    assert by_file["21_python_list_strings.json"][0].citations[0] == "US-4668494-A"
    assert by_file["30_abstract_in_two_languages.json"][0].abstract.startswith("一种控制")


def test_a_patent_to_be_embedded_needs_no_classification() -> None:
    for classifications in (None, "no code", "G06T2207/10"):
        raw = patent("CN1A", classifications=classifications)
        assert PARSER.parse_record(raw, "x").reason != ""
        record = PatentTextParser().parse_record(raw, "x")
        assert (record.reason, record.detail, record.language) == ("", "", "zh")
        assert record.abstract == raw["abstract"]
    assert PatentTextParser().parse_record(patent("CN1A", abstract="短"), "x").reason == "abstract_too_short"


def test_texts_of_a_column() -> None:
    parser = TextParser(text_column="body", id_column="key", max_abstract_chars=3)
    record = parser.parse_record({"key": 7, "body": " a\n b", "abstract": "not this"}, "x[0]")
    assert (record.publication_number, record.abstract, record.cut_chars, record.reason) == ("7", " a\n", 2, "")
    assert TextParser(text_column="body").parse_record({"body": "短"}, "x[3]").publication_number == "x[3]"


@pytest.mark.parametrize(
    ("raw", "reason", "detail"),
    [
        ("a string", "not_an_object", "a JSON str"),
        ({"body": "a"}, "missing_id", "nothing in 'key' among ['body']"),
        ({"key": "", "body": "a"}, "missing_id", "nothing in 'key' among ['body', 'key']"),
        ({"key": "k", "text": "a"}, "missing_text", "no text in 'body' among ['key', 'text']"),
        ({"key": "k", "body": "\n "}, "missing_text", "no text in 'body' among ['body', 'key']"),
        ({"key": "k", "body": ["a"]}, "missing_text", "no text in 'body' among ['body', 'key']"),
    ],
)
def test_texts_that_cannot_be_used(raw: object, reason: str, detail: str) -> None:
    record = TextParser(text_column="body", id_column="key").parse_record(raw, "x")
    assert (record.reason, record.detail) == (reason, detail)
    assert reason in REASONS


def test_a_usable_record_keeps_what_the_source_has_beside_it() -> None:
    raw_record = patent(
        "CN1A", claims=["1. 一种装置。", "2. 如权利要求1所述的装置。"], description=["第一段。", "第二段。"]
    )
    raw_record |= {"citations": ["CN2A", {"publication_number": "US-3-B2"}], "family_id": 7, "公开日": "2020.01.31"}
    raw_record |= {"申请（专利权）人": "甲公司;乙公司"}
    record = parse(raw_record)
    assert record.claims == ["1. 一种装置。", "2. 如权利要求1所述的装置。"]
    assert record.description == "第一段。\n第二段。"
    assert (record.family_id, record.publication_date) == ("7", "2020-01-31")
    assert record.applicants == ["甲公司", "乙公司"]
    plain = parse(patent("CN1A"))
    assert (plain.claims, plain.description, plain.citations, plain.applicants) == (None,) * 4
    table = records.to_table([record, plain])
    assert table["claims"].to_pylist() == [record.claims, None]


def test_a_field_that_the_user_named_is_read_from_there_alone() -> None:
    parser = RecordParser(
        names=FieldNames.of({"abstract": "biblio.文摘2", "title": None, "publication_number": "编号X"})
    )
    text = "一种编号为七的测试装置，包括壳体、支架和转轴，能够减小振动并便于拆卸维护。"
    record = parser.parse_record(patent("CN1A") | {"biblio": {"文摘2": text}, "编号X": "CN7A"}, "x")
    assert (record.publication_number, record.abstract, record.title) == ("CN7A", text, "一种测试装置CN1A")
    assert parser.parse_record(patent("CN1A"), "x").reason == "missing_publication_number"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (10000001.0, "10000001"),
        ("10000001.0", "10000001"),
        ("10000001.00", "10000001"),
        ("CN 110000005 A", "CN110000005A"),
        ("ＣＮ１１０００００５Ａ", "CN11000005A"),
        ("201910000002.0", "201910000002.0"),  # twelve digits are an application's, and the last its check digit
        ("nan", ""),
        (None, ""),
        (True, ""),
        (["CN1A", "CN2A"], "CN1A"),
        ("CN110000001 (A)", "CN110000001A"),
        ("1.0000001E+07", "10000001"),
        ("1.1E+08", ""),  # a spreadsheet has lost the rest
        ("CN110000001A; CN110000001B", "CN110000001A"),
        ({"country": "US", "doc_number": "8372101", "kind": "B2"}, "US8372101B2"),
        ({"country": "US"}, ""),
    ],
)
def test_publication_numbers(value: object, number: str) -> None:
    assert parse(patent("CN1A", publication_number=value)).publication_number == number


def test_a_file_may_be_named_by_the_number_that_its_record_lacks(tmp_path: Path) -> None:
    (tmp_path / "CN110000001A.json").write_text(json.dumps(patent("", publication_number=None)))
    (record,) = PARSER.parse_file(tmp_path / "CN110000001A.json", "deep/CN110000001A.json")
    assert (record.publication_number, record.reason) == ("CN110000001A", "")


def test_a_record_says_by_what_it_was_read() -> None:
    (record,) = PARSER.parse_document(json.dumps(patent("CN1A"), ensure_ascii=False).encode("gb18030"), "x.json")
    assert (record.layout, record.encoding) == ("", "gb18030")


@pytest.mark.parametrize("text", ["长" * 130, "本发明公开了一种无摘要生成的装置，用于对图像进行处理。"])
def test_what_speaks_of_abstracts_is_no_placeholder(text: str) -> None:
    assert parse(patent("CN1A", abstract=text)).reason == ""
