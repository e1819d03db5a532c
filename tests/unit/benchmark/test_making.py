"""A benchmark of one's own patents, written and read back: here, by mteb and by ir_datasets."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from patent_embed.benchmark.making import CITING, KINDS, TITLE, Patent, kinds_for, make, patents_of, written_queries
from patent_embed.benchmark.overlap import WordOverlap, band
from patent_embed.benchmark.reading import find_benchmark
from patent_embed.benchmark.writing import ABOUT, CARD, digest_of, write_beir
from patent_embed.errors import UserError
from patent_embed.evaluation.bm25 import Bm25Index

PATENTS = [
    Patent(
        *("A1", "pump", "a pump with a red valve", "a pump with a red valve", "fA", "test"),
        *(["F04B1/00", "G06T1/00"], ["1. A pump."], ["B", "C-1", "X"]),
    ),
    Patent(
        *("A2", "pump two", "a pump with a red valve", "a pump with a red valve", "fA", "test"),
        *(["F04B1/00"], (), ["A1"]),
    ),
    Patent("B", "lamp with valve", "a lamp that shines", "a lamp that shines", "fB", "train", ["F04D3/00"]),
    Patent("C1", "motor", "a motor", "a motor", "fC", "train", ["H02K1/00"]),
    Patent("C2", "", "a motor, again", "a motor, again", "fC", "train", ["G06T9/00"]),
    Patent("D", "gear", "a gear", "a gear", "fD", "val", (), (), ["B"]),
]  # fmt: skip


def rows(made: Any, split: str) -> list[tuple[str, str, int]]:
    return list(made.qrels.get(split, ()))


def test_who_asks_for_what() -> None:
    made = make(PATENTS, {"A1": ["what pumps"]}, "test")
    assert [each["_id"] for each in made.queries] == ["A1#title", "A1#query-0", "A1#claim", "A1", "A2#title"]
    assert [each["text"] for each in made.queries][2:4] == ["1. A pump.", "pump a pump with a red valve"]
    # Titles and claims: the patent and its family. F04 is shared with B; G06 with C2, of the family of C1.
    assert rows(made, "test_title") == [(f"{asks}#title", each, 1) for asks in ("A1", "A2") for each in ("A1", "A2")]
    assert rows(made, "test_citing") == [("A1", "B", 1), ("A1", "C1", 1), ("A1", "C2", 1)]
    assert rows(made, "test_in") == [("A1", "B", 1), ("A1", "C2", 1)]
    assert rows(made, "test_out") == [("A1", "C1", 1)]
    assert sorted(rows(made, "test")) == sorted(
        each for kind in KINDS for each in rows(made, f"test_{kind}")
    )  # A2 cites its own family only, which is no prior art of another
    assert made.excluded == [("A1", "A1"), ("A1", "A2")]
    assert made.counts["citations_outside"] == 1
    assert all(document["title"] == "" for document in made.documents)  # a title would be the answer to itself
    titled = make([replace(each, text=f"{each.title} {each.abstract}") for each in PATENTS], {}, "test", [CITING])
    assert titled.documents[2]["text"] == "lamp with valve a lamp that shines"
    overlaps = [next(q["metadata"]["overlap"] for q in m.queries if q["_id"] == "A1") for m in (made, titled)]
    assert overlaps[0] < overlaps[1]  # counted with the text that is searched


def test_what_takes_novelty_or_inventive_step_has_the_higher_grade() -> None:
    """A1 cites B as background and C1 as X; the family of C1 is as right as it is."""
    made = make([replace(PATENTS[0], categories=["A", "PX", "Y"]), *PATENTS[1:]], {}, "test", [CITING])
    assert rows(made, "test") == [("A1", "B", 1), ("A1", "C1", 2), ("A1", "C2", 2)]
    assert rows(made, "test_in") == [("A1", "B", 1), ("A1", "C2", 2)]
    assert rows(made, "test_out") == [("A1", "C1", 2)]


def test_what_is_searched_does_not_ask() -> None:
    assert kinds_for(["abstract"], None) == list(KINDS)
    assert kinds_for(["title", "abstract", "claim"], None) == ["query", "citing"]
    assert kinds_for(["title", "abstract"], ["citing", "claim"]) == ["citing", "claim"]
    with pytest.raises(UserError, match="--kinds title would ask with the title, which is a part of what is searched"):
        kinds_for(["title", "abstract"], ["title"])


def test_whose_patents_ask() -> None:
    assert [each["_id"] for each in make(PATENTS, {}, "val", [CITING]).queries] == ["D"]
    assert len(make(PATENTS, {}, "all", [TITLE]).queries) == 5  # C2 has none
    with pytest.raises(UserError, match="no query of kind claim can be made of the 'train' patents"):
        make(PATENTS, {}, "train", ["claim"])


def test_overlap_by_hand() -> None:
    overlap = WordOverlap(Bm25Index.build(["red pump", "red lamp", "blue lamp", "red"]))
    # ln(1 + 1.5 / 3.5) of "red" in three of four, ln(1 + 3.5 / 1.5) of "blue" in one
    red, blue = 0.356675, 1.203973
    assert overlap.of("red blue red", ["red pump", "blue"]) == pytest.approx(blue / (red + blue), abs=1e-5)
    assert overlap.of("blue", ["blue, blue"]) == 1.0
    assert overlap.of("?!", ["red"]) == overlap.of("red", []) == 0.0
    assert [band(each) for each in (0.0, 0.33, 0.34, 0.67, 1.0)] == ["low", "low", "middle", "high", "high"]


def test_tables_of_a_run() -> None:
    corpus = pa.table(
        {
            "publication_number": ["CN 1 A", "CN2A"],
            "title": ["t", None],
            "abstract": ["a", "b"],
            "codes": [["G06T3/40"], []],
            "language": ["zh", None],
            "claims": [["1. x"], None],
            "citations": [["CN2A"], None],
        }
    )
    splits = pa.table({"publication_number": ["CN 1 A", "CN2A"], "family": ["f", "g"], "split": ["test", "train"]})
    first, second = patents_of(corpus, pa.chunked_array([["t a", "b"]]), splits)
    assert first == Patent("CN_1_A", "t", "a", "t a", "f", "test", ["G06T3/40"], ["1. x"], ["CN2A"], "zh")
    assert second == Patent("CN2A", "", "b", "b", "g", "train")
    queries = {"publication_number": ["CN 1 A"] * 2, "query": ["lifted", "asked"], "source": ["rules", "llm"]}
    assert written_queries(pa.table(queries)) == {"CN_1_A": ["asked"]}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    made = make(PATENTS, {"A1": ["what pumps"]}, "test")
    write_beir(tmp_path / "mine", "mine", made, "CC-BY-4.0", {"split": "test"})
    return tmp_path / "mine"


def test_parts_of_an_earlier_writing_do_not_stay(written: Path) -> None:
    about = write_beir(written, "mine", make(PATENTS, {}, "test", ["citing"]), "CC-BY-4.0", {"split": "test"})
    found = find_benchmark(written)
    assert set(found.qrels) == set(about["parts"]) == {"test", "test_in", "test_out"}
    assert found.read().dropped == {}


def test_what_is_written_is_read_back(written: Path) -> None:
    found = find_benchmark(written).read()
    made = make(PATENTS, {"A1": ["what pumps"]}, "test")
    assert len(found.queries) == 5
    assert found.dropped == {}
    assert found.splits[0] == "test"
    for split in found.splits:
        table = found.graded(split).select(["query_id", "doc_id", "grade"]).to_pylist()
        assert sorted(tuple(each.values()) for each in table) == sorted(made.qrels[split])
    assert found.queries["publication_number"].to_pylist() == ["A1"] * 4 + ["A2"]  # drawn together
    assert [tuple(each.values()) for each in found.excluded.to_pylist()] == made.excluded
    prompts = dict(zip(found.queries["kind"].to_pylist(), found.queries["prompt"].to_pylist(), strict=True))
    assert prompts == {"title": "query", "query": "query", "claim": "query", "citing": "passage"}
    about = json.loads((written / ABOUT).read_text())
    assert (about["license"], about["digest"]) == ("CC-BY-4.0", digest_of(written))
    assert about["digest"] in (written / CARD).read_text()
    (written / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    assert digest_of(written) != about["digest"]


def test_mteb_loads_it(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mteb", reason="mteb is not installed (extra [mteb])")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader

    for split, expected in (("test", 5), ("test_in", 1)):
        data = RetrievalDatasetLoader(str(written), revision=None, split=split).load()
        assert set(data["corpus"]["id"]) == {patent.id for patent in PATENTS}
        assert len(data["queries"]) == expected
    assert data["relevant_docs"] == {"A1": {"B": 1, "C2": 1}}


def test_ir_datasets_loads_it(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ir_datasets", reason="ir_datasets is not installed")
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    from ir_datasets.datasets import beir
    from ir_datasets.formats import GenericQuery
    from ir_datasets.util import StringFile

    def given(name: str) -> Any:
        return StringFile((written / name).read_bytes())

    documents = list(beir.BeirDocs("mine", given("corpus.jsonl"), beir.BeirTitleDoc)._docs_iter())
    assert [(each.doc_id, each.text) for each in documents] == [(each.id, each.abstract) for each in PATENTS]
    queries = list(beir.BeirQueries("mine", given("queries.jsonl"), GenericQuery).queries_iter())
    assert queries[1].text == "what pumps"
    qrels = list(beir.BeirQrels(given("qrels/test_in.tsv"), {}).qrels_iter())
    assert [(each.query_id, each.doc_id, each.relevance) for each in qrels] == [("A1", "B", 1), ("A1", "C2", 1)]


def test_domains_of_real_citations(shared_data: Path) -> None:
    """Of a landscape of US patents: which cited ones share a class with the citing one, told a second time, plainly."""
    path = shared_data / "citations-en.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no citations at {path}")
    records = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    records = [each for each in records if each["landscape"] == "underwater_glider"]
    classes = {each["publication_number"]: {c["code"][:3] for c in each["classifications"]} for each in records}
    family = {each["publication_number"]: each["family_id"] for each in records}
    patents = [
        Patent(
            *(each["publication_number"], each["title"], each["abstract"], each["abstract"], each["family_id"], "test"),
            *([c["code"] for c in each["classifications"]], (), each["citations"]),
        )
        for each in records
    ]
    made = make(patents, {}, "test", [CITING])
    together: dict[str, list[str]] = {}
    for number in family:
        together.setdefault(family[number], []).append(number)
    expected: dict[bool, set[tuple[str, str]]] = {True: set(), False: set()}
    for each in records:
        asks = each["publication_number"]
        known = [number for number in each["citations"] if number in family]
        for cited in (other for number in known for other in together[family[number]]):
            if family[cited] != family[asks]:
                expected[bool(classes[asks] & classes[cited])].add((asks, cited))
    assert {pair[:2] for pair in rows(made, "test_in")} == expected[True]
    assert {pair[:2] for pair in rows(made, "test_out")} == expected[False]
    assert len(expected[True]) > len(expected[False]) > 5
