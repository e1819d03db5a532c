"""The main job: which steps there are, what each is made of, and what lies in the output folder at the end."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from patent_embed import __version__
from patent_embed.artifacts import Artifact, ArtifactStore, Outcome, Step
from patent_embed.config.settings import Config
from patent_embed.data.splits import split_table
from patent_embed.encoder.averaging import average_adapters, average_models
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from patent_embed.folders import RemoteFolder, is_remote, scratch
from patent_embed.hashing import file_digest, folder_digest
from patent_embed.negatives.drawn import examples, mine_negatives
from patent_embed.negatives.scored import Embeddings
from patent_embed.progress.bus import Progress
from patent_embed.progress.clock import duration
from patent_embed.progress.events import PiecesRead, QueriesWritten, ShardsSearched, StepFinished, TextsEmbedded
from patent_embed.progress.listeners import JsonLines, Listener, Terminal
from patent_embed.progress.terminal import finished, note, planned, say
from patent_embed.progress.trackers import Trackers
from patent_embed.queries.cache import find_query_cache
from patent_embed.training import data, validation
from pipelines import publish
from pipelines.events import RayMetrics
from pipelines.session import NODE_LOSSES, on_cluster, ray_session
from pipelines.steps import embed, evaluate, ingest, negatives, queries
from pipelines.steps.train import latest_checkpoint, train

log = logging.getLogger("patent_embed")

SCORED = "negatives-scored"
# Settings that change how training runs, not what comes out.
_TRAINING_LOGISTICS = {
    "log_every",
    "trackers",
    "keep_checkpoints",
    "checkpoint_every_n_epochs",
    "num_workers",
    "use_gpu",
}


# Raised when a step's code gives another result from the same settings and inputs; a step not named is at 1. The names
# are the parts before the first hyphen.
_CODE_VERSIONS: dict[str, int] = {"embed": 2, "evaluate": 2}
TABLES = {name: name for name in ("ingest", "splits", "queries", "negatives")}


@dataclass(frozen=True)
class Stage:
    """A step of the plan, and the function that does it in a folder."""

    step: Step
    work: Callable[[Path], Outcome]


def _trains(step: Step) -> bool:
    """Whether it is a training, with checkpoints; a mean of trainings is none."""
    return "tokens" in step.inputs


class Plan:
    """Steps in order. An input is the name of an earlier step or of a ``given`` artifact, or a digest."""

    def __init__(self, given: Mapping[str, Artifact] | None = None) -> None:
        self.stages: dict[str, Stage] = {}
        self._given = {name: artifact.digest for name, artifact in (given or {}).items()}

    def add(self, name: str, work: Callable[[Path], Outcome], settings: Mapping[str, Any], **inputs: str) -> None:
        known = self._given | {name: stage.step.digest for name, stage in self.stages.items()}
        upstream = {key: known.get(i, i) for key, i in inputs.items()}
        self.stages[name] = Stage(Step(name, _CODE_VERSIONS.get(name.partition("-")[0], 1), settings, upstream), work)


@dataclass
class Pipeline:
    """The steps of one resolved config in one output folder."""

    config: Config
    out: Path = field(init=False)
    remote: RemoteFolder | None = field(init=False)
    store: ArtifactStore = field(init=False)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)
    passed_over: int = field(default=0, init=False)  # files in the data folder that hold no patents
    _resumes: str = field(default="", init=False)  # folder of the training that a checkpoint named by the user is for

    def __post_init__(self) -> None:
        output = self.config.run.output_dir
        if is_remote(output):  # what is made there is made in a scratch folder first
            self.remote, self.out = RemoteFolder(output), scratch(f"output-{os.getpid()}")
            self.store = ArtifactStore(self.out / "steps", self.remote / "steps")
            if self.config.run.test_only:
                self.remote.fetch_folder(publish.MODEL, self.out / publish.MODEL)
        else:
            self.remote, self.out = None, Path(output).resolve()  # workers have another working directory
            self.store = ArtifactStore(self.out / "steps")

    # The plan: every digest follows from the settings, the input files and the model, before anything runs.

    def stages(self) -> list[Stage]:
        """All steps in the order they run."""
        config, plan = self.config, Plan()
        ladder = self._add_data(plan)
        base = self._base_model()
        if base is not None:
            base_digest = folder_digest(base)
            self._add_embedding(plan, "base", partial(self._shared_model, base, base_digest), base_digest)
            self._add_evaluation(plan, "base")
        if base is not None and not config.run.test_only:
            self._add_training(plan, base, base_digest, ladder)
        elif (self.out / publish.MODEL).is_dir():
            tuned = self.out / publish.MODEL
            tuned_digest = folder_digest(tuned)
            self._add_embedding(plan, "tuned", partial(self._shared_model, tuned, tuned_digest), tuned_digest)
        if "embed-tuned" in plan.stages:
            self._add_evaluation(plan, "tuned")
        return list(plan.stages.values())

    def _add_data(self, plan: Plan) -> dict[str, Any]:
        """Everything up to the negatives, and BM25's evaluation; returns the settings of the negatives' rungs."""
        config, seed = self.config, {"seed": self.config.run.seed}
        root, files, self.passed_over = ingest.find_input(config.data.data_dir)
        cache = find_query_cache(root, config.queries.cache) if config.queries.use_cache else None
        plan.add(
            "ingest",
            lambda folder: ingest.ingest(
                folder, root, files, config.data, config.run.seed,
                on_progress=lambda *read: self.progress.emit(PiecesRead(*read)),
            ),
            config.data.model_dump(exclude={"data_dir"}) | (seed if config.data.max_samples else {}),
            files=ingest.input_digest(files),
        )
        plan.add("splits", self._split, config.splits.model_dump() | seed, ingest="ingest")
        inputs = {"cache": file_digest(cache)} if cache else {}
        if config.queries.round_trip.encoder and config.queries.backend != "rules":
            inputs |= {"splits": "splits", "encoder": folder_digest(resolve_model(config.queries.round_trip.encoder))}
        settings = queries.digest_settings(config.queries) | seed
        plan.add("queries", lambda folder: self._write_queries(folder, cache), settings, ingest="ingest", **inputs)
        ladder = config.negatives.model_dump(mode="json", exclude={"scoring", "distributed", "rounds"}) | seed
        plan.add("negatives", self._mine, ladder, ingest="ingest", splits="splits")
        self._add_bm25(plan)
        return ladder

    def _add_bm25(self, plan: Plan) -> None:
        if self.config.evaluation.bm25:
            work = partial(evaluate.evaluate_bm25, need=self._need, config=self.config)
            plan.add("evaluate-bm25", work, self._judged(), **TABLES)

    def _judged(self) -> dict[str, Any]:
        """Settings of every evaluation."""
        return self.config.evaluation.model_dump(mode="json", exclude={"distributed"}) | {"seed": self.config.run.seed}

    def _base_model(self) -> Path | None:
        """The folder of the base encoder; None where it cannot be had and a tuned one can be measured without it."""
        model = self.config.model
        try:
            return resolve_model(model.name, trust_remote_code=model.trust_remote_code).resolve()
        except UserError as error:
            if not self.config.run.test_only or not (self.out / publish.MODEL).is_dir():
                raise
            log.warning("the tuned model is measured alone: %s", error)
            return None

    def _add_training(self, plan: Plan, base: Path, base_digest: str, ladder: dict[str, Any]) -> None:
        """Mine, train and embed, as many rounds as asked: each mines with the vectors of the round before."""
        config, rounds = self.config, self.config.negatives.rounds
        sources = config.model.model_dump(exclude={"name"})
        sources |= {"train": config.training.query_sources, "val": config.evaluation.query_sources}
        settings = config.training.model_dump(mode="json", exclude=_TRAINING_LOGISTICS | {"query_sources", "soup_size"})
        settings |= config.model.model_dump(exclude={"name"})
        scoring = ladder | config.negatives.scoring.model_dump(mode="json")
        vectors = "embed-base"
        for number in range(1, rounds + 1):
            mark, name = ("", "tuned") if number == rounds else (f"-{number}", f"round-{number}")
            mined, trained = "negatives", f"train{mark}"
            if config.negatives.scoring.enabled or config.negatives.strategy == "hard":
                mined = f"{SCORED}{mark}"
                plan.add(mined, partial(self._mine_scored, vectors=vectors), scoring, vectors=vectors, **TABLES)
            tokens, inputs = f"tokens{mark}", TABLES | {"negatives": mined, "model": base_digest}
            plan.add(tokens, partial(self._tokenise, base=base, negatives=mined), sources, **inputs)
            inputs = {"tokens": tokens, "model": base_digest}
            members = config.training.soup_size if number == rounds else 1
            steps = [trained] if members == 1 else [f"train-seed-{config.run.seed + n}" for n in range(members)]
            for seed, step in enumerate(steps, config.run.seed):
                work = partial(self._train, base=base, tokens=tokens, seed=seed)
                plan.add(step, work, settings | {"seed": seed}, **inputs)
            if members > 1:
                plan.add(trained, partial(self._average, members=steps), {}, **{step: step for step in steps})
            self._add_embedding(plan, name, partial(self._trained_model, trained), trained)
            vectors = f"embed-{name}"

    def _add_embedding(self, plan: Plan, name: str, model: Callable[[], tuple[str, str]], digest: str) -> None:
        """The vectors of all texts, for evaluation and mining. ``model`` is asked when the step runs."""

        def work(folder: Path) -> Outcome:
            need, config = self._need, self.config.model
            told = lambda *done: self.progress.emit(TextsEmbedded(*done))  # noqa: E731
            return embed.embed(folder, need("ingest"), need("queries"), model(), config, told)

        settings = self.config.model.model_dump(exclude={"name"})
        plan.add(f"embed-{name}", work, settings, model=digest, ingest="ingest", queries="queries")

    def _add_evaluation(self, plan: Plan, name: str) -> None:
        def work(folder: Path) -> Outcome:
            told = lambda *done: self.progress.emit(ShardsSearched(*done))  # noqa: E731
            return evaluate.evaluate_encoder(folder, name, self._need, self.config, told)

        plan.add(f"evaluate-{name}", work, self._judged(), vectors=f"embed-{name}", **TABLES)

    def _trained_model(self, step: str) -> tuple[str, str]:
        return self._need(step).address, "model"

    def _shared_model(self, folder: Path, digest: str) -> tuple[str, str]:
        """Where workers find a model of the driver's machine: there, or, on a cluster, in the output folder."""
        if self.remote is None and not on_cluster():
            return str(folder), ""

        def copy(target: Path) -> Outcome:
            shutil.copytree(folder, target, dirs_exist_ok=True)
            return Outcome()

        step = Step("model", 1, {}, {"folder": digest})
        return (self.store.find(step) or self.store.run(step, copy)).address, ""

    # Running.

    def print_plan(self) -> None:
        """The steps, what would be reused or run, and the row counts known so far."""
        say(f"plan for {self.config.data.data_dir} in {self.out}")
        for number, stage in enumerate(self.stages(), start=1):
            found = self._find(stage.step)
            rows = ", ".join(f"{value:,} {key}" for key, value in found.manifest.rows.items()) if found else ""
            note = ""
            if (
                found is None
                and _trains(stage.step)
                and (path := latest_checkpoint(self.store.shared(self.store.path(stage.step))))
            ):
                note = f"checkpoint {path.name} can be resumed"
            planned(number, stage.step.folder, "reuse" if found else "run", rows or note)

    def prepare_training(self) -> tuple[tuple[str, str], Artifact]:
        """Run what the training needs, and return the base model (as in ``artifacts.model_folder``) and the finished
        ``tokens`` step.

        To be called in a Ray session."""
        stages = self.stages()
        tokens = next((stage.step for stage in stages if stage.step.name == "tokens"), None)
        base = self._base_model()
        if tokens is None or base is None:
            raise UserError("run.test_only leaves no training to prepare; leave it out")
        digests, needed = {tokens.digest}, list[Stage]()
        for stage in reversed(stages):
            if stage.step.digest in digests:
                digests |= set(stage.step.inputs.values())
                needed.insert(0, stage)
        self._begin()
        self._open_progress([RayMetrics()])
        for number, stage in enumerate(needed, start=1):
            self._run_stage(number, len(needed), stage)
        self.progress.close()
        return self._shared_model(base, folder_digest(base)), self._need("tokens")

    def _open_progress(self, others: Sequence[Listener]) -> None:
        if self.remote is not None and self.remote.read(publish.PROGRESS) is not None:
            self.remote.fetch(publish.PROGRESS, self.out / publish.PROGRESS)
        terminal = Terminal(self.config.training.log_every)
        self.progress = Progress([JsonLines(self.out / publish.PROGRESS), *others, terminal])

    def _begin(self) -> None:
        say(f"patent-embed {__version__}")
        say(f"data    {self.config.data.data_dir}")
        say(f"output  {self.config.run.output_dir}")

    def run(self) -> None:
        """Run what is not done yet, then write the output folder."""
        started = time.time()
        stages = self.stages()
        self._check_resume(stages)
        self._begin()
        todo = any(self._find(stage.step) is None for stage in stages)
        with ray_session(self.config.run.log_level, self.config.run.grows_to) if todo else contextlib.nullcontext():
            self._open_progress([RayMetrics()] if todo else [])
            for number, stage in enumerate(stages, start=1):
                self._run_stage(number, len(stages), stage)
        self.progress.close()
        self._publish(started)

    def _check_resume(self, stages: Sequence[Stage]) -> None:
        """A checkpoint that cannot be resumed is refused before anything starts; one in a store, by the training."""
        resume = self.config.run.resume
        left = [s.step.folder for s in stages if _trains(s.step) and self._find(s.step) is None]
        self._resumes = left[0] if left else ""
        if left and resume is not None and resume != "latest" and not is_remote(resume):
            from patent_embed.training.checkpoint import read_state

            read_state(Path(resume).resolve(), left[0])

    def _publish(self, started: float) -> None:
        """Write what a user looks for, once all steps are done."""
        publish.publish(self.out, self.config, self.artifacts, self.reused, started)
        if self.remote is not None:
            publish.upload(self.out, self.remote)
            shutil.rmtree(self.out)

    def _run_stage(self, number: int, total: int, stage: Stage) -> None:
        step, head = stage.step, f"[{number}/{total}] {stage.step.name:16}"
        artifact = self._find(step)
        if artifact is not None:
            self.reused.add(step.name)
        else:
            if _trains(step) or step.name.startswith("embed"):
                say(head.rstrip())
            artifact = self._work(stage)
        self.artifacts[step.name] = artifact
        took = "reused" if step.name in self.reused else duration(artifact.manifest.seconds)
        counts = {key: value for key, value in artifact.manifest.rows.items() if value or key != "not_sampled"}
        rows = ", ".join(f"{value:,} {key}" for key, value in counts.items())
        finished(head, rows, took)
        reused, made = step.name in self.reused, artifact.manifest
        self.progress.emit(StepFinished(step.folder, reused, made.rows, made.seconds))
        if self.remote is not None:
            self.remote.put(self.out / publish.PROGRESS, publish.PROGRESS)
        for line in publish.stage_notes(step.name, artifact):
            note(line)
        if step.name in ("ingest", "texts") and self.passed_over:
            note(f"{self.passed_over:,} files of other kinds passed over")
        if step.name == "ingest":
            self._require_two_patents(artifact)
        if step.name.startswith("negatives"):
            self._require_negatives(artifact)

    def _work(self, stage: Stage) -> Artifact:
        """Run a step; once more when a node died with something that Ray does not make again by itself."""
        for last in (False, False, True):
            try:
                with self.progress.at_work(stage.step.name):
                    return self.store.run(stage.step, stage.work, keep_partial=self._resuming(stage.step))
            except NODE_LOSSES as error:
                if last or getattr(error, "actor_init_failed", False):
                    raise
                log.debug("a node was lost: %s", error)
                note(f"a node was lost ({type(error).__name__}): the step starts again")
        raise AssertionError("the last try returns or raises")

    def _find(self, step: Step) -> Artifact | None:
        return self.store.find(step) if self.config.run.use_cache else None

    def _need(self, name: str) -> Artifact:
        return self.artifacts[name]

    def _resuming(self, step: Step) -> bool:
        if not _trains(step):
            return False
        checkpoint = latest_checkpoint(self.store.shared(self.store.path(step)))
        if self.config.run.resume is None and checkpoint is not None:
            note(f"starting anew: the checkpoint {checkpoint.name} of an earlier run is dropped; --resume goes on")
        return self.config.run.resume is not None

    # The small steps. The large ones have files of their own.

    def _split(self, folder: Path) -> Outcome:
        corpus = self._need("ingest").table("corpus").select(["publication_number", "abstract"])
        table = split_table(corpus, self.config.splits, self.config.run.seed)
        pq.write_table(table, folder / "splits.parquet", compression="zstd")
        counts = {item["values"]: item["counts"] for item in table["split"].value_counts().to_pylist()}
        families = len(table["family"].unique())
        return Outcome(
            rows={split: counts.get(split, 0) for split in ("train", "val", "test")}, report={"families": families}
        )

    def _write_queries(self, folder: Path, cache: Path | None) -> Outcome:
        config, corpus = self.config.queries, self._need("ingest").table("corpus")
        splits = self._need("splits").table("splits") if config.round_trip.encoder else None
        store = self.out / "query_store" if self.remote is None else self.remote / "query_store"
        return queries.queries_step(
            folder,
            corpus,
            config,
            cache,
            store,
            self.config.run.seed,
            splits=splits,
            share_model=lambda model: self._shared_model(model, folder_digest(model)),
            on_progress=lambda *done: self.progress.emit(QueriesWritten(*done)),
        )

    def _mine(self, folder: Path) -> Outcome:
        """The negatives that every system is judged on: by classification alone, so that no model has chosen them."""
        config, splits = self.config.negatives, self._need("splits").table("splits")
        if config.strategy == "hard":
            config = config.model_copy(update={"strategy": "optimized_mixed"})
        if config.distributed:
            corpus, target = negatives.read_corpus(self._need("ingest")), self.store.shared(folder)
            report = negatives.mine_negatives_ray(corpus, splits, config, self.config.run.seed, target)
            return Outcome(rows={"negatives": report["negatives"]}, report=report)
        corpus = self._need("ingest").table("corpus").select(["publication_number", "codes"])
        mined = mine_negatives(corpus, splits, config, self.config.run.seed)
        pq.write_table(mined.table, folder / "negatives.parquet", compression="zstd")
        return Outcome(rows={"negatives": len(mined.table)}, report=mined.report)

    def _mine_scored(self, folder: Path, vectors: str) -> Outcome:
        """The negatives to train on: scored by the encoder of the step ``vectors``, and filtered."""
        found, asked = self._need(vectors), self._need("queries").table("queries")
        embeddings = Embeddings(
            np.load(found.file("passages.npy")),
            np.load(found.file("queries.npy")),
            asked["publication_number"].combine_chunks(),
        )
        corpus = self._need("ingest").table("corpus").select(["publication_number", "title", "codes"])
        splits, settings, seed = self._need("splits").table("splits"), self.config.negatives, self.config.run.seed
        mined = negatives.mine_scored(corpus, splits, settings, seed, embeddings)
        table, report = mined.table, mined.report
        if not len(table):
            log.warning(
                "the filter refused every candidate: to this encoder all patents are alike; training uses unfiltered "
                "negatives (negatives.scoring.max_ratio is %s)",
                settings.scoring.max_ratio,
            )
            unscored = self._need("negatives")
            table, report = unscored.table("negatives"), unscored.report
        pq.write_table(table, folder / "negatives.parquet", compression="zstd")
        readable = examples(table, corpus, asked, seed)
        return Outcome(rows={"negatives": len(table)}, report=report | {"examples": readable})

    def _tokenise(self, folder: Path, base: Path, negatives: str) -> Outcome:
        """What training and its validation read: token ids, once for all workers, epochs and trials."""
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # of a load of seconds, on the run's own terminal
        encoder, sources = Encoder.load(base, self.config.model), self.config.training.query_sources
        names = {"ingest": "corpus", "splits": "splits", "queries": "queries"}
        corpus, splits, asked = (self._need(step).table(name) for step, name in names.items())
        mined = self._need(negatives).table("negatives")
        triplets = data.build_triplets(encoder, corpus, splits, asked, mined, sources)
        judged = self.config.evaluation.query_sources
        val = validation.build_retrieval_set(encoder, corpus, splits, asked, "val", judged)
        data.save_training_data(folder / "data", triplets, val)
        counts = {"triplets": len(triplets.triplets), "tokens": int(triplets.tokens.lengths.sum())}
        return Outcome(rows=counts | {"val_queries": len(val.queries)})

    def _train(self, folder: Path, base: Path, tokens: str, seed: int) -> Outcome:
        resume_from: Path | RemoteFolder | None = None
        place = self.store.shared(folder)
        if self.config.run.resume == "latest":
            resume_from = latest_checkpoint(place)
            if resume_from is None:
                note("nothing to resume: no checkpoint of these settings is here, training starts at epoch 1")
        elif self.config.run.resume is not None and folder.name == self._resumes:
            resume = self.config.run.resume
            resume_from = RemoteFolder(resume) if is_remote(resume) else Path(resume).resolve()
        settings = self.config.training.model_dump(mode="json", exclude=_TRAINING_LOGISTICS)
        trackers = Trackers(self.config.training.trackers, self.out / "tensorboard" / folder.name, settings)
        model = self._shared_model(base, folder_digest(base))
        run = self.config.run.model_copy(update={"seed": seed})
        config = self.config.model_copy(update={"run": run})
        with self.progress.also(trackers):
            return train(place, config, model, self._need(tokens), folder.name, resume_from, self.progress.emit)

    def _average(self, folder: Path, members: Sequence[str]) -> Outcome:
        """The mean of trainings that differ in their seeds; the report shows the first one's course."""
        trained = [self._need(member) for member in members]
        average_models([each.file("model") for each in trained], folder / "model", self.config.model)
        if self.config.training.use_lora:
            average_adapters([each.file("adapter") for each in trained], folder / "adapter")
        return Outcome(rows=trained[0].manifest.rows, report=trained[0].report | {"mean_of": len(members)})

    def _require_two_patents(self, ingested: Artifact) -> None:
        patents = ingested.manifest.rows["patents"]
        if patents < 2:
            raise UserError(
                f"{patents} usable patent in {self.config.data.data_dir!r}: a negative needs another patent (for "
                f"same-group negatives at least two in one main group); {ingested.address}/rejects.parquet says what "
                "was rejected"
            )

    def _require_negatives(self, mined: Artifact) -> None:
        if not mined.manifest.rows["negatives"]:
            raise UserError(
                "no patent can get a negative: within each split all patents are one family or share a full IPC code; "
                "add patents of other subgroups (same-group negatives need at least two patents in one main group)"
            )
