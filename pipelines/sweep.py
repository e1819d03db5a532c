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
from collections.abc import Mapping, Sequence
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
from patent_embed.folders import folder_at, json_of, write_json
from patent_embed.hashing import text_digest
from patent_embed.ownership import claim
from patent_embed.progress.clock import duration
from patent_embed.progress.terminal import note, say
from patent_embed.sweep.journal import Journal
from patent_embed.sweep.results import table, write_results
from patent_embed.sweep.space import Range, search_space, with_values
from patent_embed.sweep.trials import Sweep
from pipelines import job
from pipelines.output_folder import working_in
from pipelines.preflight import before_models, before_ray
from pipelines.proposals import TRIAL, Proposals
from pipelines.resources import cluster_nodes
from pipelines.session import interrupt_stays_interrupt, ray_session
from pipelines.training import Job, scale, train_with

_METRIC = "best_val"
_EPOCH = "val_ndcg@10"
_TRIAL_CPUS = 0.1  # of a trial's own process, which only waits for its training
_FAILURES_IN_A_ROW = 3
_SWEEP = "sweep"  # the folder in the output folder
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
    with working_in(config, "tune", [_SWEEP]) as output:
        before_ray(config, output, sweep=True)
        claim(output.folder, [_SWEEP])
        folder = output.here / _SWEEP
        # The dashboard's state API is what frees the resources of a trial that ASHA stops (ray-project/ray#54305).
        with ray_session(config.run.log_level, config.run.grows_to, dashboard=True):
            base, tokens = job.prepare_training(config, output)
            if not tokens.manifest.rows["val_queries"]:
                raise UserError(
                    "the validation split has no queries to rank trials by; give it more patents (splits.val), set "
                    "evaluation.query_sources, or leave out training.validate_epochs=false"
                )
            identity = _identity(config, space, tokens.digest)
            journal = Journal(folder, space, config.training.epochs)
            _settle(journal, identity, resume=config.run.resume is not None)
            shared = _Shared(config.model_dump(mode="json"), base, tokens.address, str(folder), _concurrent(config))
            started = time.monotonic()
            sweep = _search(config, journal, shared)
        files = write_results(folder, sweep, config)  # while nobody else is in the folder
    _conclude(config, sweep, files, shared.concurrent, started)


def _conclude(config: Config, sweep: Sweep, files: Sequence[Path], concurrent: int, started: float) -> None:
    """Show what was found, and where it is; train again with it where that is asked for."""
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
        say(f"train and test the best: python pipelines/run.py --config {files[0].parent / 'best.yaml'}")


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


def _settle(journal: Journal, identity: dict[str, Any], *, resume: bool) -> None:
    """Make the sweep's folder ready: for its next trials, or for its first. Raises UserError when the sweep to go on
    with is another one."""
    folder, known = journal.folder, journal.folder / _IDENTITY
    if resume and known.exists() and journal.exists:
        if _json(known) != identity:
            raise UserError(
                f"the sweep in {folder} has other settings, space, data or number of trials: its trials could not be "
                "compared; repeat its command, choose another --output_dir, or leave out --resume"
            )
        journal.mend()
        return
    if resume:
        say("      nothing to resume: the sweep starts with its first trial")
    elif folder.exists():
        note(f"starting anew: the sweep in {folder} is dropped; --resume goes on with it")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(known, identity)


def _json(path: Path) -> Any:
    """The content of a JSON file; None where it holds none."""
    try:
        return json_of(path.read_bytes())
    except ValueError:
        return None


def _concurrent(config: Config) -> int:
    """Trials at once: as many as asked for, at most what there is room for."""
    nodes = cluster_nodes()
    cpus, gpus = (sum(column) for column in zip(*nodes, strict=True))
    if config.training.use_gpu is not False and gpus:
        room = int(gpus / (config.tune.gpu_per_trial * config.training.num_workers))
    else:
        room = int(cpus / 4 / config.training.num_workers)
    return max(1, min(config.tune.max_concurrent or room, room, config.tune.num_samples))


