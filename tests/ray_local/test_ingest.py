"""Ingest on a real local Ray cluster: nothing is lost, and the result does not show how the input was cut."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from patent_embed.config.data import DataConfig
from patent_embed.data import pieces
from patent_embed.data.inputs import find_input
from patent_embed.data.schemas import KEPT
from patent_embed.errors import UserError
from patent_embed.progress.events import PiecesRead
from patent_embed.queries.cache import find_query_cache
from pipelines.steps import ingest
from tests.conftest import patent, write_json_lines
from tests.unit.queries.files import write_cache

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def mixed_folder(tmp_path: Path) -> Path:
    """40 good patents one a file, 30 in a JSONL, repeats, and one of each kind of trouble."""
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    for i in range(40):
        (folder / "deep" / f"{i}.json").write_text(json.dumps(patent(f"CN{1000 + i}A")), encoding="utf-8")
    lines = [patent(f"CN{1035 + i}A", title=f"another text {i}") for i in range(30)]  # five of them again
    write_json_lines(folder / "more.jsonl", lines)
    (folder / "gbk.json").write_bytes(json.dumps(patent("CN2000A"), ensure_ascii=False).encode("gb18030"))
    (folder / "torn.json").write_text('{"publication_number": "CN1')
    (folder / "no_code.json").write_text(json.dumps(patent("CN3000A", classifications="H01M")))
    (folder / "short.json").write_text(json.dumps(patent("CN3001A", abstract="太短")))
    (folder / "notes.txt").write_text("not a patent")
    return folder


def run(
    tmp_path: Path,
    folder: Path,
    config: DataConfig | None = None,
    blocks: int | None = None,
    files: int | None = None,
):
    out = tmp_path / f"out-{blocks}-{config}"[:60].replace("/", "_")
    out.mkdir()
    found, events = find_input(str(folder)), list[PiecesRead]()
    outcome = ingest.ingest(out, found, config or DataConfig(), 42, blocks=blocks, emit=events.append)
    seen = [(event.done, event.total, event.records) for event in events]
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] == min(blocks or 1, files or len(found.files))
    assert seen[-1][2] == outcome.rows["records"]
    digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.rglob("*.parquet"))}
    return outcome, digests, out


def test_every_record_is_a_patent_or_a_reject(tmp_path: Path, mixed_folder: Path) -> None:
    outcome, _, out = run(tmp_path, mixed_folder)
    assert outcome.rows == {"records": 74, "patents": 66, "not_sampled": 0}
    assert outcome.rejects == {
        "abstract_too_short": 1,
        "duplicate_publication_number": 5,
        "invalid_json": 1,
        "no_full_code": 1,
    }
    assert outcome.rows["records"] == outcome.rows["patents"] + sum(outcome.rejects.values())
    corpus = pq.read_table(out / "corpus")
    numbers = corpus["publication_number"].to_pylist()
    assert numbers == sorted(set(numbers))
    rejects = pq.read_table(out / "rejects.parquet").to_pylist()
    assert {r["source"] for r in rejects if r["reason"] != "duplicate_publication_number"} == {
        "torn.json",
        "no_code.json",
        "short.json",
    }
    # Of a repeated number the record whose file sorts first stays.
    kept = dict(zip(numbers, corpus["source"].to_pylist(), strict=True))
    assert kept["CN1035A"] == "deep/35.json"


def test_what_cannot_be_looked_at_is_counted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_json_lines(data / "a.jsonl", [patent("CN1A"), patent("CN2A")])
    (data / "torn.zip").write_bytes(b"PK\x03\x04 torn")
    (data / "gone.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(data / "pipe.json")
    out = tmp_path / "out"
    out.mkdir()
    outcome = ingest.ingest(out, find_input(str(data)), DataConfig(), 42)
    assert outcome.rejects == {"dangling_link": 1, "not_a_file": 1, "unreadable_file": 1}
    assert outcome.rows == {"records": 5, "patents": 2, "not_sampled": 0}
    rejects = {row["source"]: row["reason"] for row in pq.read_table(out / "rejects.parquet").to_pylist()}
    assert rejects == {"gone.json": "dangling_link", "pipe.json": "not_a_file", "torn.zip": "unreadable_file"}
    assert list(outcome.report["unread"]) == ["torn.zip"]


@pytest.mark.parametrize("bytes_in_a_task", [1 << 30, 0], ids=["sorted in a task", "sorted by Ray Data"])
def test_the_bytes_do_not_depend_on_the_blocks(
    tmp_path: Path, mixed_folder: Path, monkeypatch: pytest.MonkeyPatch, bytes_in_a_task: int
) -> None:
    monkeypatch.setattr(ingest, "_SORT_IN_A_TASK_BYTES", bytes_in_a_task)
    one, two, eight = (run(tmp_path, mixed_folder, blocks=blocks)[1] for blocks in (1, 2, 8))
    assert one == two == eight
    assert set(one) == {"part-00000.parquet", "rejects.parquet"}


def test_parts_and_row_groups_have_fixed_sizes(
    tmp_path: Path, mixed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a row group is held in memory, and how the rows came in does not show."""
    monkeypatch.setattr(ingest, "_ROWS_PER_PART", 25)
    digests = []
    for blocks in (1, 8):
        out = tmp_path / f"out-{blocks}"
        out.mkdir()
        ingest.ingest(out, find_input(str(mixed_folder)), DataConfig(), 42, blocks=blocks, rows_per_group=10)
        parts = sorted((out / "corpus").glob("*.parquet"))
        digests.append([hashlib.sha256(part.read_bytes()).hexdigest() for part in parts])
    assert digests[0] == digests[1]
    groups = [
        [pq.ParquetFile(p).metadata.row_group(g).num_rows for g in range(pq.ParquetFile(p).num_row_groups)]
        for p in parts
    ]
    assert groups == [[10, 10, 5], [10, 10, 5], [10, 6]]


