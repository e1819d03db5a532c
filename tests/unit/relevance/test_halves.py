"""Where an abstract is cut."""

from __future__ import annotations

import pytest

from patent_embed.relevance.base import Pair, Patents
from patent_embed.relevance.halves import HALVES, halves_of

FIRST, SECOND, THIRD = "A pump has a housing.", "Its shaft is driven by a motor of 3.5 kW.", "A valve closes the inlet."
ZH = "本发明公开了一种水泵,包括壳体和安装在壳体内的转轴。", "转轴由电机驱动,电机的外侧设置有散热片和风扇罩。"


@pytest.mark.parametrize(
    ("text", "halves"),
    [
        (f"{FIRST} {SECOND}", (FIRST, SECOND)),
        (f"{FIRST} {SECOND} {THIRD}", (f"{FIRST} {SECOND}", THIRD)),  # 62 characters of 88 are nearer than 21
        ("".join(ZH), ZH),
        (
            "A pump of 3.5 kW with a housing and a shaft that a motor drives",
            None,
        ),  # a point inside a number ends nothing
        (f"Short one. {SECOND}", None),
        ("", None),
    ],
)
def test_the_cut_is_the_end_of_a_sentence_nearest_to_the_middle(text: str, halves: tuple[str, str] | None) -> None:
    assert halves_of(text) == halves


def test_each_half_asks_for_the_other() -> None:
    patents = Patents(["CN1", "CN2"], {"abstract": ["too short", f"{FIRST} {SECOND}"]})
    assert list(HALVES.pairs(patents)) == [Pair(1, 1, FIRST, SECOND), Pair(1, 1, SECOND, FIRST)]