def _search(config: Config, journal: Journal, shared: _Shared) -> Sweep:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if config.run.log_level != "DEBUG":  # the whole error of a failed trial is in its folder
        for name in ("ray.tune.execution.tune_controller", "ray.tune.tune"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints whatever `verbose` says
    wanted = config.tune.num_samples
    proposals = Proposals(journal, _METRIC, config.run.seed)
    # What Tune keeps for itself is pickle, and never read again.
    shutil.rmtree(journal.folder / _TUNE, ignore_errors=True)
    if left := wanted - len(journal.ended()):
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial, shared=shared), {"CPU": _TRIAL_CPUS}),
            tune_config=tune.TuneConfig(
                metric=_METRIC,
                mode="max",
                search_alg=proposals,
                scheduler=_Asha(
                    journal,
                    time_attr="epoch",
                    max_t=config.training.epochs,
                    grace_period=min(config.tune.grace_epochs, config.training.epochs),
                    reduction_factor=config.tune.reduction_factor,
                ),
                num_samples=left,
                max_concurrent_trials=shared.concurrent,
            ),
            run_config=tune.RunConfig(
                name=_TUNE,
                storage_path=shared.folder,
                callbacks=[_View(journal, wanted, shared.concurrent)],
                stop=_Stop(journal),
                verbose=0,
            ),
        )
        with interrupt_stays_interrupt():  # Tune takes Ctrl-C for itself, and keeps it
            tuner.fit()
        shutil.rmtree(journal.folder / _TUNE, ignore_errors=True)
    trials = journal.trials()
    if reason := journal.repeated_failure(_FAILURES_IN_A_ROW):
        say(f"stopped: {_FAILURES_IN_A_ROW} trials in a row failed for one reason: {reason}")
    elif sum(trial.ended for trial in trials) < wanted:
        raise KeyboardInterrupt
    return Sweep(journal.space, journal.epochs, trials)


def _trial(values: dict[str, Any], shared: _Shared) -> None:
    """One trial: a Ray Train run whose epochs are reported to Tune. Its name brings it back to its own checkpoints."""
    name = values.pop(TRIAL)
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


class _View(tune.Callback):
    """Keeps every epoch and every end in the journal, and prints them. Holds plain values only: Tune stores it."""

    def __init__(self, journal: Journal, total: int, concurrent: int) -> None:
        self._journal, self._total, self._concurrent = journal, total, concurrent

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if _EPOCH not in result:
            return
        name, epoch, value = trial.config[TRIAL], result["epoch"], result[_EPOCH]
        self._journal.reach(name, epoch, value, result[_METRIC])
        number = int(name.rpartition("-")[2])
        say(f"      trial {number}  epoch {epoch}/{self._journal.epochs}  val nDCG@10 {value:.4f}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        last = trial.last_result or {}
        over = last.get("stopped") or last.get("epoch", 0) >= self._journal.epochs
        self._ended(trial, "done" if over else "halted", "")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        written = self._journal.folder / "trials" / trial.config[TRIAL] / _ERROR
        reason = json.loads(written.read_text(encoding="utf-8"))["reason"] if written.exists() else "its process ended"
        self._ended(trial, "failed", reason)

    def _ended(self, trial: Any, state: str, reason: str) -> None:
        last, journal = trial.last_result or {}, self._journal
        seconds = float(last.get("time_total_s", 0.0))
        journal.end(trial.config[TRIAL], state, reason, best=last.get(_METRIC), seconds=seconds)
        sweep = Sweep(journal.space, journal.epochs, journal.trials())
        if sum(each.ended for each in sweep.trials) < self._total:  # the last table comes with the results
            say()
            say(table(sweep, self._total, self._concurrent))
            say()


class _Asha(ASHAScheduler):
    """ASHA that is told the epochs of a sweep it goes on with, and knows a trial by the name in its settings, which
    stays when the trial goes on."""

    def __init__(self, journal: Journal, **options: Any) -> None:
        super().__init__(**options)
        self._journal: Journal | None = journal

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        if self._journal is not None:
            journal, self._journal = self._journal, None
            for line in journal.reached():
                if line.best is None:
                    continue
                known: Any = SimpleNamespace(trial_id=line.trial)
                super().on_trial_add(tune_controller, known)
                super().on_trial_result(tune_controller, known, {"epoch": line.epoch, _METRIC: line.best})
                super().on_trial_remove(tune_controller, known)
        super().on_trial_add(tune_controller, _named(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return str(super().on_trial_result(tune_controller, _named(trial), result))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _named(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _named(trial))


def _named(trial: Any) -> Any:
    """All that ASHA asks of a trial."""
    return SimpleNamespace(trial_id=trial.config[TRIAL])


class _Stop(tune.Stopper):
    """Ends the sweep when the last trials failed for one reason: the next would as well."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self._journal.repeated_failure(_FAILURES_IN_A_ROW))
