"""From the table of relevance to triplets and a validation set, over the tokens of the tiny encoder."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from patent_embed.config.model import ModelConfig
from patent_embed.data.schemas import LINKS, RELEVANCE
from patent_embed.encoder.encoder import Encoder
from patent_embed.errors import UserError
from patent_embed.training.contamination import contamination
from patent_embed.training.data import TripletData, build_triplets
from patent_embed.training.evidence import build_evidence, linked_evidence
from patent_embed.training.pairs import Known, linked_set, rule_share, with_relevance
from patent_embed.training.validation import Limit, retrieval_ndcg

IDS = [f"CN{i}" for i in range(6)]
SPLIT = ["train"] * 4 + ["val"] * 2
ABSTRACTS = [f"一种装置{i},包括壳体" for i in range(6)]


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    config = ModelConfig(query_prompt="问", passage_prompt="文")
    return Encoder.load(tiny_model, config, device=torch.device("cpu"))


def pair(
    asking: int, answering: int, source: str, query: str | None = None, kind: str = "passage", grade: float = 1.0
) -> tuple[Any, ...]:
    split, trains = SPLIT[asking], SPLIT[asking] == SPLIT[answering] == "train"
    return (IDS[asking], query, kind, IDS[answering], None, grade, source, split, trains)


def known() -> Known:
    rows = [
        pair(0, 0, "claims", "一种水泵", "query", grade=0.5),
        pair(0, 1, "citations"),
        pair(0, 2, "citations"),
        pair(3, 1, "citations"),
        pair(3, 4, "citations"),
        pair(5, 2, "citations"),
    ]
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), RELEVANCE, strict=True)],
        schema=RELEVANCE,
    )
    links = [(0, 1), (0, 2), (3, 1), (3, 4), (5, 2)]
    linked = pa.table([[IDS[link[side]] for link in links] for side in (0, 1)], schema=LINKS)
    corpus = pa.table({"publication_number": IDS, "abstract": ABSTRACTS, "codes": [["A01B1/02"]] * 6})
    splits = pa.table({"publication_number": IDS, "family": IDS, "split": SPLIT})
    return Known(corpus, splits, np.arange(6), table, linked)


def own(encoder: Encoder) -> TripletData:
    """A query each of CN0 and CN3; the mined negatives of CN0 are CN1, which it cites, and CN3."""
    given, asked = known(), ["CN0", "CN3"]
    queries = pa.table({"publication_number": asked, "query": ["怎样布置壳体"] * 2, "source": ["llm"] * 2})
    negatives = pa.table({"publication_number": ["CN0", "CN0", "CN3"], "negative": ["CN1", "CN3", "CN2"]})
    return build_triplets(encoder, given.corpus, given.splits, queries, negatives, None)


def read(encoder: Encoder, ids: np.ndarray) -> str:
    found: str = encoder.tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "")
    return found


def texts(encoder: Encoder, data: TripletData, source: int) -> list[tuple[str, str, str]]:
    """Triplets of a source as the texts that the encoder reads."""
    assert data.mixture is not None
    offsets = data.tokens.offsets
    every = [read(encoder, data.tokens.ids[a:b]) for a, b in pairwise(offsets)]
    return [(every[a], every[b], every[c]) for a, b, c in data.triplets[data.mixture.source == source].tolist()]


def test_only_links_inside_of_train_become_triplets_each_text_with_its_prompt(encoder: Encoder) -> None:
    data, counts = with_relevance(encoder, own(encoder), known(), {"own": 1.0, "claims": 0.5, "citations": 2.0})
    assert counts == {"own": 3, "claims": 1, "citations": 3, "linked_negatives": 1}
    passage = [read(encoder, encoder.tokenize([text], "passage").ids) for text in ABSTRACTS]
    assert all(text.startswith("文") for text in passage)
    assert texts(encoder, data, 2) == [
        (passage[asking], passage[answer], passage[answer]) for asking, answer in ((0, 1), (0, 2), (3, 1))
    ]
    [(claim, answer, negative)] = texts(encoder, data, 1)
    assert (claim, answer, negative) == ("问一种水泵", passage[0], passage[0])
    assert data.mixture is not None
    assert data.mixture.grade.tolist() == [1, 1, 1, 0.5, 1, 1, 1]
    assert data.mixture.passes.tolist() == [1, 0.5, 2]
    assert contamination(data, known().splits, known().family)["held_out_texts"] == 0


def test_a_cited_patent_is_no_mined_negative(encoder: Encoder) -> None:
    data, _ = with_relevance(encoder, own(encoder), known(), {"own": 1.0, "citations": 1.0})
    triplets = texts(encoder, data, 0)
    assert [positive == negative for _, positive, negative in triplets] == [True, False, False]


def test_queries_are_left_out_where_their_weight_is_0(encoder: Encoder) -> None:
    data, counts = with_relevance(encoder, own(encoder), known(), {"citations": 1.0})
    assert counts == {"citations": 3, "linked_negatives": 1}
    assert (len(data.triplets), len(data.tokens), int(data.triplets.max())) == (3, 4, 3)


def test_sources_without_a_pair_in_train_are_an_error(encoder: Encoder) -> None:
    given = known()
    val = given.table.filter(pc.equal(given.table["split"], "val"))
    nothing = Known(given.corpus, given.splits, given.family, val, given.links)
    with pytest.raises(UserError, match=r"of citations, claims \(relevance\) no pair .* relevance\.halves=1"):
        with_relevance(encoder, own(encoder), nothing, {"citations": 1.0, "claims": 1.0})


def test_links_are_of_families_both_ways_round() -> None:
    one_way = [[0, 1], [0, 2], [1, 3], [2, 5], [3, 4]]
    assert known().linked().T.tolist() == sorted([*one_way, *([b, a] for a, b in one_way)])


def test_a_training_text_of_val_is_counted(encoder: Encoder) -> None:
    given = known()
    leaking = given.table.set_column(given.table.column_names.index("trains"), "trains", pa.array([True] * 6))
    torn_table = Known(given.corpus, given.splits, given.family, leaking, given.links)
    data, _ = with_relevance(encoder, own(encoder), torn_table, {"citations": 1.0})
    assert contamination(data, given.splits, given.family) == {
        "texts": 6,
        "families": 6,
        "families_in_two_splits": 0,
        "held_out_texts": 2,  # CN4 and CN5
    }
    another = pa.table({"publication_number": ["CN6"], "family": ["CN0"], "split": ["val"]})
    torn = pa.concat_tables([given.splits, another])
    assert contamination(data, torn, np.append(given.family, 0))["families_in_two_splits"] == 1


def test_what_val_patents_cite_is_searched_however_few_are(encoder: Encoder) -> None:
    val = linked_set(encoder, known(), "val", Limit(1, 0))
    assert val.links is not None
    [[query, passage]] = val.links.tolist()
    assert (val.query_family[query], val.passage_family[passage]) == (5, 2)
    assert set(val.passage_family.tolist()) < set(range(6))


def test_val_patents_are_judged_by_what_they_cite_and_never_find_themselves(encoder: Encoder) -> None:
    val = linked_set(encoder, known(), "val")
    assert (len(val.queries), len(val.passages)) == (1, 6)
    assert val.links is not None
    assert val.links.tolist() == [[0, 2]]
    vectors = encoder.encode(ABSTRACTS, "passage")
    scores = vectors @ vectors[5]
    scores[5] = -2
    rank = int((scores > scores[2]).sum()) + 1
    assert retrieval_ndcg(encoder, val).tolist() == pytest.approx([1 / np.log2(rank + 1)], abs=1e-5)


def test_val_patents_are_not_judged_by_what_is_classified_alike(encoder: Encoder) -> None:
    given = known()
    alike = pa.Table.from_pylist([dict(zip(RELEVANCE.names, pair(5, 1, "classes"), strict=True))], RELEVANCE)
    table = pa.concat_tables([given.table, alike])
    more = Known(given.corpus, given.splits, given.family, table, given.links)
    links = linked_set(encoder, more, "val").links
    assert links is not None
    assert links.tolist() == [[0, 2]]


def test_a_training_on_links_is_refused_by_links(encoder: Encoder) -> None:
    given = known()
    queries = pa.table({"publication_number": ["CN4"], "query": ["怎样布置壳体"], "source": ["rules"]})
    plain = build_evidence(encoder, given.corpus, given.splits, queries, queries)
    found = linked_evidence(encoder, given, plain)
    assert found.asked.links is not None
    assert found.asked.query_family.tolist() == [5]
    assert found.unseen.tolist() == [False]  # its main group is that of all
    strange = given.corpus.set_column(2, "codes", pa.array([["A01B1/02"]] * 5 + [["G06F1/00"]]))
    other = Known(strange, given.splits, given.family, given.table, given.links)
    assert linked_evidence(encoder, other, plain).unseen.tolist() == [True]
    assert (found.ruled, found.general) == (plain.ruled, plain.general)


def test_the_share_of_rule_queries_is_of_all_that_an_epoch_reads() -> None:
    triplets = {"own": 100, "halves": 400, "linked_negatives": 7}
    assert rule_share(0.8, triplets, {"own": 1.0, "halves": 0.25}) == pytest.approx(0.4)
    assert rule_share(0.8, triplets, {"halves": 1.0}) == 0
    assert rule_share(1.0, {"own": 0, "citations": 0}, {"own": 1.0, "citations": 1.0}) == 0
