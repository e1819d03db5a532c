"""Bytes are decoded rightly or not at all."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.encodings import LineDecoder, decode, sniff

SIMPLIFIED = '{"标题": "一种图像放大装置", "摘要": "包括采集模块、插值模块和输出模块，用于减少锯齿并保持清晰度。"}'
TRADITIONAL = '{"標題": "影像放大裝置", "摘要": "本發明揭露一種影像放大裝置，包含擷取模組與輸出模組，以減少鋸齒。"}'
JAPANESE = '{"名称": "画像拡大装置", "要約": "【課題】画像の縁に沿って補間し、ジャギーを減らす装置を提供する。"}'
KOREAN = '{"명칭": "이미지 확대 장치", "요약": "본 발명은 가장자리 방향에 따라 가중치를 선택하는 장치에 관한 것이다."}'
FRENCH = '{"titre": "Procédé", "abrégé": "La mémoire est partagée entre deux étages, à une fréquence élevée."}'
GERMAN = '{"titel": "Vorrichtung für Übergänge", "zusammenfassung": "Die Größe der Öffnung wird geändert."}'


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (SIMPLIFIED, "gb18030"),
        (SIMPLIFIED, "gbk"),
        (SIMPLIFIED, "utf-16-le"),
        (SIMPLIFIED, "utf-16-be"),
        (SIMPLIFIED, "utf-16"),
        (SIMPLIFIED, "utf-32"),
        (SIMPLIFIED, "utf-32-le"),
        (SIMPLIFIED, "utf-32-be"),
        (SIMPLIFIED, "utf-8-sig"),
        (TRADITIONAL, "big5"),
        (TRADITIONAL, "big5hkscs"),
        (TRADITIONAL, "utf-8"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        (KOREAN, "euc_kr"),
        (KOREAN, "cp949"),
        (FRENCH, "latin-1"),
        (FRENCH, "utf-16-le"),
        (GERMAN, "cp1252"),
        ("A method at 25 °C with ±5 % of a “size”", "cp1252"),
        ("公开号,标题\n", "utf-16-le"),
    ],
)
def test_right(text: str, encoding: str) -> None:
    decoded = decode(text.encode(encoding))
    assert decoded is not None
    assert decoded.text == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Příkladné zařízení pro měření teploty s čidlem", "cp1250"),
        ("Urządzenie do pomiaru ciśnienia w zbiorniku", "cp1250"),
        ("Устройство для измерения температуры воздуха", "cp1251"),
        ("Устройство для измерения температуры воздуха", "koi8-r"),
        ("Ölçüm için bir aygıt ve şöyle bir ığdır", "cp1254"),
        ("Μέθοδος για τη μέτρηση της θερμοκρασίας", "cp1253"),
        ("שיטה למדידת הטמפרטורה של האוויר", "cp1255"),
        ("一种", "gb18030"),  # two letters prove nothing
    ],
)
def test_what_is_not_sure_is_not_decoded(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) is None


@pytest.mark.parametrize(
    "content", [b"\xff\xff\xff", b"\x80\x81\x82\xff", b"\xff\xfe\x00", codecs.BOM_UTF8 + b"\xff\xff"]
)
def test_what_is_no_text_is_not_decoded(content: bytes) -> None:
    assert decode(content) is None


def test_the_beginning_of_a_file_may_end_inside_a_character() -> None:
    content = SIMPLIFIED.encode("gb18030")
    torn = content[: content.index("用于".encode("gb18030")) + 1]
    assert sniff(torn, cut=True) == "gb18030"
    assert decode(torn) is None
    assert sniff(SIMPLIFIED.encode()[:-4], cut=True) == "utf-8"


def test_a_line_with_few_letters_is_read_as_the_lines_before() -> None:
    decoder = LineDecoder()
    assert decoder.decode("标题".encode("gb18030")) is None
    assert decoder.decode(SIMPLIFIED.encode("gb18030")) == SIMPLIFIED
    assert (decoder.decode("标题".encode("gb18030")), decoder.encoding) == ("标题", "gb18030")


@given(st.binary(max_size=400))
def test_any_bytes(content: bytes) -> None:
    decoded = decode(content)
    assert decoded is None or isinstance(decoded.text, str)
    sniff(content, cut=True)


@given(st.text(max_size=200))
def test_utf8_is_always_right(text: str) -> None:
    content = text.encode("utf-8", "ignore")
    decoded = decode(content)
    # An escape of ISO-2022 or zeros at even places look like other encodings; in JSON neither can stand.
    if b"\x1b$" not in content and b"\x00" not in content and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        assert decoded is not None
        assert decoded.text == content.decode().removeprefix("\ufeff")
