"""Training curves for TensorBoard, MLflow and Weights & Biases.

A tracker that fails is dropped with a warning: what it would have shown is in progress.jsonl too, and a training must
not end for it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from patent_embed.progress.events import EpochEnded, Event, TrainingStep

log = logging.getLogger("patent_embed")
_PROJECT = "patent_embed"


class Tracker(Protocol):
    """Where curves go: made from a folder, whose name is the run's, and the training's settings."""

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Add a point to each of the curves ``scalars`` at the optimizer step ``step``."""

    def close(self) -> None:
        """No more points come."""


class TensorBoard:
    """An event file in ``folder``, written at once.

    tensorboardX's ``SummaryWriter`` leaves the writing to a thread. Where that dies, as of a full disk, its queue fills
    up, and the next point waits for ever.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Open the file."""
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(folder / "events"))

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Add scalars."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        for name, value in scalars.items():
            self._writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        self._writer.flush()

    def close(self) -> None:
        """Write what is held back."""
        self._writer.close()


class MLflow:
    """A run named after ``folder``, where MLFLOW_TRACKING_URI says."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Start the run, with its parameters."""
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(_PROJECT)
        mlflow.start_run(run_name=folder.name)
        mlflow.log_params(settings)

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        self._mlflow.log_metrics(dict(scalars), step=step)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


class Wandb:
    """A run named after ``folder``; the library's own WANDB_ variables say where it goes."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Start the run."""
        import wandb

        self._run = wandb.init(project=_PROJECT, name=folder.name, dir=str(folder.parent), config=dict(settings))

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Log values."""
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": Wandb,
}


class Trackers:
    """Listens to one training and sends its curves to the trackers ``names``.

    Args:
        names: keys of ``TRACKERS``.
        folder: of TensorBoard's files; its name is the run's.
        settings: of the training, shown beside its curves.
    """

    def __init__(self, names: Iterable[str], folder: Path, settings: Mapping[str, Any]) -> None:
        """Open the trackers; one that cannot be opened is left out with a warning."""
        self._open: dict[str, Tracker] = {}
        self._step = 0
        for name in names:
            self._guard(name, partial(self._start, name, folder, settings))

    def on_event(self, event: Event) -> None:
        """Send what a step or an epoch of the training brought; other events are passed over."""
        if isinstance(event, TrainingStep):
            self._step = event.step
            self._log(
                {
                    "train/loss": event.loss,
                    "train/learning_rate": event.lr,
                    "train/triplets_per_s": event.triplets_per_s,
                }
            )
        elif isinstance(event, EpochEnded):
            values = {"epoch/loss": event.loss, "val/ndcg_at_10": event.val_ndcg}  # MLflow takes no @
            self._log({name: value for name, value in values.items() if value is not None})

    def close(self) -> None:
        """Close all trackers."""
        for name, tracker in list(self._open.items()):
            self._guard(name, tracker.close)
        self._open.clear()

    def _start(self, name: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self._open[name] = TRACKERS[name](folder, settings)

    def _log(self, scalars: Mapping[str, float]) -> None:
        for name, tracker in list(self._open.items()):
            self._guard(name, partial(tracker.log, scalars, self._step))

    def _guard(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except ModuleNotFoundError as error:
            log.warning("nothing goes to %s: %s is not installed", name, error.name)
        except Exception as error:  # noqa: BLE001  # whatever a tracking server answers
            log.warning("nothing more goes to %s: %s: %s", name, type(error).__name__, error)
            self._open.pop(name, None)
