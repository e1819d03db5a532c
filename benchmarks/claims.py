"""Claims: how well a model finds a patent by one of its claims, and what a patent cites, after trainings on claims.

    python benchmarks/claims.py --data claims-ko.jsonl.gz --seeds 1 2 3
    python benchmarks/claims.py ... --limit 400 --set model.max_seq_length=96 --set training.epochs=2   # a try on a CPU

``claim``: the query is an independent claim of a test patent, the right answer is the abstract of its family.
``cited``: the query is the title and abstract of any patent that cites others of the file, the right answers are these,
the own family left out; no row trains on citations, so all links are asked about, and they are few. Candidates are the
abstracts of all patents. Families are split by a hash of the seed; a row trains inside of ``train``, and its epoch is
chosen by the claims of ``val``. The model is ``bundled-multilingual`` unless another one is named: in ``bundled`` a
Korean word is an unknown one. One JSON line a seed, system and task, and at the end the means over the seeds.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from prior_art import Silent, means  # this folder's

from patent_embed.arrays import Rows, Vectors, numbered, rows_of
from patent_embed.config.load import load_config
from patent_embed.config.model import Kind
from patent_embed.config.queries import QueriesConfig
from patent_embed.config.settings import Config
from patent_embed.data.records import RecordParser, to_table
from patent_embed.data.relevance import find_relevance
from patent_embed.data.splits import split_table
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.hub import resolve_model
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.evaluation.fusion import fuse
from patent_embed.evaluation.qrels import Qrels, graded_metrics
from patent_embed.negatives.drawn import mine_negatives
from patent_embed.queries.rules import build_queries
from patent_embed.training.choice import SHARE_WRITTEN
from patent_embed.training.data import build_triplets
from patent_embed.training.pairs import Known, with_relevance
from patent_embed.training.published import Mixed
from patent_embed.training.start import start_training
from patent_embed.training.validation import RetrievalSet, shares_main_group

_ALONE = ["relevance.own=0", "relevance.halves=0", "relevance.claims=0"]
_EVERY = ["model.passage_view=abstract", "relevance.citations=0", "training.validate_on=queries"]
ROWS = {
    "title": [*_ALONE, "relevance.own=1"],
    "claims": [*_ALONE, "relevance.claims=1"],
    "claims+halves": [*_ALONE, "relevance.claims=1", "relevance.halves=0.5"],
    "prior-art": [],
}
METRICS = ("ndcg@10", "recall@1", "recall@10", "recall@100")
DEPTH = 1000  # of the lists that are fused


@dataclass(frozen=True)
class Task:
    """Texts that ask, and their right answers.

    Attributes:
        name: ``claim`` or ``cited``.
        texts: (q,), with the prompt of ``kind``.
        asking: (q,) rows of the patents that they are of.
        qrels: rows of ``texts`` and of patents.
        without_own: the family of the asking patent is no candidate.
    """

    name: str
    texts: list[str]
    kind: Kind
    asking: Rows
    qrels: Qrels
    without_own: bool


class Split:
    """One split of the patents, and what is asked of it."""

    def __init__(self, table: pa.Table, config: Config) -> None:
        self.table, self.seed = table, config.run.seed
        self.splits = split_table(table, config.splits, self.seed)[0]
        self.family = numbered(self.splits["family"])[0].astype(np.int64)
        both = {"claims": 1.0, "citations": 1.0, "answers_per_patent": 1000}
        found = find_relevance(table, self.splits, config.relevance.model_copy(update=both), self.seed)
        self.pairs, self.links = found.table, found.links
        self.tasks = [self.claims("test"), self.cited()]

    def claims(self, split: str) -> Task:
        """The claims of the patents of a split."""
        pairs = self.pairs
        pairs = pairs.filter(pc.and_(pc.equal(pairs["source"], "claims"), pc.equal(pairs["split"], split)))
        asking = rows_of(pairs["publication_number"], self.table["publication_number"])
        query, answer = np.nonzero(self.family[asking][:, None] == self.family)
        qrels = Qrels.of(query, answer, np.ones(len(query), np.int64))
        return Task("claim", pairs["query"].to_pylist(), "query", asking, qrels, without_own=False)

    def cited(self) -> Task:
        """All patents that cite others."""
        pairs, numbers = self.pairs, self.table["publication_number"]
        pairs = pairs.filter(pc.equal(pairs["source"], "citations"))
        asking, query = np.unique(rows_of(pairs["publication_number"], numbers), return_inverse=True)
        qrels = Qrels.of(query, rows_of(pairs["patent"], numbers), np.ones(len(query), np.int64))
        columns = (self.table[name].take(pa.array(asking)).to_pylist() for name in ("title", "abstract"))
        texts = [f"{title}. {abstract}" for title, abstract in zip(*columns, strict=True)]
        return Task("cited", texts, "passage", asking, qrels, without_own=True)

    def retrieval_set(self, encoder: Encoder, split: str) -> RetrievalSet:
        """The claims of a split, against its patents and those of their main groups, as other queries have them."""
        task = self.claims(split)
        member = pc.equal(self.splits["split"], split).to_numpy()
        pool = np.flatnonzero(member | shares_main_group(lambda: [self.table["codes"]], task.asking))
        return RetrievalSet(
            queries=encoder.tokenize(task.texts, task.kind),
            passages=encoder.tokenize(self.table["abstract"].take(pa.array(pool)).to_pylist(), "passage"),
            query_family=self.family[task.asking],
            passage_family=self.family[pool],
        )

    def ranked(self, task: Task, scores: Vectors) -> Rows:
        """(q, DEPTH or fewer) patents by their ``scores`` (q, patents), without those that are no candidates."""
        own = self.family[task.asking][:, None] == self.family if task.without_own else np.zeros(scores.shape, bool)
        left = len(self.family) - int(own.sum(axis=1).max(initial=0))
        return np.argsort(-np.where(own, -np.inf, scores), axis=1, kind="stable")[:, : min(DEPTH, left)]

    def measured(self, task: Task, ranked: Rows) -> dict[str, float]:
        """Means over the queries of a task."""
        values = graded_metrics(task.qrels, np.arange(len(task.texts)), ranked, METRICS)
        return {name: round(float(each.mean()), 4) for name, each in values.items()}


def train(split: Split, config: Config, model: Path, device: str) -> tuple[Encoder, dict[str, Any]]:
    """A training as the steps of a run would do it, and what is to be said of it."""
    encoder, started = Encoder.load(model, config.model), time.perf_counter()
    queries = build_queries(split.table, QueriesConfig(backend="rules"), {}, split.seed)[0]
    mined = mine_negatives(split.table, split.splits, config.negatives, split.seed).table
    parts = (split.table, split.splits, queries, mined, None)
    own = build_triplets(encoder, *parts, mined=config.training.mined_negatives)
    pairs = find_relevance(split.table, split.splits, config.relevance, split.seed).table
    known = Known(split.table, split.splits, split.family, pairs, split.links)
    data, counts = with_relevance(encoder, own, known, config.relevance.weights())
    val = split.retrieval_set(encoder, "val")
    trainer = start_training(model, data, val, config, fingerprint="", device=torch.device(device))
    state = trainer.fit(Silent())
    trainer.load_kept()
    module: Any = trainer.encoder.model
    if config.training.use_lora:
        trainer.encoder.model = module.merge_and_unload()
    seconds = round(time.perf_counter() - started)
    history = [round(each["val_ndcg@10"], 4) for each in state.history]
    return trainer.encoder, {"triplets": counts, "kept_epoch": state.kept_epoch, "val": history, "seconds": seconds}


def systems(split: Split, rows: list[str], more: list[str], model: Path, device: str) -> list[dict[str, Any]]:
    """All systems on one split, a line each and task."""
    lines: list[dict[str, Any]] = []
    index, words = Bm25Index.build(split.table["abstract"].to_pylist()), dict[str, Rows]()

    def say(system: str, task: Task, ranked: Rows, about: dict[str, Any]) -> None:
        line = {"benchmark": "claims", "seed": split.seed, "task": task.name, "system": system}
        lines.append(line | {"queries": len(task.texts)} | split.measured(task, ranked) | about)
        print(json.dumps(lines[-1], ensure_ascii=False), flush=True)

    def say_of(system: str, encoder: Encoder, about: dict[str, Any]) -> None:
        passages = encoder.encode(split.table["abstract"].to_pylist(), "passage")
        for task in split.tasks:
            ranked = split.ranked(task, encoder.encode(task.texts, task.kind) @ passages.T)
            say(system, task, ranked, about)
            say(f"{system} + bm25", task, both(ranked, words[task.name]), about)

    for task in split.tasks:
        words[task.name] = split.ranked(task, np.stack([index.scores(text) for text in task.texts]))
        say("bm25", task, words[task.name], {})
    base = Encoder.load(model, config_of("claims", split.seed, more).model, device=device)
    say_of("base", base, {})
    for row in rows:
        encoder, about = train(split, config_of(row, split.seed, more), model, device)
        mixed = Mixed(base, encoder)
        for share in (0.0, SHARE_WRITTEN):
            say_of(row + (f", {share:g} base" if share else ""), mixed.at(share), about)
    return lines


def both(first: Rows, second: Rows) -> Rows:
    """(q, DEPTH or fewer) the reciprocal rank fusion of two rankings."""
    pairs = ([(np.zeros(len(rows), np.float32), rows) for rows in lists] for lists in zip(first, second, strict=True))
    found = [fuse(pair, DEPTH)[1] for pair in pairs]
    return np.stack([rows[: min(map(len, found))] for rows in found])


def config_of(row: str, seed: int, more: list[str]) -> Config:
    """The settings of a row."""
    return load_config(presets=["prior-art"], settings=[*_EVERY, *ROWS[row], *more, f"run.seed={seed}"])


def read(path: Path, limit: int | None) -> pa.Table:
    """The patents of a file, those that cite others of it first where there is a limit."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    if limit is not None:
        there = {line["publication_number"] for line in lines}
        linked = {number for line in lines if there & set(line["citations"]) for number in line["citations"]}
        lines.sort(key=lambda line: not (there & set(line["citations"]) or line["publication_number"] in linked))
        lines = lines[:limit]
    records = [RecordParser().parse_record(line, path.name) for line in lines]
    return to_table([record for record in records if not record.reason]).sort_by("publication_number")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="claims-ko.jsonl.gz, or a file like it")
    parser.add_argument("--model_name", default="bundled-multilingual")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=["title", "claims", "claims+halves", "prior-art"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], help="section.key=value, for every row")
    parser.add_argument("--limit", type=int, help="patents, for a try")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    table, model = read(arguments.data, arguments.limit), resolve_model(arguments.model_name)
    lines = []
    for seed in arguments.seeds:
        split = Split(table, config_of("claims", seed, arguments.set))
        lines += systems(split, arguments.rows, arguments.set, model, device)
    for task, system in dict.fromkeys((line["task"], line["system"]) for line in lines):
        mine = [line for line in lines if (line["task"], line["system"]) == (task, system)]
        found = {"benchmark": "claims", "model": arguments.model_name, "seeds": len(mine), "task": task}
        print(json.dumps(found | {"system": system} | means(mine), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
