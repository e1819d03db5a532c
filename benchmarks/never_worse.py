"""What a run publishes beside its base model, where its own queries are and elsewhere: the runs of docs/publishing.md.

    python benchmarks/never_worse.py --data shared/data --out build/never_worse --seeds 7 13

``--data`` holds ``patents-zh-5753.jsonl.gz``, ``llm_queries_cache.json`` and ``citations-en.jsonl.gz``. A run trains
by the library, without Ray, on 100 to 1,200 of the Chinese patents that have a cached query, with these queries
(``cached``) or those of rules (``rules``), or on one of the US landscapes, which have queries of rules only. Then it
chooses the base model's share as ``training.base_share=auto`` does. The base, the trained and the published model are
measured on

own        the Chinese cached queries of patents that neither train nor validate, in all 5,753 abstracts; of a landscape
           its citations (title and abstract of the citing patent → those it cites, in all 4,679, own family left out)
far        the 400 queries of ``query_kinds.json`` that avoid the words of the abstract (Chinese runs)
other      the citations of the other landscapes, and of all of them for Chinese runs
chinese    the cached queries, for runs on a landscape
general    the general sentence pairs

One JSON line a run: means, and the verdict of the paired tests of the published model against the base. Several
processes may share ``--out``: each takes the runs that nobody has begun.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from patent_embed.config.load import load_config
from patent_embed.config.queries import QueriesConfig
from patent_embed.config.settings import Config
from patent_embed.data.records import RecordParser, to_table
from patent_embed.data.splits import split_table
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.hub import resolve_model
from patent_embed.encoder.packing import Tokens
from patent_embed.evaluation import metrics
from patent_embed.evaluation.comparison import verdict
from patent_embed.evaluation.forgetting import compare_general, general_texts, pair_similarities
from patent_embed.evaluation.search import exact_search
from patent_embed.evaluation.significance import paired_bootstrap, paired_randomisation
from patent_embed.hashing import hash_strings
from patent_embed.negatives.drawn import mine_negatives
from patent_embed.negatives.scored import Embeddings, mine_scored_negatives
from patent_embed.progress.events import EpochEnded, TrainingStep
from patent_embed.queries.rules import build_queries
from patent_embed.training.choice import Choice, choose_share
from patent_embed.training.data import build_triplets, training_queries
from patent_embed.training.evidence import build_evidence, measure
from patent_embed.training.published import Mixed
from patent_embed.training.start import start_training
from patent_embed.training.validation import build_retrieval_set

KINDS = Path(__file__).with_name("query_kinds.json")
ZH, CACHE, US = "patents-zh-5753.jsonl.gz", "llm_queries_cache.json", "citations-en.jsonl.gz"
LANDSCAPES = (
    "orbit_satellite",
    "nighttime_driver_visibility",
    "offshore_plant",
    "radar_rain_gauge",
    "underwater_glider",
)
_GAIN = 1 / np.log2(np.arange(2, 12))  # of a right answer at the ranks 1 to 10


@dataclass(frozen=True)
class Run:
    """``data``: ``cached-600``, ``rules-100`` or a landscape."""

    data: str
    preset: str
    seed: int
    settings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        more = "".join(f"-{setting.rpartition('.')[2]}" for setting in self.settings)
        return f"{self.data}-{self.preset}-{self.seed}{more}".replace("=", "-")


def all_runs(seeds: list[int], settings: tuple[str, ...]) -> list[Run]:
    data = ["rules-600", "cached-600", *LANDSCAPES, "rules-300", "cached-300", "rules-100", "cached-1200"]
    return [Run(each, preset, seed, settings) for seed in seeds for each in data for preset in ("recommended", "best")]


class Patents:
    """The patents of a file, and their tokens. ``limit``: for a try, only so many."""

    def __init__(self, path: Path, encoder: Encoder, limit: int | None) -> None:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        records = [RecordParser().parse_record(line, path.name) for line in lines[:limit]]
        self.table = to_table([record for record in records if not record.reason]).sort_by("publication_number")
        self.ids = self.table["publication_number"].to_pylist()
        self.row = {name: row for row, name in enumerate(self.ids)}
        self.fields = {record.publication_number: line for record, line in zip(records, lines, strict=False)}
        families = split_table(self.table, load_config().splits, 0)[0]["family"].to_pylist()
        self.family = np.unique(families, return_inverse=True)[1]
        self.tokens = encoder.tokenize(self.table["abstract"].to_pylist(), "passage")


class Benchmark:
    """Both sets of patents, and the queries that all runs are measured on."""

    def __init__(self, data: Path, model: Path, device: str, limit: int | None) -> None:
        self.model, self.device = model, device
        self.encoder = Encoder.load(model, device=device)
        self.zh, self.us = (Patents(data / name, self.encoder, limit) for name in (ZH, US))
        content = json.loads((data / CACHE).read_text(encoding="utf-8"))["queries_by_id"]
        self.cache = {name: entry["query"] for name, entry in content.items() if name in self.zh.row}
        far = json.loads(KINDS.read_text(encoding="utf-8"))
        far = {n: e["query"] for n, e in far.items() if n in self.zh.row and e["kind"].startswith("far ")}
        self.asked = np.array([self.zh.row[name] for name in (*self.cache, *far)])
        self.is_far = np.arange(len(self.asked)) >= len(self.cache)
        self.queries = self.encoder.tokenize([*self.cache.values(), *far.values()], "query")
        self.landscape = np.array([self.us.fields[name]["landscape"] for name in self.us.ids])
        self.citing, self.cited = self._citations()
        titled = [
            f"{t}. {a}" for t, a in zip(*(self.us.table[c].to_pylist() for c in ("title", "abstract")), strict=True)
        ]
        self.citing_tokens = self.encoder.tokenize([titled[row] for row in self.citing], "query")
        self.general = self.encoder.tokenize(general_texts(), "passage")
        mixed = Mixed(self.encoder, Encoder.load(model, device=device))
        self.base = self.measured(mixed.at(1.0))

    def _citations(self) -> tuple[np.ndarray, list[list[int]]]:
        """Rows of the patents that cite others of the file, and those that each cites, of other families."""
        plain = {name.replace("-", ""): row for name, row in self.us.row.items()}
        citing, cited = [], []
        for row, name in enumerate(self.us.ids):
            found = {plain[n] for each in self.us.fields[name]["citations"] if (n := each.replace("-", "")) in plain}
            if others := sorted(other for other in found if self.us.family[other] != self.us.family[row]):
                citing.append(row)
                cited.append(others)
        return np.array(citing, np.int64), cited

    def measured(self, encoder: Encoder) -> dict[str, Any]:
        """nDCG@10 of the Chinese queries and of the citations, and the similarities of general pairs."""
        parts = [self.zh.tokens, self.queries, self.us.tokens, self.citing_tokens, self.general]
        vectors = np.split(encoder.encode(Tokens.concat(parts)), np.cumsum([len(part) for part in parts])[:-1])
        zh, queries, us, citing, general = vectors
        _, ranked = exact_search(queries, zh, 10)
        own, family = self.zh.family[self.asked], self.zh.family
        chinese = metrics.ndcg(metrics.hits(ranked, own, family), metrics.group_sizes(own, family), 10)
        citations = np.empty(len(self.citing))
        for place, (row, others, scores) in enumerate(zip(self.citing, self.cited, citing @ us.T, strict=True)):
            scores[self.us.family == self.us.family[row]] = -2  # its own family
            hit = np.isin(np.argsort(-scores, kind="stable")[:10], others)
            citations[place] = (hit * _GAIN).sum() / _GAIN[: len(others)].sum()
        return {"chinese": chinese, "citations": citations, "general": pair_similarities(general)}

    def data_of(self, run: Run) -> tuple[pa.Table, pa.Table, np.ndarray]:
        """Corpus and queries of a run, and its rows in the file."""
        kind, _, count = run.data.partition("-")
        if kind in ("cached", "rules"):
            order = np.argsort(hash_strings(pa.array(self.zh.ids), run.seed), kind="stable")
            known = np.array([name in self.cache for name in self.zh.ids])
            source, rows = self.zh, np.sort(order[known[order]][: int(count)])
        else:
            source, rows = self.us, np.flatnonzero(self.landscape == run.data)
        corpus = source.table.take(pa.array(rows))
        cache = self.cache if kind == "cached" else {}
        return corpus, build_queries(corpus, QueriesConfig(backend="rules"), cache, run.seed)[0], rows

    def train(self, config: Config, corpus: pa.Table, splits: pa.Table, queries: pa.Table) -> Encoder:
        """The trained encoder: the mean of as many trainings as the settings ask for, on the device."""
        states = []
        first = config.run.seed
        for seed in range(first, first + config.training.soup_size):
            encoder = Encoder.load(self.model, config.model, device=self.device)
            if config.negatives.scoring.enabled:
                vectors = (encoder.encode(corpus["abstract"].to_pylist(), "passage"),
                           encoder.encode(queries["query"].to_pylist(), "query"))  # fmt: skip
                known = Embeddings(*vectors, queries["publication_number"].combine_chunks())
                mined = mine_scored_negatives(corpus, splits, config.negatives, first, known, device=self.device)
            else:
                mined = mine_negatives(corpus, splits, config.negatives, first)
            data = build_triplets(encoder, corpus, splits, queries, mined.table, config.training.query_sources)
            val = build_retrieval_set(encoder, corpus, splits, queries, "val", None)
            seeded = config.model_copy(update={"run": config.run.model_copy(update={"seed": seed})})
            trainer = start_training(self.model, data, val, seeded, fingerprint="", device=torch.device(self.device))
            trainer.fit(_Silent())
            trainer.load_kept()
            model: Any = trainer.encoder.model
            states.append(model.merge_and_unload().state_dict() if config.training.use_lora else model.state_dict())
        means = {
            name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
            for name, value in states[0].items()
        }
        encoder = Encoder.load(self.model, config.model, device=self.device)
        encoder.model.load_state_dict(means)
        return encoder

    def do(self, run: Run) -> dict[str, Any]:
        """Train, choose and measure."""
        started = time.perf_counter()
        config = load_config(presets=[run.preset], settings=[*run.settings, f"run.seed={run.seed}"])
        corpus, queries, rows = self.data_of(run)
        splits = split_table(corpus, config.splits, run.seed)[0]
        tuned = self.train(config, corpus, splits, queries)
        mixed = Mixed(Encoder.load(self.model, config.model, device=self.device), tuned)
        trained_on = training_queries(splits, queries, config.training.query_sources)
        evidence = build_evidence(tuned, corpus, splits, queries, trained_on)
        choice = choose_share(lambda share: measure(mixed.at(share), evidence), evidence, run.seed)
        whole = self.measured(mixed.at(0.0))
        published = self.measured(mixed.at(choice.share)) if choice.publishes else self.base
        split = np.asarray(splits["split"].to_pylist(), object)
        return {
            "run": run.name,
            "split": {name: int((split == name).sum()) for name in ("train", "val", "test")},
            "seconds": round(time.perf_counter() - started, 1),
            **_choice(choice),
            **self._compared(run, rows[split != "test"], whole, published),
        }

    def _compared(
        self, run: Run, known: np.ndarray, whole: dict[str, Any], published: dict[str, Any]
    ) -> dict[str, Any]:
        """``known``: rows of the run's file that it trained or chose with."""
        if run.data in LANDSCAPES:
            mine = self.landscape[self.citing] == run.data
            parts = {"own": ("citations", mine), "other": ("citations", ~mine), "chinese": ("chinese", ~self.is_far)}
        else:
            new = ~np.isin(self.zh.family[self.asked], self.zh.family[known])
            parts = {"own": ("chinese", new & ~self.is_far), "far": ("chinese", new & self.is_far)}
            parts |= {"other": ("citations", np.ones(len(self.citing), bool))}
        found = {
            name: _against(*(values[kind][part] for values in (self.base, whole, published)))
            for name, (kind, part) in parts.items()
        }
        general = compare_general("published", "base", published["general"], self.base["general"])
        whole_general = compare_general("tuned", "base", whole["general"], self.base["general"])
        found["general"] = {
            "base": round(general[0].baseline_correlation, 4),
            "tuned": round(whole_general[0].system_correlation, 4),
            "published": round(general[0].system_correlation, 4),
            "verdict": "; ".join(f"{each.language} {each.verdict}" for each in general),
        }
        return found


