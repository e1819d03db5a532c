"""The list of sources, and the settings that it makes."""

from __future__ import annotations

import pytest

from patent_embed.config.load import load_config
from patent_embed.config.relevance import RelevanceConfig
from patent_embed.errors import UserError
from patent_embed.relevance.base import SOURCES


def test_each_source_has_a_weight_that_is_0_unless_set() -> None:
    assert SOURCES.names() == ["halves", "claims", "citations"]
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
