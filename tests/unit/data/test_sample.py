"""The generated patents are usable, varied, and the same wherever and in whatever pieces they are made."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from patent_embed import ipc
from patent_embed.data import sample
from patent_embed.data.records import RecordParser
from patent_embed.data.splits import abstract_key, assign_families
from patent_embed.errors import UserError

RECORDS = list(sample.generate(3000, seed=1))


def test_every_record_is_usable_and_numbers_are_unique() -> None:
    parsed = [RecordParser().parse_record(item, "") for item in RECORDS]
    assert {item.reason for item in parsed} == {""}
    assert {item.language for item in parsed} == {"zh"}
    assert len({item.publication_number for item in parsed}) == len(RECORDS)
    assert all(80 <= len(item.abstract) <= 350 for item in parsed)
    assert {ipc.section(code) for item in parsed for code in item.codes} == set("ABCDEFGH")
    assert 0.2 < sum(len(item.codes) > 1 for item in parsed) / len(parsed) < 0.35
    assert any(item.indexing_codes for item in parsed)


def test_pieces_are_the_whole_and_seeds_differ() -> None:
    assert [*sample.generate_range(0, 1001, 1), *sample.generate_range(1001, 3000, 1)] == RECORDS
    assert list(sample.generate(50, seed=2)) != RECORDS[:50]


def test_group_sizes_are_skewed_and_families_exist() -> None:
    sizes = Counter(ipc.main_group(item["classifications"][0]["code"]) for item in RECORDS)
    ranked = sizes.most_common()
    assert len(ranked) > 40
    assert ranked[0][1] > 5 * ranked[10][1]
    numbers = [item["publication_number"] for item in RECORDS]
    keys = [abstract_key(item["abstract"]) for item in RECORDS]
    families = Counter(assign_families(pa.array(numbers), pa.array(keys)).to_pylist())
    assert 0.04 < sum(size > 1 for size in families.values()) / len(families) < 0.15
    assert any(f"{number[:-1]}B" in numbers for number in numbers if number.endswith("A"))


def test_subgroups_of_a_main_group_share_words_but_not_mechanisms() -> None:
    by_code: dict[str, list[str]] = {}
    for item in RECORDS:
        by_code.setdefault(item["classifications"][0]["code"], []).append(item["abstract"])
    group = Counter(ipc.main_group(code) for code in by_code).most_common(1)[0][0]
    codes = [code for code in by_code if ipc.main_group(code) == group]
    field = next(each for each in sample.fields() if each.subclass == ipc.subclass(group))
    mechanisms = {f"{group}/{digits}": term.technical for digits, term in field.mechanisms}
    assert len(codes) > 1
    for code in codes:
        assert all(mechanisms[code] in abstract for abstract in by_code[code])


def test_queries_do_not_copy_the_abstract_and_a_family_asks_about_one_thing() -> None:
    cache = sample.llm_style_queries(500, seed=1)
    assert cache["patent_ids"] == [item["publication_number"] for item in RECORDS[:500]]
    for item in RECORDS[:500]:
        text = cache["queries_by_id"][item["publication_number"]]["query"]
        assert 15 <= len(text) <= 60
        assert not any(text[i : i + 8] in item["abstract"] for i in range(len(text) - 7))


@pytest.mark.parametrize("layout", ["jsonl", "jsonl.gz"])
def test_one_file_holds_the_records(tmp_path: Path, layout: sample.Layout) -> None:
    sample.write_sample(tmp_path, 30, seed=1, layout=layout)
    path = tmp_path / f"patents.{layout}"
    parsed = list(RecordParser().parse_file(path, path.name))
    assert [item.publication_number for item in parsed] == [item["publication_number"] for item in RECORDS[:30]]
    content = path.read_bytes()
    sample.write_sample(tmp_path, 30, seed=1, layout=layout)
    assert path.read_bytes() == content


def test_files_are_left_alone_when_they_are_right(tmp_path: Path) -> None:
    sample.write_sample(tmp_path, 30, seed=1, queries=True)
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 30
    assert json.loads((tmp_path / "processed" / "llm_queries_cache.json").read_text(encoding="utf-8"))["patent_ids"]
    before = {path: path.stat().st_mtime_ns for path in files}
    sample.write_sample(tmp_path, 30, seed=1, queries=True)
    assert {path: path.stat().st_mtime_ns for path in files} == before
    with pytest.raises(UserError, match="29 other files"):
        sample.write_sample(tmp_path, 1, seed=1)


def test_large_samples_are_cut_into_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_FLAT_UP_TO", 20)
    monkeypatch.setattr(sample, "_FILES_PER_FOLDER", 10)
    sample.write_sample(tmp_path, 25, seed=1)
    assert {path.name: len(list(path.iterdir())) for path in tmp_path.iterdir()} == {
        "00000": 10,
        "00001": 10,
        "00002": 5,
    }


def test_more_records_than_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="publication numbers"):
        sample.generate_range(0, 10**8 + 1)
