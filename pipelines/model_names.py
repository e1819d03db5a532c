"""What the models that a command compares are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from patent_embed.errors import UserError
from pipelines.steps.evaluate import BM25


def plain_names(models: Sequence[str], least: int = 2) -> list[str]:
    """What models are called: the last part of their names where that tells them apart.

    Raises:
        UserError: there are not ``least`` at least, or two are the same.
    """
    short, full = ([_plain(name) for name in names] for names in ([Path(m).name for m in models], models))
    if len(set(full)) < max(least, len(full)):
        many = "two or more different models" if least > 1 else "different models"
        raise UserError(f"{list(models)} are not {many}; name each once")
    return short if len({*short, BM25}) > len(short) else full


def _plain(name: str) -> str:
    """A name that can be part of a folder's."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.")
