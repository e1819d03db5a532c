"""The table of results for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from patent_embed.evaluation.comparison import Comparison
from patent_embed.evaluation.measure import EvalResult
from patent_embed.report.content import LABELS, headline, metrics_of, number, verdict_line
from patent_embed.text import columns, cut

_WIDTH = 80
_TERMINAL = (
    *("ndcg@10", "ndcg@100", "mrr@10", "mrr@1000", "map@50", "map@1000"),
    *("recall@1", "recall@10", "recall@50", "recall@100", "triplet_accuracy"),
)


def comparison_table(
    results: Sequence[EvalResult], comparisons: Iterable[Comparison] = (), *, split: str = "test"
) -> str:
    """A table for the terminal, at most 80 columns wide, with the verdicts below it.

    Args:
        results: a row each; of none, the headline alone says so.
        comparisons: a sentence each.
        split: ``val`` or ``test``.
    """
    summaries = [result.summary(split)["metrics"] for result in results]
    measured = metrics_of(summaries)
    shown = [name for name in _TERMINAL if name in measured] if results else _TERMINAL
    rows = [["", *(LABELS[name] for name in shown)]]
    for result, found in zip(results, summaries, strict=True):
        rows.append([result.name, *(number(found[name], "-") for name in shown)])
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    widths[0] = min(widths[0], _WIDTH - sum(widths[1:]) - 2 * len(shown))
    lines = [headline(results, split)]
    for row in rows:
        cells = (
            _fit(cell, width, right=place > 0) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    for comparison in comparisons:
        lines.extend(textwrap.wrap(verdict_line(comparison), _WIDTH, subsequent_indent="  "))
    return "\n".join(lines)


def _fit(text: str, width: int, *, right: bool) -> str:
    """``text`` in exactly ``width`` columns."""
    text = cut(text, width)
    space = " " * (width - columns(text))
    return space + text if right else text + space
