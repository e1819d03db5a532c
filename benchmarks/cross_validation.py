"""nDCG@10 of training settings by two-fold cross-validation: every query is judged by an encoder that never saw it.

    python benchmarks/cross_validation.py --data_dir patents-zh-5753.jsonl.gz --query_cache llm_queries_cache.json \
        --row "plain training.epochs=8" --row "dropout training.epochs=12 training.query_dropout=0.4" --seeds 42 1

A row is a name and settings on top of ``--preset best``. Families with a query are halved by a hash; each half trains
the given number of epochs, without early stopping, and is judged on the other half's queries in all abstracts. Means,
where more than one seed is given, over the seeds, and with ``mean_of`` the encoder whose weights are the mean of
theirs. Columns:

all        every query, once
hard       those whose own abstract BM25 does not rank first
half       every query, each of its words but those of questions left out with probability 1/2
others     the queries of ``query_kinds.json``, by kind; nobody trains on them or on their patents. ``far``: those that
           avoid the words of the abstract, of all kinds
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jieba
import numpy as np
import pyarrow as pa
import torch

from patent_embed.config.load import load_config
from patent_embed.config.settings import Config
from patent_embed.data.records import RecordParser, to_table
from patent_embed.data.splits import abstract_key, assign_families
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.hub import resolve_model
from patent_embed.evaluation import metrics
from patent_embed.evaluation.search import exact_search
from patent_embed.evaluation.systems import Bm25
from patent_embed.negatives.drawn import mine_negatives
from patent_embed.progress.events import EpochEnded, TrainingStep
from patent_embed.training.data import build_triplets
from patent_embed.training.trainer import Trainer

KINDS = Path(__file__).with_name("query_kinds.json")
# Words of questions, which carry nothing to find a patent by.
_EMPTY_WORD = re.compile(
    "有没有|如何|怎样|怎么|什么|哪种|哪些|能否|能不能|是否|可以|可否|可|用|使|使用|采用|利用|并|且|从而|同时|进行|通过|以及|这种|一种"
    "|要|想|又|既|还|时|后|前|应|的|和|与|了|在|让"
)
State = dict[str, torch.Tensor]


class Benchmark:
    """The patents, and the queries that encoders are trained and judged on."""

    def __init__(self, data: Path, cache: Path, model: Path, device: str, limit: int | None) -> None:
        self.model, self.device = model, device
        with gzip.open(data, "rt") if data.suffix == ".gz" else data.open() as file:
            records = [RecordParser().parse_record(json.loads(line), data.name) for line in file]
        corpus = to_table([record for record in records if not record.reason])
        asked = {k: v["query"] for k, v in json.loads(cache.read_text(encoding="utf-8"))["queries_by_id"].items()}
        kinds = json.loads(KINDS.read_text(encoding="utf-8"))
        if limit:  # a try: so many of the patents that have a query of either kind
            few = pa.array([*list(asked)[:limit], *list(kinds)[: limit // 4]])
            corpus = corpus.filter(pa.compute.is_in(corpus["publication_number"], value_set=few))
        self.corpus = corpus.sort_by("publication_number")
        self.ids = self.corpus["publication_number"].to_pylist()
        self.abstracts = self.corpus["abstract"].to_pylist()
        self.family_names = assign_families(
            pa.array(self.ids), pa.array([abstract_key(text) for text in self.abstracts])
        ).to_pylist()
        self.family = np.unique(self.family_names, return_inverse=True)[1]
        row = {name: place for place, name in enumerate(self.ids)}
        self.queries = [text for name, text in asked.items() if name in row]
        self.rows = np.array([row[name] for name in asked if name in row])
        self.fold = np.array([_fold(self.family_names[at]) for at in self.rows])
        _, first = Bm25(self.abstracts, self.queries).search(np.arange(len(self.queries)), 1)
        self.hard = self.family[first[:, 0]] != self.family[self.rows]
        kinds = {name: entry for name, entry in kinds.items() if name in row}
        self.kinds = np.array([entry["kind"] for entry in kinds.values()])
        self.kind_rows = np.array([row[name] for name in kinds])
        rng = random.Random(7)
        texts = [*self.queries, *(_half(text, rng) for text in self.queries), *(k["query"] for k in kinds.values())]
        self.judge = Encoder.load(model, device=device)
        self.passages, self.texts = self.judge.tokenize(self.abstracts, "passage"), self.judge.tokenize(texts, "query")

    def train(self, config: Config, fold: int) -> State:
        """Weights after training on the queries of ``fold``."""
        judged = {*self.family[self.rows[self.fold != fold]], *self.family[self.kind_rows]}
        split = ["test" if family in judged else "train" for family in self.family]
        splits = pa.table({"publication_number": self.ids, "family": self.family_names, "split": split})
        mine = self.fold == fold
        names = [self.ids[row] for row in self.rows[mine]]
        queries = pa.table(
            {
                "publication_number": names,
                "query": [text for text, own in zip(self.queries, mine, strict=True) if own],
                "source": ["cache"] * len(names),
            }
        ).sort_by("publication_number")
        mined = mine_negatives(self.corpus, splits, config.negatives, config.run.seed, pa.array(names))
        encoder = Encoder.load(self.model, config.model, device=self.device)
        data = build_triplets(encoder, self.corpus, splits, queries, mined.table, None)
        torch.manual_seed(config.run.seed)
        if config.training.use_lora:
            encoder.add_lora(config.training.lora)
        trainer = Trainer(encoder, data, config.training, seed=config.run.seed, fingerprint="", validate=None)
        trainer.fit(_Silent())
        trainer.load_kept()
        model: Any = encoder.model
        trained = model.merge_and_unload() if config.training.use_lora else model
        return {name: value.detach().clone() for name, value in trained.state_dict().items()}

    def judged(self, states: Sequence[State]) -> dict[str, float]:
        """Figures of the encoders that were trained on fold 0 and on fold 1."""
        rows = np.concatenate([self.rows, self.rows, self.kind_rows])
        values = []
        for state in states:
            self.judge.model.load_state_dict(state)
            _, ranked = exact_search(self.judge.encode(self.texts), self.judge.encode(self.passages), 10)
            hits = metrics.hits(ranked, self.family[rows], self.family)
            values.append(metrics.ndcg(hits, metrics.group_sizes(self.family[rows], self.family), 10))
        n = len(self.rows)
        whole, half = (
            np.where(self.fold == 1, values[0][part], values[1][part]) for part in (slice(n), slice(n, 2 * n))
        )
        kinds = (values[0][2 * n :] + values[1][2 * n :]) / 2
        found = {"all": whole.mean(), "hard": whole[self.hard].mean(), "half": half.mean()}
        far = np.char.startswith(self.kinds, "far ")
        found |= {"far": kinds[far].mean()} if far.any() else {}
        return found | {kind: kinds[self.kinds == kind].mean() for kind in sorted(set(self.kinds))}


class _Silent:
    def step(self, event: TrainingStep) -> None:
        pass

    def epoch(self, event: EpochEnded, write: Callable[[Path], None] | None) -> None:
        pass


def _fold(family: str) -> int:
    return int.from_bytes(hashlib.sha256(family.encode()).digest()[:4]) % 2


def _half(query: str, rng: random.Random) -> str:
    stripped = (word.strip("，。？?、,. ；：") for word in jieba.cut(query))
    words = list(dict.fromkeys(word for word in stripped if word and not _EMPTY_WORD.fullmatch(word)))
    left = [word for word in words if rng.random() < 0.5]
    return " ".join(left if len(left) >= 3 else words[:3])


def _mean(states: Sequence[State]) -> State:
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="JSON lines, also .gz")
    parser.add_argument("--query_cache", type=Path, required=True)
    parser.add_argument("--model_name", default="bundled")
    parser.add_argument("--row", action="append", default=[], help="NAME SECTION.KEY=VALUE ...")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--limit", type=int, help="for a try: so many queries")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bench = Benchmark(args.data_dir, args.query_cache, resolve_model(args.model_name), device, args.limit)

    def show(row: str, figures: Sequence[dict[str, float]], **more: Any) -> None:
        means = {key: round(float(np.mean([each[key] for each in figures])), 4) for key in figures[0]}
        print(json.dumps({"benchmark": "cross_validation", "row": row} | more | means), flush=True)

    base = {name: value.clone() for name, value in bench.judge.model.state_dict().items()}
    show("base", [bench.judged([base, base])], queries=len(bench.rows), hard_queries=int(bench.hard.sum()))
    for row in args.row:
        name, *settings = row.rsplit(" ", row.count("="))
        trained = []
        for seed in args.seeds:
            config = load_config(
                presets=["best"], settings=[*settings, f"run.seed={seed}", "training.early_stopping_patience=0"]
            )
            trained.append([bench.train(config, fold) for fold in (0, 1)])
        show(name, [bench.judged(states) for states in trained], seeds=args.seeds)
        if len(trained) > 1:
            show(name, [bench.judged([_mean(states) for states in zip(*trained, strict=True)])], mean_of=args.seeds)


if __name__ == "__main__":
    main()
