import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed.data.formats import uspto_text
from patent_embed.data.formats.uspto_text import USPTO_TEXT, us_number
from patent_embed.data.raw import REASONS, RawRecord
from tests import offices

HEADER = "HHHHHT        APS1          ISSUE - 760106\n"


def read(content: str | bytes) -> list[RawRecord]:
    return list(USPTO_TEXT.read(io.BytesIO(content.encode() if isinstance(content, str) else content), "a.txt"))


def test_a_patent() -> None:
    (record,) = read(offices.green_book(1))
    assert record.fields == {
        "publication_number": "US3932001A",
        "title": "Test device 1 of two lines",
        "abstract": "A device number 1 for testing at 10° C., with a housing and a shaft.",
        "classifications": ["H04M11/00", "G06F7/28"],
        "claims": ["1. A device comprising: a. a housing; and b. a shaft.", "2. The device of claim 1."],
        "description": ["BACKGROUND OF THE INVENTION", "The invention is about testing."],
        "citations": ["US3518629A", "GB1234567"],
        "publication_date": "19760113",
        "applicants": ["Delta Incorporated"],
    }


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("header", ["", HEADER])
def test_a_week_of_patents(header: str, newline: str) -> None:
    content = (header + offices.green_book(1) + offices.green_book(2)).replace("\n", newline).encode()
    assert USPTO_TEXT.recognises("pftaps19760106_wk01.txt", content[:4096])
    records = read(content)
    assert [record.source for record in records] == ["a.txt[0]", "a.txt[1]"]
    assert [record.fields for record in records] == [read(offices.green_book(n))[0].fields for n in (1, 2)]


@pytest.mark.parametrize(
    ("number", "right"),
    [
        ("03932709", "US3932709A"),
        ("D0238901", "USD238901S"),
        ("RE028671", "USRE28671E"),
        ("PP003786", "USPP3786P"),
        ("T0953001", "UST953001"),
        ("", ""),
    ],
)
def test_numbers(number: str, right: str) -> None:
    assert us_number(number) == right


@pytest.mark.parametrize("content", [b"", b"PATN", b"PATN and more\nWKU  1", b"{}", b"\nPATN\nWKU  039327094"])
def test_other_texts_are_not_recognised(content: bytes) -> None:
    assert not USPTO_TEXT.recognises("a.txt", content)


def test_a_patent_with_other_bytes_is_rejected_alone() -> None:
    broken = offices.green_book(1).encode().replace(b"housing", b"hous\xffing")
    first, second = read(broken + offices.green_book(2).encode())
    assert (first.reason, second.reason) == ("bad_encoding", "")


def test_a_patent_that_is_too_long_is_rejected_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uspto_text, "MAX_RECORD", 10_000)
    long = offices.green_book(1) + "PAR  x\n" + "      y\n" * 2000
    first, second = read(long + offices.green_book(2))
    assert (first.reason, second.reason) == ("torn_row", "")


def test_a_paragraph_of_many_lines_takes_no_quadratic_time() -> None:
    (record,) = read(offices.green_book(1) + "PA1  x\n" + "      y\n" * 200_000)
    assert len(record.fields["claims"][-1]) > 400_000


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 30), st.binary(max_size=10) | st.just(b"\nPATN\n")), max_size=6)
)
def test_mutated_files_raise_nothing(changes: list[tuple[float, int, bytes]]) -> None:
    content = (HEADER + offices.green_book(1) + offices.green_book(2)).encode()
    for place, length, new in changes:
        start = int(place * len(content))
        content = content[:start] + new + content[start + length :]
    records = read(content)
    assert len(records) == sum(line.strip() == b"PATN" for line in content.split(b"\n"))
    assert all(record.reason in REASONS if record.reason else isinstance(record.fields, dict) for record in records)


def test_a_real_patent_of_1976(shared_data: Path) -> None:
    (record,) = read((shared_data / "messy" / "25_uspto_greenbook_1976.txt").read_bytes())
    assert record.fields["publication_number"] == "US3932709A"
    assert record.fields["classifications"] == ["H04M11/00"]
    assert record.fields["abstract"].startswith("An electronic business telephone for the transmission")
