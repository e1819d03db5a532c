"""Search on a cluster by Ray Serve: ``serve run pipelines.serve:app output=OUTPUT``.

The application is that of ``patent-embed serve``. Its site answers requests and searches words; encoders embed queries;
each model's vectors are cut into shards, which are searched on replicas of their own, and merged by score.
"""

# No `from __future__ import annotations` here: `serve run` takes arguments by what ``app`` is annotated with, and that
# has to be the class itself, not its name.
import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from patent_embed.arrays import Vectors
from patent_embed.config.model import Kind
from patent_embed.errors import UserError
from patent_embed.evaluation.search import merge_top_k
from patent_embed.folders import folder_at
from patent_embed.section import Section
from patent_embed.serving.app import create_app
from patent_embed.serving.corpus import Filters
from patent_embed.serving.encoding import Encoded, QueryVector
from patent_embed.serving.engine import Engine
from patent_embed.serving.guard import TOKEN, Limits
from patent_embed.serving.judgements import LOG_NAME, JudgementLog
from patent_embed.serving.live import Live
from patent_embed.serving.threads import calm_threads
from patent_embed.serving.vectors import Found, VectorMatrix
from pipelines.served import ServedRun

_WAITING = 64  # requests at a replica at once: they wait for its batches
_CALLS = 64  # of the site to others at once


class SearchOptions(Section):
    """What ``serve run pipelines.serve:app NAME=VALUE …`` takes."""

    output: str = Field(description="output folder of a finished run, which all nodes reach")
    data_dir: str | None = Field(
        None, description="another corpus, which the run's models embed first; None: the run's"
    )
    shards: int = Field(2, ge=1, description="parts of a model's vectors, each searched on replicas of its own")
    most_replicas: int = Field(4, ge=1, description="of an encoder or a shard, at most; Ray Serve adds them by load")
    cpus: float = Field(1, gt=0, description="CPUs of a replica of an encoder or a shard")
    gpus: float = Field(0, ge=0, description="GPUs of a replica of an encoder")
    max_requests: int = Field(128, ge=1, description="requests answered at once; one more is told to come again")


def app(options: SearchOptions) -> serve.Application:
    """The application. Makes the index first, and the vectors of another corpus, where they are not there."""
    from pipelines.served_run import served_run  # the driver's; replicas start without all that a training imports

    run = served_run(options.output, options.data_dir)
    scaled = {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": options.most_replicas},
        "max_ongoing_requests": _WAITING,
    }
    on = {"num_cpus": options.cpus}
    encoding: Any = serve.deployment(QueryEncoders)  # whatever its annotations say, it has options and bind
    searching: Any = serve.deployment(Shard)
    site: Any = serve.deployment(serve.ingress()(Site))
    encoders, shards = dict[str, serve.Application](), dict[str, list[serve.Application]]()
    for name, model in run.models.items():
        encoders[name] = encoding.options(
            name=f"encode-{name}", ray_actor_options=on | {"num_gpus": options.gpus}, **scaled
        ).bind(run, name)
        bounds = np.linspace(0, len(model.matrix()), options.shards + 1).astype(int).tolist()
        shards[name] = [
            searching.options(name=f"shard-{name}-{begin}", ray_actor_options=on, **scaled).bind(run, name, begin, end)
            for begin, end in pairwise(bounds)
        ]
    bound: serve.Application = site.options(max_ongoing_requests=2 * options.max_requests).bind(
        run, encoders, shards, options.output, options.max_requests
    )
    return bound


class QueryEncoders:
    """Replicas of a model that embed queries and texts, those at once in one batch."""

    def __init__(self, run: ServedRun, name: str) -> None:
        calm_threads()
        self._encoder = run.encoder(name)

    async def dim(self) -> int:
        """Length of a vector."""
        return self._encoder.dim

    async def query(self, text: str) -> QueryVector:
        """The vector of a query."""
        return await asyncio.wrap_future(self._encoder.query(text))

    async def embed(self, texts: Sequence[str], kind: Kind) -> Encoded:
        """Vectors of texts."""
        return await asyncio.wrap_future(self._encoder.submit(texts, kind))


class Shard:
    """Replicas that search the rows ``begin`` to ``end`` of a model's vectors, requests at once in one pass."""

    def __init__(self, run: ServedRun, name: str, begin: int, end: int) -> None:
        calm_threads()
        corpus, _ = run.open_index()
        self._matrix = VectorMatrix(corpus, run.models[name].matrix()[begin:end], name, begin)

    async def search(self, query: Vectors, k: int, filters: Filters) -> Found:
        """The k best of the shard."""
        return await asyncio.wrap_future(self._matrix.submit(query, k, filters))


class Site:
    """The page and the APIs. One replica, since it writes the judgements."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self,
        run: ServedRun,
        encoders: Mapping[str, DeploymentHandle[Any]],
        shards: Mapping[str, Sequence[DeploymentHandle[Any]]],
        output: str,
        max_requests: int,
    ) -> None:
        calls = ThreadPoolExecutor(_CALLS, "calls")

        def build() -> ASGIApp:
            engine = run.engine(
                lambda name: _RemoteEncoder(encoders[name], calls),
                lambda name, corpus, vectors: _RemoteShards(shards[name], calls),
            )
            log = None if folder_at(output).everywhere else JudgementLog(Path(output) / LOG_NAME)
            live = Live(_once(engine), output, judgements=log)
            return create_app(live, Limits(os.environ.get(TOKEN, ""), max_requests))

        self._app = await asyncio.to_thread(build)  # it asks the others, and this thread has to pass that on

    def __serve_build_asgi_app__(self) -> ASGIApp:  # Ray Serve's name
        return self._app


class _RemoteEncoder:
    """A ``TextEncoder`` on other replicas."""

    def __init__(self, handle: DeploymentHandle[Any], calls: ThreadPoolExecutor) -> None:
        self._handle, self._calls = handle, calls
        self.dim: int = handle.dim.remote().result()

    def submit(self, texts: Sequence[str], kind: Kind) -> Future[Encoded]:
        return self._calls.submit(lambda: self._handle.embed.remote(texts, kind).result())

    def query(self, text: str) -> Future[QueryVector]:
        return self._calls.submit(lambda: self._handle.query.remote(text).result())


class _RemoteShards:
    """A ``VectorSearch`` over shards on other replicas."""

    def __init__(self, handles: Sequence[DeploymentHandle[Any]], calls: ThreadPoolExecutor) -> None:
        self._handles, self._calls = handles, calls

    def submit(self, query: Vectors, k: int, filters: Filters) -> Future[Found]:
        return self._calls.submit(self._merged, query, k, filters)

    def _merged(self, query: Vectors, k: int, filters: Filters) -> Found:
        asked = [handle.search.remote(query, k, filters) for handle in self._handles]
        parts = [(scores[None], rows[None]) for scores, rows in (each.result() for each in asked)]
        scores, rows = merge_top_k(parts, k)
        return scores[0], rows[0]


def _once(engine: Engine) -> Callable[[str], Engine]:
    """An opener that has nothing else: on a cluster another run is another deployment, which Ray Serve rolls out."""
    waiting = [engine]

    def opener(output: str) -> Engine:
        if not waiting:
            raise UserError("on a cluster another run is served by `serve run` with its output, not by reload")
        return waiting.pop()

    return opener
