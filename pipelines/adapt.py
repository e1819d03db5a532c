"""A new model's queries for the index of an old one: a small map, measured before anyone gets it."""

from __future__ import annotations

from pathlib import Path

import torch

from patent_embed.arrays import Vectors
from patent_embed.config.commands import AdaptArguments
from patent_embed.encoder.encoder import Encoder, without_bars
from patent_embed.encoder.export import export_model
from patent_embed.encoder.hub import resolve_model
from patent_embed.encoder.vector_map import append_map, fit_maps, mapped
from patent_embed.errors import UserError
from patent_embed.evaluation.measure import HEADLINE
from patent_embed.folders import folder_at, write_atomic, write_json
from patent_embed.hashing import folder_digest
from patent_embed.ownership import claim
from patent_embed.progress.terminal import say
from pipelines.delivery import replacing
from pipelines.measured_texts import Encoded, MeasuredTexts
from pipelines.model_names import plain_names
from pipelines.reporting import versions
from pipelines.run_folder import open_run

ADAPT = "adapt"
ENOUGH = 0.97  # of the new model's own nDCG@10: a map that keeps less is refused


@without_bars()
def run(arguments: AdaptArguments) -> None:
    """Write ``adapt/OLD-NEW/`` into the output folder of a run: NEW, with a map of its query vectors among OLD's.

    The map is fitted on passages of train, chosen on the queries of val, and measured on those of test.

    Raises:
        UserError: there is no finished run, too little of it to fit or measure, or the map keeps too little.
    """
    names = plain_names([arguments.old, arguments.new])
    found = open_run(arguments.output_dir)
    if found is None:
        raise UserError(
            f"{arguments.output_dir!r} holds no finished run, so there are no patents to fit a map on and no queries "
            "to measure it with; set --output_dir to the folder of one"
        )
    target = Path(arguments.output_dir).resolve() / ADAPT / "-".join(names)
    folders = [resolve_model(name).resolve() for name in (arguments.old, arguments.new)]
    texts = MeasuredTexts(found, arguments.max_documents, ("val", "test"))
    passages = int(texts.is_train.sum())
    say(
        f"{len(texts.queries):,} queries of val and test against {len(texts.documents):,} of {texts.corpus:,} "
        f"documents; the map is fitted on the {passages:,} of train"
    )
    if passages < 2:
        raise UserError(f"{passages} documents of train are no sample to fit a map on; raise --max_documents")
    claim(folder_at(arguments.output_dir), [ADAPT])
    old, (encoder, new) = _encoded(texts, folders[0])[1], _encoded(texts, folders[1])
    chosen, weight = _chosen(texts, old, new)
    figures = {
        "old": texts.ndcg(*old),
        "new": texts.ndcg(*new),
        "adapted": texts.ndcg(mapped(new.queries, weight), old.documents),
    }
    kept = figures["adapted"] / figures["new"] if figures["new"] else 0.0
    for name, what in (
        ("old", f"{names[0]}: queries and index"),
        ("new", f"{names[1]}: queries and index, all embedded again"),
        ("adapted", f"{names[1]}: queries, in the index of {names[0]} ({chosen})"),
    ):
        say(f"{name:8} nDCG@10 {figures[name]:.4f}  {what}")
    say(f"kept     {kept:.1%} of the new model's")
    if kept < ENOUGH and not arguments.force:
        raise UserError(
            f"the map keeps {kept:.1%} of the new model's nDCG@10 on test, less than {ENOUGH:.0%}: re-encode "
            "the corpus (patent-embed encode), or --force to take the loss; nothing was written"
        )
    about = {
        "schema_version": 1,
        **{f"{name}_digest": folder_digest(folder) for name, folder in zip(("old", "new"), folders, strict=True)},
        "map": chosen,
        "kept": kept,
        HEADLINE: figures,
        "queries": len(texts.queries),
        "documents": len(texts.documents),
        "fitted_on": passages,
        "versions": versions(("torch", "transformers", "sentence-transformers")),
    }
    _publish(encoder, weight, target, about, names)
    say(f"model    {arguments.output_dir.rstrip('/')}/{ADAPT}/{target.name}")


def _encoded(texts: MeasuredTexts, folder: Path) -> tuple[Encoder, Encoded]:
    encoder = Encoder.load(folder, device="cuda" if torch.cuda.is_available() else "cpu")
    return encoder, texts.encoded(lambda rows, kind: encoder.encode(rows, kind))


def _chosen(texts: MeasuredTexts, old: Encoded, new: Encoded) -> tuple[str, Vectors]:
    """The map with the best nDCG@10 on val, the first of equal ones, and what it is called."""
    maps = fit_maps(old.documents[texts.is_train], new.documents[texts.is_train])
    found = {name: texts.ndcg(mapped(new.queries, weight), old.documents, "val") for name, weight in maps.items()}
    best = max(found, key=found.__getitem__)
    return best, maps[best]


def _publish(encoder: Encoder, weight: Vectors, target: Path, about: dict[str, object], names: list[str]) -> None:
    with replacing(target) as fresh:
        export_model(encoder, fresh)
        append_map(fresh, weight)
        write_json(fresh / "adapt.json", about)
        write_atomic(fresh / "README.md", _card(about, names).encode())


def _card(about: dict[str, object], names: list[str]) -> str:
    old, new = names
    return f"""# Queries of {new} for an index of {old}

A SentenceTransformer folder: {new}, and behind it a linear map to the vectors of {old} (`2_Dense`). For **queries
only**: passages in the index are those that {old} wrote.

```python
from sentence_transformers import SentenceTransformer

queries = SentenceTransformer("path/to/this/folder").encode_query(["…"])  # search the old index with these
```

`adapt.json` has what was measured: it keeps {about["kept"]:.1%} of the nDCG@10 that {new} has in an index of its own.
"""
