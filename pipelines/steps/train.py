"""Training on Ray Train: one worker or many, with checkpoints in its storage and restarts after lost workers."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import ray
import ray.train
import ray.train.torch

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.folders import RemoteFolder, is_remote, local_folder
from patent_embed.progress.events import EpochEnded, Event, TrainingStarted, TrainingStep, to_json
from pipelines.events import event_stream
from pipelines.resources import NodeSize, cluster_nodes
from pipelines.session import GPU_ENV, interrupt_stays_interrupt

_MAX_WORKER_FAILURES = 2
_FULL = (errno.ENOSPC, errno.EDQUOT)


def train(
    folder: Path | RemoteFolder,
    config: Config,
    model: tuple[str, str],
    tokens: Artifact,
    fingerprint: str,
    resume_from: Path | RemoteFolder | None,
    emit: Callable[[Event], None],
) -> Outcome:
    """Train into ``folder``: ``model/`` (merged, the kept epoch), ``adapter/`` and the checkpoints.

    Args:
        folder: where workers on any node reach it.
        model: the base encoder's folder as in ``artifacts.model_folder``.
        tokens: a finished ``tokens`` step.
        fingerprint: digest of the training step; checkpoints carry it.
        resume_from: a checkpoint folder to go on from.
        emit: is called with the events of the training loop.
    """
    attempt = f"attempt-{time.time_ns()}"
    scaling, precision = scale(config)
    loop = {
        "config": config.model_dump(mode="json"),
        "model": model,
        "tokens": tokens.address,
        "fingerprint": fingerprint,
        "resume_from": str(resume_from) if resume_from else None,
        "precision": precision,
        "out": str(folder),
    }
    with event_stream(emit) as events, interrupt_stays_interrupt():
        trainer = make_trainer(
            loop | {"events": events},
            scaling,
            ray.train.RunConfig(
                name=attempt,
                storage_path=str(folder.resolve() if isinstance(folder, Path) else folder),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=config.training.keep_checkpoints),
                failure_config=ray.train.FailureConfig(max_failures=_MAX_WORKER_FAILURES),
            ),
        )
        try:
            outcome = trainer.fit().return_value
        except ray.train.ControllerError as error:  # Ray Train's own files lie beside the checkpoints
            if getattr(error.controller_failure, "errno", None) not in _FULL:
                raise
            raise UserError(_no_space(folder)) from None
    if "error" in outcome:
        raise UserError(outcome["error"])
    _drop_old_attempts(folder, keep=attempt)
    state = outcome["state"]
    return Outcome(
        rows={"triplets": outcome["triplets"], "epochs": state["epoch"], "steps": state["step"]},
        report={
            "history": state["history"],
            "kept_epoch": state["kept_epoch"],
            "stopped_early": state["stopped"],
            "trained_parameters": outcome["trained_parameters"],
            "precision": precision,
            "workers": config.training.num_workers,
        },
    )


def make_trainer(
    loop: dict[str, Any], scaling: ray.train.ScalingConfig, run: ray.train.RunConfig
) -> ray.train.torch.TorchTrainer:
    """A Ray Train run of the training loop.

    Args:
        loop: ``config`` (a dump), ``model`` (as in ``artifacts.model_folder``), ``tokens`` (address of the step),
            ``fingerprint``, ``resume_from`` (a checkpoint folder or None), ``precision``, ``out`` (where model and
            adapter go; None: nowhere), ``events`` (an EventBuffer or None), and, where several trainings share a GPU,
            ``memory_share`` (of its memory, for one worker).
    """
    if scaling.use_gpu:
        run.worker_runtime_env = {"env_vars": GPU_ENV}
    return ray.train.torch.TorchTrainer(_worker, train_loop_config=loop, scaling_config=scaling, run_config=run)


def latest_checkpoint(folder: Path | RemoteFolder) -> Path | RemoteFolder | None:
    """The whole checkpoint with the most epochs below a training step's folder, or None."""
    if isinstance(folder, Path):
        states = [(path.relative_to(folder), path.stat().st_mtime_ns) for path in folder.glob("attempt-*/*/state.json")]
    else:
        every = [(PurePosixPath(entry.name), entry.mtime_ns) for entry in folder.entries()]
        states = [(path, mtime) for path, mtime in every if path.match("attempt-*/*/state.json")]
    found = []
    for path, mtime in states:
        try:
            content = folder.read(str(path)) if isinstance(folder, RemoteFolder) else (folder / path).read_bytes()
            found.append((json.loads(content or b"")["epoch"], mtime, str(path.parent)))
        except (ValueError, KeyError, OSError):
            continue  # torn by a kill: an older one is used
    return folder / max(found)[2] if found else None


def _drop_old_attempts(folder: Path | RemoteFolder, keep: str) -> None:
    if isinstance(folder, RemoteFolder):
        for name in {entry.name.partition("/")[0] for entry in folder.entries()}:
            if name.startswith("attempt-") and name != keep:
                folder.delete(name)
        return
    for path in folder.glob("attempt-*"):
        if path.name != keep:
            shutil.rmtree(path)


def scale(
    config: Config, *, trials: int = 1, gpu_per_worker: float = 1.0, reserved: float = 0.0
) -> tuple[ray.train.ScalingConfig, str]:
    """Resources of each worker, and the precision that fits the device. Where ``trials`` trainings run at once they
    share the CPUs, and ``reserved`` of them are left to each training's own driver."""
    nodes, workers = cluster_nodes(), config.training.num_workers
    gpus = sum(node.gpus for node in nodes)
    use_gpu = gpus > 0 if config.training.use_gpu is None else config.training.use_gpu
    if use_gpu and gpus < workers * gpu_per_worker:
        raise UserError(
            f"num_workers is {workers} but the cluster has {gpus} GPUs, and each worker needs one: "
            f"set --num_workers {max(gpus, 1)}, or --set training.use_gpu=false to train on CPUs"
        )
    cpus = _cpus_per_worker(nodes, workers, use_gpu)
    resources: dict[str, float] = {"CPU": cpus / trials - reserved / workers if trials > 1 or reserved else cpus}
    if use_gpu:
        resources["GPU"] = gpu_per_worker
    precision = config.training.precision
    if precision == "auto":
        precision = "bf16" if use_gpu else "fp32"
    return ray.train.ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources), precision