def test_a_corpus_without_patents_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.json").write_text("{}")
    outcome, _, out = run(tmp_path, tmp_path / "data")
    assert outcome.rows["patents"] == 0
    assert pq.read_table(out / "corpus").schema == ingest.CORPUS_SCHEMA


def test_what_is_kept_of_a_patent(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    claims = ["1. 一种装置，包括壳体。", "2. 根据权利要求1所述的装置。"]
    full = patent(
        "CN1A",
        claims=claims,
        description="技术领域" * 100,
        citations=["CN2A", "US-3-B2"],
        family_id=57,
        publication_date="20210309",
        applicants=[{"name": "某公司"}],
    )
    write_json_lines(folder / "a.jsonl", [full, patent("CN4A")])
    _, _, out = run(tmp_path, folder, DataConfig(max_description_chars=10, max_claims_chars=15))
    first, second = pq.read_table(out / "corpus", columns=KEPT.names).to_pylist()
    assert first["claims"] == claims[:1]  # the second does not fit
    assert first["description"] == "技术领域技术领域技术"
    assert (first["family_id"], first["publication_date"], first["applicants"]) == ("57", "2021-03-09", ["某公司"])
    assert second == dict.fromkeys(KEPT.names)


def test_fields_by_the_names_that_the_user_gives(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    record = patent("CN1A", abstract="不是摘要的文字", 全文摘=patent("CN1A")["abstract"])
    write_json_lines(folder / "a.jsonl", [record])
    outcome, _, _ = run(tmp_path, folder, DataConfig(fields={"abstract": "全文摘"}))
    assert (outcome.rows["patents"], outcome.rejects) == (1, {})
    outcome, _, _ = run(tmp_path, folder)
    assert outcome.rejects == {"abstract_too_short": 1}


def test_what_was_read_is_counted_by_format_and_encoding(tmp_path: Path, mixed_folder: Path) -> None:
    outcome, _, _ = run(tmp_path, mixed_folder)
    assert outcome.report["languages"] == {"zh": 66}
    assert sum(outcome.report["formats"].values()) == sum(outcome.report["encodings"].values()) == 74
    assert outcome.report["encodings"]["gb18030"] == 1


def test_a_sample_is_seeded_counted_and_grows(tmp_path: Path, mixed_folder: Path) -> None:
    small, _, first = run(tmp_path, mixed_folder, DataConfig(max_samples=20))
    large, _, second = run(tmp_path, mixed_folder, DataConfig(max_samples=30))
    assert (small.rows["patents"], small.rows["not_sampled"]) == (20, 46)
    ids = [set(pq.read_table(out / "corpus")["publication_number"].to_pylist()) for out in (first, second)]
    assert ids[0] < ids[1]
    assert large.rows["patents"] == 30


def test_a_large_file_of_lines_is_cut_over_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CUT_FROM", 2000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    (tmp_path / "data").mkdir()
    content = write_json_lines(tmp_path / "data" / "all.jsonl", [patent(f"CN{1000 + i}A") for i in range(60)])
    one, eight = (run(tmp_path, tmp_path / "data", blocks=blocks, files=blocks) for blocks in (1, 8))
    assert one[0].rows["patents"] == 60
    assert one[1] == eight[1]
    assert content.stat().st_size > 8000
    places = [int(source.partition("@")[2]) for source in pq.read_table(one[2] / "corpus")["source"].to_pylist()]
    assert len(set(places)) == 60


def test_real_patents_all_arrive(tmp_path: Path, shared_data: Path) -> None:
    outcome, _, out = run(tmp_path, shared_data / "patents-zh-5753.jsonl.gz")
    assert outcome.rows == {"records": 5753, "patents": 5753, "not_sampled": 0}
    assert outcome.rejects == {}
    assert Counter(pq.read_table(out / "corpus")["language"].to_pylist()) == {"zh": 5753}


def test_missing_input_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data_dir '.*nowhere' does not exist"):
        find_input(str(tmp_path / "nowhere"))
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"holds no \.json"):
        find_input(str(tmp_path))


def test_a_single_file_has_the_query_cache_beside_it(tmp_path: Path) -> None:
    beside = write_cache(tmp_path / "llm_queries_cache.json", {})
    data_file = tmp_path / "patents.jsonl"
    data_file.touch()
    assert find_query_cache(find_input(str(data_file)).root, None) == beside
