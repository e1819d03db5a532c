"""What training and its validation read: token ids, once for all workers, epochs and trials."""

from __future__ import annotations

from patent_embed.artifacts import Outcome
from patent_embed.config.settings import Config
from pipelines.engine import Context, Input, LocalModel, StepSpec, rate
from pipelines.steps.embed import model_settings
from pipelines.steps.judged import judgements_of
from pipelines.steps.tables import Tables

NAME = "tokens"


def tokens_step(config: Config, base: LocalModel, tables: Tables[Input], mark: str = "") -> StepSpec:
    """The training's triplets and its validation set as ``base`` reads them. ``mark``: of the round."""
    from patent_embed.evaluation.measure import ENOUGH_QUERIES
    from patent_embed.training.data import ENOUGH_TO_TRAIN

    training = config.training
    texts: dict[str, object] = {"train": training.query_sources, "mined": training.mined_negatives}
    texts |= {"val": config.evaluation.query_sources, "validated": training.validate_epochs}
    return StepSpec(
        name=f"{NAME}{mark}",
        version=2,
        settings=model_settings(config) | texts,
        inputs=tables.inputs() | {"model": base},
        work=lambda context: _work(context, config, base),
        constants={"ENOUGH_TO_TRAIN": ENOUGH_TO_TRAIN, "ENOUGH_QUERIES": ENOUGH_QUERIES},
        rate=rate,
    )


def _work(context: Context, config: Config, base: LocalModel) -> Outcome:
    from transformers.utils.logging import disable_progress_bar

    from patent_embed.encoder.encoder import Encoder
    from patent_embed.training.data import build_triplets, save_training_data
    from patent_embed.training.validation import build_retrieval_set

    disable_progress_bar()  # of a load of seconds, on the run's own terminal
    encoder = Encoder.load(base.folder, config.model)
    corpus = context.table("ingest", "corpus", "publication_number", "abstract", "codes")
    splits, asked, mined = (context.table(name) for name in ("splits", "queries", "negatives"))
    training = config.training
    judged = judgements_of(context.inputs["queries"])
    sources, with_mined = training.query_sources, training.mined_negatives
    data = build_triplets(encoder, corpus, splits, asked, mined, sources, mined=with_mined, judged=judged)
    judges = asked if training.validate_epochs else asked.slice(0, 0)
    val = build_retrieval_set(encoder, corpus, splits, judges, "val", config.evaluation.query_sources)
    save_training_data(context.folder / "data", data, val)
    counts = {"triplets": len(data.triplets), "tokens": int(data.tokens.lengths.sum())}
    return Outcome(rows=counts | {"val_queries": len(val.queries)})
