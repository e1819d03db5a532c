"""Inputs that real exports have, each folder with the values that are right for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from patent_embed.data.files import list_files
from patent_embed.data.records import Record, RecordParser

G = "G06T3/40"
TWO = [G, "H04N5/232"]
SCALER = "一种图像放大装置，包括采集模块、插值模块和输出模块，插值模块根据边缘方向选择权重，从而减少锯齿并保持清晰度。"
AIRER = "一种折叠式晾衣架，包括底座、伸缩杆和铰接的横杆，横杆可绕铰接轴转动并由卡扣锁紧，便于携带和收纳。"
PLACEHOLDERS = dict.fromkeys((f"CN11000000{i}A" for i in range(1, 7)), "placeholder_abstract")


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> Path:
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


def read(folder: Path) -> list[Record]:
    files, _ = list_files(folder)
    return [record for file in files for record in RecordParser().parse_file(file, file.name)]


def numbers(first: int, last: int, kind: str = "A") -> list[str]:
    return [f"CN{110000000 + i}{kind}" for i in range(first, last + 1)]


def each(keys: list[str], codes: list[str]) -> dict[str, list[str] | str]:
    return dict.fromkeys(keys, codes)


# Folder → publication number → its codes, or the reason for which it is rejected.
RIGHT: dict[str, dict[str, list[str] | str]] = {
    "01-ndjson-in-json": each(numbers(0, 5), [G]),
    "02-utf16-jsonl": each(numbers(0, 2), [G]),
    "04-suffix": each(numbers(1, 5), [G]),
    "06-leaf-tree": {
        "CN110000000A": ["G06T3/4007"],
        "CN110000001A": ["G06T3/4053"],
        "CN110000002A": ["G06T3/4076"],
        "CN110000007A": ["G06T3/4007"],
    },
    "07-abstract-paragraphs": {"CN110000001A": [G]},
    "08-lang-dict": each(numbers(1, 4), [G]),
    "09-first-field-wins": {
        "CN110000001A": ["G06T3/4007"],
        "CN110000002A": ["D06F57/08"],
        "CN110000003A": ["D06F57/08"],
        "CN110000004A": ["D06F57/08", "D06F57/12"],
    },
    "10-code-spellings": {
        **each(numbers(100, 102), [G]),
        "CN110000103A": "no_full_code",
        "CN110000104A": ["H04N5/232"],
        "CN110000105A": [G],
        "CN110000106A": ["A61K31/4196"],
        **each(numbers(107, 108), [G]),
        **each(numbers(109, 110), TWO),
        "CN110000111A": [G],
        "CN110000112A": "no_full_code",
        "CN110000113A": ["H01L21/02", "H01L21/30"],
        **each(numbers(114, 115), [G]),
        "CN110000116A": ["H04N5/225"],
    },
    "11-envelope": each(numbers(1, 3), [G]),
    "13-float-number": {"10000001": [G], "10000002": [G], "": "missing_publication_number", "CN1A": "missing_title"},
    "14-markup": each(numbers(1, 4), [G]),
    "16-vendor-columns": {
        **each(numbers(1, 2), TWO),
        **each([*numbers(3, 3), *numbers(4, 4, "B"), *numbers(5, 5), "ZL201910000001.0"], [G]),
    },
    "17-jsonl-array": each(numbers(0, 2), [G]),
    "18-parquet-bytes": {"CN110000001A": [G]},
    "19-split-codes": each(numbers(1, 7), [G]) | {"CN110000005A": [G, "G06T3/4007"]},
    "22-placeholder-abstract": dict(PLACEHOLDERS),
    "50-cn-yearly": each(numbers(1, 6), [G]) | {"CN110000001A": TWO, "CN110000003A": TWO},
    "51-json-strings": {"CN-110000001-A": TWO},
    "70-encodings": each(["TW202000001A", "KR1020190000001A", "FR3000001A1", "JP2019000001A"], [G]),
}


@pytest.mark.parametrize("folder", RIGHT)
def test_every_record_is_read_with_its_codes_or_rejected_for_the_right_reason(cases: Path, folder: str) -> None:
    records = read(cases / folder)
    assert {record.publication_number: record.reason or record.codes for record in records} == RIGHT[folder]
    twice = {"11-envelope": 4, "17-jsonl-array": 5, "70-encodings": 5}  # of which some have one number
    assert len(records) == twice.get(folder, len(RIGHT[folder]))


def test_every_case_is_looked_at(cases: Path) -> None:
    assert {path.name for path in cases.iterdir() if path.is_dir()} - {"60-config"} == set(RIGHT)


def test_texts(cases: Path) -> None:
    by_folder = {folder: read(cases / folder) for folder in RIGHT}
    (paragraphs,) = by_folder["07-abstract-paragraphs"]
    assert paragraphs.abstract == SCALER + AIRER
    languages = by_folder["08-lang-dict"]
    assert [record.title for record in languages] == ["图像放大装置"] * 3 + ["Image scaler"]
    assert [record.language for record in languages] == ["zh"] * 3 + ["en"]
    assert languages[0].abstract == SCALER
    (strings,) = by_folder["51-json-strings"]
    assert (strings.title, strings.abstract) == ("一种装置", SCALER)
    markup = [record.abstract for record in by_folder["14-markup"]]
    assert markup[0].startswith("一种化合物，其通式为H2O，含Al2O3，温度>100℃，浓度<5%，用于")
    assert markup[1] == "一种方法，满足x=1，其中x为系数，用于计算图像权重。"
    assert markup[2] == "本发明公开了一种装置，包括A&B模块，用于对图像进行缩放处理。"
    assert markup[3].startswith("一种装置，满足a<b且c>d，包括")


def test_encodings(cases: Path) -> None:
    found = {record.source: (record.encoding, record.title) for record in read(cases / "70-encodings")}
    assert found == {
        "big5.json": ("cp950", "影像放大裝置"),
        "euckr.json": ("cp949", "이미지 확대 장치"),
        "latin1.json": ("cp1252", "Dispositif d'agrandissement d'image à mémoire"),
        "sjis.json": ("cp932", "画像拡大装置"),
        "utf16le_nobom.json": ("utf-16-le", "影像放大裝置"),
    }


def test_places(cases: Path) -> None:
    sources = Counter(record.source.partition(":")[0] for record in read(cases / "01-ndjson-in-json"))
    assert sources == {"patents-000000000000.json": 3, "part.json.gz": 3}
    assert [record.source for record in read(cases / "17-jsonl-array")] == [
        *(f"a.jsonl[{i}]" for i in range(3)),
        *("b.jsonl:1", "b.jsonl:11"),
    ]
    assert [record.source for record in read(cases / "11-envelope")] == [
        *("a.json.data[0]", "a.json.data[1]", "b.json.hits.hits[0]", "c.json.CN110000001A"),
    ]
