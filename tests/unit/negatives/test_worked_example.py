"""The example of five patents in docs/negatives.md: its tables are what the code makes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from patent_embed.arrays import Int64
from patent_embed.config.negatives import NegativesConfig
from patent_embed.hashing import hash_strings
from patent_embed.negatives.drawn import mine_negatives
from patent_embed.negatives.ladder import GROUP_CAP, RUNGS, Ladder
from patent_embed.negatives.patents import Patents, read_patents
from patent_embed.negatives.rings import Ring, route, walk
from patent_embed.strategies.shares import largest_remainder
from tests.conftest import ROOT

SEED = 0
PATENTS = {
    "CN1A": (["G06T3/40", "G06T5/50"], "CN1A", "train"),
    "CN1B": (["G06T5/60"], "CN1A", "train"),
    "CN2A": (["G06T3/60"], "CN2A", "train"),
    "CN3A": (["G06T3/60"], "CN3A", "val"),
    "CN4A": (["H04L9/32"], "CN4A", "train"),
}
IDS, SPLITS = list(PATENTS), ("train", "val")
NAMES = ["G06T", "H04L", "G06T3", "G06T5", "H04L9", "G06T3/40", "G06T3/60", "G06T5/50", "G06T5/60", "H04L9/32"]
# Containers and keys are known by the hashes of their names; the one container of the last rung has none.
NAME_OF_HASH = dict(zip(hash_strings(pa.array(NAMES), 0).tolist(), NAMES, strict=True)) | {0: "all patents"}


def tables() -> tuple[pa.Table, pa.Table]:
    codes, families, splits = zip(*PATENTS.values(), strict=True)
    corpus = pa.table({"publication_number": IDS, "codes": pa.array(codes, pa.list_(pa.string()))})
    return corpus, pa.table({"publication_number": IDS, "family": families, "split": splits})


class Example:
    """The rings of a rung with the names that its numbers stand for."""

    def __init__(self, rung: int) -> None:
        self.patents: Patents = read_patents(*tables(), SEED)
        self.ring: Ring = Ladder(self.patents, GROUP_CAP).ring(rung)
        level = self.patents.classes.levels[rung]
        keys = [NAME_OF_HASH[number] for number in level.key_hash.tolist()]
        per_container = [
            [key for key, owner in zip(keys, level.container_of_key.tolist(), strict=True) if owner == container]
            for container in range(len(level.container_hash))
        ]
        # Containers split by split; the cells of a container are all keys of it, in the order of their hashes.
        self.containers = [(split, c) for split in range(len(SPLITS)) for c in range(len(per_container))]
        self.keys = [per_container[c] for _, c in self.containers]
        self.first_cell = np.cumsum([0, *map(len, self.keys)])

    def name(self, container: int) -> str:
        return NAME_OF_HASH[int(self.ring.container_hash[container])]

    def cells(self, container: int) -> dict[str, list[int]]:
        """The patents of each cell that is not empty, in ring order."""
        found = {}
        for place, key in enumerate(self.keys[container]):
            low, high = self.ring.cell_start[self.first_cell[container] + place :][:2]
            if high > low:
                found[key] = self.ring.member[low:high].tolist()
        return found

    def own_keys(self, pair: int) -> list[str]:
        """The anchor's keys in the container of a pair."""
        low, high = self.ring.pair_start[pair : pair + 2]
        container = int(self.ring.pair_container[pair])
        return [self.keys[container][cell - self.first_cell[container]] for cell in self.ring.own_cell[low:high]]

    def pairs(self, row: int) -> range:
        return range(*self.ring.patent_start[row : row + 2].tolist())

    def looked_at(self, row: int, pair: int) -> tuple[list[int], int, int]:
        """The patents that a walk to the end comes to, by its definition, and its start and stride."""
        container = int(self.ring.pair_container[pair])
        own = self.own_keys(pair)
        outside = [patent for key, found in self.cells(container).items() if key not in own for patent in found]
        size: Int64 = np.array([max(len(outside), 1)])
        start, stride = route(self.patents.hash[[row]], self.ring.container_hash[[container]], size)
        places = [(int(start[0]) + step * int(stride[0])) % len(outside) for step in range(len(outside))]
        return [outside[place] for place in places], int(start[0]), int(stride[0])

    def outcome(self, row: int, other: int) -> str:
        if self.patents.family[row] == self.patents.family[other]:
            return "refused: its family"
        ours, theirs = (
            set(self.ring.key[self.ring.key_start[patent] : self.ring.key_start[patent + 1]].tolist())
            for patent in (row, other)
        )
        return "refused: shares a key" if ours & theirs else "a candidate"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    above, *below = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join([above, "|" + "---|" * len(head), *below])


