"""A finished run's model in other formats, each measured against the model itself before anyone gets it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from patent_embed.config.commands import Format
from patent_embed.data.views import view_columns, viewed
from patent_embed.encoder.encoder import Encoder, without_bars
from patent_embed.encoder.export import ONNX_FILE, Encode, export_format, load_format, require_packages
from patent_embed.errors import UserError
from patent_embed.evaluation.measure import HEADLINE, evaluate, headline_mask
from patent_embed.evaluation.systems import EmbeddingSystem
from patent_embed.folders import folder_at, write_atomic, write_json
from patent_embed.hashing import folder_digest, hash64
from patent_embed.ownership import claim
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.terminal import say
from pipelines.delivery import switch
from pipelines.reporting import versions
from pipelines.run_folder import FinishedRun, open_run, require_together
from pipelines.steps.train import MODEL

EXPORT = "export"
LARGEST_LOSS = 0.005  # of nDCG@10, relative: a format that loses more is refused


@without_bars()
def export_run(output_dir: str, formats: Sequence[Format], *, force: bool = False, max_documents: int = 20_000) -> None:
    """Write the model of the run in ``output_dir`` to ``export/<format>/`` there, with the figures of each format.

    Args:
        force: also publish what loses more than ``LARGEST_LOSS``.
        max_documents: at most this many are searched, those that are relevant first; and no more queries.

    Raises:
        UserError: there is no finished run or no model, a package is missing, or formats were refused.
    """
    for format in formats:
        require_packages(format)
    out = Path(output_dir).resolve()
    found, model = open_run(output_dir), out / MODEL
    if found is None or not model.is_dir():
        raise UserError(
            f"{output_dir!r} holds no finished run with a {MODEL}/ folder on this machine, so there is nothing to "
            "export and no test set to measure it on; name the --output_dir of a finished run"
        )
    require_together(found, model)
    claim(folder_at(output_dir), [EXPORT])
    texts = _TestSet(found, max_documents)
    say(f"{len(texts.queries):,} test queries against {len(texts.documents):,} of {texts.corpus:,} documents")
    encoder = Encoder.load(model, device="cuda" if torch.cuda.is_available() else "cpu")
    reference, vectors = texts.measure(lambda rows, kind: encoder.encode(rows, kind, precision="fp32"))
    say(f"{'fp32':10} nDCG@10 {reference:.4f}  (the model itself)")
    refused = []
    for format in dict.fromkeys(formats):
        with tempfile.TemporaryDirectory() as scratch:
            watch, fresh = Stopwatch(), export_format(model, Path(scratch) / format, format)
            figures = _measure(texts, load_format(fresh, format), reference, vectors)
            lost = figures["relative_loss"] > LARGEST_LOSS
            say(_line(format, figures, watch.seconds) + ("  refused" if lost and not force else ""))
            if lost and not force:
                ndcg = figures[HEADLINE]
                refused.append(f"{format} loses {figures['relative_loss']:.2%} ({reference:.4f} to {ndcg:.4f})")
                continue
            _publish(model, fresh, out / EXPORT / format, format, figures | {"forced": lost})
            say(f"{'':10} {output_dir.rstrip('/')}/{EXPORT}/{format}")
    if refused:
        raise UserError(
            f"more than {LARGEST_LOSS:.1%} of nDCG@10 on test would be lost: {'; '.join(refused)}; nothing of it was "
            "written; use a wider format, or --force to take the loss"
        )


def _measure(texts: _TestSet, encode: Encode, reference: float, vectors: np.ndarray) -> dict[str, Any]:
    """Figures of a format beside those of the model itself: its nDCG@10 and its ``vectors``."""
    ndcg, own = texts.measure(encode)
    cosine = (own * vectors).sum(axis=1)
    return {
        HEADLINE: ndcg,
        f"fp32_{HEADLINE}": reference,
        "relative_loss": (reference - ndcg) / reference if reference else 0.0,
        "cosine_mean": float(cosine.mean()),
        "cosine_min": float(cosine.min()),
        "queries": len(texts.queries),
        "documents": len(texts.documents),
        "documents_in_corpus": texts.corpus,
    }


def _line(format: Format, figures: dict[str, Any], seconds: float) -> str:
    return (
        f"{format:10} nDCG@10 {figures[HEADLINE]:.4f}  ({0 - figures['relative_loss']:+.2%})  cosine "
        f"{figures['cosine_mean']:.5f}, lowest {figures['cosine_min']:.5f}  {duration(seconds)}"
    )


def _publish(model: Path, fresh: Path, target: Path, format: Format, figures: dict[str, Any]) -> None:
    """Put figures and card beside the format, and all of it into its place."""
    size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
    about = {"schema_version": 1, "format": format, "model_digest": folder_digest(model)}
    written_by = versions(("torch", "transformers", "sentence-transformers", "onnxruntime"))
    write_json(fresh / "export.json", about | figures | {"bytes": size, "versions": written_by})
    write_atomic(fresh / "README.md", _card(model, format, figures).encode())
    target.parent.mkdir(exist_ok=True)
    aside = target.with_name(f".{target.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(fresh, aside)
    switch(aside, target)


class _TestSet:
    """Test queries of a run and the documents that they are searched in."""

    def __init__(self, run: FinishedRun, max_documents: int) -> None:
        config, tables = run.config, run.tables
        splits, asked = tables.splits.table("splits"), tables.queries.table("queries")
        test = splits.filter(pc.equal(splits["split"], "test"))
        asked = asked.filter(pc.is_in(asked["publication_number"], value_set=test["publication_number"]))
        self._sources, self.corpus = config.evaluation.query_sources, len(splits)
        asked = asked.filter(pa.array(headline_mask(asked["source"], self._sources)))
        if not len(asked):
            raise UserError("the run has no test queries, so an export could not be measured; give splits.test a share")
        self.queries = asked.take(_lowest(asked["publication_number"], max_documents, config.run.seed))
        families = test.filter(pc.is_in(test["publication_number"], value_set=self.queries["publication_number"]))
        relevant = pc.is_in(splits["family"], value_set=families["family"]).to_numpy(zero_copy_only=False)
        others = np.flatnonzero(~relevant)
        ids = splits["publication_number"].take(pa.array(others))
        room = max(0, max_documents - int(relevant.sum()))
        rows = np.sort(np.concatenate([np.flatnonzero(relevant), others[_lowest(ids, room, config.run.seed)]]))
        self._splits = splits.take(pa.array(rows))
        corpus = viewed(tables.ingest.table("corpus", *view_columns(config.model)), config.model)
        self.documents = corpus["abstract"].take(pa.array(rows))
        self._no_negatives = tables.negatives.table("negatives").slice(0, 0)

    def measure(self, encode: Encode) -> tuple[float, np.ndarray]:
        """nDCG@10, and the embeddings of queries and documents (n, dim). What a narrow type overflows to counts as a
        vector of zeros, which is found by chance."""
        queries = np.nan_to_num(encode(self.queries["query"].to_pylist(), "query"), posinf=0, neginf=0)
        documents = np.nan_to_num(encode(self.documents.to_pylist(), "passage"), posinf=0, neginf=0)
        system = EmbeddingSystem(queries, documents)
        result = evaluate("", system, self.queries, self._splits, self._no_negatives, self._sources)
        ndcg: float = result.summary("test")["metrics"][HEADLINE]
        return ndcg, np.concatenate([queries, documents])


def _lowest(ids: pa.ChunkedArray, count: int, seed: int) -> np.ndarray:
    """Rows, in order, of the ``count`` ids with the lowest hashes: all where there are no more."""
    if len(ids) <= count:
        return np.arange(len(ids))
    hashes = np.array([hash64(name, seed, "export") for name in ids.to_pylist()], np.uint64)
    return np.sort(np.argsort(hashes, kind="stable")[:count])


_ONNX_USAGE = """

With sentence-transformers and optimum-onnx:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder", backend="onnx")
```

optimum-onnx 0.1 needs sentence-transformers 5 with transformers 4.57. onnxruntime alone reads `{file}`: `input_ids` and
`attention_mask` (batch, tokens) to `last_hidden_state`, to be pooled as `1_Pooling/config.json` says."""


def _card(model: Path, format: Format, figures: dict[str, Any]) -> str:
    """The model's card with what was measured of this format."""
    card = (model / "README.md").read_text(encoding="utf-8").rstrip("\n")
    usage = _ONNX_USAGE.format(file=ONNX_FILE) if format.startswith("onnx") else ""
    return (
        f"{card}\n\n## This folder: {format}\n\n"
        f"nDCG@10 {figures[HEADLINE]:.4f} on {figures['queries']:,} test queries against {figures['documents']:,} "
        f"documents, in fp32 {figures[f'fp32_{HEADLINE}']:.4f}; cosine to the fp32 embeddings "
        f"{figures['cosine_mean']:.5f} in the mean, {figures['cosine_min']:.5f} at the lowest.{usage}\n"
    )
