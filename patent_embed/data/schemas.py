"""The tables that steps hand to one another: names and types of their columns."""

from __future__ import annotations

import pyarrow as pa

# What is kept of a patent where its source has it, and null where not.
KEPT = pa.schema(
    [
        ("claims", pa.list_(pa.string())),  # in their order
        ("description", pa.string()),  # its beginning: data.max_description_chars
        ("citations", pa.list_(pa.string())),  # publication numbers of patents that it cites
        ("citation_categories", pa.list_(pa.string())),  # of each of them, empty where none; null: of none of them
        ("family_id", pa.string()),  # as the source names the family
        ("publication_date", pa.string()),  # 2021-03-09
        ("applicants", pa.list_(pa.string())),
    ]
)
RECORDS = pa.schema(
    [
        ("publication_number", pa.string()),
        ("title", pa.string()),
        ("abstract", pa.string()),
        ("codes", pa.list_(pa.string())),
        ("indexing_codes", pa.list_(pa.string())),
        ("language", pa.string()),
        *KEPT,
        ("source", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("cut_chars", pa.int32()),
        ("layout", pa.string()),
        ("encoding", pa.string()),
    ]
)
SPLIT_TABLE = pa.schema([("publication_number", pa.string()), ("family", pa.string()), ("split", pa.string())])

QUERIES = pa.schema(
    [
        ("publication_number", pa.string()),
        ("query_no", pa.int32()),
        ("query", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("note", pa.string()),
    ]
)

JUDGED = pa.schema(
    [
        ("query", pa.string()),  # white space as one blank
        ("publication_number", pa.string()),
        ("relevant", pa.bool_()),  # as a person said
        ("split", pa.string()),  # of the query
    ]
)

# What a judge, a model, says of patents for queries.
GRADES = pa.schema(
    [
        ("publication_number", pa.string()),  # of the query's own patent
        ("query", pa.string()),
        ("patent", pa.string()),  # that is graded
        ("grade", pa.int8()),  # 0 to 3
    ]
)

NEGATIVES = pa.schema(
    [
        ("publication_number", pa.string()),
        ("rank", pa.int32()),
        ("negative", pa.string()),
        ("rung", pa.string()),
        ("score", pa.float32()),
    ]
)

# Pairs of a text that asks and a right answer, beside the queries and their own patents; of all splits.
RELEVANCE = pa.schema(
    [
        ("publication_number", pa.string()),  # of the patent that asks
        ("query", pa.string()),  # null: its passage
        ("kind", pa.string()),  # whose prompt the asking text gets: query or passage
        ("patent", pa.string()),  # the right answer
        ("answer", pa.string()),  # null: its passage
        ("grade", pa.float32()),  # above 0; 1 is as right as a patent's own text
        ("source", pa.string()),
        ("split", pa.string()),  # of the patent that asks
        ("trains", pa.bool_()),  # both patents are in train
    ]
)
# Patents of different families that are no negatives of one another, either way round.
LINKS = pa.schema([("publication_number", pa.string()), ("other", pa.string())])

RETRIEVAL_METRICS = ("ndcg@10", "mrr@10", "map@50", "recall@1", "recall@5", "recall@10", "recall@50")
GRADED = "graded_ndcg@10"

PER_QUERY = pa.schema(
    [
        ("publication_number", pa.string()),
        ("query_no", pa.int32()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("headline", pa.bool_()),  # counts in the headline metrics of its split
        ("relevant", pa.int32()),  # size of the relevant set
        ("rank", pa.int32()),  # of the first relevant document; 0: not among the first DEPTH
        ("first", pa.string()),  # the document at the top
        *((name, pa.float64()) for name in (*RETRIEVAL_METRICS, GRADED)),  # GRADED: null where no codes are known
        ("positive_similarity", pa.float64()),
        ("negative_similarity", pa.float64()),  # mean over the query's negatives; null without any
        ("negative_similarities", pa.list_(pa.float32())),  # of each of them
        ("triplets", pa.int32()),
        ("triplets_won", pa.int32()),  # with a positive strictly more similar than the negative
    ]
)

# Of queries with judged answers, in the first 1,000 documents, which is what trec_eval is given.
BENCHMARK_METRICS = ("ndcg@10", "ndcg@100", "mrr@1000", "map@1000", "recall@10", "recall@100", "recall@1000")
PER_BENCHMARK_QUERY = pa.schema(
    [
        ("publication_number", pa.string()),  # what is drawn together in tests: queries of one patent
        ("query_no", pa.int32()),  # row of the query
        ("split", pa.string()),  # of the judgements: ``test``, or a part of it
        ("source", pa.string()),
        ("kind", pa.string()),
        ("headline", pa.bool_()),
        ("relevant", pa.int32()),  # documents of grade 1 or more
        ("rank", pa.int32()),  # of the first of them; 0: not found
        ("first", pa.string()),  # the document at the top
        *((name, pa.float64()) for name in BENCHMARK_METRICS),
    ]
)
