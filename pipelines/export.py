"""A finished run's model in other formats, each measured against the model itself before anyone gets it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patent_embed.config.commands import Format
from patent_embed.encoder.encoder import Encoder, without_bars
from patent_embed.encoder.export import Encode, export_format, load_format, require_packages
from patent_embed.encoder.runtimes import ONNX_FILE, OPENVINO_FILE
from patent_embed.errors import UserError
from patent_embed.evaluation.measure import HEADLINE
from patent_embed.folders import folder_at, write_atomic, write_json
from patent_embed.hashing import folder_digest
from patent_embed.ownership import claim
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.terminal import say
from pipelines.delivery import replacing
from pipelines.measured_texts import Encoded, MeasuredTexts
from pipelines.reporting import versions
from pipelines.run_folder import EXPORT, open_run, require_together
from pipelines.steps.train import MODEL

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
    texts = MeasuredTexts(found, max_documents)
    say(f"{len(texts.queries):,} test queries against {len(texts.documents):,} of {texts.corpus:,} documents")
    encoder = Encoder.load(model, device="cuda" if torch.cuda.is_available() else "cpu")
    vectors = texts.encoded(lambda rows, kind: encoder.encode(rows, kind, precision="fp32"))
    reference = texts.ndcg(*vectors)
    say(f"{'fp32':13} nDCG@10 {reference:.4f}  (the model itself)")
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
            say(f"{'':13} {output_dir.rstrip('/')}/{EXPORT}/{format}")
    if refused:
        raise UserError(
            f"more than {LARGEST_LOSS:.1%} of nDCG@10 on test would be lost: {'; '.join(refused)}; nothing of it was "
            "written; use a wider format, or --force to take the loss"
        )


def _measure(texts: MeasuredTexts, encode: Encode, reference: float, vectors: Encoded) -> dict[str, Any]:
    """Figures of a format beside those of the model itself: its nDCG@10 and its ``vectors``."""
    own = texts.encoded(encode)
    ndcg = texts.ndcg(*own)
    cosine = np.concatenate([(a * b).sum(axis=1) for a, b in zip(own, vectors, strict=True)])
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
        f"{format:13} nDCG@10 {figures[HEADLINE]:.4f}  ({0 - figures['relative_loss']:+.2%})  cosine "
        f"{figures['cosine_mean']:.5f}, lowest {figures['cosine_min']:.5f}  {duration(seconds)}"
    )


def _publish(model: Path, fresh: Path, target: Path, format: Format, figures: dict[str, Any]) -> None:
    """Put figures and card beside the format, and all of it into its place."""
    size = sum(path.stat().st_size for path in fresh.rglob("*") if path.is_file())
    about = {"schema_version": 1, "format": format, "model_digest": folder_digest(model)}
    written_by = versions(("torch", "transformers", "sentence-transformers", "onnxruntime", "openvino", "nncf"))
    write_json(fresh / "export.json", about | figures | {"bytes": size, "versions": written_by})
    write_atomic(fresh / "README.md", _card(model, format, figures).encode())
    with replacing(target) as place:
        shutil.copytree(fresh, place, dirs_exist_ok=True)


_USAGE = {
    "onnx": f"""

With sentence-transformers and optimum-onnx:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder", backend="onnx")
```

optimum-onnx 0.1 needs sentence-transformers 5 with transformers 4.57. onnxruntime alone reads `{ONNX_FILE}`:
`input_ids` and `attention_mask` (batch, tokens) to `last_hidden_state`, pooled as `1_Pooling/config.json` says.""",
    "openvino": f"""

With sentence-transformers and optimum-intel:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder", backend="openvino")
```

optimum-intel 2.2 needs a transformers below 5.6. openvino alone reads `{OPENVINO_FILE}`: `input_ids` and
`attention_mask` (batch, tokens) to `last_hidden_state`, pooled as `1_Pooling/config.json` says. It was measured in
fp32; without `INFERENCE_PRECISION_HINT: f32` OpenVINO computes in bf16 on CPUs that have it.""",
}


def _card(model: Path, format: Format, figures: dict[str, Any]) -> str:
    """The model's card with what was measured of this format."""
    card = (model / "README.md").read_text(encoding="utf-8").rstrip("\n")
    usage = next((text for start, text in _USAGE.items() if format.startswith(start)), "")
    return (
        f"{card}\n\n## This folder: {format}\n\n"
        f"nDCG@10 {figures[HEADLINE]:.4f} on {figures['queries']:,} test queries against {figures['documents']:,} "
        f"documents, in fp32 {figures[f'fp32_{HEADLINE}']:.4f}; cosine to the fp32 embeddings "
        f"{figures['cosine_mean']:.5f} in the mean, {figures['cosine_min']:.5f} at the lowest.{usage}\n"
    )
