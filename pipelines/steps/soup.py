"""The mean of trainings that differ in their seeds (a model soup), which is published as the training itself."""

from __future__ import annotations

from collections.abc import Sequence

from patent_embed.artifacts import Outcome
from patent_embed.config.settings import Config
from pipelines.engine import Context, StepSpec
from pipelines.steps.train import ADAPTER, MODEL, NAME


def soup_step(config: Config, members: Sequence[StepSpec]) -> StepSpec:
    """The mean weights of the trainings ``members``; the report shows the first one's course."""

    def work(context: Context) -> Outcome:
        from patent_embed.encoder.averaging import average_adapters, average_models

        trained = [context.inputs[member.name] for member in members]
        average_models([each.file(MODEL) for each in trained], context.folder / MODEL, config.model)
        if config.training.use_lora:
            average_adapters([each.file(ADAPTER) for each in trained], context.folder / ADAPTER)
        return Outcome(rows=trained[0].manifest.rows, report=trained[0].report | {"mean_of": len(members)})

    return StepSpec(
        name=NAME,
        version=1,
        settings={},
        inputs={member.name: member for member in members},
        work=work,
        notes=lambda artifact: [f"mean weights of {artifact.report['mean_of']} trainings"],
    )