def _cpus_per_worker(nodes: list[NodeSize], workers: int, use_gpu: bool) -> float:
    """The most CPUs, at most four beside a GPU, with which all workers find a place on the nodes."""

    def fits(cpus: float) -> bool:
        return sum(min(int(node.cpus / cpus), node.gpus if use_gpu else workers) for node in nodes) >= workers

    largest = int(max(node.cpus for node in nodes))
    whole = [cpus for cpus in range(1, (min(4, largest) if use_gpu else largest) + 1) if fits(cpus)]
    if whole:
        return whole[-1]
    # A little less than the share: a small machine must not wait for ever.
    share = 0.9 * sum(node.cpus for node in nodes) / workers
    while not fits(share) and share > 0.01:
        share *= 0.9
    return share


class _RayReporter:
    """Sends events to the driver, and metrics and checkpoints to Ray Train."""

    def __init__(self, events: Any, rank: int) -> None:
        self._events, self._rank = events, rank

    def send(self, event: Event) -> None:
        """Tell the driver; one of the ranks does."""
        if self._rank == 0 and self._events is not None:
            self._events.put.remote(event)

    def step(self, event: TrainingStep) -> None:
        """An optimizer step is done."""
        self.send(event)

    def epoch(self, event: EpochEnded, write: Callable[[Path], None] | None) -> None:
        """An epoch is over: its figures go to Ray Train, with the checkpoint that ``write`` makes."""
        self.send(event)
        metrics = {key: value for key, value in to_json(event).items() if key != "event"}
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint = None
            if write is not None and self._rank == 0:
                write(Path(scratch))
                checkpoint = ray.train.Checkpoint.from_directory(scratch)
            # The name says which epoch it is; the attempt's folder tells runs apart.
            ray.train.report(metrics, checkpoint=checkpoint, checkpoint_dir_name=f"epoch-{event.epoch:04d}")


def _worker(loop: dict[str, Any]) -> dict[str, Any]:
    """Runs on every training worker. What another try would not mend comes back as a value: raised, it would be tried
    again."""
    try:
        return _train_worker(loop)
    except UserError as error:
        return {"error": str(error)}
    except OSError as error:
        if error.errno not in _FULL:
            raise
        return {"error": _no_space(loop["out"])}


def _no_space(folder: Path | str) -> str:
    return (
        f"no space is left on the disk of {str(folder)!r} or of {tempfile.gettempdir()!r} for a checkpoint; the "
        "checkpoints before it are whole: free space, then go on with --resume"
    )


def _train_worker(loop: dict[str, Any]) -> dict[str, Any]:
    import torch

    from patent_embed.artifacts import model_folder, open_artifact
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.encoder.export import export_model, save_adapter
    from patent_embed.training import data, validation
    from patent_embed.training.trainer import Trainer

    config = Config.model_validate(loop["config"])
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, round(_scaling_cpus())))
    elif loop.get("memory_share", 1) < 1:
        # A training that needs more fails alone, instead of whichever of its neighbours asks next.
        torch.cuda.set_per_process_memory_fraction(loop["memory_share"], device)
    reporter = _RayReporter(loop["events"], context.get_world_rank())

    data, val = data.load_training_data(open_artifact(loop["tokens"]).file("data"))
    torch.manual_seed(config.run.seed)  # the adapters' first weights
    encoder = Encoder.load(model_folder(*loop["model"]), config.model, device=device)
    if config.training.use_lora:
        encoder.add_lora(config.training.lora)
    trainer = Trainer(
        encoder,
        data,
        config.training,
        seed=config.run.seed,
        fingerprint=loop["fingerprint"],
        validate=(lambda: validation.validation_ndcg(encoder, val)) if len(val.queries) else None,
        precision=loop["precision"],
    )
    checkpoint = ray.train.get_checkpoint()  # after a lost worker; otherwise what the user resumes from
    if checkpoint is not None:
        with checkpoint.as_directory() as path:
            trainer.load(Path(path))
    elif loop["resume_from"]:
        with tempfile.TemporaryDirectory() as scratch:
            trainer.load(local_folder(loop["resume_from"], Path(scratch)))
    reporter.send(
        TrainingStarted(
            triplets=len(data.triplets),
            texts=len(data.tokens),
            tokens=int(data.tokens.lengths.sum()),
            val_queries=len(val.queries),
            trained_parameters=sum(p.numel() for p in trainer.parameters.values()),
            device=str(device),
            pid=os.getpid(),
            node=ray.util.get_node_ip_address(),
            from_epoch=trainer.state.epoch,
        )
    )
    state = trainer.fit(reporter)
    if context.get_world_rank() == 0 and loop["out"] is not None:
        trainer.load_kept()
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch if is_remote(loop["out"]) else loop["out"])
            export_model(encoder, out / "model")
            if config.training.use_lora:
                save_adapter(encoder, out / "adapter", config.model.name)
            if is_remote(loop["out"]):
                RemoteFolder(loop["out"]).put(out)
    return {
        "state": asdict(state),
        "triplets": len(data.triplets),
        "trained_parameters": sum(p.numel() for p in trainer.parameters.values()),
    }


def _scaling_cpus() -> float:
    return float(ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0))
