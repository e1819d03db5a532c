"""Small corpora, and what their negatives may be by brute force."""

from __future__ import annotations

import itertools

import pyarrow as pa
from hypothesis import strategies as st

from patent_embed import ipc
from patent_embed.negatives.drawn import Mined
from patent_embed.negatives.ladder import RUNGS

STRATEGIES = ("optimized_mixed", "same_group_priority", "same_subclass_different_group", "mixed", "random")
CODES = [f"{sub}{group}/{leaf:02d}" for sub in ("A01B", "G06T", "H04L") for group in (1, 7, 12) for leaf in range(3)]
PATENT = st.tuples(
    st.lists(st.sampled_from(CODES), min_size=1, max_size=4, unique=True),
    st.integers(0, 12),  # family
    st.sampled_from(["train", "train", "val", "test"]),
)
CORPUS = st.lists(PATENT, max_size=40)


def tables(patents: list[tuple[list[str], int, str]]) -> tuple[pa.Table, pa.Table]:
    ids = [f"CN{i:05d}" + "A" * (i % 12) for i in range(len(patents))]
    names = pa.array(ids, pa.string())
    corpus = pa.table({"publication_number": names, "codes": pa.array([p[0] for p in patents], pa.list_(pa.string()))})
    families = [f"F{p[1]}" for p in patents]
    split_of = {f: p[2] for f, p in zip(families, patents, strict=True)}
    return corpus, pa.table(
        {
            "publication_number": names,
            "family": pa.array(families, pa.string()),
            "split": pa.array([split_of[f] for f in families], pa.string()),
        }
    )


def relation(one: list[str], other: list[str]) -> str | None:
    """The rung two code lists are on, straight from its definition; None when they share a full code."""
    if set(one) & set(other):
        return None
    if {ipc.main_group(c) for c in one} & {ipc.main_group(c) for c in other}:
        return "same_main_group"
    if {ipc.subclass(c) for c in one} & {ipc.subclass(c) for c in other}:
        return "same_subclass"
    return "random"


def allowed(corpus: pa.Table, splits: pa.Table) -> dict[str, dict[str, set[str]]]:
    """By brute force: anchor → rung → every patent that may be its negative."""
    rows = list(zip(corpus.to_pylist(), splits.to_pylist(), strict=True))
    out: dict[str, dict[str, set[str]]] = {r[0]["publication_number"]: {rung: set() for rung in RUNGS} for r in rows}
    for (a, sa), (b, sb) in itertools.permutations(rows, 2):
        rung = relation(a["codes"], b["codes"])
        if rung and sa["split"] == sb["split"] and sa["family"] != sb["family"]:
            out[a["publication_number"]][rung].add(b["publication_number"])
    return out


def by_anchor(mined: Mined) -> dict[str, list[tuple[int, str, str]]]:
    out: dict[str, list[tuple[int, str, str]]] = {}
    for row in mined.table.to_pylist():
        out.setdefault(row["publication_number"], []).append((row["rank"], row["negative"], row["rung"]))
    return out


def expected_rungs(quota: dict[str, int], available: dict[str, int], strategy: str) -> dict[str, int]:
    """The ladder by hand: quotas, then down, then back up."""
    if strategy == "same_subclass_different_group":
        available = available | {"same_main_group": 0}
    taken = {rung: min(quota[rung], available[rung]) for rung in RUNGS}
    owed = 0
    for rung in RUNGS:
        owed += quota[rung] - taken[rung]
        more = min(owed, available[rung] - taken[rung])
        taken[rung] += more
        owed -= more
    for rung in reversed(RUNGS):
        more = min(owed, available[rung] - taken[rung])
        taken[rung] += more
        owed -= more
    return taken


def plain(codes: list[list[str]], split: str = "train") -> tuple[pa.Table, pa.Table]:
    return tables([(c, i, split) for i, c in enumerate(codes)])
