"""Text as it is found: encodings, invisible characters, headings, and the language it is in."""

from __future__ import annotations

import re


def decode(content: bytes) -> str | None:
    """Text from UTF-8 (with or without BOM), UTF-16 with BOM, or GB18030; None when it is none of them."""
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    candidates = ("utf-16",) if utf16 else ("utf-8-sig", "gb18030")
    for encoding in candidates:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return None


_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff\ufffe\uffff]"
)
_CJK = "[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
_BREAK_IN_CJK = re.compile(rf"(?<={_CJK})\s+(?={_CJK})")
_HEADING = re.compile(
    r"^(?:\[\d{4,}\]\s*|【摘要】\s*|摘要\s*[:：]\s*|摘要(?=本发明|本实用新型|本申请|一种)|abstract\s*[:：.]?\s+(?=[A-Z]))+",
    re.IGNORECASE,
)
SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """One line: invisible characters gone, white space folded, and none left between Chinese characters."""
    text = SURROGATE.sub("", _INVISIBLE.sub("", text))
    return _BREAK_IN_CJK.sub("", " ".join(text.split()))


def clean_abstract(text: str) -> str:
    """``clean_text``, and a leading heading word ("摘要：", "Abstract ") or paragraph mark ("[0000]") gone."""
    return _HEADING.sub("", clean_text(text)).strip()


# How a text's language is told: from so many characters at its beginning, a share of kana and hangul above which it is
# another one, and a share of Han characters from which it is Chinese.
LANGUAGE_CHARS = 1000
MOST_KANA = 0.05
LEAST_HAN = 0.2


def detect_language(text: str) -> str:
    """``zh``, ``en`` or ``other``, by script: kana and hangul are other, a fifth of Han characters is Chinese."""
    han = kana = latin = 0
    for char in text[:LANGUAGE_CHARS]:
        if "\u4e00" <= char <= "\u9fff" or "\u3400" <= char <= "\u4dbf":
            han += 1
        elif "\u3040" <= char <= "\u30ff" or "\uac00" <= char <= "\ud7af":
            kana += 1
        elif char.isascii() and char.isalpha():
            latin += 1
    if kana > MOST_KANA * (han + kana + latin):
        return "other"
    if han >= LEAST_HAN * (han + latin) and han:
        return "zh"
    return "en" if latin else "other"
