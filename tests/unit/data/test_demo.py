"""What `make demo` trains and tests on is neither trivial nor hopeless, and large enough for a verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from patent_embed.config.commands import SampleArguments
from patent_embed.config.load import load_config
from patent_embed.data import sample
from patent_embed.data.records import RecordParser, to_table
from patent_embed.data.splits import split_table
from patent_embed.encoder.bundled import bundled_encoder
from patent_embed.encoder.encoder import Encoder
from patent_embed.evaluation import metrics
from patent_embed.evaluation.systems import Bm25, EmbeddingSystem, System
from patent_embed.text import words
from tests.conftest import ROOT

CONFIG = load_config(overlays=[ROOT / "configs" / "demo.yaml"])
COUNT = SampleArguments.model_fields["count"].default


@dataclass(frozen=True)
class Demo:
    """Abstracts and queries in the order of the patents, each patent's family, and the rows of val and test."""

    abstracts: list[str]
    queries: list[str]
    family: np.ndarray
    rows: dict[str, np.ndarray]

    def ndcg(self, system: System, split: str) -> float:
        own = self.family[self.rows[split]]
        _, ranked = system.search(self.rows[split], 10)
        hit = metrics.hits(ranked, own, self.family)
        return float(metrics.ndcg(hit, metrics.group_sizes(own, self.family), 10).mean())


@pytest.fixture(scope="module")
def demo() -> Demo:
    parsed = [RecordParser().parse_record(item, "") for item in sample.generate(COUNT)]
    corpus = to_table(parsed).sort_by("publication_number")
    splits, *_ = split_table(
        corpus.select(["publication_number", "abstract", "family_id"]), CONFIG.splits, CONFIG.run.seed
    )
    asked = sample.llm_style_queries(COUNT)["queries_by_id"]
    split = np.asarray(splits["split"].to_pylist())
    return Demo(
        corpus["abstract"].to_pylist(),
        [asked[number]["query"] for number in corpus["publication_number"].to_pylist()],
        pa.chunked_array(splits["family"]).combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64),
        {name: np.flatnonzero(split == name) for name in ("train", "val", "test")},
    )


def test_there_are_queries_enough_for_a_verdict(demo: Demo) -> None:
    assert len(demo.rows["test"]) >= 150
    assert len(demo.rows["val"]) >= 100


def test_a_query_has_few_words_of_its_abstract(demo: Demo) -> None:
    shares = [
        len(set(words(query)) & set(words(abstract))) / len(set(words(query)))
        for query, abstract in zip(demo.queries, demo.abstracts, strict=True)
    ]
    assert 0.05 < np.mean(shares) < 0.2


def test_words_alone_find_some(demo: Demo) -> None:
    bm25 = Bm25(demo.abstracts, demo.queries)
    for split in ("val", "test"):
        assert 0.1 < demo.ndcg(bm25, split) < 0.5


@pytest.mark.encoder
def test_the_base_encoder_finds_more_but_far_from_all(demo: Demo) -> None:
    """Among a hundred patents of test, a sixth of what the demo searches: there it finds fewer."""
    rows = demo.rows["test"][:100]
    encoder = Encoder.load(bundled_encoder(), CONFIG.model)
    abstracts, queries = ([texts[row] for row in rows] for texts in (demo.abstracts, demo.queries))
    part = Demo(abstracts, queries, demo.family[rows], {"test": np.arange(len(rows))})
    vectors = (encoder.encode(encoder.tokenize(*texts)) for texts in ((queries, "query"), (abstracts, "passage")))
    base, words_alone = (part.ndcg(system, "test") for system in (EmbeddingSystem(*vectors), Bm25(abstracts, queries)))
    assert words_alone + 0.05 < base < 0.95
