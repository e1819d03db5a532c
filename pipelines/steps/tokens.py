"""What training and its validation read: token ids, once for all workers, epochs and trials."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from patent_embed.arrays import Rows
from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.hashing import hash_strings
from pipelines.engine import Context, Input, LocalModel, StepSpec, rate
from pipelines.steps import relevance as relevance_step
from pipelines.steps.embed import corpus_of, model_settings, texts_of_corpus
from pipelines.steps.judged import judgements_of
from pipelines.steps.tables import Tables, counted
from pipelines.token_files import TextRows, write_tokens

if TYPE_CHECKING:
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.training.data import TripletData
    from patent_embed.training.pairs import Known
    from patent_embed.training.validation import Limit, RetrievalSet

NAME, DATA = "tokens", "data"
_LOOKED_AT = 2000  # passages, for what is cut


def tokens_step(
    config: Config, base: LocalModel, tables: Tables[Input], mark: str = "", relevance: Input | None = None
) -> StepSpec:
    """The training's triplets and its validation set as ``base`` reads them. ``mark``: of the round. ``relevance``: the
    step of that name, where there is more than queries to learn from."""
    from patent_embed.evaluation.measure import ENOUGH_QUERIES
    from patent_embed.training.data import ENOUGH_TO_TRAIN

    training = config.training
    texts: dict[str, object] = {"train": training.query_sources, "mined": training.mined_negatives}
    texts |= {"val": config.evaluation.query_sources, "validated": training.validate_epochs}
    if (limit := validation_limit(config)) is not None:
        texts["validated_in"] = vars(limit)
    inputs: dict[str, Input] = tables.inputs() | {"model": base}
    if relevance is not None:
        texts |= {"weights": config.relevance.weights(), "validate_on": training.validate_on}
        inputs |= {relevance_step.NAME: relevance}
    return StepSpec(
        name=f"{NAME}{mark}",
        version=3,
        settings=model_settings(config) | texts,
        inputs=inputs,
        work=lambda context: _work(context, config, base),
        constants={"ENOUGH_TO_TRAIN": ENOUGH_TO_TRAIN, "ENOUGH_QUERIES": ENOUGH_QUERIES},
        check=_require_no_contamination,
        notes=_notes,
        rate=rate,
    )


def _work(context: Context, config: Config, base: LocalModel) -> Outcome:
    from transformers.utils.logging import disable_progress_bar

    from patent_embed.encoder.encoder import Encoder
    from patent_embed.training.contamination import contamination
    from patent_embed.training.data import save_training_data

    disable_progress_bar()  # of a load of seconds, on the run's own terminal
    encoder = Encoder.load(base.folder, config.model)
    splits, judged = context.table("splits"), judgements_of(context.inputs["queries"])
    words = [] if judged is None else ["query"]
    asked = context.table("queries", "queries", "publication_number", "source", *words)
    family, report = _families(splits, asked, config, judged), dict[str, Any]()
    if relevance_step.NAME in context.inputs:
        data, val, report["triplets"] = _of_several_sources(context, config, encoder, family)
    else:
        data, val = _of_queries(context, config, encoder, splits, asked)
    save_training_data(context.folder / DATA, data, val)
    counts = {"triplets": len(data.triplets), "tokens": int(data.tokens.offsets[-1])}
    report |= {"contamination": contamination(data, splits, family), "cut": _cut(encoder, context, config)}
    limit = validation_limit(config)
    report["validation"] = {"candidates": len(val.passages), "patents": len(splits)} | (vars(limit) if limit else {})
    return Outcome(rows=counts | {"val_queries": len(val.queries)}, report=report)


def _families(splits: pa.Table, asked: pa.Table, config: Config, judged: pa.Table | None) -> Rows:
    from patent_embed.training.data import training_families, training_queries

    return training_families(splits, training_queries(splits, asked, config.training.query_sources), judged)


def _of_queries(
    context: Context, config: Config, encoder: Encoder, splits: pa.Table, asked: pa.Table
) -> tuple[TripletData, RetrievalSet]:
    """What is read where there are queries alone: here by row numbers, its texts by workers."""
    from patent_embed.training.data import TripletData, triplet_rows
    from patent_embed.training.validation import retrieval_rows

    training, corpus, queries = config.training, context.inputs["ingest"], context.inputs["queries"]
    mined = context.inputs["negatives"].batches("negatives", "publication_number", "negative")
    rows = triplet_rows(
        splits,
        asked,
        mined if training.mined_negatives else None,
        training.query_sources,
        judged=judgements_of(queries),
    )
    val = retrieval_rows(
        lambda: (group["codes"] for group in corpus.groups("corpus", "codes")),
        splits,
        asked if training.validate_epochs else asked.slice(0, 0),
        "val",
        config.evaluation.query_sources,
        validation_limit(config),
    )
    asking = partial(TextRows, queries, "queries", "query")
    searched = partial(TextRows, corpus, "corpus", "passage")
    stores = {
        "train-tokens": [asking(rows.queries), searched(rows.passages)],
        "val-queries": [asking(val.queries)],
        "val-passages": [searched(val.passages)],
    }
    tokens = write_tokens(context, config.model, encoder, stores, context.folder / DATA)
    data = TripletData(tokens["train-tokens"], rows.triplets, rows.family)
    return data, val.with_texts(tokens["val-queries"], tokens["val-passages"])


def _of_several_sources(
    context: Context, config: Config, encoder: Encoder, family: Rows
) -> tuple[TripletData, RetrievalSet, dict[str, int]]:
    """The same where sources of relevance have more pairs, whose texts are read here; and how many each has."""
    from patent_embed.training.data import build_triplets
    from patent_embed.training.pairs import with_relevance

    corpus = corpus_of(context, config.model, "publication_number", "codes")
    splits, asked, mined = (context.table(name) for name in ("splits", "queries", "negatives"))
    judged, training = judgements_of(context.inputs["queries"]), config.training
    own = build_triplets(
        encoder, corpus, splits, asked, mined, training.query_sources, mined=training.mined_negatives, judged=judged
    )
    known = relevance_step.known_of(context, corpus, family)
    data, counts = with_relevance(encoder, own, known, config.relevance.weights())
    return data, _validation(encoder, context, config, known), counts


def _cut(encoder: Encoder, context: Context, config: Config) -> dict[str, int]:
    """How much of what is searched the encoder does not read, of ``_LOOKED_AT`` patents' at most."""
    from patent_embed.encoder.passages import cut_into_passages, tokens_not_read

    numbers = context.table("splits", "splits", "publication_number")["publication_number"].combine_chunks()
    order = np.argsort(hash_strings(numbers, config.run.seed), kind="stable")
    texts = texts_of_corpus(context, config.model, np.sort(order[:_LOOKED_AT]))
    lengths, most = encoder.whole_lengths(texts, "passage"), config.model.passages_per_patent
    over, several = np.maximum(lengths - encoder.max_seq_length, 0), dict[str, int]()
    if most > 1:
        cut = cut_into_passages(encoder, texts, most)
        over, several = tokens_not_read(encoder, cut), {"passages_per_patent": most, "made": len(cut.texts)}
    return several | {
        "passages": len(lengths),
        "longer": int((over > 0).sum()),
        "tokens": int(lengths.sum()),
        "tokens_not_read": int(over.sum()),
        "read_at_most": encoder.max_seq_length,
    }


