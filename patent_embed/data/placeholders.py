"""Texts that say that there is no text: what offices, databases and scripts write where an abstract is missing."""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 120  # characters; no abstract of a patent that says it has none is longer
_LONGEST_WORD = 20  # characters of such a word with what stands around it
_DIGIT = re.compile("[0-9]")
_NOT_LETTERS = re.compile(r"[\W_]+")
# Whole texts, without case, punctuation and white space. As numbers, titles and names they mean the same.
_NOTHING = frozenset(
    ("nan", "none", "null", "nil", "na", "nat", "undefined", "unknown", "notavailable", "objectobject", "tbd", "empty")
)
_WORDS = _NOTHING | frozenset(
    (
        *(
            "无",
            "無",
            "空",
            "略",
            "暂无",
            "暫無",
            "没有",
            "暂缺",
            "摘要",
            "无摘要",
            "暂无数据",
            "无数据",
            "未知",
            "同上",
        ),
        *("abstract", "noabstract", "summary", "nodata", "error", "nabstract", "refvalue", "ref", "value", "n"),
        *("なし", "要約", "要約なし", "없음", "요약", "요약없음", "초록없음", "내용없음"),
    )
)
_SAYS_NONE = re.compile(
    "|".join(
        (
            "(?:无|無|没有|暂无|暫無|未提供|不提供|缺少|缺失|未收录|尚无)(?:中文|英文|相关|该专利|此专利)?(?:的)?摘要"
            r"(?=信息|内容|文本|数据|资料|\W|$)",
            "摘要(?:信息|内容|文本|数据)?[^，。；]{0,4}(?:不予公布|未公布|不公开|未公开|未提供|暂缺|缺失|不可用|为空|不存在)",
            "(?:申请|专利|文件).{0,6}(?:撤回|撤销|放弃|驳回).{0,12}(?:公布|公开|摘要)",
            "^(?:详见|参见|见|请参见|请查看|请参阅)(?:说明书|全文|附图|权利要求书?|原文)[^，。；]{0,12}。?$",
            r"\b(?:no|without|missing)\s+(?:english\s+|chinese\s+)?abstract\b",
            r"\babstract\s+(?:is\s+|was\s+|are\s+|has\s+)?(?:not\s+(?:yet\s+)?(?:been\s+)?|un)"
            r"(?:available|provided|published|disclosed|found|present|translated|supplied)",
            r"\bwithdrawn\b.{0,24}\bnot\s+(?:been\s+)?published",
            r"\bnot\s+published\b.{0,24}\bwithdrawn\b",
            r"\b(?:application|patent|publication)\b.{0,24}\b(?:withdrawn|abandoned|not\s+published)\s*\W*$",
            r"^\W*(?:data|text|content|information)\s+(?:is\s+)?(?:not|un)\s*available\W*$",
            "要約(?:は|が|の)?.{0,6}(?:ありません|存在しません|記載なし|なし|無し)",
            "(?:요약|초록)(?:이|은|정보|내용)?.{0,6}(?:없음|없습니다|제공되지)",
            r"(?:kein|keine)\s+(?:abstract|zusammenfassung)|zusammenfassung\s+nicht\s+verf|pas\s+d['’]abr[ée]g[ée]",
            r"abr[ée]g[ée]\s+non\s+disponible|sin\s+resumen|resumen\s+no\s+disponible",
        )
    ),
    re.IGNORECASE,
)


def says_nothing(text: str) -> bool:
    """Whether a value is a program's word for none ("nan", "None", "N/A", "--"), or has no letter or digit."""
    if len(text) > _LONGEST_WORD:
        return len(text) <= _LONGEST and not any(map(str.isalnum, text))
    if _DIGIT.search(text) is not None:
        return False
    return _letters(text) in _NOTHING or text.strip() in ("", "\\N", "无", "無") or not any(map(str.isalnum, text))


def is_placeholder(abstract: str) -> bool:
    """Whether an abstract only says that there is none."""
    if len(abstract) > _LONGEST:
        return not any(map(str.isalnum, abstract))
    return says_nothing(abstract) or _letters(abstract) in _WORDS or _SAYS_NONE.search(abstract) is not None


def _letters(text: str) -> str:
    return _NOT_LETTERS.sub("", unicodedata.normalize("NFKC", text)).lower()
