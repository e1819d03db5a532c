"""Some mutated files of every format; ``benchmarks/fuzz_records.py`` takes a hundred thousand."""

from __future__ import annotations

import pytest

from benchmarks.fuzz_records import check, files, originals
from patent_embed.data.records import PatentTextParser, RecordParser, TextParser


@pytest.mark.parametrize(
    "parser", [RecordParser(), PatentTextParser(), TextParser(text_column="摘要")], ids=lambda p: type(p).__name__
)
def test_nothing_is_raised_and_every_reject_has_a_reason(parser: RecordParser) -> None:
    for name, content in files(1000, seed=7):
        check(parser, name, content)


def test_the_files_are_good_before_they_are_mutated() -> None:
    for name, content in originals().items():
        records = check(RecordParser(), name, content)
        assert [record.reason for record in records] == [""] * len(records), name
        assert records
