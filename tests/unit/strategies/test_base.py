"""What holds for every strategy, and that one more is one more module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patent_embed.config.negatives import NegativesConfig, RungShares
from patent_embed.errors import UserError
from patent_embed.hashing import mix64
from patent_embed.negatives.ladder import RUNGS
from patent_embed.strategies.base import STRATEGIES
from tests.conftest import ROOT

ANCHORS = mix64(np.arange(500, dtype=np.uint64))


def test_strategies_are_listed_as_the_docs_list_them() -> None:
    frozen = "optimized_mixed same_group_priority same_subclass_different_group mixed random hard"
    assert STRATEGIES.names() == frozen.split()
    assert [each.name for each in STRATEGIES if each.needs_scores] == ["hard"]


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_quotas_are_what_is_asked_for_and_follow_only_what_the_strategy_reads(name: str) -> None:
    strategy, usual = STRATEGIES[name], RungShares().by_rung()
    quotas = strategy.quotas(ANCHORS, 7, usual)
    assert quotas.shape == (len(ANCHORS), len(RUNGS))
    assert (quotas.sum(axis=1) == 7).all()
    assert not quotas[:, : strategy.top].any()
    other = strategy.quotas(ANCHORS, 7, [0.1, 0.2, 0.7])
    assert np.array_equal(quotas, other) is ("shares" not in strategy.reads)
    assert strategy.reads <= NegativesConfig.model_fields.keys()


@pytest.mark.parametrize("name", STRATEGIES.names())
def test_what_needs_scores_names_a_strategy_that_needs_none(name: str) -> None:
    strategy = STRATEGIES[name]
    assert not STRATEGIES[strategy.unscored].needs_scores
    assert (strategy.unscored == name) is not strategy.needs_scores


def test_an_unknown_strategy_is_an_error() -> None:
    with pytest.raises(UserError, match=r"negatives\.strategy is 'nearest', which is none of optimized_mixed, "):
        STRATEGIES["nearest"]
    with pytest.raises(ValueError, match=r"Input should be 'optimized_mixed', .* or 'hard'"):
        NegativesConfig(strategy="nearest")


def test_the_shares_are_in_the_order_of_the_rungs() -> None:
    shares = RungShares(same_main_group=0.5, same_subclass=0.3, random=0.2)
    assert dict(zip(RUNGS, shares.by_rung(), strict=True)) == shares.model_dump()


NEW = '''
import numpy as np
from patent_embed.strategies.base import Strategy

class SubclassOnly(Strategy):
    """Never leaves the subclass upwards."""
    name, top = "subclass_or_far", 1

    def quotas(self, anchor_hash, k, shares):
        return np.tile(np.array([0, k - 1, 1]), (len(anchor_hash), 1))

NEW = SubclassOnly()
'''
USE = """
import sys
import patent_embed.strategies
patent_embed.strategies.__path__.append(sys.argv[1])
import pyarrow as pa
from patent_embed.config.load import load_config
from patent_embed.negatives.drawn import mine_negatives

config = load_config(settings=["negatives.strategy=subclass_or_far"]).negatives
codes = [[f"G06T{1 + i % 2}/{i:02d}"] for i in range(8)] + [["A01B1/00"]]
names = [f"CN{i}" for i in range(9)]
corpus = pa.table({"publication_number": names, "codes": codes})
splits = pa.table({"publication_number": names, "family": names, "split": ["train"] * 9})
mined = mine_negatives(corpus, splits, config, 0, pa.array(names[:8]))
assert mined.report["rungs"] == {"same_main_group": 0, "same_subclass": 16, "random": 8}, mined.report
"""


def test_a_strategy_is_added_by_adding_a_module(tmp_path: Path) -> None:
    (tmp_path / "subclass_or_far.py").write_text(NEW, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", USE, tmp_path], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
