"""Bytes to text in the encodings of East Asian and Western exports.

UTF-8 proves itself; every other encoding turns nearly any bytes into some characters. So each candidate must decode
all of them, come back as the same bytes, and give characters that texts of its language have, far more of them than
any other candidate. What no candidate is sure of is not decoded: a reject is better than other characters.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from patent_embed.data.common_characters import HANGUL, KANJI, SIMPLIFIED, TRADITIONAL

SAMPLE_BYTES = 1 << 20  # of a long file; the encoding of its beginning is that of the rest

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with that one's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KANA = frozenset(map(chr, [*range(0x3041, 0x3097), *range(0x30A1, 0x30FD)]))
# Encoding → the letters that are common in its language. A later one of the same family is tried where the first fails.
_EAST_ASIAN: dict[str, frozenset[str]] = {
    "gb18030": SIMPLIFIED,
    "cp950": TRADITIONAL,
    "big5hkscs": TRADITIONAL,
    "cp932": KANJI | _KANA,
    "euc_jp": KANJI | _KANA,
    "cp949": HANGUL,
}
_ASCII = frozenset(map(chr, range(0x80)))
_LETTERS = (SIMPLIFIED, TRADITIONAL, KANJI | _KANA, HANGUL)
_SAME_LANGUAGE = {"big5hkscs": "cp950"}
# Signs that texts of all these languages have.
_SIGNS = frozenset(
    "，。、；：？！（）《》「」『』【】〔〕“”‘’…·×÷±℃°％～①②③④⑤⑥⑦⑧⑨⑩㎡—　≤≥≠∞∈≈∝∪∩→←↑↓●○■□◆◇△▲☆★αβγδεθλμπρσφωΔΩ"
)
_NO_LETTERS = _SIGNS | frozenset(map(chr, range(0xFF01, 0xFF5F)))
# Those that tell an encoding where they are all there is: the signs of English texts.
_TELLING_SIGNS = frozenset("“”‘’…—·×÷±℃°′″≤≥αβγδεθλμπρσφωΔΩ")
_LEAST_SHARE = 0.5  # of letters that are common ones: right decodings have 0.8 and more, wrong ones 0.3 and less
_MOST_VOICES = 200  # lines
_LEAST_USUAL = 0.7  # of the characters of UTF-16 and UTF-32
_LEAST_LEAD = 0.2
_SURE_SHARE = 0.75
_SURE_LETTERS = 25
_LEAST_LETTERS = 6  # different ones
_WINDOW = 2048  # so many bytes are weighed, from the first one beyond ASCII
# The accented letters of one Western language each: a text of Latin-1 has those of one, a Czech or Turkish text in its
# own encoding has letters of several when it is read as Latin-1.
_WESTERN = tuple(
    frozenset(letters)
    for letters in (
        *("àâæçéèêëîïôœùûüÿ", "äöüß", "áéíñóúü", "àèéìîòóù", "áâãàçéêíóôõúü", "ëïéèöü"),
        *("äåöé", "æøåéö", "áíóúéæöðþý"),
    )
)
_WESTERN_SIGNS = frozenset("°µ±×÷²³·“”‘’–—€£§®™©«»½¼¾…\xa0•†‰øº")  # "ø 5 mm" stands for a diameter everywhere
_MOST_ACCENTED = 0.25  # of all characters
_LONGEST_RUN = 2
_ZEROS = 512  # bytes of the beginning in which the zeros of UTF-16 are looked for
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_HIGH_RUN = re.compile(r"[^\x00-\x7f]+")
_ESCAPES = ((b"\x1b$B", "iso2022_jp_2"), (b"\x1b$@", "iso2022_jp_2"), (b"\x1b$)C", "iso2022_kr"))


class Decoded(NamedTuple):
    """A text, and the encoding that it was in."""

    text: str
    encoding: str


def decode(content: bytes) -> Decoded | None:
    """All of ``content`` as text, without a byte order mark; None where no encoding is sure."""
    if b"\x1b$" not in content and b"\x00" not in content[:_ZEROS] and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        try:
            text = content.decode()
        except UnicodeDecodeError:
            pass
        else:
            return Decoded(text.removeprefix("\ufeff"), "utf-8")
    encoding = sniff(content)
    if encoding is None:
        return None
    try:
        return Decoded(content.decode(encoding).removeprefix("\ufeff"), encoding)
    except UnicodeDecodeError:
        return None


def sniff(content: bytes, *, cut: bool = False) -> str | None:
    """The encoding of ``content``, as Python calls it; None where none is sure.

    Args:
        cut: ``content`` is the beginning of something longer, so that its last character may be torn.
    """
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            if encoding == "utf-8-sig" and _decoded(content, encoding, cut) is None:
                return sniff(content.removeprefix(mark), cut=cut)
            return encoding if _decoded(content, encoding, cut) is not None else None
    for mark, encoding in _ESCAPES:
        if mark in content:
            return encoding if _decoded(content, encoding, cut) is not None else None
    wide = _without_mark(content[:_ZEROS]) if b"\x00" in content[:_ZEROS] else None
    if wide is not None:
        return wide if _decoded(content, wide, cut) is not None else None
    if _decoded(content, "utf-8", cut) is not None:
        return "utf-8"
    return _most_plausible(content, cut)


def sniff_by_lines(content: bytes) -> str | None:
    """The encoding that most lines are sure of, where the whole is not in one: a few of its bytes are broken.

    Lines of ASCII alone have no voice.
    """
    lines = content.split(b"\n")[:_MOST_VOICES]
    voices = Counter(encoding for line in lines if not line.isascii() and (encoding := sniff(line)) is not None)
    return max(voices, key=voices.__getitem__) if voices else None


def _decoded(content: bytes, encoding: str, cut: bool) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(content, final=not cut)
    except UnicodeDecodeError:
        return None


def _without_mark(head: bytes) -> str | None:
    """The UTF-16 or UTF-32 in which a beginning with zeros has the characters that texts have."""
    shares = {}
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        text = _decoded(head, encoding, cut=True)
        if text:
            usual = sum(
                "\t" <= char <= "~" or char in _SIGNS or any(char in each for each in _LETTERS) for char in text
            )
            shares[usual / len(text)] = encoding
    return shares[max(shares)] if shares and max(shares) >= _LEAST_USUAL else None


def _most_plausible(content: bytes, cut: bool) -> str | None:
    """The East Asian encoding whose letters are common ones, or Windows' Western one where the letters fit it."""
    begins = _HIGH_BYTE.search(content)
    if begins is None:
        return None
    sample = content[begins.start() : begins.start() + _WINDOW]  # a first byte beyond ASCII begins a character
    torn = cut or len(sample) < len(content) - begins.start()
    scores: dict[str, float] = {}
    signs: dict[str, str] = {}
    for encoding, common in _EAST_ASIAN.items():
        text = None if _SAME_LANGUAGE.get(encoding) in scores else _decoded(sample, encoding, torn)
        if text is None:
            continue
        beyond = set(text) - _ASCII
        letters = beyond - _NO_LETTERS
        if len(letters) >= _LEAST_LETTERS:
            scores[encoding] = len(letters & common) / len(letters)
            if scores[encoding] >= _SURE_SHARE and len(letters) >= _SURE_LETTERS:
                scores = {encoding: scores[encoding]}  # no other one can come near: it need not be tried
                break
        elif _TELLING_SIGNS.issuperset(beyond):
            signs.setdefault(text, encoding)
    best = sorted(scores, key=lambda encoding: -scores[encoding])
    western = _is_western(content)
    found = None
    if best and scores[best[0]] >= _LEAST_SHARE:
        lead = scores[best[0]] - (scores[best[1]] if len(best) > 1 else 0.0)
        found = best[0] if lead >= _LEAST_LEAD and not western else None
    elif western:
        found = "cp1252"
    elif len(signs) == 1:
        found = next(iter(signs.values()))
    return found if found is not None and _comes_back(content, found, cut) else None


