"""The list of sources, and the settings that it makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from patent_embed.config.load import load_config
from patent_embed.config.relevance import RelevanceConfig
from patent_embed.errors import UserError
from patent_embed.relevance.base import SOURCES
from tests.conftest import ROOT

# A source as somebody would add it: patents of one applicant, with half the grade.
NEW = """
from patent_embed.relevance.base import Pair, Source

class Applicants(Source):
    name, order, about = "applicants", 4, "a patent for another one of its applicant"
    columns, kind = ("applicants",), "passage"

    def pairs(self, patents):
        told = patents.columns["applicants"]
        for row, mine in enumerate(told):
            for other, theirs in enumerate(told):
                if row != other and set(mine or ()) & set(theirs or ()):
                    yield Pair(row, other, grade=0.5)

APPLICANTS = Applicants()
"""
# Runs in a process of its own, since the settings are made when they are imported.
USE = """
import sys
import patent_embed.relevance
patent_embed.relevance.__path__.append(sys.argv[1])
import pyarrow as pa
from patent_embed.config.docs import settings_markdown
from patent_embed.config.load import load_config
from patent_embed.data.relevance import columns_of, find_relevance

row = next(line for line in settings_markdown().splitlines() if line.startswith("| `relevance.applicants` "))
assert "a patent for another one of its applicant" in row, row
config = load_config(settings=["relevance.applicants=2", "training.loss=infonce"]).relevance
assert config.weights() == {"own": 1.0, "applicants": 2.0}
assert columns_of(config) == ["publication_number", "citations", "citation_categories", "applicants"]
ids = ["A", "B", "C"]
corpus = pa.table({"publication_number": ids, "applicants": [["X"], ["Y"], ["Y", "X"]],
                   "citations": pa.array([None] * 3, pa.list_(pa.string()))})
splits = pa.table({"publication_number": ids, "family": ids, "split": ["train", "train", "train"]})
found = find_relevance(corpus, splits, config, seed=1)
pairs = [(each["publication_number"], each["patent"], each["grade"]) for each in found.table.to_pylist()]
assert pairs == [("A", "C", 0.5), ("B", "C", 0.5), ("C", "A", 0.5), ("C", "B", 0.5)], pairs
assert len(found.links) == 2
"""


def test_each_source_has_a_weight_that_is_0_unless_set() -> None:
    assert SOURCES.names() == ["halves", "claims", "citations", "classes", "judge"]
    assert RelevanceConfig().weights() == {"own": 1.0}
    assert not RelevanceConfig().several
    assert RelevanceConfig(own=0, citations=2).weights() == {"citations": 2.0}
    assert RelevanceConfig(own=0.5).several


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["relevance.own=0"], "every weight is 0.* set one"),
        (["relevance.halves=1"], r"loss 'triplet' learns .* alone.* set training\.loss=infonce"),
        (["relevance.halves=-1", "training.loss=infonce"], r"relevance\.halves"),
        (["training.validate_on=relevance"], r"no source.* set a weight, as relevance\.citations=1"),
        (["relevance.citation=1"], "there is no such setting"),
    ],
)
def test_weights_that_nothing_can_be_learnt_with_are_refused(settings: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_config(settings=settings)


def test_a_source_is_added_by_adding_a_module(tmp_path: Path) -> None:
    (tmp_path / "applicants.py").write_text(NEW, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", USE, tmp_path], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
