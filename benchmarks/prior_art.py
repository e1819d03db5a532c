"""Prior art: how well a model finds the patents that others cite, after trainings on several sources of relevance.

    python benchmarks/prior_art.py --data citations-en.jsonl.gz --rows title halves prior-art --seeds 1 2 3
    python benchmarks/prior_art.py ... --limit 600 --set model.max_seq_length=96    # a try on a CPU

The query is the title and abstract of a patent, its right answers are what it cites, candidates are all patents of the
file, by the preset's view of them, its own family left out. Families are split by a hash of the seed; a row trains on
links inside of ``train`` alone, epochs and settings are chosen on ``val``; what is reported is of both, by ``split``.
``in``: a cited patent shares a three-character class with the citing one; ``out``: it shares none. BM25 is over the
words of both texts. One JSON line a seed, system and split, and at the end the means of each over the seeds.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from patent_embed.arrays import numbered
from patent_embed.config.load import load_config
from patent_embed.config.model import ModelConfig
from patent_embed.config.queries import QueriesConfig
from patent_embed.config.settings import Config
from patent_embed.data.records import RecordParser, to_table
from patent_embed.data.relevance import find_relevance
from patent_embed.data.splits import split_table
from patent_embed.data.views import viewed
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.hub import resolve_model
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.evaluation.qrels import Qrels, graded_metrics
from patent_embed.negatives.drawn import mine_negatives
from patent_embed.progress.events import EpochEnded, TrainingStep
from patent_embed.queries.rules import build_queries
from patent_embed.training.choice import SHARE_WRITTEN
from patent_embed.training.contamination import contamination
from patent_embed.training.data import build_triplets
from patent_embed.training.pairs import Known, linked_set, with_relevance
from patent_embed.training.published import Mixed
from patent_embed.training.start import start_training

_PRIOR_ART = ["preset=prior-art"]
_ALONE = [
    *_PRIOR_ART,
    "relevance.own=0",
    "relevance.halves=0",
    "relevance.claims=0",
    "relevance.citations=0",
    "relevance.classes=0",
]
ROWS = {
    "title": [*_ALONE, "relevance.own=1", "training.validate_on=queries"],
    "halves": [*_ALONE, "relevance.halves=1"],
    "citations": [*_ALONE, "relevance.citations=4"],
    "classes": [*_ALONE, "relevance.classes=1"],
    "prior-art": _PRIOR_ART,
}
METRICS, DEPTH = ("ndcg@10", "recall@100"), 100


@dataclass(frozen=True)
class Asked:
    """Queries with judged answers.

    Attributes:
        row: (q,) the patent that asks.
        cited: of each query, rows of its right answers; ``inside`` those that share a three-character class with it.
    """

    row: np.ndarray
    cited: list[np.ndarray]
    inside: list[np.ndarray]


class Silent:
    """Hears what a training tells, and shows the epochs."""

    def step(self, event: TrainingStep) -> None:
        """A step is done."""
        if event.step % 50 == 0:
            print(f"step {event.step}/{event.steps} loss {event.loss:.3f} {event.triplets_per_s:.1f}/s", flush=True)

    def epoch(self, event: EpochEnded, write: Callable[[Path], None] | None) -> None:
        """An epoch is over."""
        print(f"epoch {event.epoch}: val nDCG@10 {event.val_ndcg}", flush=True)


class Benchmark:
    """The patents of a file, and what is asked about them. ``limit``: for a try, so many patents, with those that are
    linked first; ``view``: says what is searched of them."""

    def __init__(self, path: Path, model: Path, device: str, limit: int | None, view: ModelConfig) -> None:
        self.model, self.device = model, device
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        if limit is not None:
            linked = {number for line in lines for number in line["citations"]}
            lines.sort(key=lambda line: not line["citations"] and line["publication_number"] not in linked)
            lines = lines[:limit]
        records = [RecordParser().parse_record(line, path.name) for line in lines]
        self.table = to_table([record for record in records if not record.reason]).sort_by("publication_number")
        self.searched = viewed(self.table, view)
        columns = (self.table[name].to_pylist() for name in ("title", "abstract"))
        self.titled = [f"{title}. {abstract}" for title, abstract in zip(*columns, strict=True)]
        self.classes = [{code[:3] for code in codes} for codes in self.table["codes"].to_pylist()]

    def asked(self, known: Known, split: str) -> Asked:
        """The citing patents of a split."""
        table = known.table.to_pylist()
        rows = {number: row for row, number in enumerate(self.table["publication_number"].to_pylist())}
        cited: dict[int, list[int]] = {}
        for pair in table:
            if pair["source"] == "citations" and pair["split"] == split:
                cited.setdefault(rows[pair["publication_number"]], []).append(rows[pair["patent"]])
        asking = sorted(cited)
        inside = [[bool(self.classes[row] & self.classes[other]) for other in cited[row]] for row in asking]
        return Asked(np.array(asking), [np.array(cited[row]) for row in asking], [np.array(each) for each in inside])

    def scores(self, encoder: Encoder, asked: Asked) -> dict[str, np.ndarray]:
        """Of an encoder, (q, patents), by the prompt that the query gets."""
        passages = encoder.encode(self.searched["abstract"].to_pylist(), "passage")
        texts = [self.titled[row] for row in asked.row.tolist()]
        return {
            "query": encoder.encode(texts, "query") @ passages.T,
            "passage": encoder.encode(texts, "passage") @ passages.T,
        }

    def bm25(self, asked: Asked) -> np.ndarray:
        """(q, patents) by words."""
        index = Bm25Index.build(self.searched["abstract"].to_pylist())
        return np.stack([index.scores(self.titled[row]) for row in asked.row.tolist()])

    def measured(self, scores: np.ndarray, asked: Asked, family: np.ndarray) -> dict[str, float]:
        """Means over the queries; of ``in`` and ``out`` over those that have such answers."""
        own = family[asked.row][:, None] == family
        ranked = np.argsort(-np.where(own, -np.inf, scores), axis=1, kind="stable")[:, :DEPTH]
        count = np.array([len(each) for each in asked.cited])
        query, cited = np.repeat(np.arange(len(count)), count), np.concatenate(asked.cited)
        every, inside = Qrels.of(query, cited, np.ones(len(cited), np.int64)), np.concatenate(asked.inside)
        inside = inside[np.lexsort((cited, query))]
        found = {}
        for name, qrels in {"": every, "in ": every.kept(inside), "out ": every.kept(~inside)}.items():
            values = graded_metrics(qrels, qrels.queries, ranked[qrels.queries], METRICS)
            found |= {f"{name}{metric}": round(float(each.mean()), 4) for metric, each in values.items() if len(each)}
        return found

    def train(self, config: Config, splits: pa.Table, known: Known) -> tuple[Encoder, dict[str, Any]]:
        """A training as the steps of a run would do it, and what is to be said of it."""
        seed = config.run.seed
        encoder = Encoder.load(self.model, config.model)
        queries = build_queries(self.table, QueriesConfig(backend="rules"), {}, seed)[0]
        mined = mine_negatives(self.table, splits, config.negatives, seed).table
        own = build_triplets(
            encoder, self.searched, splits, queries, mined, None, mined=config.training.mined_negatives
        )
        data, counts = with_relevance(encoder, own, known, config.relevance.weights())
        val = linked_set(encoder, known, "val")
        trainer = start_training(self.model, data, val, config, fingerprint="", device=torch.device(self.device))
        state = trainer.fit(Silent())
        trainer.load_kept()
        model: Any = trainer.encoder.model
        if config.training.use_lora:
            trainer.encoder.model = model.merge_and_unload()
        about = {
            "triplets": counts,
            "contamination": contamination(data, splits, known.family),
            "kept_epoch": state.kept_epoch,
        }
        return trainer.encoder, about | {"val": [round(each["val_ndcg@10"], 4) for each in state.history]}

    def run(self, seed: int, rows: list[str], more: list[str]) -> list[dict[str, Any]]:
        """All systems on one split."""
        whole = config_of("prior-art", seed, more)
        splits = split_table(self.table, whole.splits, seed)[0]
        # Right answers are found without a limit: one is for training.
        every = whole.relevance.model_copy(update={"answers_per_patent": 1000, "citations": 1.0})
        found = find_relevance(self.table, splits, every, seed)
        family = numbered(splits["family"])[0].astype(np.int64)
        known = Known(self.searched, splits, family, found.table, found.links)
        held_out = pc.and_(pc.equal(found.table["source"], "citations"), pc.not_equal(found.table["split"], "train"))
        judged = found.table.filter(held_out)
        asked = {split: self.asked(known, split) for split in ("val", "test")}
        base, lines = Encoder.load(self.model, whole.model, device=self.device), list[dict[str, Any]]()

        def measure(system: str, scores: Callable[[Asked], dict[str, np.ndarray]], about: dict[str, Any]) -> None:
            for split, these in asked.items():
                told = {"benchmark": "prior_art", "seed": seed, "split": split, "queries": len(these.row)}
                for kind, values in scores(these).items():
                    name = {"system": system.format(kind=kind)}
                    lines.append(told | name | self.measured(values, these, family) | about)

        measure("bm25", lambda these: {"": self.bm25(these)}, {})
        measure("base {kind}", functools.partial(self.scores, base), {})
        for row in rows:
            started, config = time.perf_counter(), config_of(row, seed, more)
            trained = find_relevance(self.table, splits, config.relevance, seed).table
            # Epochs of every row are judged by the same links of val.
            table = pa.concat_tables([trained.filter(trained["trains"]), judged])
            known = Known(self.searched, splits, family, table, found.links)
            encoder, about = self.train(config, splits, known)
            about["seconds"] = round(time.perf_counter() - started)
            mixed = Mixed(base, encoder)
            for share in (0.0, SHARE_WRITTEN):
                name = f"{row} {{kind}}" + (f", {share:g} base" if share else "")
                measure(name, functools.partial(self.scores, mixed.at(share)), about)
        return lines


def config_of(row: str, seed: int, more: list[str]) -> Config:
    """The settings of a row."""
    presets = [setting.partition("=")[2] for setting in ROWS[row] if setting.startswith("preset=")]
    settings = [setting for setting in ROWS[row] if not setting.startswith("preset=")]
    return load_config(presets=presets, settings=[*settings, *more, f"run.seed={seed}"])


def means(lines: list[dict[str, Any]], digits: int = 4) -> dict[str, float]:
    """Of each metric that the first line has, over the lines that have it."""
    names = [name for name in lines[0] if "@" in name]
    return {name: round(float(np.mean([line[name] for line in lines if name in line])), digits) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="citations-en.jsonl.gz")
    parser.add_argument("--model_name", default="bundled")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["title", "halves", "citations", "prior-art"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], help="section.key=value, for every row")
    parser.add_argument("--limit", type=int, help="patents, for a try")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    view = config_of("prior-art", 0, arguments.set).model
    benchmark = Benchmark(arguments.data, resolve_model(arguments.model_name), device, arguments.limit, view)
    lines = []
    for seed in arguments.seeds:
        for line in benchmark.run(seed, arguments.rows, arguments.set):
            lines.append(line)
            print(json.dumps(line), flush=True)
    for system, split in dict.fromkeys((line["system"], line["split"]) for line in lines):
        mine = [line for line in lines if (line["system"], line["split"]) == (system, split)]
        told = {"benchmark": "prior_art", "seeds": len(mine), "system": system, "split": split}
        print(json.dumps(told | means(mine)), flush=True)


if __name__ == "__main__":
    main()
