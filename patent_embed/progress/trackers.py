"""Training curves for TensorBoard, MLflow and Weights & Biases. A tracker that fails is dropped with a warning: what
it would have shown is in progress.jsonl too, and a training must not end for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

log = logging.getLogger("patent_embed")
_PROJECT = "patent_embed"


class Tracker(Protocol):
    def log(self, scalars: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in ``folder``."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """A run named after ``folder``, where MLFLOW_TRACKING_URI says."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow = mlflow
        mlflow.set_experiment(_PROJECT)
        mlflow.start_run(run_name=folder.name)
        mlflow.log_params(settings)

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(scalars), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class Wandb:
    """A run named after ``folder``; the library's own WANDB_ variables say where it goes."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        self._run = wandb.init(project=_PROJECT, name=folder.name, dir=str(folder.parent), config=dict(settings))

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        self._run.log(dict(scalars), step=step)

    def close(self) -> None:
        self._run.finish()


_TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": Wandb,
}


class Trackers:
    """Sends the events of one training to the trackers ``names``.

    Args:
        folder: of TensorBoard's files; its name is the run's.
        settings: of the training, shown beside its curves.
    """

    def __init__(self, names: Iterable[str], folder: Path, settings: Mapping[str, Any]) -> None:
        self._open: dict[str, Tracker] = {}
        self._step = 0
        for name in names:
            self._guard(name, lambda name=name: self._open.update({name: _TRACKERS[name](folder, settings)}))

    def event(self, event: Mapping[str, Any]) -> None:
        """A ``step`` or ``epoch`` event of the training loop; others are passed over."""
        if event["event"] == "step":
            self._step = event["step"]
            scalars = {
                "train/loss": event["loss"],
                "train/learning_rate": event["lr"],
                "train/triplets_per_s": event["triplets_per_s"],
            }
        elif event["event"] == "epoch":
            names = {"loss": "epoch/loss", "val_ndcg@10": "val/ndcg_at_10"}  # MLflow takes no @
            scalars = {name: event[key] for key, name in names.items() if event.get(key) is not None}
        else:
            return
        for name, tracker in list(self._open.items()):
            self._guard(name, lambda tracker=tracker: tracker.log(scalars, self._step))

    def close(self) -> None:
        for name, tracker in list(self._open.items()):
            self._guard(name, tracker.close)

    def _guard(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except ModuleNotFoundError as error:
            log.warning("nothing goes to %s: %s is not installed", name, error.name)
        except Exception as error:  # whatever a tracking server answers
            log.warning("nothing more goes to %s: %s: %s", name, type(error).__name__, error)
            with suppress(KeyError):
                self._open.pop(name)
