"""Whether programs that serve a run's model give the vectors that the run was measured with; what differs, by name."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

import numpy as np
import torch

from patent_embed.arrays import Vectors
from patent_embed.config.commands import VerifyArguments
from patent_embed.config.model import Kind
from patent_embed.credentials import redacted
from patent_embed.encoder.encoder import Encoder, prompts_of, without_bars
from patent_embed.encoder.faults import diagnose
from patent_embed.encoder.hub import resolve_model
from patent_embed.encoder.model_folder import read_sentence_transformer_files
from patent_embed.errors import UserError
from patent_embed.evaluation.agreement import agreement, unit
from patent_embed.folders import folder_at, write_json
from patent_embed.hashing import folder_digest
from patent_embed.ownership import claim
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.terminal import note, say
from patent_embed.report.served import FILE, EngineFigures, Served, show_served
from patent_embed.run_lock import RunLock
from pipelines.embedding_engines.base import EmbeddingEngine, PublishedModel
from pipelines.embedding_engines.endpoint import engine_of
from pipelines.measured_texts import Encoded, MeasuredTexts
from pipelines.run_folder import EXPORT, FinishedRun, open_run, require_together
from pipelines.steps.train import ADAPTER, MODEL

_WARM_UP = 8  # texts before the clock starts
_NOT_OF_LENGTH_1 = 1e-2


@without_bars()
def run(arguments: VerifyArguments) -> None:
    """Ask each engine for the vectors of the run's test queries and some passages; the table goes to the terminal, into
    the reports, the model's card and ``verified.json``.

    Raises:
        UserError: there is no finished run or no model, an engine cannot be asked, after the others were, or one
            differs from what was measured, which is told in the table, too.
    """
    out = Path(arguments.output_dir).resolve()
    found, model = open_run(arguments.output_dir), out / MODEL
    if found is None or not model.is_dir():
        raise UserError(
            f"{arguments.output_dir!r} holds no finished run with a {MODEL}/ folder on this machine, so there is "
            "nothing that was measured and could be served; name the --output_dir of a finished run"
        )
    require_together(found, model)
    published = _published(out, found)
    engines = [engine_of(name, arguments.endpoint_model) for name in dict.fromkeys(arguments.engines)]
    for engine in engines:
        engine.require(published)
    texts = MeasuredTexts(found, arguments.max_passages)
    say(f"{len(texts.queries):,} test queries and {len(texts.documents):,} of {texts.corpus:,} passages")
    own = texts.vectors(found, model)
    ndcg = texts.ndcg(*own)
    say(f"{'engine':22} cosine: lowest    mean  first ten  nDCG@10  texts/s")
    say(f"{'the pipeline itself':22} {'':14} {'':7} {'':10} {ndcg:8.4f}")
    figures, unasked = list[EngineFigures](), list[str]()
    for engine in engines:
        try:
            figures.append(_told(_figures(engine, published, texts, own)))
        except UserError as error:  # what the others serve was measured all the same
            unasked.append(str(error))
            say(f"{redacted(engine.name):22} not asked: {error}")
    if not figures:
        raise UserError("; ".join(unasked))
    served = Served(folder_digest(model), len(texts.queries), len(texts.documents), ndcg, _machine(), figures)
    with RunLock(folder_at(arguments.output_dir), "verify"):
        require_together(found, model)
        claim(folder_at(arguments.output_dir), [FILE])
        write_json(out / FILE, served.as_json())
        if without := show_served(out, served):
            note(f"{', '.join(without)} of an earlier version has no place for this table; the run's command adds one")
    if differing := [each for each in figures if each.differs]:
        raise UserError(
            f"{len(differing)} of {len(figures)} engines do not serve what was measured: "
            + "; ".join(f"{each.engine}: {each.differs}" for each in differing)
            + "; serve the model as its card says, or measure what is served"
            + "".join(f"; not asked: {each}" for each in unasked)
        )
    if unasked:
        raise UserError("; ".join(unasked))


def _published(out: Path, run: FinishedRun) -> PublishedModel:
    files = read_sentence_transformer_files(out / MODEL)
    assert files.max_seq_length is not None  # a published model says what it reads
    base, adapter = None, out / ADAPTER
    with contextlib.suppress(UserError):  # it is needed for an adapter, and to know its vectors
        base = resolve_model(run.config.model.name, trust_remote_code=run.config.model.trust_remote_code).resolve()
    return PublishedModel(
        model=out / MODEL,
        adapter=adapter if adapter.is_dir() else None,
        base=base if base is not None and base.is_dir() else None,
        exports=out / EXPORT,
        prompts=prompts_of(out / MODEL),
        max_seq_length=files.max_seq_length,
    )


def _figures(engine: EmbeddingEngine, published: PublishedModel, texts: MeasuredTexts, own: Encoded) -> EngineFigures:
    with engine.opened(published) as encode:
        encode(texts.documents[:_WARM_UP], "passage")
        watch = Stopwatch()
        queries, documents = encode(texts.queries, "query"), encode(texts.documents, "passage")
        rate = (len(texts.queries) + len(texts.documents)) / watch.seconds
        lengths = np.linalg.norm(np.concatenate([queries, documents]), axis=1)
    found = Encoded(unit(queries), unit(documents))
    name = redacted(engine.name)
    if queries.shape[1:] != own.queries.shape[1:]:
        return EngineFigures(name, 0.0, 0.0, 0.0, texts.ndcg(*found), rate, _why(published, texts, own, found))
    same = agreement((own.queries, found.queries), (own.documents, found.documents))
    differs = ""
    if not same.cosines_hold:
        differs = _why(published, texts, own, found)
    elif not same.holds:
        differs = f"arithmetic of few bits: of the first ten passages {same.overlap:.1%} stay"
    if (odd := np.abs(lengths - 1) > _NOT_OF_LENGTH_1).any():
        reach = f"{lengths.min():.3g} to {lengths.max():.3g}"
        told = f"{odd.sum():,} of {len(lengths):,} vectors are not of length 1 ({reach})"
        differs = "; ".join(filter(None, [differs, f"no normalisation: {told}"]))
    cosines = same.cosines
    return EngineFigures(
        name, float(cosines.min()), float(cosines.mean()), same.overlap, texts.ndcg(*found), rate, differs
    )


def _why(published: PublishedModel, texts: MeasuredTexts, own: Encoded, found: Encoded) -> str:
    say(f"{'':22} looking for what differs")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = Encoder.load(published.model, device=device)
    base = Encoder.load(published.base, device=device) if published.base is not None else None

    def by_kind(vectors: Encoded) -> dict[Kind, Vectors]:
        return {"query": vectors.queries, "passage": vectors.documents}

    asked: dict[Kind, list[str]] = {"query": texts.queries, "passage": texts.documents}
    return diagnose(encoder, asked, by_kind(own), by_kind(found), base).words


def _told(figures: EngineFigures) -> EngineFigures:
    say(
        f"{figures.engine:22} {figures.cosine_min:14.5f} {figures.cosine_mean:7.5f} {figures.overlap:10.1%} "
        f"{figures.ndcg:8.4f} {figures.texts_per_s:8,.0f}  {'differs' if figures.differs else 'as measured'}"
    )
    if figures.differs:
        say(f"{'':22} {figures.differs}")
    return figures


def _machine() -> str:
    if torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name()}"
    return f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}"
