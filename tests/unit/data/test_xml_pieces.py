import io
import tracemalloc

import pytest

from patent_embed.data import xml_pieces
from patent_embed.data.xml_pieces import Piece, pieces

DOCUMENT = b'<a:doc n="%d">text <b>c</b></a:doc >'
STREAM = b"<?xml version='1.0'?>\n<root>" + DOCUMENT % 1 + b"\n<?xml version='1.0'?>" + DOCUMENT % 2 + b"</root>"


def cut(content: bytes, **settings: int) -> list[Piece]:
    return list(pieces(io.BytesIO(content), ["doc", "other"], **settings))


def test_documents_are_cut_out_with_what_stands_before_them() -> None:
    first, second = cut(STREAM)
    assert (first.content, first.gap) == (DOCUMENT % 1, b"<?xml version='1.0'?>\n<root>")
    assert (second.content, second.gap) == (DOCUMENT % 2, b"\n<?xml version='1.0'?>")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_chunks_do_not_matter(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cut(STREAM)
    monkeypatch.setattr(xml_pieces, "CHUNK", size)
    assert cut(STREAM) == whole


@pytest.mark.parametrize(
    ("content", "contents", "problems"),
    [
        (b"<doc>1<doc>2</doc>", [b"<doc>2</doc>"], ["the next document begins before </doc>"]),
        (b"<doc>1\n<?xml v='1'?><other>2</other>", [b"<other>2</other>"], ["the next document begins before </doc>"]),
        (b"<doc>1</doc><other>2", [b"<doc>1</doc>"], ["the file ends before </other>"]),
        (b"<doc><?xml-stylesheet href='x'?>1</doc>", [b"<doc><?xml-stylesheet href='x'?>1</doc>"], []),
        (b"<doc n='1'/><doc/><doc>3</doc>", [b"<doc n='1'/>", b"<doc/>", b"<doc>3</doc>"], []),
        (b"<docs><documents/></docs>", [], []),
        (b"", [], []),
    ],
)
def test_a_broken_document_is_one_problem(content: bytes, contents: list[bytes], problems: list[str]) -> None:
    found = cut(content)
    assert [piece.content for piece in found if not piece.problem] == contents
    assert [piece.problem for piece in found if piece.problem] == problems


@pytest.mark.parametrize("filling", [b"x", b"<p>", b"&a;"])
def test_a_document_that_is_too_long_is_dropped_and_the_next_one_is_read(filling: bytes) -> None:
    found = cut(b"<doc>" + filling * (3 << 20) + b"</doc><doc>2</doc>", limit=1 << 20)
    assert [(piece.content, piece.problem) for piece in found] == [(b"", "longer than 1 MB"), (b"<doc>2</doc>", "")]


class _Endless(io.RawIOBase):
    """A document of ``megabytes``, made while it is read."""

    def __init__(self, megabytes: int) -> None:
        self._parts = iter([b"<doc>", *[b"x" * (1 << 20)] * megabytes, b"</doc><doc>2</doc>"])

    def read(self, size: int = -1) -> bytes:
        return next(self._parts, b"")


def test_no_more_than_one_document_is_in_memory() -> None:
    tracemalloc.start()
    found = list(pieces(_Endless(100), ["doc"], limit=4 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [piece.problem for piece in found] == ["longer than 4 MB", ""]
    assert peak < 24 << 20


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_encodings_become_utf_8(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_pieces, "CHUNK", 60)
    (piece,) = cut('<?xml version="1.0"?><doc>一种装置</doc>'.encode(encoding))
    assert piece.content.decode() == "<doc>一种装置</doc>"


def test_broken_utf_16_raises() -> None:
    with pytest.raises(UnicodeDecodeError):
        cut("\ufeff<doc>a</doc>".encode("utf-16-le") + b"\x00\xd8a")
