"""Benchmarks as others publish them, and what is wrong with some."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from patent_embed.benchmark.reading import find_benchmark, read_qrels
from patent_embed.benchmark.tables import Item
from patent_embed.errors import UserError

DOCUMENTS = [
    {"_id": "d1", "title": "Pump", "text": "A pump with a valve.", "metadata": {}},
    {"_id": "d2", "title": "", "text": "A valve."},
    {"_id": "d10", "title": "Lamp", "text": "A lamp."},
]
QUERIES = [
    {"_id": "q1", "text": "valve", "metadata": {"kind": "word", "level": "easy"}},
    {"_id": "q2", "text": "light", "metadata": {"kind": "word", "level": "hard", "number": 3}},
    {"_id": "q3", "text": "nobody judged this"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t1\nq2\td10\t1\nq2\tgone\t1\nq9\td1\t1\n"


def beir(folder: Path, documents: list[dict[str, object]] | None = None, qrels: str = QRELS) -> Path:
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps(each) for each in documents or DOCUMENTS]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, QUERIES)), encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_a_beir_folder(tmp_path: Path) -> None:
    beir(tmp_path / "pumps")
    (tmp_path / "pumps/qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td1\t1\n")
    (tmp_path / "pumps/qrels/test_hard.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td10\t1\n")
    source = find_benchmark(tmp_path / "pumps")
    assert (source.name, list(source.qrels)) == ("pumps", ["test", "test_hard"])
    found = source.read()
    assert found.documents.to_pylist() == [  # from the largest id down, as trec_eval puts equal scores
        {"doc_id": "d2", "text": "A valve."},
        {"doc_id": "d10", "text": "Lamp A lamp."},
        {"doc_id": "d1", "text": "Pump A pump with a valve."},
    ]
    assert found.queries["query_id"].to_pylist() == ["q1", "q2"]
    assert found.labels == ["level"]  # a number is no kind of query
    assert found.dropped == {"judgements_of_unknown_queries": 1, "queries_without_judgements": 1}
    judged = found.judgements()
    assert list(judged) == ["test", "test_hard"]
    assert judged["test"].relevant(judged["test"].queries).tolist() == [2, 2]  # "gone" is missed by everybody
    assert judged["test"].document.tolist() == [0, 2, 1, 3]
    assert judged["test_hard"].queries.tolist() == [1]


def test_trec_files_and_documents_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "qrels.txt").write_text("301 0 CN1A 2\n301 Q0  CN2A\t0\n302 0 CN2A 1\n")
    with gzip.open(tmp_path / "topics.tsv.gz", "wt") as file:
        file.write("301\ta pump\n302\ta lamp with\ta tab\n")
    source = find_benchmark(tmp_path)
    assert source.corpus is None
    found = source.read([Item("CN1A", "pump"), Item("CN2A", "lamp")])
    assert found.queries["text"].to_pylist() == ["a pump", "a lamp with\ta tab"]
    assert found.graded("test")["grade"].to_pylist() == [2, 0, 1]


def test_the_digest_is_of_the_contents(tmp_path: Path) -> None:
    one, same = find_benchmark(beir(tmp_path / "a")), find_benchmark(beir(tmp_path / "b"))
    other = find_benchmark(beir(tmp_path / "c", qrels=QRELS + "q2\td1\t1\n"))
    assert one.digest == same.digest != other.digest


def test_a_document_that_is_the_query_itself_is_no_candidate(tmp_path: Path) -> None:
    documents = [*DOCUMENTS, {"_id": "q1", "text": "The valve, valve"}, {"_id": "q2", "text": "something else"}]
    found = find_benchmark(beir(tmp_path / "x", documents)).read()
    assert found.excluded.to_pylist() == [{"query_id": "q1", "doc_id": "q1"}]
    (tmp_path / "x/excluded.tsv").write_text("query-id\tcorpus-id\nq2\td1\nq2\tunknown\n")
    found = find_benchmark(tmp_path / "x").read()
    assert [tuple(each.values()) for each in found.excluded.to_pylist()] == [("q1", "q1"), ("q2", "d1")]
    assert [rows.tolist() for rows in found.excluded_rows()] == [[0, 1], [1, 4]]
    assert found.dropped["exclusions_outside"] == 1


def test_what_is_said_twice(tmp_path: Path) -> None:
    found = find_benchmark(beir(tmp_path / "a", [*DOCUMENTS, DOCUMENTS[0]], QRELS + "q1\td1\t2\n")).read()
    assert found.dropped["repeated_document"] == 1
    assert found.dropped["repeated_judgements"] == 1
    with pytest.raises(UserError, match="'d1' is there twice, with two texts"):
        find_benchmark(beir(tmp_path / "b", [*DOCUMENTS, {"_id": "d1", "text": "other"}])).read()
    with pytest.raises(UserError, match=r"'d1' of query 'q1' grade 2 and grade 1; trec_eval refuses"):
        find_benchmark(beir(tmp_path / "c", qrels=QRELS + "q1\td1\t1\n")).read()


@pytest.mark.parametrize("line", ["q1\td1", "q1\td1\tmuch", "q1\td1\t0.5", "q1\td1\tinf", "q1 d1", "q1\td1\tnan"])
def test_a_line_that_is_no_judgement(tmp_path: Path, line: str) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(f"query-id\tcorpus-id\tscore\nq1\td2\t1.0\n{line}\n")
    with pytest.raises(UserError, match=r"line 3: .* is no judgement"):
        list(read_qrels(path))


def test_a_first_line_that_is_a_judgement_counts(tmp_path: Path) -> None:
    path = tmp_path / "test.tsv"
    path.write_text("q1\td2\t1\n")
    assert list(read_qrels(path)) == [("test", "q1", "d2", 1)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("corpus.jsonl", b'{"_id": "d1"}\nnot json\n', "line 2: 'not json' is no JSON object"),
        ("corpus.jsonl", b'{"id": "d1", "text": "x"}\n', "with an '_id'"),
        ("queries.jsonl", b'{"_id": "q1", "text": "\xff"}\n', "no UTF-8"),
        ("corpus.jsonl", b"", "has 0 documents"),
        ("qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq7\td1\t1\n", "of which 0 are judged"),
        ("excluded.tsv", b"q1 d1\n", "line 1: 'q1 d1' is not the ids"),
    ],
)
def test_a_folder_that_cannot_be_measured_on(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (beir(tmp_path / "x") / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        find_benchmark(tmp_path / "x").read()


def test_a_folder_that_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        find_benchmark(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no queries"):
        find_benchmark(tmp_path)
    (beir(tmp_path / "x") / "qrels/test.tsv").rename(tmp_path / "x/qrels/dev.tsv")
    assert list(find_benchmark(tmp_path / "x").qrels) == ["test"]  # the only one there is
    (tmp_path / "x/qrels/train.tsv").write_text(QRELS)
    with pytest.raises(UserError, match="judgements of dev, train, none of which is 'test'"):
        find_benchmark(tmp_path / "x")


def test_a_damaged_archive_is_said(tmp_path: Path) -> None:
    folder = beir(tmp_path / "x")
    packed = bytearray(gzip.compress("".join(f'{{"_id": "d{n}", "text": "{n * n}"}}\n' for n in range(999)).encode()))
    packed[10:14] = b"\xff" * 4  # no kind of block
    (folder / "corpus.jsonl").unlink()
    (folder / "corpus.jsonl.gz").write_bytes(packed)
    with pytest.raises(UserError, match=r"corpus\.jsonl\.gz is not whole, or no UTF-8: .*; get it again"):
        find_benchmark(folder).read()
