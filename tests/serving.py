"""A small corpus that is served, by a real encoder with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from patent_embed.data.schemas import RECORDS
from patent_embed.encoder.encoder import Encoder
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.serving.corpus import Corpus, write_corpus
from patent_embed.serving.encoding import BatchedEncoder
from patent_embed.serving.engine import Engine, Model
from patent_embed.serving.facts import RunFacts
from patent_embed.serving.vectors import VectorMatrix

PARTS = ("壳体", "支架", "转轴", "晾衣架", "水泵", "滤网", "齿轮", "天线", "电池", "透镜")
CODES = ("G06T3/40", "G06T3/4076", "G06T7/00", "G06F16/30", "H04L9/32", "A47G25/06", "F04D1/00")
FACTS = RunFacts(
    "Tuned is better than base on test nDCG@10: 0.7000 → 0.8000",
    "better",
    ("nDCG@10", "MRR@10", "R@10"),
    (("bm25", "0.5000", "0.4000", "0.6000"), ("base", "0.7000", "0.6000", "0.8000")),
    120,
)


def records(count: int) -> list[dict[str, Any]]:
    """Patents that differ in words, codes and dates; every seventh has no date."""
    return [
        {
            "publication_number": f"CN{n:06d}A",
            "title": f"一种{PARTS[n % 10]}装置",
            "abstract": f"一种带{PARTS[n % 10]}和{PARTS[n * 7 % 9]}的装置，编号{n}，便于拆卸维护。",
            "codes": sorted({CODES[n % 7], CODES[n * 3 % 5]}),
            "language": "zh",
            "publication_date": None if n % 7 == 0 else f"20{10 + n % 9}-0{1 + n % 9}-15",
            "claims": [f"一种装置，其特征在于包括{PARTS[n % 10]}。", "根据权利要求1所述的装置。"],
            "applicants": ["某某公司"],
        }
        for n in range(count)
    ]


def table(found: Sequence[dict[str, Any]]) -> pa.Table:
    schema = pa.schema([RECORDS.field(i) for i in range(RECORDS.get_field_index("source") + 1)])
    return pa.Table.from_pylist(list(found), schema)


def engine(folder: Path, found: Sequence[dict[str, Any]], tiny_model: Path) -> Engine:
    """Two models of the same weights, of which one has another prompt, over ``found``."""
    folder.mkdir(exist_ok=True)
    write_corpus(folder, [table(found)])
    corpus, abstracts = Corpus(folder), [each["abstract"] for each in found]
    models = {}
    for name, prompt in (("tuned", "问"), ("base", "转轴的")):
        encoder = Encoder.load(tiny_model)
        encoder.prompts["query"] = prompt
        vectors = encoder.encode(abstracts)
        checks = [(text, encoder.encode([text], "query")[0]) for text in ("晾衣架", "水泵和滤网")]
        search = VectorMatrix(corpus, vectors, name)
        models[name] = Model(BatchedEncoder(encoder, name), search, vectors, f"digest of {name}", checks)
    return Engine(corpus, Bm25Index.build(abstracts), models, FACTS)