def ids(rows: Sequence[int]) -> str:
    return ", ".join(IDS[row] for row in rows)


def patents_table() -> str:
    rows = [[number, ", ".join(codes), family, split] for number, (codes, family, split) in PATENTS.items()]
    return markdown(["patent", "codes", "family", "split"], rows)


def rings_table() -> str:
    rows = []
    for rung, name in enumerate(RUNGS):
        example = Example(rung)
        for container, (split, _) in enumerate(example.containers):
            if found := example.cells(container):
                ring = " · ".join(f"`{key}` {ids(patents)}" for key, patents in found.items())
                rows.append([f"`{name}`", SPLITS[split], example.name(container), ring])
    return markdown(["rung", "split", "container", "ring: `key` and the patents of its cell"], rows)


def walk_table(number: str) -> str:
    row, rows = IDS.index(number), []
    for rung, name in enumerate(RUNGS):
        example = Example(rung)
        for pair in example.pairs(row):
            container = int(example.ring.pair_container[pair])
            seen, start, stride = example.looked_at(row, pair)
            found = example.cells(container)
            own = ", ".join(f"`{key}` ({ids(found.get(key, [])) or 'empty'})" for key in example.own_keys(pair))
            came = "; ".join(f"{IDS[other]}: {example.outcome(row, other)}" for other in seen)
            drawn = f"{start}, {stride}" if seen else ""
            rows.append([f"`{name}`", example.name(container), own, drawn, came or "nobody is left"])
    return markdown(["rung", "container", "jumps over", "start, stride", "comes to"], rows)


def negatives_table() -> str:
    mined = mine_negatives(*tables(), NegativesConfig(), SEED).table.to_pylist()
    rows = []
    for number in IDS:
        mine = [(row["negative"], row["rung"]) for row in mined if row["publication_number"] == number]
        got = ", ".join(f"{negative} (`{rung}`)" for negative, rung in mine)
        rows.append([number, got, str(3 - len(mine))])
    return markdown(["anchor", "negatives", "missing"], rows)


DOCUMENT = (ROOT / "docs" / "negatives.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "table",
    [patents_table(), rings_table(), walk_table("CN1A"), walk_table("CN4A"), negatives_table()],
    ids=["patents", "rings", "walk of CN1A", "walk of CN4A", "negatives"],
)
def test_the_document_shows_what_the_code_makes(table: str) -> None:
    assert table in DOCUMENT, f"docs/negatives.md should have\n{table}"


@pytest.mark.parametrize("rung", range(len(RUNGS)))
def test_walks_find_the_candidates_in_the_order_of_their_route(rung: int) -> None:
    example = Example(rung)
    for row in range(len(IDS)):
        for pair in example.pairs(row):
            seen, _, _ = example.looked_at(row, pair)
            expected = [other for other in seen if example.outcome(row, other) == "a candidate"]
            rows, hashes = np.array([row], np.int32), example.patents.hash[[row]]
            found = walk(example.ring, rows, np.array([pair]), hashes, 4, Counter())
            assert found[0][found[0] >= 0].tolist() == expected


def test_the_document_counts_what_the_report_counts() -> None:
    config = NegativesConfig()
    report = mine_negatives(*tables(), config, SEED).report
    quota = " / ".join(map(str, largest_remainder(config.shares.by_rung(), config.per_positive)))
    assert f"each anchor asks {quota} of the rungs" in DOCUMENT
    assert f"`shortfall` is `{json.dumps(report['shortfall'])}`" in DOCUMENT
    assert f"`filtered` is `{json.dumps(report['filtered'])}`" in DOCUMENT