def _choice(choice: Choice) -> dict[str, Any]:
    return {"share": choice.share if choice.publishes else 1.0, "publishes": choice.publishes, "tried": choice.tried}


def _against(base: np.ndarray, whole: np.ndarray, published: np.ndarray) -> dict[str, Any]:
    difference, unit = published - base, np.arange(len(base))
    low, high = paired_bootstrap(difference, unit, 0)
    p_value = paired_randomisation(difference, unit, 0)
    return {
        "queries": len(base),
        **{n: round(float(v.mean()), 4) for n, v in (("base", base), ("tuned", whole), ("published", published))},
        "low": round(low, 4),
        "high": round(high, 4),
        "verdict": verdict(low, high, p_value),
    }


class _Silent:
    def step(self, event: TrainingStep) -> None:
        pass

    def epoch(self, event: EpochEnded, write: Callable[[Path], None] | None) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model_name", default="bundled")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--runs", nargs="*", help="only these, by the beginning of their names")
    parser.add_argument("--set", nargs="*", default=[], help="settings on top of the preset")
    parser.add_argument(
        "--until", type=float, default=float("inf"), help="begin no run after this time (epoch seconds)"
    )
    parser.add_argument("--limit", type=int, help="for a try: so many patents of each file")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bench = Benchmark(args.data, resolve_model(args.model_name), device, args.limit)
    for run in all_runs(args.seeds, tuple(args.set)):
        if (args.runs and not run.name.startswith(tuple(args.runs))) or time.time() > args.until:
            continue
        try:
            (args.out / run.name).mkdir()
        except FileExistsError:
            continue
        found = bench.do(run)
        (args.out / f"{run.name}.json").write_text(json.dumps(found), encoding="utf-8")
        print(json.dumps(found, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
