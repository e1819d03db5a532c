"""A user's mistake that a worker found: Ray hands its text on inside of an error of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ray.exceptions import RayError

_COLOUR = r"(?:\x1b\[[0-9;]*m)*"
_MISTAKE = re.compile(rf"^{_COLOUR}(?:patent_embed\.errors\.)?UserError{_COLOUR}: (.+)$", re.MULTILINE)


def mistake_in(error: BaseException) -> str:
    """The text of the ``UserError`` that a task or an actor ended with; empty where it was another error."""
    for each in _chain(error):
        if isinstance(each, RayError) and (found := _MISTAKE.findall(str(each))):
            return str(found[-1]).strip()
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
