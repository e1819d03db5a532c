"""How much room a text takes where characters stand in columns."""

from __future__ import annotations

from patent_embed.text import columns, cut


def test_columns_of_a_text() -> None:
    assert columns("专利ab") == 6
    assert cut("专利检索模型", 8) == "专利检…"
    assert cut("model", 5) == "model"
