"""The README.md of a tuned model's folder, in Hugging Face's model card format: ``model_card.md.jinja`` is its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from patent_embed.data.schemas import RETRIEVAL_METRICS
from patent_embed.evaluation.measure import EvalResult
from patent_embed.folders import write_atomic
from patent_embed.report import content
from patent_embed.report.content import RunReport, Table
from patent_embed.report.markdown import Markdown, code, escaped, fenced, markdown_table
from patent_embed.report.templates import fill

# Written for this card. Both snippets leave the similarities in ``scores``.
_QUERIES = ["怎样减小电机在低速运行时的转矩脉动", "可折叠且便于携带的晾衣架"]
_PASSAGES = [
    "一种电机控制方法，根据转子位置对绕组电流进行谐波补偿，从而降低低速时的转矩脉动和噪声。",
    "一种晾衣架，包括底座、伸缩杆和铰接的横杆，横杆可向内折叠，收起后体积小，方便携带。",
]


@dataclass(frozen=True)
class ModelCard:
    """What the card says of the model itself.

    Attributes:
        name: title of the card and name in the metrics.
        base_model: hub id (``BAAI/bge-base-zh-v1.5``); None when it was a local folder, which others could not load.
        pooling: of token vectors; embeddings are then scaled to unit length.
        query_prompt, passage_prompt: texts put in front of every query and passage; may be empty.
        dim: of an embedding.
        max_seq_length: tokens; longer texts are cut.
        dense: layers follow pooling, which only sentence-transformers loads.
        tuned: which of the report's results is this model.
        training: shown as a table: ``{"loss": "triplet", "margin": "0.3", ...}``.
    """

    name: str
    base_model: str | None
    pooling: Literal["mean", "cls", "lasttoken"]
    query_prompt: str
    passage_prompt: str
    dim: int
    max_seq_length: int
    dense: bool = False
    tuned: str = "tuned"
    training: Mapping[str, str] = field(default_factory=dict)


def write_model_card(model_dir: Path, card: ModelCard, report: RunReport) -> None:
    """Write ``model_dir/README.md``."""
    snippets = usage_snippets(
        f"path/to/{card.name}", card.pooling, card.query_prompt, card.passage_prompt, card.max_seq_length
    )
    if card.dense:
        del snippets["transformers"]
    verdicts = [content.verdict_line(comparison) for comparison in report.comparisons if comparison.split == "test"]
    found = {
        "card": card,
        "report": report,
        "header": Markdown(yaml.safe_dump(_header(card, report), allow_unicode=True, sort_keys=False)),
        "snippets": snippets,
        "evidence": [*verdicts, *map(content.sentence, content.evidence_lines(report))],
        "summary": report.results[0].summary("test") if report.results else {},
        "tested": content.result_table(report.results, "test"),
        "training": _training_table(card, report),
        "versions": content.versions_text(report.versions),
    }
    filters: dict[str, Callable[..., str]] = {"table": markdown_table, "repr": repr, "fenced": fenced, "code": code}
    text = fill("model_card.md.jinja", found, filters=filters, escaped=escaped)
    write_atomic(model_dir / "README.md", text.encode())


def usage_snippets(
    model: str, pooling: str, query_prompt: str, passage_prompt: str, max_seq_length: int
) -> dict[str, str]:
    """Python programs that embed two queries and two passages and print their similarities, ``scores`` (2, 2).

    Args:
        model: a folder or a hub id.
        pooling: ``mean``, ``cls`` or ``lasttoken``.
        query_prompt: put in front of every query.
        passage_prompt: put in front of every passage.
        max_seq_length: tokens; longer texts are cut.

    Returns:
        ``{"sentence-transformers": ..., "transformers": ...}``.
    """
    texts = f"queries = {_literal(_QUERIES)}\npassages = {_literal(_PASSAGES)}\n"
    with_library = f"""\
from sentence_transformers import SentenceTransformer

{texts}
model = SentenceTransformer({model!r})
q = model.encode_query(queries, normalize_embeddings=True)  # puts the query prompt in front
p = model.encode_document(passages, normalize_embeddings=True)
scores = q @ p.T
print(scores)
"""
    plain = f"""\
import torch
from transformers import AutoModel, AutoTokenizer

{texts}
tokenizer = AutoTokenizer.from_pretrained({model!r})
model = AutoModel.from_pretrained({model!r}).eval()


def embed(texts, prompt):
    texts = [prompt + text for text in texts]
    batch = tokenizer(
        texts, padding=True, truncation=True, max_length={max_seq_length}, padding_side="right", return_tensors="pt"
    )
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"]
    {_POOLING[pooling]}
    return torch.nn.functional.normalize(pooled, dim=-1)


scores = embed(queries, {query_prompt!r}) @ embed(passages, {passage_prompt!r}).T
print(scores)
"""
    return {"sentence-transformers": with_library, "transformers": plain}


_POOLING = {
    "mean": "pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
    "cls": "pooled = hidden[:, 0]",
    "lasttoken": "pooled = hidden[torch.arange(len(hidden)), mask.sum(1) - 1]",
}


def _literal(texts: list[str]) -> str:
    return "[\n" + "".join(f'    "{text}",\n' for text in texts) + "]"


def _tuned(card: ModelCard, report: RunReport) -> EvalResult | None:
    return next((result for result in report.results if result.name == card.tuned), None)


def _header(card: ModelCard, report: RunReport) -> dict[str, Any]:
    header: dict[str, Any] = {
        "language": ["zh"],
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "patents", "patent-embed"],
    }
    if card.base_model:
        header["base_model"] = card.base_model
    result = _tuned(card, report)
    if result is None or not len(result.rows("test")):
        return header
    found = result.summary("test")["metrics"]
    metrics = [
        {"type": name.replace("@", "_at_"), "value": round(found[name], 6), "name": name} for name in RETRIEVAL_METRICS
    ]
    header["model-index"] = [
        {
            "name": card.name,
            "results": [
                {
                    "task": {"type": "information-retrieval", "name": "Information Retrieval"},
                    "dataset": {"type": "patents", "name": "held-out patents of the training corpus", "split": "test"},
                    "metrics": metrics,
                }
            ],
        }
    ]
    return header


def _training_table(card: ModelCard, report: RunReport) -> Table:
    """What it was trained on, and how."""
    counts = {
        **{f"patents, {split}": f"{count:,}" for split, count in report.splits.items()},
        **{f"queries, {source}": f"{count:,}" for source, count in report.query_sources.items()},
        **{f"negatives, {rung}": f"{count:,}" for rung, count in report.negatives.get("rungs", {}).items()},
        **card.training,
    }
    return Table("Training", ["", ""], list(counts.items()))
