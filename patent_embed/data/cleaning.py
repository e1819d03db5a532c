"""Text as it is found: invisible characters, headings, and the language it is in."""

from __future__ import annotations

import re

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
    if not text.isprintable():  # most texts are, and have no white space but blanks
        text = SURROGATE.sub("", _INVISIBLE.sub("", text))
    if not text.isprintable() or "  " in text or text[:1] == " " or text[-1:] == " ":
        text = " ".join(text.split())
    return _BREAK_IN_CJK.sub("", text) if " " in text else text


def clean_abstract(text: str) -> str:
    """``clean_text``, and a leading heading word ("摘要：", "Abstract ") or paragraph mark ("[0000]") gone."""
    return _HEADING.sub("", clean_text(text)).strip()


# How a text's language is told: from so many characters at its beginning, a share of kana and hangul above which it is
# another one, and a share of Han characters from which it is Chinese.
LANGUAGE_CHARS = 1000
MOST_KANA = 0.05
LEAST_HAN = 0.2
_HAN = re.compile("[\u4e00-\u9fff\u3400-\u4dbf]+")
_KANA = re.compile("[\u3040-\u30ff\uac00-\ud7af]+")  # and hangul
_LATIN = re.compile("[A-Za-z]+")


def detect_language(text: str) -> str:
    """``zh``, ``en`` or ``other``, by script: kana and hangul are other, a fifth of Han characters is Chinese."""
    head = text[:LANGUAGE_CHARS]
    han, latin = len(head) - len(_HAN.sub("", head)), len(head) - len(_LATIN.sub("", head))
    kana = len(head) - len(_KANA.sub("", head)) if _KANA.search(head) else 0
    if kana > MOST_KANA * (han + kana + latin):
        return "other"
    if han >= LEAST_HAN * (han + latin) and han:
        return "zh"
    return "en" if latin else "other"
