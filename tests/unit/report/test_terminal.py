"""The table of results for a terminal."""

from __future__ import annotations

from patent_embed.evaluation.measure import EvalResult
from patent_embed.report.content import RunReport
from patent_embed.report.terminal import comparison_table


def terminal_columns(line: str) -> int:
    return sum(2 if "\u4e00" <= char <= "\u9fff" or char in "，（）" else 1 for char in line)


def test_terminal_table_fits_80_columns_whatever_the_names(report: RunReport) -> None:
    named = EvalResult("专利检索模型（微调后，第二版）实验一", "cosine", report.results[2].per_query)
    text = comparison_table([*report.results, named], report.comparisons)
    lines = text.splitlines()
    assert lines[0] == "test: 80 queries (llm, rules) against the whole corpus"
    assert max(map(terminal_columns, lines)) <= 80
    assert len({terminal_columns(line) for line in lines[1:6]}) == 1  # the columns stand below one another
    assert "…" in lines[5]
    assert "0.7" in lines[4]
    assert "tuned is better than base on test nDCG@10" in text
