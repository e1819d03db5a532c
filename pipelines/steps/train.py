"""Training: a run of Ray Train with checkpoints in the step's folder, from which it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import ray.train

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.settings import Config
from patent_embed.config.training import TrainingConfig
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at, json_of
from patent_embed.progress.terminal import note
from patent_embed.progress.trackers import Trackers
from patent_embed.section import Role, names_by_role
from pipelines.engine import Context, LocalModel, Partial, StepSpec, rate
from pipelines.events import event_stream
from pipelines.session import interrupt_stays_interrupt
from pipelines.steps.embed import model_settings
from pipelines.training import DISK_FULL, Job, no_space, scale, train_with

NAME = "train"
MODEL, ADAPTER = "model", "adapter"  # folders of the result
LATEST = "latest"
_MAX_WORKER_FAILURES = 2
_STATE = "state.json"
_LIMIT = "max_triplets_per_epoch"
_ATTEMPT = "attempt-"  # the beginning of folders with checkpoints, which vouch for themselves


def train_step(config: Config, tokens: StepSpec, base: LocalModel, seed: int, name: str = NAME) -> StepSpec:
    """A training of ``base`` on ``tokens``, with everything random in it drawn from ``seed``."""
    from patent_embed.training.query_dropout import LEAST, SPAN
    from patent_embed.training.selection import RESAMPLES

    unread = names_by_role(TrainingConfig, Role.LOGISTICS, Role.PREPARED) | {"soup_size"}
    settings = config.training.model_dump(mode="json", exclude=unread)
    if settings[_LIMIT] is None:  # trainings keep the name that they had before there was a limit
        del settings[_LIMIT]
    return StepSpec(
        name=name,
        version=7,
        settings=settings | model_settings(config) | {"seed": seed},
        inputs={"tokens": tokens, "model": base},
        work=lambda context: _work(context, config, seed),
        constants={"SPAN": SPAN, "LEAST": LEAST, "RESAMPLES": RESAMPLES},
        partial=Partial(keep=config.run.resume is not None, found=_found),
        notes=_notes,
        rate=_rate,
        announced=True,
    )


def check_resume(config: Config, unfinished: Sequence[StepSpec]) -> None:
    """A checkpoint that cannot be resumed is refused before anything starts.

    Raises:
        UserError: the checkpoint is torn, or not of the first of the ``unfinished`` trainings.
    """
    from patent_embed.training.checkpoint import read_state

    resume = config.run.resume
    if unfinished and resume is not None and resume != LATEST:
        read_state(folder_at(resume), unfinished[0].folder)


def _work(context: Context, config: Config, seed: int) -> Outcome:
    """Train; the events also go to the trackers."""
    shown = config.training.model_dump(mode="json", exclude=names_by_role(TrainingConfig, Role.LOGISTICS))
    folder = context.output.here / "tensorboard" / context.spec.folder
    run = config.run.model_copy(update={"seed": seed})
    with context.progress.also(Trackers(config.training.trackers, folder, shown)):
        return train(context, config.model_copy(update={"run": run}), _resume_from(context, config))


def _resume_from(context: Context, config: Config) -> Folder | None:
    """The checkpoint to go on from: this training's latest, or the one that the user named, where it is this one's."""
    resume = config.run.resume
    if resume is None:
        return None
    if resume == LATEST:
        latest = latest_checkpoint(context.place)
        if latest is None:
            note("nothing to resume: no checkpoint of these settings is here, training starts at epoch 1")
        return latest
    named = folder_at(resume)  # gone when the training is done that it was of
    return named if _read_state(named).get("fingerprint") == context.spec.folder else None


def train(context: Context, config: Config, resume_from: Folder | None = None) -> Outcome:
    """Train into the step's folder: ``model/`` (merged, the kept epoch), ``adapter/`` and the checkpoints."""
    attempt, place = f"{_ATTEMPT}{time.time_ns()}", context.place
    scaling = scale(config)
    with event_stream(context.progress.emit) as events, interrupt_stays_interrupt():
        job = Job(
            config=config.model_dump(mode="json"),
            model=context.model(),
            tokens=context.inputs["tokens"].address,
            fingerprint=context.spec.folder,
            resume_from=str(resume_from) if resume_from else None,
            out=str(place),
            events=events,
        )
        run = ray.train.RunConfig(
            name=attempt,
            storage_path=str(place),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=config.training.keep_checkpoints),
            failure_config=ray.train.FailureConfig(max_failures=_MAX_WORKER_FAILURES),
        )
        try:
            outcome = train_with(job, scaling, run)
        except ray.train.ControllerError as error:  # Ray Train's own files lie beside the checkpoints
            if getattr(error.controller_failure, "errno", None) not in DISK_FULL:
                raise
            raise UserError(no_space(place)) from None
    if "error" in outcome:
        raise UserError(outcome["error"])
    _drop_old_attempts(place, keep=attempt)
    state = outcome["state"]
    return Outcome(
        rows={"triplets": outcome["triplets"], "epochs": state["epoch"], "steps": state["step"]},
        report={
            "history": state["history"],
            "kept_epoch": state["kept_epoch"],
            "best_epoch": state["best_epoch"],
            "doubt": state["doubt"],
            "stopped_early": state["stopped"],
            "epoch_triplets": outcome["epoch_triplets"],
            "trained_parameters": outcome["trained_parameters"],
            "precision": outcome["precision"],
            "batches": outcome["batches"],
            "workers": config.training.num_workers,
        },
        working=_ATTEMPT,
    )