def _validation(encoder: Encoder, context: Context, config: Config, known: Known) -> RetrievalSet:
    """What judges the epochs: queries of val, or pairs of its patents."""
    from patent_embed.training.pairs import linked_set
    from patent_embed.training.validation import build_retrieval_set

    training, asked = config.training, context.table("queries")
    if not training.validate_epochs or training.validate_on == "queries":
        judges = asked if training.validate_epochs else asked.slice(0, 0)
        splits, sources = context.table("splits"), config.evaluation.query_sources
        return build_retrieval_set(encoder, known.corpus, splits, judges, "val", sources, validation_limit(config))
    found = linked_set(encoder, known, "val", validation_limit(config))
    if not len(found.queries):
        raise UserError(
            "training.validate_on is 'relevance', and no val patent is linked to another one, as by a citation: there "
            "is nothing to judge epochs by; set training.validate_on=queries, or a weight of a source that has links"
        )
    return found


def validation_limit(config: Config) -> Limit | None:
    """Of the patents that val is searched in."""
    from patent_embed.training.validation import Limit

    most = config.training.validation_patents
    return None if most is None else Limit(most, config.run.seed)


def _require_no_contamination(artifact: Artifact) -> None:
    """Raises RuntimeError where the training reads a patent that it is judged on: a defect, no user's mistake."""
    if wrong := artifact.report.get("contamination", {}).get("held_out_texts"):
        raise RuntimeError(f"{wrong} training texts are of families of val or test")


def _notes(artifact: Artifact) -> list[str]:
    lines = []
    if sources := artifact.report.get("triplets"):
        lines.append("triplets by source: " + counted(sources))
    if found := artifact.report.get("contamination"):
        lines.append(f"of {found['texts']:,} training texts {found['held_out_texts']:,} are of families of val or test")
    if cut := artifact.report.get("cut"):
        lines += _said_of_cut(cut)
    return lines


def _said_of_cut(cut: Mapping[str, int]) -> list[str]:
    share, read = cut["tokens_not_read"] / max(cut["tokens"], 1), cut["read_at_most"]
    if "passages_per_patent" not in cut:
        what = f"of {cut['passages']:,} passages {cut['longer']:,} are longer than the {read} tokens that are read"
        return [f"{what}: {share:.1%} of all their tokens are cut"] if cut["longer"] else []
    return [
        f"{cut['passages']:,} texts are {cut['made']:,} passages of {read} tokens at most; {cut['longer']:,} are "
        f"longer than {cut['passages_per_patent']} of them: {share:.1%} of all tokens are cut; trainings read the first"
    ]
