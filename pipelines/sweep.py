"""A sweep on Ray Tune: Optuna proposes settings, every trial is a Ray Train run on what was prepared once, ASHA stops
those that lag behind."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import ray
import ray.train
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from patent_embed.artifacts import ModelRef
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.folders import folder_at, write_json
from patent_embed.hashing import text_digest
from patent_embed.progress.clock import duration
from patent_embed.progress.terminal import note, say
from patent_embed.sweep.results import table, write_results
from patent_embed.sweep.space import Range, search_space, with_values
from patent_embed.sweep.trials import Sweep, Trial
from pipelines import job
from pipelines.preflight import before_models, before_ray
from pipelines.resources import cluster_nodes
from pipelines.session import interrupt_stays_interrupt, ray_session
from pipelines.training import Job, scale, train_with

_METRIC = "best_val"
_EPOCH = "val_ndcg@10"
_TRIAL_CPUS = 0.1  # of a trial's own process, which only waits for its training
_FAILURES_IN_A_ROW = 3
_IDENTITY, _TUNE, _ERROR = "sweep.json", "tune", "error.json"


@dataclass(frozen=True)
class _Shared:
    """What all trials share: settings, base model, address of the tokens, folder of the sweep, trials at once."""

    config: dict[str, Any]
    model: ModelRef
    tokens: str
    folder: str
    concurrent: int


def run_sweep(config: Config) -> None:
    """Prepare, search, and leave ``sweep/`` in the output folder. ``run.resume`` goes on with an interrupted one."""
    _require_libraries()
    if folder_at(config.run.output_dir).everywhere:
        raise UserError(
            f"a sweep cannot write its trials to {config.run.output_dir!r}: they go on from files that change; set "
            "--output_dir to a folder that every node sees"
        )
    space = search_space(config)
    started = time.monotonic()
    before_models([config.model.name])
    with job.output_of(config) as output:
        before_ray(config, output, sweep=True)
        folder = output.here / "sweep"
        # The dashboard's state API is what frees the resources of a trial that ASHA stops (ray-project/ray#54305).
        with ray_session(config.run.log_level, config.run.grows_to, dashboard=True):
            base, tokens = job.prepare_training(config, output)
            if not tokens.manifest.rows["val_queries"]:
                raise UserError(
                    "the validation split has no queries to rank trials by; give it more patents (splits.val), set "
                    "evaluation.query_sources, or leave out training.validate_epochs=false"
                )
            identity = _identity(config, space, tokens.digest)
            resuming = _settle(folder, identity, resume=config.run.resume is not None)
            shared = _Shared(config.model_dump(mode="json"), base, tokens.address, str(folder), _concurrent(config))
            started = time.monotonic()
            sweep = _search(config, space, shared, resuming)
    _conclude(config, sweep, folder, shared.concurrent, started)


def _conclude(config: Config, sweep: Sweep, folder: Path, concurrent: int, started: float) -> None:
    """Write and show what was found; train again with it where that is asked for."""
    files = write_results(folder, sweep, config)
    say()
    say(table(sweep, len(sweep.trials), concurrent))
    say(f"sweep of {len(sweep.trials)} trials took {duration(time.monotonic() - started)}")
    for path in files:
        say(f"  {path}")
    winner = sweep.winner
    if winner is None:
        reasons = "; ".join(sorted({trial.error for trial in sweep.trials if trial.error})) or "none was judged"
        raise UserError(f"no trial succeeded ({reasons}); narrow tune.space")
    if config.tune.refit:
        say()
        say(f"training again with the settings of trial {winner.number}")
        best = with_values(config, winner.values)
        best.run.resume = None
        job.run(best)
    else:
        say(f"train and test the best: python pipelines/run.py --config {folder / 'best.yaml'}")


def print_plan(config: Config) -> None:
    """The steps of a run, of which a sweep needs those up to ``tokens``, and what its trials would vary."""
    space = search_space(config)
    job.print_plan(config)
    say(f"{config.tune.num_samples} trials")
    for path, values in space.items():
        say(f"      {path}  {values}")


def _require_libraries() -> None:
    missing = [name for name in ("optuna",) if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"a sweep needs {' and '.join(missing)}, not installed here: pip install 'patent-embed[tune]'")


def _identity(config: Config, space: Mapping[str, Range], tokens: str) -> dict[str, Any]:
    """What makes two sweeps the same one."""
    varied = {path: str(values) for path, values in space.items()}
    settings = config.training.model_dump(mode="json") | config.tune.model_dump(exclude={"refit", "max_concurrent"})
    text = json.dumps([settings, varied, tokens, config.run.seed], sort_keys=True, ensure_ascii=False)
    return {"digest": text_digest(text), "space": varied}


def _settle(folder: Path, identity: dict[str, Any], *, resume: bool) -> bool:
    """Make ``folder`` ready. True when there is a sweep to go on with. Raises UserError when it is another one."""
    known = folder / _IDENTITY
    if resume and known.exists() and tune.Tuner.can_restore(str(folder / _TUNE)):
        if json.loads(known.read_text(encoding="utf-8")) != identity:
            raise UserError(
                f"the sweep in {folder} has other settings, space, data or number of trials: its trials could not be "
                "compared; repeat its command, choose another --output_dir, or leave out --resume"
            )
        return True
    if resume:
        say("      nothing to resume: the sweep starts with its first trial")
    elif folder.exists():
        note(f"starting anew: the sweep in {folder} is dropped; --resume goes on with it")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(known, identity)
    return False


def _concurrent(config: Config) -> int:
    """Trials at once: as many as asked for, at most what there is room for."""
    nodes = cluster_nodes()
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    if config.training.use_gpu is not False and gpus:
        room = int(gpus / (config.tune.gpu_per_trial * config.training.num_workers))
    else:
        room = int(cpus / 4 / config.training.num_workers)
    return max(1, min(config.tune.max_concurrent or room, room, config.tune.num_samples))


def _search(config: Config, space: Mapping[str, Range], shared: _Shared, resuming: bool) -> Sweep:
    import optuna

    folder = Path(shared.folder)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if config.run.log_level != "DEBUG":  # the whole error of a failed trial is in its folder
        for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints whatever `verbose` says
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "5")  # so much of a sweep is lost when its driver is killed
    trainable = tune.with_resources(tune.with_parameters(_trial, shared=shared), {"CPU": _TRIAL_CPUS})
    if resuming:
        tuner = tune.Tuner.restore(str(folder / _TUNE), trainable, resume_unfinished=True)
    else:
        from ray.tune.search.optuna import OptunaSearch

        view = _View(str(folder), space, config.tune.num_samples, shared.concurrent, config.training.epochs)
        tuner = tune.Tuner(
            trainable,
            param_space={path: _domain(values) for path, values in space.items()},
            tune_config=tune.TuneConfig(
                metric=_METRIC,
                mode="max",
                search_alg=OptunaSearch(seed=config.run.seed),
                scheduler=_Asha(
                    str(folder),
                    time_attr="epoch",
                    max_t=config.training.epochs,
                    grace_period=min(config.tune.grace_epochs, config.training.epochs),
                    reduction_factor=config.tune.reduction_factor,
                ),
                num_samples=config.tune.num_samples,
                max_concurrent_trials=shared.concurrent,
            ),
            run_config=tune.RunConfig(
                name=_TUNE, storage_path=str(folder), callbacks=[view], stop=_Stop(str(folder)), verbose=0
            ),
        )
    with interrupt_stays_interrupt():  # Tune takes Ctrl-C for itself, and keeps it
        results = tuner.fit()
    tuned: Any = results._experiment_analysis  # noqa: SLF001  # the public results tell no states
    trials = _read(tuned.trials, space, folder, config.training.epochs)
    reason = _repeated_failure(folder)
    if reason:
        say(f"stopped: {_FAILURES_IN_A_ROW} trials in a row failed for one reason: {reason}")
    elif sum(trial.ended for trial in trials) < config.tune.num_samples:
        raise KeyboardInterrupt
    return Sweep(space, config.training.epochs, trials)


def _trial(values: dict[str, Any], shared: _Shared) -> None:
    """One trial: a Ray Train run whose epochs are reported to Tune. Its name brings it back to its own checkpoints."""
    name = tune.get_context().get_trial_id()
    folder = Path(shared.folder) / "trials"
    try:
        config = with_values(Config.model_validate(shared.config), values)
    except UserError as error:  # every range is valid, these values together are not
        _fail(folder / name, str(error))
    share = config.tune.gpu_per_trial
    scaling = scale(config, trials=shared.concurrent, gpu_per_worker=share, reserved=_TRIAL_CPUS)
    trial = Job(
        config=config.model_dump(mode="json"),
        model=shared.model,
        tokens=shared.tokens,
        fingerprint=f"trial {name}",
        memory_share=share,
    )
    run = ray.train.RunConfig(
        name=name,
        storage_path=str(folder),
        callbacks=[cast(Any, TuneReportCallback())],
        checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
    )
    try:
        outcome = train_with(trial, scaling, run)
    except ray.train.TrainingFailedError as error:
        _fail(folder / name, str(error))
    if "error" in outcome:
        _fail(folder / name, outcome["error"])


def _fail(folder: Path, error: str) -> NoReturn:
    folder.mkdir(parents=True, exist_ok=True)
    reason = _reason(error)
    write_json(folder / _ERROR, {"reason": reason, "time": time.time(), "error": error})
    raise RuntimeError(reason)


def _reason(error: str) -> str:
    """A short name of what went wrong, the same for the same kind of failure."""
    if "out of memory" in error.lower():
        return "out of memory"
    if match := re.search(r"the loss is (\S+)", error):
        return f"the loss became {match[1]}"
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception|Exit)\b", line)]  # a traceback's end
    return re.sub(r"\d+", "N", (raised or lines or ["unknown"])[-1])[:200]


def _repeated_failure(folder: Path) -> str:
    """The reason of the last failures, if they were one behind the other and all for the same; empty otherwise."""
    ended = sorted(
        (json.loads(line) for line in (folder / "ended.jsonl").read_text(encoding="utf-8").splitlines())
        if (folder / "ended.jsonl").exists()
        else [],
        key=lambda entry: entry["time"],
    )[-_FAILURES_IN_A_ROW:]
    reasons = {entry["reason"] for entry in ended}
    return reasons.pop() if len(ended) == _FAILURES_IN_A_ROW and len(reasons) == 1 else ""


def _read(trials: list[Any], space: Mapping[str, Range], folder: Path, epochs: int) -> list[Trial]:
    """Tune's trials as ours."""
    found = []
    for number, trial in enumerate(trials, start=1):
        curve = {}
        for line in _lines(folder / "epochs.jsonl"):
            if line["trial"] == trial.trial_id:
                curve[line["epoch"]] = line["value"]
        ended = [line["reason"] for line in _lines(folder / "ended.jsonl") if line["trial"] == trial.trial_id]
        error = ended[-1] if ended else ""
        last = trial.last_result or {}
        if not ended:
            state = "waiting" if trial.status == "PENDING" else "running"
        elif error:
            state = "failed"
        else:
            state = "done" if last.get("stopped") or last.get("epoch", 0) >= epochs else "halted"
        values = {path: trial.config[path] for path in space}
        points = [value for _, value in sorted(curve.items())]
        found.append(Trial(number, values, state, points, error, float(last.get("time_total_s", 0.0))))
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class _View(tune.Callback):
    """Keeps every epoch and every end on disk, and prints them. Holds plain values only: Tune stores it."""

    def __init__(self, folder: str, space: Mapping[str, Range], total: int, concurrent: int, epochs: int) -> None:
        self._folder, self._space, self._epochs = folder, dict(space), epochs
        self._total, self._concurrent = total, concurrent

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if _EPOCH not in result:
            return
        reached = {"epoch": result["epoch"], "value": result[_EPOCH], "best": result[_METRIC]}
        self._append("epochs.jsonl", {"trial": trial.trial_id, **reached})
        number = 1 + [each.trial_id for each in trials].index(trial.trial_id)
        say(f"      trial {number}  epoch {result['epoch']}/{self._epochs}  val nDCG@10 {result[_EPOCH]:.4f}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._ended(trials, trial, "")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        written = Path(self._folder) / "trials" / trial.trial_id / _ERROR
        reason = json.loads(written.read_text(encoding="utf-8"))["reason"] if written.exists() else "its process ended"
        self._ended(trials, trial, reason)

    def _ended(self, trials: list[Any], trial: Any, reason: str) -> None:
        """Tune calls its callbacks before it changes the trial's state, so the file decides."""
        self._append("ended.jsonl", {"trial": trial.trial_id, "reason": reason})
        sweep = Sweep(self._space, self._epochs, _read(trials, self._space, Path(self._folder), self._epochs))
        if sum(each.ended for each in sweep.trials) < self._total:  # the last table comes with the results
            say()
            say(table(sweep, self._total, self._concurrent))
            say()

    def _append(self, name: str, entry: dict[str, Any]) -> None:
        with (Path(self._folder) / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry | {"time": time.time()}, ensure_ascii=False) + "\n")


class _Asha(ASHAScheduler):
    """ASHA that is told the epochs of a sweep it goes on with: Tune keeps the searcher's state, not the scheduler's."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self._folder: str | None = folder

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if self._folder is not None:
            folder, self._folder = Path(self._folder), None
            for line in _lines(folder / "epochs.jsonl"):
                known: Any = SimpleNamespace(trial_id=line["trial"])
                super().on_trial_add(tune_controller, known)
                self.on_trial_result(tune_controller, known, {"epoch": line["epoch"], _METRIC: line["best"]})
                self.on_trial_remove(tune_controller, known)
        super().on_trial_add(tune_controller, trial)


class _Stop(tune.Stopper):
    """Ends the sweep when the last trials failed for one reason: the next would as well."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(_repeated_failure(Path(self._folder)))


def _domain(values: Range) -> Any:
    function = {"choice": lambda *choices: tune.choice(list(choices))}.get(values.function)
    return (function or getattr(tune, values.function))(*values.arguments)
