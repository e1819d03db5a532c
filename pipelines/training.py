"""A training on Ray Train's workers, for a step of a run and for a trial of a sweep."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import ray.train
import ray.train.torch
from pyarrow import fs

from patent_embed.artifacts import ModelRef, open_artifact
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.progress.events import EpochEnded, Event, TrainingStarted, TrainingStep, to_json
from pipelines.resources import NodeSize, cluster_nodes
from pipelines.session import GPU_ENV

if TYPE_CHECKING:
    import torch

    from patent_embed.encoder.encoder import Encoder
    from patent_embed.training.trainer import Trainer

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Job:
    """What the workers of a training are told.

    Attributes:
        config: a dump of the settings, without secrets.
        model: the base encoder.
        tokens: address of a finished ``tokens`` step.
        fingerprint: names the training; its checkpoints carry it.
        resume_from: address of a checkpoint to go on from; None: begin.
        out: where ``model/`` and ``adapter/`` go; None: nowhere.
        events: an EventBuffer; None: nobody listens.
        memory_share: of a GPU's memory, for one worker, where several trainings share it.
    """

    config: dict[str, Any]
    model: ModelRef
    tokens: str
    fingerprint: str
    resume_from: str | None = None
    out: str | None = None
    events: Any = None
    memory_share: float = 1.0


def train_with(job: Job, scaling: ray.train.ScalingConfig, run: ray.train.RunConfig) -> dict[str, Any]:
    """Do ``job`` on Ray Train: ``{"error": text}``, or ``state`` (a TrainState as a dictionary), ``triplets``,
    ``epoch_triplets`` (of one epoch), ``trained_parameters``, ``precision`` and ``batches`` (packed or padded)."""
    ours: Any = run  # Ray's annotations know neither the attribute, nor that a loop returns a value
    if scaling.use_gpu:
        ours.worker_runtime_env = {"env_vars": GPU_ENV}
    loop: Any = _worker
    trainer = ray.train.torch.TorchTrainer(
        loop, train_loop_config={"job": job}, scaling_config=scaling, run_config=ours
    )
    outcome: Any = trainer.fit()
    returned: dict[str, Any] = outcome.return_value
    return returned


def scale(
    config: Config, *, trials: int = 1, gpu_per_worker: float = 1.0, reserved: float = 0.0
) -> ray.train.ScalingConfig:
    """Resources of each worker. Where ``trials`` trainings run at once they share the CPUs, and ``reserved`` of them
    are left to each training's own driver."""
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
    return ray.train.ScalingConfig(num_workers=workers, use_gpu=use_gpu, resources_per_worker=resources)


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


class RayReporter:
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
            ray.train.report(
                metrics,
                checkpoint=checkpoint,
                checkpoint_dir_name=f"epoch-{event.epoch:04d}",
                checkpoint_upload_fn=_kept if _on_a_disk() else None,  # what Ray copies to a store is whole or absent
            )


def _on_a_disk() -> bool:
    """Whether Ray Train keeps this training's checkpoints on a disk, and not in a store."""
    return isinstance(ray.train.get_context().get_storage().storage_filesystem, fs.LocalFileSystem)


def _kept(checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
    """What Ray Train does with a checkpoint itself, but that it is on the disk then."""
    from patent_embed.training.checkpoint import keep_checkpoint

    storage = ray.train.get_context().get_storage()
    place = Path(storage.experiment_fs_path) / name
    keep_checkpoint(Path(checkpoint.path), folder_at(place))
    return ray.train.Checkpoint(str(place), filesystem=storage.storage_filesystem)


def _worker(loop: dict[str, Any]) -> dict[str, Any]:
    """Runs on every training worker. What another try would not mend comes back as a value: raised, it would be tried
    again."""
    job: Job = loop["job"]
    try:
        return _train(job)
    except UserError as error:
        return {"error": str(error)}
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        return {"error": no_space(job.out)}


def no_space(place: object) -> str:
    """What to say where a checkpoint found the disk full."""
    return (
        f"no space is left on the disk of {str(place)!r} or of {tempfile.gettempdir()!r} for a checkpoint; the "
        "checkpoints before it are whole: free space, then go on with --resume"
    )


def _train(job: Job) -> dict[str, Any]:
    from patent_embed.training.data import load_training_data
    from patent_embed.training.start import start_training

    config, rank = Config.model_validate(job.config), ray.train.get_context().get_world_rank()
    reporter = RayReporter(job.events, rank)
    data, val = load_training_data(open_artifact(job.tokens).file("data"))
    model = job.model.folder()
    trainer = start_training(model, data, val, config, fingerprint=job.fingerprint, device=_device(job))
    _restore(trainer, job)
    trained = sum(p.numel() for p in trainer.parameters.values())
    reporter.send(
        TrainingStarted(
            triplets=trainer.epoch_size,
            texts=len(data.tokens),
            tokens=int(data.tokens.lengths.sum()),
            val_queries=len(val.queries),
            trained_parameters=trained,
            device=str(trainer.device),
            pid=os.getpid(),
            node=ray.util.get_node_ip_address(),
            from_epoch=trainer.state.epoch,
        )
    )
    state = trainer.fit(reporter)
    if rank == 0 and job.out is not None:
        trainer.load_kept()
        _export(_whole(trainer.encoder, model, config), config, job.out)
    return {
        "state": asdict(state),
        "triplets": len(data.triplets),
        "epoch_triplets": trainer.epoch_size,
        "trained_parameters": trained,
        "precision": trainer.precision,
        "batches": "packed" if trainer.encoder.packs else "padded",
    }


def _device(job: Job) -> torch.device:
    """What this worker trains on, with its share of the machine."""
    import torch

    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, round(_assigned_cpus())))
    elif job.memory_share < 1:
        # A training that needs more fails alone, instead of whichever of its neighbours asks next.
        torch.cuda.set_per_process_memory_fraction(job.memory_share, device)
    return device


def _restore(trainer: Trainer, job: Job) -> None:
    """Go on from Ray Train's checkpoint after a lost worker, otherwise from what the user resumes from."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as path:
            trainer.load(Path(path))
    elif job.resume_from is not None:
        place = folder_at(job.resume_from)
        with tempfile.TemporaryDirectory() as scratch:
            trainer.load(place.fetch_all(place.copies(Path(scratch))))


def _whole(encoder: Encoder, model: Path, config: Config) -> Encoder:
    """A trained ``encoder`` with all its weights, on the CPU where they are split over workers."""
    import torch

    from patent_embed.training.start import first_encoder

    if not encoder.sharded:
        return encoder
    whole = first_encoder(model, config, torch.device("cpu"))
    whole.load_adapter_state(encoder.adapter_state())
    return whole


def _export(encoder: Encoder, config: Config, out: str) -> None:
    from patent_embed.encoder.export import export_model, save_adapter

    place = folder_at(out)
    work = place.workspace("trained")
    export_model(encoder, work / "model")
    if config.training.use_lora:
        save_adapter(encoder, work / "adapter", config.model.name)
    place.put(work)
    place.leave(work)


def _assigned_cpus() -> float:
    return float(ray.get_runtime_context().get_assigned_resources().get("CPU", 1.0))
