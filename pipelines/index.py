"""A run's corpus and its vectors in other stores: ``OUTPUT/index/<store>/``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed import __version__
from patent_embed.artifacts import Artifact
from patent_embed.encoder.encoder import prompts_of
from patent_embed.folders import Folder, folder_at, json_bytes, write_json
from patent_embed.ownership import claim, require_ours
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.terminal import say
from patent_embed.stores.base import STORES, Content, Store
from pipelines.delivery import replacing
from pipelines.served_run import Embedded, embedded
from pipelines.session import ray_session
from pipelines.store_writers.base import StoreWriter, groups_of, writer_of

INDEX = "index"


def index_run(output_dir: str, stores: Sequence[str], data_dir: str | None = None) -> None:
    """Write the corpus of the run in ``output_dir``, or that in ``data_dir``, into ``stores`` (names of ``STORES``).

    Raises:
        UserError: no run has finished there, or the package of a store is not installed.
    """
    chosen = [STORES[name] for name in dict.fromkeys(stores)]
    for store in chosen:
        store.require()
    require_ours(folder_at(output_dir), [INDEX])  # before a corpus is embedded
    with embedded(output_dir, data_dir) as found:
        claim(found.output.folder, [INDEX])
        content = content_of(found)
        say(f"corpus  {content.patents:,} patents")
        for store in chosen:
            watch = Stopwatch()
            _write(store, content, found)
            say(f"{store.name:7} {output_dir.rstrip('/')}/{INDEX}/{store.name}  {duration(watch.seconds)}")


def content_of(found: Embedded) -> Content:
    """The corpus with its vectors, as stores take it."""
    vectors = {name: served.matrix() for name, served in found.models.items()}
    rows = {len(each) for each in vectors.values()}
    (patents,) = rows  # of one corpus
    return Content(partial(_groups, found.corpus), patents, vectors)


def _write(store: Store, content: Content, found: Embedded) -> None:
    """Make the store's folder aside, and give it its place when it is whole. What can be written into an object store
    itself is: ``about.json`` is there when all is."""
    output, place = found.output.folder, f"{INDEX}/{store.name}"
    writer = writer_of(store, output)
    if output.everywhere:
        there = output / place
        there.delete("about.json")
        facts = _by_workers(writer, content, found, there) if writer else store.write_there(content, there)
        if facts is not None:
            there.write("about.json", json_bytes(_about(store, content, found) | dict(facts)))
            return
    with replacing(found.output.here / place) as fresh:
        facts = _by_workers(writer, content, found, folder_at(fresh)) if writer else store.write(content, fresh)
        write_json(fresh / "about.json", _about(store, content, found) | dict(facts))
    if output.everywhere:
        output.delete(place)
        found.output.publish(place)


def _by_workers(writer: StoreWriter, content: Content, found: Embedded, folder: Folder) -> Mapping[str, Any]:
    with ray_session(found.run.config.run.log_level):
        return writer.write(found.corpus, found.models, content, folder)


def _about(store: Store, content: Content, found: Embedded) -> dict[str, Any]:
    """What somebody needs to search: how queries are embedded."""
    config = found.run.config.model
    models = {}
    for name, served in found.models.items():
        prompts = prompts_of(served.model.folder(), config)
        models[name] = {
            "dim": int(content.vectors[name].shape[1]),
            "query_prompt": prompts["query"],
            "passage_prompt": prompts["passage"],
            "vectors_digest": served.vectors.digest,
        }
    return {
        "schema_version": 1,
        "written_by": f"patent-embed {__version__}",
        "store": store.name,
        "holds": store.holds,
        "patents": content.patents,
        "models": models,
    }


def _groups(corpus: Artifact, fields: Sequence[str]) -> Iterator[pa.Table]:
    """``fields`` of the patents, a row group at a time, with nulls for what the corpus has not."""
    for part in corpus.parts("corpus"):
        yield from groups_of(pq.ParquetFile(part), fields)
