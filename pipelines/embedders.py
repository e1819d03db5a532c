"""Embedding on Ray Data: texts to vectors on as many actors as the cluster has GPUs (or groups of cores)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray

from patent_embed.artifacts import ModelRef
from patent_embed.config.model import Kind, ModelConfig
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.events import TextsEmbedded
from pipelines.engine import Emit, ignore
from pipelines.resources import NodeSize, cluster_nodes
from pipelines.session import GPU_ENV

if TYPE_CHECKING:
    from patent_embed.encoder.encoder import Encoder

_TEXTS_PER_BATCH = 1024
_CORES_PER_ACTOR = 4
_FEW_TEXTS = 2048  # where one actor would do the work this process does so few as well, without the actor's start
_FEW_AT_ONCE = 128
# In Ray's workers tokenizers stay on one core unless told: 3,600 texts/s instead of the 7,800 that an H200 embeds.
_TOKENIZER_ENV = {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": "8"}


def load_encoder(model: ModelRef, config: ModelConfig, gpu: bool, threads: int) -> Encoder:
    """An actor's encoder, on its GPU or with ``threads`` cores."""
    import torch

    from patent_embed.encoder.encoder import Encoder

    if not gpu:
        torch.set_num_threads(threads)
    return Encoder.load(model.folder(), config, device=torch.device("cuda" if gpu else "cpu"))


class Embedder:
    """An actor's encoder. Where calls overlap, one is tokenized while another is on the GPU."""

    def __init__(self, model: ModelRef, config: ModelConfig, gpu: bool, threads: int) -> None:
        self._encoder = load_encoder(model, config, gpu, threads)
        self._turn = threading.Lock()

    def vectors(self, texts: list[str], kind: Kind) -> np.ndarray:
        """(len(texts), dim) float32"""
        tokens = self._encoder.tokenize(texts, kind)
        with self._turn:
            return self._encoder.encode(tokens)


