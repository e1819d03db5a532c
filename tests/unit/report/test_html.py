import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from patent_embed.evaluation.measure import EvalResult
from patent_embed.report.content import RunReport, evidence_lines, sentence
from patent_embed.report.html import write_report_html
from tests.evidence import full_report, world
from tests.unit.report.conftest import regressed

EVIL = "<script>alert(1)</script>\"'&{{ 7*7 }}"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Ids, addresses and headings of a page; fails on tags that are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.headings: list[str] = []
        self.charts: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        self.charts += [given["aria-label"] or ""] if given.get("class") == "chart" else []
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def page(path: Path, report: RunReport) -> Page:
    write_report_html(path / "report.html", report)
    return Page(path / "report.html")


def test_all_parts_are_there(tmp_path: Path) -> None:
    found = page(tmp_path, full_report())
    assert found.headings == [
        *("Results", "Slices", "Queries that moved", "Scores of right answers and negatives"),
        *("Map of the test patents", "General text", "Training", "Data, queries, negatives", "Time and throughput"),
        "Settings and versions",
    ]
    assert sorted(found.addresses) == sorted(["data:,", *(f"#{name}" for name in found.ids)])
    for part in ("Tuned is better than base", "No slice in which tuned is worse", "General sentence pairs"):
        assert part in found.text
    for part in ("怎样固定装置", "3.8 triplets/s", "above ratio", "too short", "seed: 42", "torch 2.13", "rank "):
        assert part in found.text
    for chart in (
        *("training loss by optimizer step", "nDCG@10 on val by epoch", "Negatives, by rung", "seconds of each step"),
        *(f"cosines of right answers and negatives, {name}" for name in ("base", "tuned")),
        *(f"180 test patents as {name} places them, by section" for name in ("base", "tuned")),
    ):
        assert chart in found.charts


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    found = page(tmp_path, full_report())
    assert not found.tags & {"script", "iframe", "img", "object", "embed", "base", "form"}
    assert all(address.startswith(("#", "data:")) for address in found.addresses)
    assert not re.search(r"https?://|@import|url\(", found.source)
    assert "default-src 'none'" in found.source


def test_texts_of_the_data_are_text(tmp_path: Path) -> None:
    report = full_report(world(texts=(EVIL, EVIL)))
    report = dataclasses.replace(
        report,
        title=EVIL,
        rejects={EVIL: 3},
        timings={EVIL: 2.0},
        versions={EVIL: EVIL},
        settings={"run": {EVIL: EVIL}},
        negatives={
            "rungs": {EVIL: 1},
            "examples": [
                {
                    "query": EVIL,
                    "title": EVIL,
                    "codes": [EVIL],
                    "negatives": [{"title": EVIL, "codes": [EVIL], "rung": EVIL, "score": 0.5}],
                }
            ],
        },
        results=[EvalResult(EVIL, r.scale, r.per_query, r.general, r.map) for r in report.results],
    )
    found = page(tmp_path, report)
    assert "script" not in found.tags
    assert EVIL in found.text
    assert "49" not in re.findall(r"alert\(1\).{0,20}", found.source)[0]


def without_test_queries() -> RunReport:
    given = world(60, test=0.0)
    return RunReport(results=[given.measured("base", 0.5)])


def one_test_query() -> RunReport:
    return full_report(world(12, test=0.1))


def no_training() -> RunReport:
    return dataclasses.replace(full_report(), history=(), kept_epoch=None, loss_curve=(), queries={}, negatives={})


def one_encoder() -> RunReport:
    return RunReport(results=[world(100).measured("base", 0.5)])


@pytest.mark.parametrize("report", [without_test_queries, one_test_query, no_training, one_encoder])
def test_a_poorer_run_has_a_sane_page(tmp_path: Path, report) -> None:
    given = report()
    found = page(tmp_path, given)
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", found.text)
    assert ("Training" in found.headings) == bool(given.history)
    assert ("Nothing was compared" in found.text) == (not given.comparisons)
    assert found.headings[0] == "Results"


def test_the_page_grows_slowly_with_the_test_set(tmp_path: Path) -> None:
    page(tmp_path, full_report(world(3000)))
    assert (tmp_path / "report.html").stat().st_size < 200_000


def test_the_same_report_gives_the_same_page(tmp_path: Path) -> None:
    assert page(tmp_path, full_report()).source == page(tmp_path, full_report()).source


def test_a_regression_in_a_slice_is_marked(tmp_path: Path) -> None:
    found = page(tmp_path, regressed())
    said = sentence(evidence_lines(regressed())[0])
    assert said.startswith("But tuned is worse than base in section G (")
    assert f'<li class="worse">{said.split(";")[0]}' in found.source
