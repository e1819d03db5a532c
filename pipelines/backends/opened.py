"""The backend that the settings name."""

from __future__ import annotations

from contextlib import AbstractContextManager

from patent_embed.folders import Folder
from patent_embed.queries.asking import Asks
from patent_embed.queries.collecting import Backend


def open_backend(asks: Asks, store: Folder, timings: dict[str, float]) -> AbstractContextManager[Backend]:
    """The model that ``asks.config`` names. Nothing of it starts before it is asked.

    Args:
        store: where answers are kept.
        timings: takes the seconds that engines needed to start and to stop.
    """
    if asks.config.backend == "api" and asks.config.api.batch:
        from pipelines.backends.batches import batch_backend

        return batch_backend(asks, store)
    if asks.config.backend == "api":
        from pipelines.backends.api import api_backend

        return api_backend(asks)
    from pipelines.backends.llm import llm_backend

    return llm_backend(asks, timings)
