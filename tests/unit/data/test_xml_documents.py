"""What all XML formats share: a broken document is lost alone, nothing raises, and everything is counted."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed.data import xml_pieces
from patent_embed.data.formats.cnipa_xml import CNIPA_XML
from patent_embed.data.formats.docdb_xml import DOCDB_XML
from patent_embed.data.formats.ep_xml import EP_XML
from patent_embed.data.formats.kipris_xml import KIPRIS_XML
from patent_embed.data.formats.uspto_xml import USPTO_XML
from patent_embed.data.raw import REASONS, RawRecord
from patent_embed.data.xml_documents import XmlFormat
from tests import offices


def _week(*documents: str) -> str:
    return "".join(documents)


# Format, a document of it by number, and a file of documents.
KINDS: list[tuple[XmlFormat, Callable[[int], str], Callable[..., str]]] = [
    (DOCDB_XML, offices.docdb, offices.docdb_file),
    (DOCDB_XML, offices.ops_document, offices.ops_file),
    (USPTO_XML, offices.grant, _week),
    (USPTO_XML, offices.application, _week),
    (USPTO_XML, offices.patdoc, _week),
    (USPTO_XML, offices.application_2001, _week),
    (KIPRIS_XML, offices.kipris_item, offices.kipris_file),
    (CNIPA_XML, offices.cnipa, _week),
    (EP_XML, offices.ep, _week),
]
kinds = pytest.mark.parametrize(("form", "document", "file"), KINDS)


def read(form: XmlFormat, content: bytes | str) -> list[RawRecord]:
    return list(form.read(io.BytesIO(content.encode() if isinstance(content, str) else content), "a.xml"))


@kinds
def test_every_document_is_a_record_with_its_place(
    form: XmlFormat, document: Callable[[int], str], file: Callable[..., str]
) -> None:
    content = file(*map(document, range(1, 6)))
    records = read(form, content)
    assert form.recognises("a.xml", content.encode()[:4096])
    assert [record.source for record in records] == [f"a.xml[{number}]" for number in range(5)]
    assert {(record.reason, record.encoding) for record in records} == {("", "utf-8")}
    assert len({record.fields["publication_number"] for record in records}) == 5
    for record in records:
        assert {"title", "abstract", "classifications", "publication_date"} <= record.fields.keys()


@kinds
@pytest.mark.parametrize("harm", ["cut", "mismatched", "doubled"])
def test_a_broken_document_is_one_reject_and_the_others_are_read(
    form: XmlFormat, document: Callable[[int], str], file: Callable[..., str], harm: str
) -> None:
    whole = document(3)
    broken = {
        "cut": whole[: len(whole) // 2].rpartition("<")[0],
        "mismatched": whole.replace("</", "<", 1),
        "doubled": whole.replace("</", "</x></", 1),
    }[harm]
    good = [read(form, file(document(number)))[0].fields for number in (1, 2, 4)]
    records = read(form, file(document(1), document(2), broken, document(4)))
    assert [record.reason for record in records] == ["", "", "invalid_xml", ""]
    assert [record.fields for record in records if not record.reason] == good
    assert records[2].detail


@kinds
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-be"])
def test_encodings(form: XmlFormat, document: Callable[[int], str], file: Callable[..., str], encoding: str) -> None:
    content = file(document(1), document(2))
    encoded = content.encode(encoding) if encoding != "utf-32-be" else ("\ufeff" + content).encode(encoding)
    assert form.recognises("a.xml", encoded[:4096])
    assert [record.fields for record in read(form, encoded)] == [record.fields for record in read(form, content)]


@pytest.mark.parametrize(
    ("declared", "written", "right"),
    [
        ("GB2312", "gb18030", "装置"),
        ("gbk", "gbk", "装置"),
        ("Big5", "big5", "裝置"),
        ("Shift_JIS", "shift_jis", "装置"),
        ("EUC-KR", "euc_kr", "장치"),
        ("ISO-8859-1", "cp1252", "Gerät “x”"),
        ("ISO-8859-1", "utf-8", "装置"),  # many files say so and are UTF-8
    ],
)
def test_declared_encodings(declared: str, written: str, right: str) -> None:
    content = offices.grant(1, abstract=right).replace("UTF-8", declared).encode(written)
    (record,) = read(USPTO_XML, content)
    assert record.fields["abstract"] == [{"lang": "", "text": right}]
    assert record.encoding in (written, {"gbk": "gb18030"}.get(written, written), declared.lower())


@pytest.mark.parametrize("declared", ["UTF-8", "US-ASCII", "klingon"])
def test_bytes_that_are_not_of_the_declared_encoding_are_rejected(declared: str) -> None:
    broken = offices.grant(1, abstract="装置").replace("UTF-8", declared).encode("gbk")
    first, second = read(USPTO_XML, broken + offices.grant(2).encode())
    assert (first.reason, first.detail) == ("bad_encoding", f"not {declared.lower()}, as the file says")
    assert second.fields["publication_number"] == "US8000002B2"


def test_broken_utf_16_is_one_reject() -> None:
    content = offices.grant(1).encode("utf-16") + b"\x00\xd8a"
    records = read(USPTO_XML, content)
    assert records[-1].reason == "bad_encoding"


BOMB = "<!DOCTYPE us-patent-grant [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'><!ENTITY passwords SYSTEM 'file:///etc/passwd'>]>"


@pytest.mark.parametrize("reference", ["&b;", "&passwords;", "&a;" * 600_000])
def test_entities_are_neither_expanded_nor_fetched(reference: str) -> None:
    declaration = '<!DOCTYPE us-patent-grant SYSTEM "us-patent-grant-v45-2014-04-03.dtd" [ ]>'
    bomb = offices.grant(1, abstract=reference).replace(
        declaration, BOMB if len(reference) < 99 else BOMB.replace("ha", "h" * 99)
    )
    first, second = read(USPTO_XML, bomb + offices.grant(2))
    assert (first.reason, second.reason) == ("invalid_xml", "")
    assert "entit" in first.detail


def test_entities_of_one_document_do_not_reach_the_next_that_has_declarations_of_its_own() -> None:
    declared = offices.grant(1, abstract="&a; is a firm").replace("[ ]", "[<!ENTITY a 'Delta'>]")
    first, second = read(USPTO_XML, declared + offices.grant(2, abstract="&a; stays"))
    assert [record.fields["abstract"][0]["text"] for record in (first, second)] == ["Delta is a firm", "&a; stays"]


@pytest.mark.parametrize("inside", ["<b>" * 1000 + "</b>" * 1000, "<b>" * 100_000, "x" * (11 << 20)])
def test_deep_and_long_documents_are_rejected(inside: str) -> None:
    first, second = read(USPTO_XML, offices.grant(1, abstract=inside) + offices.grant(2))
    assert (first.reason, second.reason) == ("invalid_xml", "")


def test_a_file_without_documents_is_one_reject() -> None:
    (record,) = read(USPTO_XML, "<?xml version='1.0'?><feed/>")
    assert (record.source, record.reason) == ("a.xml", "invalid_xml")
    assert "<us-patent-grant>" in record.detail


@pytest.mark.parametrize("content", [b"", b"{}", b"us-patent-grant", b"<html>", b"\x00" * 100])
def test_other_content_is_not_recognised(content: bytes) -> None:
    assert not any(form.recognises("a.xml", content) for form, _, _ in KINDS)


@kinds
def test_an_archive_of_documents_is_not_recognised(
    form: XmlFormat, document: Callable[[int], str], file: Callable[..., str]
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        opened.writestr("a.xml", file(document(1)))
    assert not form.recognises("a.zip", archive.getvalue()[:4096])


FILES = [file(*map(document, range(1, 4))).encode() for _, document, file in KINDS]


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(range(len(KINDS))),
    changes=st.lists(
        st.tuples(
            st.floats(0, 1),
            st.integers(0, 40),
            st.binary(max_size=12)
            | st.sampled_from(
                [b"<", b">", b"&", b"&x;", b"]]>", b"<![CDATA[", b"<!--", b"</", b"/>", b"<?xml ?>", b"\xff"]
            ),
        ),
        max_size=6,
    ),
    chunk=st.integers(1, 5000),
)
def test_mutated_files_raise_nothing_and_every_record_is_read_or_rejected(
    kind: int, changes: list[tuple[float, int, bytes]], chunk: int
) -> None:
    content = FILES[kind]
    for place, length, new in changes:
        start = int(place * len(content))
        content = content[:start] + new + content[start + length :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xml_pieces, "CHUNK", chunk)
        records = read(KINDS[kind][0], content)
    assert records
    for record in records:
        assert record.reason in REASONS if record.reason else isinstance(record.fields, dict)
        assert not record.reason or record.detail


@settings(max_examples=100, deadline=None)
@given(kind=st.sampled_from(range(len(KINDS))), text=st.text(max_size=30), place=st.floats(0, 1))
def test_a_change_inside_one_document_leaves_the_others_as_they_are(kind: int, text: str, place: float) -> None:
    form, document, file = KINDS[kind]
    middle = document(2)
    start = int(place * len(middle))
    start = middle.find(">", start) + 1 or len(middle) // 2  # not in the middle of a tag
    text = text.replace("<", "")
    changed = file(
        document(1), middle[:start] + text + middle[start:] if start < len(middle) - 20 else middle, document(3)
    )
    before, after = read(form, file(*map(document, (1, 2, 3)))), read(form, changed.encode(errors="ignore"))
    assert len(after) == 3
    assert [after[0].fields, after[2].fields] == [before[0].fields, before[2].fields]


@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    for form, _, _ in KINDS:
        form.recognises("a.xml", content)
        assert [record.reason in REASONS for record in read(form, content)] == [True]
