"""How programs serve a run's model, beside what the run measured: kept in a file, and shown in reports and the card.

A run is reported before anybody serves it. So each report has a place for this part, between two comments, which
``with_served`` fills anew whenever it was measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from patent_embed.evaluation.agreement import COSINE, OVERLAP, TOP
from patent_embed.folders import json_of, write_atomic
from patent_embed.report.content import LABELS, Table
from patent_embed.report.markdown import escaped, markdown_table
from patent_embed.report.templates import fill

FILE = "verified.json"
_SCHEMA_VERSION = 1
BEGIN, END = "<!-- served as measured -->", "<!-- end of served as measured -->"


@dataclass(frozen=True)
class EngineFigures:
    """What one program gives for the run's texts.

    Attributes:
        engine: its name, or its address.
        cosine_min, cosine_mean: of its vectors to the pipeline's own, over queries and passages.
        overlap: share of the ten best passages that both find.
        ndcg: its nDCG@10.
        texts_per_s: queries and passages a second, once it runs.
        differs: what differs, in words; empty: it serves what was measured.
    """

    engine: str
    cosine_min: float
    cosine_mean: float
    overlap: float
    ndcg: float
    texts_per_s: float
    differs: str = ""


@dataclass(frozen=True)
class Served:
    """What programs give for the same texts.

    Attributes:
        model_digest: of the model (``folder_digest``) that they were given.
        ndcg: nDCG@10 of the pipeline's own vectors on these texts.
        machine: what it was measured on, in words.
    """

    model_digest: str
    queries: int
    passages: int
    ndcg: float
    machine: str
    engines: Sequence[EngineFigures]

    def as_json(self) -> Mapping[str, Any]:
        """For ``verified.json``."""
        return {"schema_version": _SCHEMA_VERSION} | asdict(self)


def read_served(path: Path, model_digest: str) -> Served | None:
    """What the file says of the model with a digest; None where it is not there, torn, or of another model."""
    try:
        found = json_of(path.read_bytes())
        if found.pop("schema_version") != _SCHEMA_VERSION or found["model_digest"] != model_digest:
            return None
        return Served(**found | {"engines": [EngineFigures(**each) for each in found["engines"]]})
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError, json.JSONDecodeError):
        return None


def served_table(served: Served) -> Table:
    """A row a program, below that of the pipeline."""
    header = ["", "lowest cosine", "mean cosine", f"same in the first {TOP}", LABELS["ndcg@10"], "texts/s", ""]
    rows = [["the pipeline's own vectors", "", "", "", f"{served.ndcg:.4f}", "", ""]]
    for each in served.engines:
        figures = (f"{each.cosine_min:.5f}", f"{each.cosine_mean:.5f}", f"{each.overlap:.1%}", f"{each.ndcg:.4f}")
        rows.append([each.engine, *figures, f"{each.texts_per_s:,.0f}", "differs" if each.differs else "as measured"])
    note = (
        f"{served.queries:,} test queries and {served.passages:,} passages on {served.machine}. As measured: every "
        f"cosine at least {COSINE:g} and at least {OVERLAP:.0%} of the first {TOP} passages the same."
    )
    return Table("Served as measured", header, rows, note)


def differences(served: Served) -> list[str]:
    """A line for each program that differs: which, and what differs."""
    return [f"{each.engine}: {each.differs}" for each in served.engines if each.differs]


def served_fragments(served: Served) -> tuple[str, str]:
    """The part as Markdown and as HTML."""
    given = {"served": served_table(served), "differences": differences(served)}
    text = fill("served.md.jinja", given, filters={"table": markdown_table}, escaped=escaped)
    return text, fill("served.html.jinja", given)


def with_served(document: str, fragment: str) -> str | None:
    """A report or card with the part in its place; None where it has no such place."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n\n{fragment.strip()}\n\n{end}{after}" if begin and end else None


def show_served(folder: Path, served: Served) -> list[str]:
    """Put the part into the reports and the model's card below ``folder``; the names of those that have no place for
    it, which were written before there was one."""
    text, html = served_fragments(served)
    without = []
    for name, fragment in (("report.md", text), ("report.html", html), ("model/README.md", text)):
        path = folder / name
        if not path.is_file():
            continue
        filled = with_served(path.read_text(encoding="utf-8"), fragment)
        if filled is None:
            without.append(name)
        else:
            write_atomic(path, filled.encode())
    return without
