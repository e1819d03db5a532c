"""Ends a vLLM engine whose Ray actor is gone.

vLLM runs its engine in a process of its own, which nobody ends when the actor is killed outright (by a signal, by the
kernel short of memory, by the end of its raylet): it would keep the GPU's memory from the engine that follows. vLLM
imports this module in that process, as the worker extension that ``llm_backend`` names.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

import psutil

_EVERY_S = 1.0


class EngineGuard:
    """What vLLM mixes into its worker: nothing."""


def _watch(actor: psutil.Process, between: list[psutil.Process]) -> None:
    while actor.is_running() and actor.status() != psutil.STATUS_ZOMBIE:
        time.sleep(_EVERY_S)
    for process in between:
        with contextlib.suppress(psutil.Error):
            process.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def _start() -> None:
    """Watch the nearest Ray worker above this process; inside a Ray worker there is nothing to do."""
    above = psutil.Process().parents()
    for place, process in enumerate(above):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::"):
                threading.Thread(target=_watch, args=(process, above[:place]), daemon=True).start()
                return


_start()
