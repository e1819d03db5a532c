"""Which claims stand alone."""

from __future__ import annotations

import pytest

from patent_embed.relevance.base import Pair, Patents
from patent_embed.relevance.claims import CLAIMS, independent

PUMP = "1. A pump comprising a housing, a shaft and a motor."
METHOD = "9. A method of cooling a motor, comprising the step of blowing air."


@pytest.mark.parametrize(
    "dependent",
    [
        "2. The pump of claim 1, wherein the shaft is hollow.",
        "3. A pump according to any one of the preceding claims, having a valve.",
        "4. The pump as claimed in claims 1 or 2, wherein the motor is cooled.",
        "2. 根据权利要求1所述的水泵,其特征在于,所述转轴是空心的轴体。",
        "제1항에 있어서, 상기 축은 중공형인 것을 특징으로 하는 펌프 장치.",
        "請求項1に記載のポンプであって、前記軸が中空であることを特徴とする。",
    ],
)
def test_a_claim_that_names_another_one_is_left_out(dependent: str) -> None:
    assert independent([PUMP, dependent, METHOD]) == [PUMP, METHOD]


def test_the_first_claim_stands_alone_whatever_it_names() -> None:
    odd = "1. A kit for the pump of claim 12 of another patent, with tools."
    assert independent(["1. (cancelled)", odd]) == [odd]


def test_each_asks_for_its_own_patent_as_a_query() -> None:
    assert list(CLAIMS.pairs(Patents(["A", "B"], {"claims": [None, [PUMP]]}))) == [Pair(1, 1, query=PUMP)]
    assert CLAIMS.kind == "query"