class EmbedTexts(Embedder):
    """Ray Data UDF: ``{"row", "text", "kind"}`` to ``{"row", "embedding"}``, every row exactly once."""

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Embed a batch."""
        embeddings = np.empty((len(batch["row"]), self._encoder.dim), np.float32)
        for kind in np.unique(batch["kind"]):
            mine = batch["kind"] == kind
            embeddings[mine] = self.vectors(batch["text"][mine].tolist(), kind)
        return {"row": batch["row"], "embedding": embeddings}


def embed_texts(
    texts: pa.Table,
    model: ModelRef,
    config: ModelConfig,
    emit: Emit = ignore,
    nodes: list[NodeSize] | None = None,
) -> np.ndarray:
    """Embeddings of ``texts`` (``text``, ``kind`` = query | passage) in row order: (len(texts), dim) float32.

    ``on_progress`` is called with texts done,
    texts in all, and seconds. ``nodes`` are what may be used; None: all of the cluster.
    """
    table = texts.append_column("row", pa.array(np.arange(len(texts))))
    few = nodes is None and few_texts(len(texts))
    blocks = [table.slice(begin, rows_of_block(few)) for begin in range(0, len(table), rows_of_block(few))]
    batches: Any = through_actors(EmbedTexts, (), blocks, model, config, few=few, nodes=nodes)
    result: np.ndarray | None = None
    watch, done, first = Stopwatch(), 0, 0
    for batch in batches:
        vectors = np.stack(list(batch["embedding"])) if batch["embedding"].dtype == object else batch["embedding"]
        if result is None:
            result = np.full((len(texts), vectors.shape[1]), np.nan, np.float32)
        result[batch["row"]] = vectors
        done += len(vectors)
        if not first:  # the rate is that of embedding, without the start of the actors
            watch, first = Stopwatch(), done
        elif watch.seconds > 0.5 or done == len(texts):  # blocks come in pairs
            emit(TextsEmbedded(done, len(texts), watch.seconds * done / (done - first)))
    if result is None or done != len(texts) or np.isnan(result).any():
        raise RuntimeError(f"{len(texts)} texts went in, {done} embeddings came out, or some hold NaN")
    return result


def few_texts(count: int) -> bool:
    """Whether this process embeds so many itself, in smaller blocks: an actor would take as long, after its start."""
    return count <= _FEW_TEXTS and _one_actor_here()


def rows_of_block(few: bool) -> int:
    """Texts of a block, of which an actor embeds one after the other. ``few``: as ``few_texts`` said."""
    return _FEW_AT_ONCE if few else _TEXTS_PER_BATCH


def through_actors(
    make: Callable[..., Callable[[dict[str, np.ndarray]], dict[str, Any]]],
    arguments: tuple[Any, ...],
    blocks: Sequence[pa.Table],
    model: ModelRef,
    config: ModelConfig,
    *,
    few: bool,
    nodes: list[NodeSize] | None = None,
    on_gpus: bool = True,
) -> Iterator[dict[str, Any]]:
    """What an ``Embedder``, or another that is made of a model, makes of ``blocks``, in any order.

    Args:
        make: the class, called with ``arguments`` and those of ``Embedder``; an actor each, or, where there are ``few``
            texts, this process has one.
        nodes: those that may be used; None: all of the cluster.
        on_gpus: whether actors take the GPUs, where there are any; otherwise they only tokenize.
    """
    pool, gpu, threads = actor_pool(nodes, on_gpus=on_gpus)
    arguments = (*arguments, model, config, gpu, threads)
    if few:
        embedder = make(*arguments)
        return (embedder(_columns(block)) for block in blocks)
    # Blocks are cut by who calls: a task that cuts them would wait for a CPU that the actors hold.
    rows = max((len(block) for block in blocks), default=1)
    embedded = ray.data.from_arrow(list(blocks)).map_batches(
        make, fn_constructor_args=arguments, batch_size=rows, **pool
    )
    batches: Iterator[dict[str, Any]] = iter(embedded.iter_batches(batch_size=None, batch_format="numpy"))
    return batches


def _columns(table: pa.Table) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in table.column_names}


def _one_actor_here() -> bool:
    """Whether the cluster is this machine alone, without a GPU, and too small for a second actor."""
    nodes = cluster_nodes()
    alone = sum(node["Alive"] for node in ray.nodes()) == len(nodes) == 1
    return alone and not nodes[0].gpus and _cpu_actors(nodes)[0] == 1


def actor_pool(nodes: list[NodeSize] | None = None, *, on_gpus: bool = True) -> tuple[dict[str, Any], bool, int]:
    """Arguments of ``map_batches`` for as many actors as the nodes (None: the cluster) have GPUs or groups of cores;
    whether each has a GPU; and its cores. Without GPUs because there shall be none, they tokenize on their cores."""
    nodes = cluster_nodes() if nodes is None else nodes
    gpus = sum(node.gpus for node in nodes) if on_gpus else 0
    actors, threads = (gpus, 1) if gpus else _cpu_actors(nodes)
    calls = 2 if gpus else 1  # see Embedder
    compute = ray.data.ActorPoolStrategy(
        size=actors, max_concurrent_calls_per_actor=calls, enable_true_multi_threading=True
    )
    pool: dict[str, Any] = {"compute": compute, "num_cpus": threads}
    if gpus:
        pool |= {"num_gpus": 1, "runtime_env": {"env_vars": GPU_ENV | _TOKENIZER_ENV}}
    elif not on_gpus:
        pool["runtime_env"] = {"env_vars": _TOKENIZER_ENV | {"RAYON_NUM_THREADS": str(threads)}}
    return pool, bool(gpus), threads


def _cpu_actors(nodes: list[NodeSize]) -> tuple[int, int]:
    """How many actors of how many cores fill the nodes: about _CORES_PER_ACTOR each, and no more than a node has."""
    cores = [int(node.cpus) for node in nodes if node.cpus >= 1] or [1]
    threads = min(count // max(1, count // _CORES_PER_ACTOR) for count in cores)
    return sum(count // threads for count in cores), threads
