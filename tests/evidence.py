"""A small measured world for the tests of slices, rank changes and reports: patents, queries, and two encoders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from patent_embed.evaluation.comparison import compare
from patent_embed.evaluation.forgetting import compare_general, general_texts, pair_similarities
from patent_embed.evaluation.measure import EvalResult, evaluate
from patent_embed.evaluation.patent_map import patent_map
from patent_embed.evaluation.rank_changes import rank_changes
from patent_embed.evaluation.slices import compare_slices, query_labels
from patent_embed.evaluation.systems import EmbeddingSystem
from patent_embed.report.content import RunReport

DIM = 16


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class World:
    corpus: pa.Table
    splits: pa.Table
    queries: pa.Table
    negatives: pa.Table

    def measured(self, name: str, noise: float | np.ndarray, seed: int = 1) -> EvalResult:
        """An encoder whose query vectors are ``noise`` (of all, or (q,)) away from those of their patents."""
        rng = np.random.default_rng(seed)
        passages = unit(np.random.default_rng(0).normal(size=(len(self.corpus), DIM)))
        step = np.broadcast_to(noise, len(self.queries))[:, None] * rng.normal(size=(len(self.queries), DIM))
        system = EmbeddingSystem(unit(passages + step), passages)
        codes = self.corpus["codes"]
        found = evaluate(name, system, self.queries, self.splits, self.negatives, None, codes)
        test = np.flatnonzero(np.array(self.splits["split"].to_pylist()) == "test")
        general = unit(np.random.default_rng(seed).normal(size=(len(general_texts()), DIM)))
        return EvalResult(
            name,
            found.scale,
            found.per_query,
            pair_similarities(general),
            patent_map(passages[test], [codes[int(row)].as_py()[0] for row in test]) if len(test) else None,
        )


def world(patents: int = 300, *, test: float = 0.6, texts: tuple[str, str] = ("一种装置", "怎样固定装置")) -> World:
    """Patents of eight sections, each with a query; the first part of them test, then train."""
    ids = [f"CN{row:05d}A" for row in range(patents)]
    first = int(test * patents)
    split = ["test" if row < first else "train" for row in range(patents)]
    codes = [[f"{'ABCDEFGH'[row % 8]}0{1 + row % 3}B{1 + row % 5}/{10 + row % 7}"] for row in range(patents)]
    title, query = texts
    number = [f"第{row}号" for row in range(patents)]
    kinds = ["question" if row % 2 else "scenario" for row in range(patents)]
    rows = range(patents)
    return World(
        pa.table(
            {
                "publication_number": ids,
                "title": [title + number[row] for row in rows],
                "abstract": [(title + "包括壳体和支架。") * (1 + row % 4) + number[row] for row in rows],
                "codes": pa.array(codes, pa.list_(pa.string())),
            }
        ),
        pa.table({"publication_number": ids, "family": ids, "split": split}),
        pa.table(
            {
                "publication_number": ids,
                "query_no": pa.array([0] * patents, pa.int32()),
                "query": [query + "的稳定性" * (row % 3) + number[row] for row in rows],
                "source": ["llm"] * patents,
                "kind": kinds,
            }
        ),
        pa.table({"publication_number": ids, "negative": [ids[(row + 8) % patents] for row in rows]}),
    )


def full_report(given: World | None = None) -> RunReport:
    """A report with every part."""
    given = given or world()
    base, tuned = given.measured("base", 0.9), given.measured("tuned", 0.5, seed=2)
    comparison = compare(tuned, base)
    assert comparison is not None
    assert base.general is not None
    assert tuned.general is not None
    labels = query_labels(tuned.per_query, given.queries, given.corpus, given.splits)
    return RunReport(
        results=[base, tuned],
        comparisons=[comparison],
        slices=compare_slices(tuned, base, labels),
        forgetting=compare_general("tuned", "base", tuned.general, base.general),
        changes=rank_changes(tuned, base, given.queries, given.corpus),
        data={"records": 320, "patents": 300},
        rejects={"no_abstract": 17, "an abstract of fewer characters than the settings want it to have at least": 3},
        splits={"train": 120, "test": 180},
        query_sources={"llm": 300},
        queries={"kinds": {"question": 150}, "rejected_answers": {"too_short": 12, "title_copied": 4}},
        negatives={
            "anchors": 300,
            "rungs": {"same_main_group": 500, "random": 400},
            "filtered": {"above_ratio": 70},
            "shortfall": {"1": 3},
        },
        history=[{"epoch": 0, "val_ndcg@10": 0.61}, {"epoch": 1, "loss": 0.23, "val_ndcg@10": 0.71}],
        kept_epoch=1,
        loss_curve=[(step, 1 / step) for step in range(1, 900)],
        timings={"ingest": 1.5, "train": 75.0},
        throughput={"train": "3.8 triplets/s"},
        reused={"ingest"},
        settings={"run": {"seed": 42}},
        versions={"patent-embed": "0.1.0", "torch": "2.13"},
    )