def latest_checkpoint(place: Folder, told: Callable[[str], None] = note) -> Folder | None:
    """The whole checkpoint with the most epochs below a training step's folder, or None; ``told`` of those that are
    torn, for which the one before it is taken."""
    from patent_embed.training.checkpoint import damage

    for name in _checkpoints(place):
        if not (fault := damage(place / name)):
            return place / name
        told(f"checkpoint {name} is passed over: {fault}")
    return None


def _checkpoints(place: Folder) -> list[str]:
    """Folders of checkpoints below a training step's, those with the most epochs first; what has no readable state
    comes where its name says."""
    found = list[tuple[int, str, str]]()
    for entry in place.entries():
        path = PurePosixPath(entry.name)
        if path.match(f"{_ATTEMPT}*/epoch-*/*") and str(path.parent) not in {name for *_, name in found}:
            state, named = _read_state(place / str(path.parent)), path.parent.name.rpartition("-")[2]
            epoch: int = state.get("epoch", int(named) if named.isdecimal() else 0)
            found.append((epoch, path.parts[0], str(path.parent)))
    return [name for *_, name in sorted(found, reverse=True)]


def _read_state(checkpoint: Folder) -> dict[str, Any]:
    """A checkpoint's state as it is written; nothing where it is torn."""
    try:
        state = json_of(checkpoint.read(_STATE) or b"")
    except (ValueError, OSError):
        return {}
    whole = isinstance(state, dict) and type(state.get("epoch")) is int and isinstance(state.get("fingerprint"), str)
    return state if whole else {}


def _drop_old_attempts(place: Folder, keep: str) -> None:
    for name in {entry.name.partition("/")[0] for entry in place.entries()}:
        if name.startswith(_ATTEMPT) and name != keep:
            place.delete(name)


def _found(place: Folder) -> str:
    """Of the newest checkpoint that is not obviously torn: what a plan needs to know, without reading weights."""
    whole = [name for name in _checkpoints(place) if "epoch" in _read_state(place / name)]
    return f"checkpoint {PurePosixPath(whole[0]).name}" if whole else ""


def _notes(artifact: Artifact) -> list[str]:
    from patent_embed.training.selection import Doubt, doubt_line

    report = artifact.report
    notes = [f"epoch {report['kept_epoch']} kept" + (", stopped early" if report["stopped_early"] else "")]
    if artifact.manifest.settings.get(_LIMIT):
        shown = f"{report['epoch_triplets']:,} of {artifact.manifest.rows['triplets']:,} triplets"
        notes.append(f"each epoch {shown}, other ones each time (training.{_LIMIT})")
    if report["doubt"] is not None and report["kept_epoch"] != report["best_epoch"]:
        notes.append(doubt_line(report["best_epoch"], Doubt(**report["doubt"])))
    if report.get("batches") == "padded":
        notes.append("padded batches: this architecture reads no texts in one row, docs/encoders.md")
    return notes


def _rate(artifact: Artifact) -> str:
    """Triplets a second while it trained."""
    seconds = sum(epoch.get("train_seconds", 0.0) for epoch in artifact.report["history"])
    rows = artifact.manifest.rows
    seen = artifact.report.get("epoch_triplets", rows["triplets"]) * rows["epochs"]
    return rate(artifact, of={"triplets": seen}, seconds=seconds)
