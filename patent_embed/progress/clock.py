"""Durations, measured and in words."""

from __future__ import annotations

import time


def duration(seconds: float) -> str:
    """``0.4 s``, ``75 s``, ``4 min 05 s``, ``2 h 03 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Stopwatch:
    """Seconds since it was made, whatever is done to the clock on the wall meanwhile.

    Attributes:
        began: by that clock, in seconds since 1970.
    """

    def __init__(self) -> None:
        """Begin now."""
        self.began = time.time()
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time, with the precision of the machine's clock."""
        return time.perf_counter() - self._started
