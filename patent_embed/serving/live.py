"""The engine that is served, and its change for another without a pause."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable

from patent_embed.errors import UserError
from patent_embed.serving.engine import Engine
from patent_embed.serving.judgements import JudgementLog
from patent_embed.serving.metrics import Metrics

log = logging.getLogger("patent_embed")
Opener = Callable[[str], Engine]
"""Opens an output folder."""


class Live:
    """What a server answers from.

    Attributes:
        metrics: what it counts.
        judgements: where judgements go; None: none are taken.
    """

    def __init__(self, opener: Opener, output: str, *, judgements: JudgementLog | None = None) -> None:
        """Open the engine of ``output``, which must pass its checks."""
        self.metrics, self.judgements = Metrics(), judgements
        self._opener, self._changing = opener, threading.Lock()
        self._output, self._engine = output, self._opened(output)
        _set_aside()

    @property
    def engine(self) -> Engine:
        """The engine of now. A request asks once and keeps it: it is whole until the request is done."""
        return self._engine

    def reload(self, output: str = "") -> Engine:
        """Open an output folder (empty: that of now) beside what is served, check it, and serve it from the next
        request on. Where it cannot be opened or a check fails, nothing changes.

        Raises:
            UserError: it cannot be opened, it fails a check, or a change is going on.
        """
        if not self._changing.acquire(blocking=False):
            raise UserError("another change of the model is going on; ask again when it is done")
        try:
            output = output or self._output
            self._engine = self._opened(output)
            self._output = output
            _set_aside()
        except Exception:
            self.metrics.reloads.labels("refused").inc()
            raise
        finally:
            self._changing.release()
        self.metrics.reloads.labels("done").inc()
        return self._engine

    def reload_and_tell(self) -> None:
        """``reload`` for a signal: what is wrong is logged."""
        try:
            engine = self.reload()
        except Exception as error:  # noqa: BLE001  # whatever it is: what was served is served on
            log.error("the run was not loaded again, the one before is served on: %s", error)
        else:
            log.warning("the run was loaded again: %s patents, model %s", len(engine.corpus), digest_of(engine)[:8])

    def _opened(self, output: str) -> Engine:
        engine = self._opener(output)
        engine.check()
        self.metrics.patents.set(len(engine.corpus))
        return engine


def _set_aside() -> None:
    """Leave out what is loaded from Python's search for garbage: dictionaries of words and models are some hundred
    thousand objects, and whoever asks while it goes through them waits for half a second."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def digest_of(engine: Engine) -> str:
    """What tells the vectors of one run from those of another."""
    return engine.models[engine.best].digest if engine.models else ""
