"""The parameters of a request, and what becomes of those that an endpoint refuses.

Endpoints differ in what they take: ``max_completion_tokens`` for ``max_tokens``, no ``seed``, no ``temperature`` beside
reasoning, streams only. One look at the error says which, so the next request does without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from patent_embed.config.queries import QueriesConfig

_ROOM = ("max_tokens", "max_completion_tokens")
_REFUSED = re.compile(
    r"unsupported|not[ _]supported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|"
    r"extra (?:fields|inputs)|deprecated|only the default|not accept|invalid (?:parameter|argument|field)|"
    r"no longer|instead|cannot (?:be set|specify)|不支持|不允许",
    re.IGNORECASE,
)
# It is the value that is refused: another endpoint would take this parameter just as little.
_VALUE = re.compile(r"too (?:large|high|long)|at most|maximum|exceed|less than|greater than|range", re.IGNORECASE)
_STREAM = re.compile(
    r"only supports? (?:the )?stream|stream\w*.{0,60}(?:required|must|mandatory|enable|set to true)|"
    r"(?:must|please|enable|only).{0,60}\bstream|non-?stream\w* .{0,40}not|仅支持流式|只支持流式",
    re.IGNORECASE | re.DOTALL,
)


class Parameters:
    """What is sent beside model and messages. ``version`` counts what was given up."""

    def __init__(self, config: QueriesConfig) -> None:
        self._values: dict[str, Any] = {"temperature": config.temperature, "top_p": config.top_p}
        self._room: str | None = _ROOM[0]
        self._rooms = list(_ROOM[1:])
        self._seed = True
        self._extra = dict(config.api.extra_body)
        self._usage = True
        self.stream = False
        self.version = 0

    def body(self, seed: int, tokens: int, drawn: Mapping[str, float] = MappingProxyType({})) -> dict[str, Any]:
        """The parameters of one request that may write ``tokens`` tokens. ``drawn``: how freely, where that is not as
        in the settings."""
        found = {name: drawn.get(name, value) for name, value in self._values.items()}
        if self._room is not None:
            found[self._room] = tokens
        if self._seed:
            found["seed"] = seed
        if self.stream:
            found["stream"] = True
            if self._usage:
                found["stream_options"] = {"include_usage": True}
        return found | self._extra

    def adapt(self, told: str) -> str:
        """Do without the parameter that an error is about; what was changed, in words, or empty if nothing can be.

        Args:
            told: the whole of the error: message, code, name of the parameter.
        """
        change = self._change(told)
        self.version += bool(change)
        return change

    def _change(self, told: str) -> str:
        if not self.stream and _STREAM.search(told) and not re.search(r"stream_options", told):
            self.stream = True
            return "answers are asked for as a stream"
        if not _REFUSED.search(told) or _VALUE.search(told):
            return ""
        if self.stream and self._usage and "stream_options" in told:
            self._usage = False
            return "stream_options is left out: used tokens are not counted"
        if self._room is not None and re.search(rf"\b{self._room}\b", told) and self._room not in self._extra:
            before, self._room = self._room, self._rooms.pop(0) if self._rooms else None
            return f"{before} is left out" if self._room is None else f"{before} is sent as {self._room}"
        if self._seed and re.search(r"\bseed\b", told):
            self._seed = False
            return "seed is left out"
        for name in list(self._values):
            if re.search(rf"\b{name}\b", told):
                del self._values[name]
                return f"{name} is left out: the endpoint's own counts"
        return ""
