from __future__ import annotations

from pathlib import Path

from patent_embed.folders import write_json
from patent_embed.report.content import RunReport
from patent_embed.report.html import write_report_html
from patent_embed.report.markdown import write_report_md
from patent_embed.report.served import FILE, EngineFigures, Served, read_served, served_table, show_served, with_served

FOUND = Served(
    "digest",
    180,
    1000,
    0.8123,
    "2 cores",
    [
        EngineFigures("onnx", 0.99999, 1.0, 1.0, 0.8123, 95.2),
        EngineFigures("http://h:1/v1", 0.4, 0.7, 0.31, 0.5, 1200.0, "wrong pooling: it pools 'cls', the model 'mean'"),
    ],
)


def test_the_table() -> None:
    rows = served_table(FOUND).rows
    assert rows[0][4] == "0.8123"
    assert rows[1] == ["onnx", "0.99999", "1.00000", "100.0%", "0.8123", "95", "as measured"]
    assert rows[2][-2:] == ["1,200", "differs"]


def test_it_is_shown_in_reports_and_once_only(tmp_path: Path) -> None:
    write_report_md(tmp_path / "report.md", RunReport([]))
    write_report_html(tmp_path / "report.html", RunReport([]))
    before = (tmp_path / "report.md").read_text()
    (tmp_path / "model").mkdir()
    (tmp_path / "model/README.md").write_text("a card of before")
    for _ in range(2):
        assert show_served(tmp_path, FOUND) == ["model/README.md"]
    assert (tmp_path / "model/README.md").read_text() == "a card of before"
    text, html = ((tmp_path / name).read_text() for name in ("report.md", "report.html"))
    assert text.count("## Served as measured") == html.count("<h2>Served as measured</h2>") == 1
    assert "| onnx | 0.99999 |" in text
    assert "- http://h:1/v1: wrong pooling: it pools 'cls'" in text
    assert "wrong pooling: it pools &#39;cls&#39;" in html
    assert with_served(text, "")  # its place stays
    assert "Served" not in before


def test_what_was_kept_is_of_one_model(tmp_path: Path) -> None:
    assert read_served(tmp_path / FILE, "digest") is None
    write_json(tmp_path / FILE, FOUND.as_json())
    assert read_served(tmp_path / FILE, "digest") == FOUND
    assert read_served(tmp_path / FILE, "of another") is None
    (tmp_path / FILE).write_text('{"schema_version": 1}')
    assert read_served(tmp_path / FILE, "digest") is None
