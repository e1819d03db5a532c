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
from patent_embed.data.records import PatentTextParser, RecordParser, TextParser, list_files
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
        ({"classifications": "Y02P20/134"}, "only_indexing_codes"),
    ],
)
def test_rejects(changes: dict[str, object], reason: str) -> None:
    assert parse(patent("CN1A", **changes)).reason == reason
    assert reason in records.REASONS


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


def test_listing_passes_over_what_is_no_patent_file(tmp_path: Path) -> None:
    for name in ("a.json", "deep/b.json", "processed/c.json", ".hidden/d.json", "llm_queries_cache.json", "e.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    files, ignored = list_files(tmp_path)
    assert ([str(f.relative_to(tmp_path)) for f in files], ignored) == (["a.json", "deep/b.json"], 3)


# What each messy export holds, by reason; "" is a usable patent.
MESSY = {
    "04_many_codes_one_string.json": {"": 5},
    "06_locarno_design_codes.json": {"no_full_code": 3, "abstract_too_short": 2},
    "07_too_short_abstracts.json": {"no_full_code": 5, "abstract_too_short": 1},
    "08_identical_abstracts_other_numbers.json": {"": 4},
    "09_whitespace_in_abstract.json": {"": 3},
    "17_kipris_list_of_codes.json": {"missing_publication_number": 1},
    "20_subclass_only_codes_and_paragraph_marks.json": {"no_full_code": 2, "missing_classifications": 1},
    "21_python_list_strings.json": {"": 2},
    "23_epo_ops_json.json": {"invalid_json": 1},
    "27_lens_json.json": {"missing_publication_number": 1},
    "29_abstract_with_heading_word.json": {"": 1},
    "30_abstract_in_two_languages.json": {"missing_title": 1},
}


def test_messy_exports_are_read_or_rejected_for_the_right_reason(shared_data: Path) -> None:
    files, ignored = list_files(shared_data / "messy")
    assert {f.name for f in files} == set(MESSY)
    assert ignored > 0  # CSV, XML and plain text are another layout, and counted
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
    assert reason in records.REASONS
