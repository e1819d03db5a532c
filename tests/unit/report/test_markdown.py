"""report.md."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path

import pytest

from patent_embed.report.content import RunReport, Table
from patent_embed.report.markdown import markdown_table, write_report_md
from patent_embed.report.served import BEGIN, END
from tests.evidence import full_report
from tests.unit.report.conftest import regressed, result


def test_report_says_everything_it_was_given(tmp_path: Path, report: RunReport) -> None:
    write_report_md(tmp_path / "report.md", report)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for part in (
        "tuned is better than base",
        "## test: 80 queries (llm, rules)",
        "| llm | 40 |",
        "| records | 1,234 |",
        "| no_abstract | 17 |",
        "| train | 700 |",
        "| same_main_group | 1,800 |",
        "| 1 missing | 3 |",
        "2 of 1,001 anchors have no negative",
        "| 1 (kept) | 0.2345 | 0.7100 | 61.0 |",
        "| ingest (reused) | 1.5 s |",
        "seed: 42",
        "torch 2.13",
    ):
        assert part in text
    bm25 = next(line for line in text.splitlines() if line.startswith("| bm25"))
    assert bm25.endswith("| – | – |")  # its scores are no cosines
    assert "val:" not in text  # no such queries
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


def test_a_regression_in_a_slice_is_said_beside_the_verdict(tmp_path: Path) -> None:
    report = regressed()
    write_report_md(tmp_path / "report.md", report)
    _, verdict, second, third, *_ = (tmp_path / "report.md").read_text(encoding="utf-8").split("\n\n")
    assert verdict.startswith("**tuned is better than base")
    assert second.startswith("But tuned is worse than base in section G (")
    assert third.startswith("General sentence pairs: no change can be shown")
    (row,) = (line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| section: G |"))
    assert row.endswith("| worse |")


def test_what_a_report_was_not_given_is_left_out(tmp_path: Path) -> None:
    write_report_md(tmp_path / "report.md", RunReport(results=[result("base", 0.0, source="llm")]))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Retrieval before and after fine-tuning",
        "## test: 80 queries (llm) against the whole corpus",
    ]


def test_report_shows_what_became_of_a_models_answers(report: RunReport, tmp_path: Path) -> None:
    write_report_md(tmp_path / "report.md", report)
    assert "Queries by a model" not in (tmp_path / "report.md").read_text()  # cached and rule queries only
    queries = {
        "generated": 1200,
        "reused_answers": 30,
        "accepted_answers": 950,
        "rejected_answers": {"empty": 1, "title_copied": 279},
        "rejected_examples": {"empty": [""], "title_copied": ["如何实现`水泵`\n|？", "水泵"]},
        "errors": {"timeout": 4},
        "kinds": {"question": 900},
        "tokens": {"prompt": 480_000, "output": 30_000},
    }
    write_report_md(tmp_path / "report.md", dataclasses.replace(report, queries=queries))
    text = (tmp_path / "report.md").read_text()
    for line in (
        "| accepted | 950 |",
        "| rejected: title_copied | 279 |",
        "- title_copied: `如何实现'水泵' |？` `水泵`",
        "- empty: (empty)",
        "| timeout | 4 |",
        "| prompt | 480,000 |",
    ):
        assert line in text


NEGATIVES = """\
## Negatives

| rung |  |
| --- | ---: |
| same_main_group | 1,800 |

No shortfall: every anchor has all its negatives.

1,001 of 2,000 anchors have no negative.

| candidates refused because |  |
| --- | ---: |
| above_ratio | 7 |

Scores to the query, by quantile:

|  | 0.1 | 0.5 |
| --- | ---: | ---: |
| positive | 0.500 | 0.600 |
| negative | 0.200 | nan |

Largest groups: A01B1 (1,234), H02K3 (9).

### Examples

- **怎样减小|转矩**
    - positive: CN1A 一种电机 (H02K1/00, H02P3/00)
    - same_main_group: CN2A 壳体 ()
    - random, score 0.123: CN3A 支架 (A01B1/00)

- **(no query)**
    - positive: CN1A 一种电机 (H02K1/00, H02P3/00)