def _comes_back(content: bytes, encoding: str, cut: bool) -> bool:
    """Whether the text is as many bytes again; not the same ones, as NEC's and IBM's doubles of a sign are one sign."""
    text = _decoded(content, encoding, cut)
    if text is None:
        return False
    try:
        again = len(text.encode(encoding))
    except UnicodeEncodeError:
        return False
    return len(content) - 3 * cut <= again <= len(content)


def _is_western(content: bytes) -> bool:
    """Whether the bytes beyond ASCII are accented letters of one Western language, or signs, among ASCII letters."""
    if b"\x00" in content:
        return False
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError:
        return False
    high: set[str] = set()
    count = 0
    for run in _HIGH_RUN.finditer(text):
        if len(run[0]) > _LONGEST_RUN or _inside_a_word(text, run):
            return False
        high.update(run[0].lower())
        count += len(run[0])
    accented = high - _WESTERN_SIGNS
    return count <= _MOST_ACCENTED * len(text) and any(accented <= letters for letters in _WESTERN)


def _inside_a_word(text: str, run: re.Match[str]) -> bool:
    """Whether a sign stands between two letters, as the letters of other encodings do."""
    before, after = text[max(0, run.start() - 1) : run.start()], text[run.end() : run.end() + 1]
    return run[0][0] in "²³¹º¼½¾£§" and before.isalpha() and after.isalpha()


class LineDecoder:
    """Decodes the lines of one file: an encoding that one line was sure of is tried first on the others.

    Attributes:
        encoding: that of the last line; empty before the first one.
    """

    def __init__(self) -> None:
        self.encoding = ""
        self._known: str | None = None

    def decode(self, line: bytes) -> str | None:
        """The text of a line; None where no encoding is sure."""
        found = decode(line)
        if found is not None:
            self.encoding = found.encoding
            if found.encoding not in ("utf-8", "cp1252"):
                self._known = found.encoding
            return found.text
        if self._known is None:
            return None
        try:
            text = line.decode(self._known)  # a line with too few letters to tell, among others that told
        except UnicodeDecodeError:
            return None
        self.encoding = self._known
        return text


def lines_of(text: str) -> Iterator[str]:
    """The lines of a text, ended by LF or CRLF alone: other separators may stand inside JSON strings."""
    return (line.removesuffix("\r") for line in text.split("\n"))
