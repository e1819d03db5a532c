"""The loss of a training, step by step, from the events of the runs in an output folder."""

from __future__ import annotations

from pathlib import Path

from patent_embed.progress.events import StepFinished, TrainingStarted, TrainingStep, read_events


def loss_curve(path: Path, folder: str) -> list[tuple[int, float]]:
    """Step and loss of the training that made the step folder ``folder``, as the events in ``path`` tell.

    Empty where they are gone. Of an interrupted training the epochs count that the next one went on from.
    """
    steps: dict[int, tuple[int, float]] = {}  # step → epoch, loss
    found: list[tuple[int, float]] = []
    for event in read_events(path):
        if isinstance(event, TrainingStarted):
            steps = {step: value for step, value in steps.items() if value[0] <= event.from_epoch}
        elif isinstance(event, TrainingStep):
            steps[event.step] = event.epoch, event.loss
        elif isinstance(event, StepFinished) and event.step == folder and not event.reused:
            found = [(step, loss) for step, (_, loss) in sorted(steps.items())]
    return found