"""


def test_the_part_about_negatives_is_spelled_out(tmp_path: Path) -> None:
    anchor = {"publication_number": "CN1A", "title": "一种电机", "codes": ["H02K1/00", "H02P3/00"]}
    near = {"publication_number": "CN2A", "title": "壳体", "codes": [], "rung": "same_main_group", "score": None}
    far = {"publication_number": "CN3A", "title": "支架", "codes": ["A01B1/00"], "rung": "random", "score": 0.1234}
    negatives = {
        "anchors": 2000,
        "rungs": {"same_main_group": 1800},
        "shortfall": {},
        "anchors_without_negatives": 1001,
        "filtered": {"above_ratio": 7},
        "scores": {"positive": {"0.1": 0.5, "0.5": 0.6}, "negative": {"0.1": 0.2}},
        "largest_groups": [{"main_group": "A01B1", "patents": 1234}, {"main_group": "H02K3", "patents": 9}],
        "examples": [
            anchor | {"query": "怎样减小|转矩", "negatives": [near, far]},
            anchor | {"query": "", "negatives": []},
        ],
    }
    write_report_md(tmp_path / "report.md", RunReport(results=[], title="<&>", negatives=negatives))
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == f"# &lt;&>\n\n{BEGIN}\n{END}\n\n{NEGATIVES}"


def test_parts_stand_apart_by_one_empty_line(tmp_path: Path) -> None:
    """Whatever is left out."""
    whole = full_report()
    for left_out in ("comparisons", "slices", "forgetting", "rejects", "negatives", "history", "settings", "versions"):
        empty = RunReport(results=[])
        report = dataclasses.replace(whole, **{left_out: getattr(empty, left_out)})
        write_report_md(tmp_path / "report.md", report)
        text = (tmp_path / "report.md").read_text(encoding="utf-8")
        assert "\n\n\n" not in text, left_out
        assert text.endswith("\n"), left_out
        lines = text.splitlines()
        for before, line in itertools.pairwise(lines):
            assert not line.startswith("#") or before == "", line


def test_cells_with_a_bar_stay_one_cell() -> None:
    assert markdown_table(Table("", ["a|b", "n"], [["x|y", "1"]])) == "| a\\|b | n |\n| --- | ---: |\n| x\\|y | 1 |"


HOSTILE = [
    "<script>alert(1)</script>",
    '<img src="https://evil/x.png">',
    "![x](https://evil/x.png)",
    "[press](javascript:alert(1))",
    "a ** b * c `d` e",
    "&lt;b&gt; &#60;b&#62;",
    "one\n# two\r\n- three\u2028<b>",
    "\x1b[31mred\x07 \x9b2J",
    "left \u202eright\u202c \u2066x\u2069 \u200f",
    "half \ud800 of a pair",
    "![x][y] \\![z](q) \\\\[z](q)",
]


def shown(markdown: str) -> list[tuple[str, str]]:
    """What a renderer makes of Markdown: its tokens within lines, by kind and content, without plain text."""
    parser = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table")
    inline = [child for token in parser.parse(markdown) for child in token.children or ()]
    blocks = [(token.type, token.content) for token in parser.parse(markdown) if token.type.startswith("html")]
    return blocks + [(child.type, child.content) for child in inline if child.type != "text"]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_patents_contain_is_shown_and_nothing_else(hostile: str, tmp_path: Path) -> None:
    def written(text: str) -> str:
        anchor = {"publication_number": text, "title": text, "codes": [text], "query": text}
        negative = anchor | {"rung": text, "score": None}
        report = RunReport(
            results=[],
            title=text,
            rejects={text: 1},
            settings={"data": {"data_dir": text}},
            negatives={"examples": [anchor | {"negatives": [negative]}]},
            queries={
                "generated": 1,
                "reused_answers": 0,
                "accepted_answers": 0,
                "rejected_answers": {text: 1},
                "rejected_examples": {text: [text]},
            },
        )
        write_report_md(tmp_path / "report.md", report)
        return (tmp_path / "report.md").read_bytes().decode()

    harmless, found = written("harmless"), written(hostile)
    kinds = [kind for kind, _ in shown(harmless)]
    assert [kind for kind, _ in shown(found) if kind != "softbreak"] == kinds
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200f\u202a-\u202e\u2066-\u2069]", found)
    assert len(found.splitlines()) <= len(harmless.splitlines()) + 4  # YAML breaks lines of its own


def test_a_judge_is_told_of_once_with_its_control(tmp_path: Path) -> None:
    control = {"relevant": 50, "unrelated": 50, "families": 12, "found": 45, "taken": 5, "ungraded": 0}
    queries = {"control": control, "why_not": "recall 0.90 is below", "pairs": 0, "per_1000_pairs": {}}
    negatives = {"why_not": "recall 0.90 is below", "pairs": 0, "per_1000_pairs": {}}
    report = RunReport(results=[result("base", 0.0)], queries={"judge": queries}, negatives={"judge": negatives})
    write_report_md(tmp_path / "report.md", report)
    part = (tmp_path / "report.md").read_text(encoding="utf-8").partition("## Judge\n")[2].partition("\n##")[0]
    assert part.strip().splitlines() == [
        "- Judge: precision 0.90, recall 0.90 (called answers: 45 of 50 planted relevant pairs, 12 of them of "
        "families, and 5 of 50 unrelated ones)",
        "- The judge's grades are not used: recall 0.90 is below",
    ]
