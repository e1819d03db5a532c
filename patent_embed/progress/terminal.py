"""Lines on the terminal: 80 columns wide, without carriage returns, so that a log of a batch job reads the same."""

from __future__ import annotations

import textwrap

from patent_embed.credentials import redacted
from patent_embed.text import visible

WIDTH = 80  # of a terminal; paths and addresses may be wider
_ROOM_FOR_COUNTS = 20


def say(text: str = "") -> None:
    """Print a line, at once: no credential, and nothing that a terminal would obey."""
    print(visible(redacted(text)), flush=True)


def note(text: str) -> None:
    """A remark below a step's line, over several lines where it is long."""
    fill = textwrap.TextWrapper(
        WIDTH - 1, initial_indent=" " * 6, subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
    )
    say(fill.fill(text))


def finished(head: str, counts: str, took: str) -> None:
    """A finished step: name, counts and time in one line; more counts than it has room for follow below it."""
    room = WIDTH - len(head) - 12
    if room < _ROOM_FOR_COUNTS:  # a step of a model with a long name
        say(head.rstrip())
        head, room = " " * 6, WIDTH - 6 - 12
    first, *more = _wrapped(counts, room)
    say(f"{head} {first:{room}} {took:>10}".rstrip())
    for line in more:
        say(f"{'':{len(head)}} {line}")


def planned(number: int, folder: str, what: str, remark: str) -> None:
    """A step of a plan: what would happen to it, and what is known of its result."""
    head = f"  {number:2d}  {folder:24}  {what:5}  "
    for line in _wrapped(remark, max(_ROOM_FOR_COUNTS, WIDTH - len(head))):
        say((head + line).rstrip())
        head = " " * len(head)


def _wrapped(counts: str, room: int) -> list[str]:
    """``counts`` in lines of ``room`` columns, at least one; a number and its name share a line."""
    together = counts.replace(" ", "\xa0").replace(",\xa0", ", ")
    return [line.replace("\xa0", " ") for line in textwrap.wrap(together, room, break_long_words=False)] or [""]
