"""What steps tell their progress to, and what hands it on to all that listen."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence

from patent_embed.progress.clock import duration
from patent_embed.progress.events import Event
from patent_embed.progress.listeners import Listener
from patent_embed.progress.terminal import say

log = logging.getLogger("patent_embed")


class Progress:
    """Tells every event to all listeners, in their order.

    One that raises is dropped with a warning: a view of a run must not end it. Steps run one after the other, so events
    come from one thread at a time.
    """

    def __init__(self, listeners: Sequence[Listener] = ()) -> None:
        """Begin with these listeners; they are closed by ``close``."""
        self._listeners = list(listeners)
        self._last_event = time.perf_counter()

    def emit(self, event: Event) -> None:
        """Tell ``event``."""
        self._last_event = time.perf_counter()
        for listener in tuple(self._listeners):
            try:
                listener.on_event(event)
            except Exception as error:  # noqa: BLE001  # of whatever kind: what a listener does is its own affair
                name = type(listener).__name__
                log.warning("nothing more goes to %s: %s: %s", name, type(error).__name__, error)
                self._drop(listener)

    @contextlib.contextmanager
    def also(self, listener: Listener) -> Iterator[None]:
        """Let ``listener`` listen within the block; it is closed at its end."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._drop(listener)

    @contextlib.contextmanager
    def at_work(self, step: str, silence: float = 30.0) -> Iterator[None]:
        """While a step runs, say so where nothing else is said, so that a long job is not taken for a dead one.

        Args:
            step: its name.
            silence: seconds without an event after which it is said, then after twice that, and so on.
        """
        started, stop = time.perf_counter(), threading.Event()

        def watch() -> None:
            pause = silence
            while not stop.wait(max(0.0, self._last_event + pause - time.perf_counter())):
                now = time.perf_counter()
                if now - self._last_event >= pause:
                    say(f"      {step}: at work for {duration(now - started)}")
                    pause *= 2
                    self._last_event = now

        self._last_event = started
        thread = threading.Thread(target=watch, name="at-work", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def close(self) -> None:
        """Close all listeners. Events from now on are lost."""
        for listener in tuple(self._listeners):
            self._drop(listener)

    def _drop(self, listener: Listener) -> None:
        """Close a listener and tell it nothing more; one that was dropped before is left alone."""
        if listener not in self._listeners:
            return
        self._listeners.remove(listener)
        try:
            listener.close()
        except Exception as error:  # noqa: BLE001  # as above
            log.warning("%s was not closed: %s: %s", type(listener).__name__, type(error).__name__, error)
