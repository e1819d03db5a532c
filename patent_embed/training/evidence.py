"""What may refuse a trained model before anybody asks a test query: its validation queries, and general sentences.

The patents' own texts are no evidence beside them: titles were found for their abstracts by the base encoder already,
and halves of abstracts for one another less often by encoders that were much better on written queries
(docs/publishing.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.arrays import numbered, rows_of
from patent_embed.data.codes import flattened, main_groups
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens
from patent_embed.evaluation.forgetting import general_texts, pair_similarities
from patent_embed.evaluation.measure import headline_mask
from patent_embed.evaluation.metrics import Floats
from patent_embed.hashing import hash_strings
from patent_embed.queries.sources import RULES
from patent_embed.training.pairs import Known, linked_rows, linked_set
from patent_embed.training.validation import Limit, RetrievalSet, retrieval_ndcg

MOST_PATENTS = 2000  # validation patents that are asked about, chosen by a hash of their numbers
OTHERS = 4  # for each of them, so many patents of other splits are searched beside


@dataclass(frozen=True)
class Evidence:
    """What a model is asked.

    Attributes:
        asked: validation queries, and what they are searched in. Their families are the units of paired tests.
        unseen: (q,) whose patents share no main group with a training patent.
        ruled: share of rule queries in what is trained on, 0 to 1.
        general: ``general_texts`` as tokens.
    """

    asked: RetrievalSet
    unseen: NDArray[np.bool_]
    ruled: float
    general: Tokens


@dataclass(frozen=True)
class Measured:
    """A model's answers: nDCG@10 of each query (q,), and the similarities of general pairs (``forgetting.PAIRS``)."""

    values: Floats
    general: pa.Table


def build_evidence(
    encoder: Encoder, corpus: pa.Table, splits: pa.Table, queries: pa.Table, trained_on: pa.Table
) -> Evidence:
    """Of the ``val`` split: all queries but those of rules where there are any others.

    Args:
        encoder: whose tokens they become.
        corpus: ``publication_number, abstract, codes``, rows as in ``splits``.
        queries: ``publication_number, query, source``; ``trained_on`` are those of the training.
    """
    ids = corpus["publication_number"].combine_chunks()
    member = pc.equal(splits["split"], "val").to_numpy()
    order = np.argsort(hash_strings(ids, 0), kind="stable")
    patents = order[member[order]][:MOST_PATENTS]
    pool = np.sort(np.concatenate([patents, order[~member[order]][: OTHERS * len(patents)]]))
    queries = queries.filter(pa.array(np.isin(rows_of(queries["publication_number"], ids), patents)))
    chosen = queries.filter(pa.array(headline_mask(queries["source"], None, "val")))
    own = rows_of(chosen["publication_number"], ids)
    family = numbered(splits["family"])[0].astype(np.int64)
    asked = RetrievalSet(
        queries=encoder.tokenize(chosen["query"].to_pylist(), "query"),
        passages=encoder.tokenize(corpus["abstract"].take(pa.array(pool)).to_pylist(), "passage"),
        query_family=family[own],
        passage_family=family[pool],
    )
    unseen = ~_trained_on(corpus["codes"], pc.equal(splits["split"], "train").to_numpy())
    ruled = pc.mean(pc.equal(trained_on["source"], RULES).cast(pa.float64())).as_py()
    return Evidence(asked, unseen[own], ruled or 0.0, encoder.tokenize(general_texts(), "passage"))


def linked_evidence(encoder: Encoder, known: Known, evidence: Evidence, limit: Limit | None = None) -> Evidence:
    """The same, asked for what the patents of ``val`` are linked to instead of queries (``pairs.linked_set``)."""
    asking = np.unique(linked_rows(known, "val")[0])
    unseen = ~_trained_on(known.corpus["codes"], pc.equal(known.splits["split"], "train").to_numpy())
    return replace(evidence, asked=linked_set(encoder, known, "val", limit), unseen=unseen[asking])


def measure(encoder: Encoder, evidence: Evidence) -> Measured:
    """The encoder as it is."""
    values = retrieval_ndcg(encoder, evidence.asked) if len(evidence.unseen) else np.zeros(0)
    return Measured(values, pair_similarities(encoder.encode(evidence.general)))


def _trained_on(codes: pa.ChunkedArray, trained: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) whether any of a patent's main groups has a patent in the training."""
    owner, symbols = flattened(codes)
    group, _ = numbered(main_groups(symbols))
    known = np.isin(group, group[trained[owner]])
    seen = np.zeros(len(codes), np.bool_)
    seen[owner[known]] = True
    return seen
