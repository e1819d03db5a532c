"""What is searched of a patent: a template over its fields, of which the abstract alone is the plainest."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from patent_embed.config.model import NAMED_VIEWS, ModelConfig, view_fields

_AT_ONCE = 10_000  # patents
_COLUMN = {
    "title": "title",
    "abstract": "abstract",
    "claim": "claims",
    "claims": "claims",
    "description": "description",
}


def view_columns(config: ModelConfig) -> list[str]:
    """Columns of the corpus that the view reads."""
    return list(dict.fromkeys(_COLUMN[name] for name in view_fields(config.passage_view)))


def viewed(corpus: pa.Table, config: ModelConfig) -> pa.Table:
    """``corpus`` with what is searched of each patent in the place of its ``abstract``.

    A field that a patent has not is left out with the rest of its line and the white space around it, so that a
    patent without claims is searched by its title and abstract, and nothing says that a claim is missing. Where no
    line is left, it is the abstract.

    Args:
        corpus: ``view_columns``, and others. For the abstract alone it is given back as it is.
    """
    names = view_fields(config.passage_view)
    if names == ["abstract"] and config.passage_view in NAMED_VIEWS:
        return corpus
    template = NAMED_VIEWS.get(config.passage_view, config.passage_view)
    lines = [(line, view_fields(line)) for line in template.splitlines()]
    # A piece at a time: claims and descriptions of a whole corpus would not fit as objects of Python.
    pieces = corpus.select(view_columns(config)).to_batches(max_chunksize=_AT_ONCE)
    texts = ([_passage(lines, names, patent) for patent in piece.to_pylist()] for piece in pieces)
    passages = pa.chunked_array([pa.array(each, pa.string()) for each in texts], pa.string())
    place = corpus.column_names.index("abstract") if "abstract" in corpus.column_names else None
    if place is None:
        return corpus.append_column("abstract", passages)
    return corpus.set_column(place, "abstract", passages)


def _passage(lines: Iterable[tuple[str, list[str]]], names: list[str], patent: dict[str, object]) -> str:
    values = {name: _value(name, patent) for name in names}
    parts = []
    for line, used in lines:
        if all(values[name] for name in used):
            parts.append(line.format_map(values))
    return "\n".join(parts).strip() or values["abstract"]


def _value(name: str, patent: dict[str, object]) -> str:
    found = patent[_COLUMN[name]]
    if name == "claim":
        return str(found[0]) if isinstance(found, list) and found else ""
    return "\n".join(map(str, found)) if isinstance(found, list) else str(found or "")
