"""Queries for patents, from an existing cache or by rule: every patent gets one, and each says where it is from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.config.queries import QueriesConfig
from patent_embed.data.schemas import QUERIES
from patent_embed.hashing import hash64
from patent_embed.queries.cache import read_query_cache
from patent_embed.text import plain, segmenter

_AT_ONCE = 1 << 14  # patents
KINDS = ("question", "keywords", "scenario", "claim", "statement")
# Limits are in Chinese characters; the same content takes about three times as many Latin letters.
LATIN_FACTOR = 3
# (query, kind, note): kind one of ``KINDS``, note as in the queries table.
RuleQuery = tuple[str, str, str]


def build_queries(
    corpus: pa.Table | Iterable[pa.Table], config: QueriesConfig, cache: Path | Mapping[str, str] | None, seed: int
) -> tuple[pa.Table, dict[str, Any]]:
    """The queries table (``QUERIES``, sorted) of a corpus, and counts for the report.

    ``cache`` is a cache file or its content. A patent takes its query from there, where it has a usable one, and by
    rule otherwise. The result does not depend on the order of the corpus.

    Args:
        corpus: ``publication_number, title, abstract, language``, and others; or parts of it, sorted by number already,
            of which one is held at a time.
    """
    cached = read_query_cache(cache) if isinstance(cache, Path) else dict(cache or {})
    parts, known = [QUERIES.empty_table()], 0
    asked = pa.array(list(cached), pa.string())
    for part in _sorted_parts(corpus) if isinstance(corpus, pa.Table) else corpus:
        parts.append(_queries_of(part, cached, config, seed))
        known += pc.sum(pc.is_in(asked, value_set=part["publication_number"])).as_py() or 0
    table = pa.concat_tables(parts)
    return table, {
        "sources": _counts(table, "source"),
        "kinds": _counts(table, "kind"),
        "notes": {note: count for note, count in _counts(table, "note").items() if note},
        "cache_entries": len(cached),
        "cache_empty": sum(not query for query in cached.values()),
        "cache_without_patent": len(cached) - known,
    }


def _sorted_parts(corpus: pa.Table) -> Iterator[pa.Table]:
    """Some patents at a time: as objects of Python they take several times as much memory."""
    order = pc.sort_indices(corpus["publication_number"])
    for begin in range(0, len(order), _AT_ONCE):
        yield corpus.take(order.slice(begin, _AT_ONCE))


def _queries_of(corpus: pa.Table, cached: Mapping[str, str], config: QueriesConfig, seed: int) -> pa.Table:
    """The queries of some patents, in their order."""
    columns, rows = [corpus[name].to_pylist() for name in ("publication_number", "title", "abstract", "language")], []
    for number, title, abstract, language in zip(*columns, strict=True):
        query, note = cached.get(number, ""), ""
        if query and plain(query) == plain(title):
            query, note = "", "cached_query_is_title"
        if query:
            rows.append((number, 0, query, "cache", query_kind(query), ""))
            continue
        query, kind, missing = rule_query(
            title, abstract, language, seed, min_chars=config.min_chars, max_chars=config.max_chars
        )
        rows.append((number, 0, query, "rules", kind, note or missing))
    found = list(zip(*rows, strict=True)) or [()] * len(QUERIES)
    arrays = [pa.array(column, field.type) for column, field in zip(found, QUERIES, strict=True)]
    return pa.Table.from_arrays(arrays, schema=QUERIES)


def query_kind(query: str) -> str:
    """The kind of a query that came without one."""
    if query[-1] in "？?":
        return "question"
    return "keywords" if query.count(" ") >= 2 and not query.isascii() else "statement"


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    found = pc.value_counts(table[column])
    return dict(sorted(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))


def rule_query(
    title: str, abstract: str, language: str, seed: int, *, min_chars: int = 8, max_chars: int = 60
) -> RuleQuery:
    """A query for one patent: its text, its kind, and a note (empty, or what the abstract did not offer).

    ``seed`` varies the wording. The result is never the bare title. It has ``min_chars`` to ``max_chars`` characters
    unless title and abstract together give less.
    """
    limit = max_chars if language == "zh" else LATIN_FACTOR * max_chars
    choose = hash64(f"{title}\0{abstract}", seed, "query")
    write = {"zh": _chinese, "en": _english}.get(language)
    for query, kind, note in write(title, abstract, choose) if write else []:
        text = _fit(query, limit)
        if len(text) >= min_chars and plain(text) != plain(title):
            return text, kind, note
    if language == "zh":
        text = f"{_core(title)[: max_chars - 10]}有哪些技术方案？"
        return text, "question", "title_only"
    if language == "en":
        return _fit(f"technical solutions for {title}", limit), "keywords", "title_only"
    return f"{title} {abstract}"[:limit], "keywords", "other_language"


def _fit(text: str, max_chars: int) -> str:
    """``text`` within ``max_chars``: cut after the last whole clause that fits, or empty when there is none."""
    if len(text) <= max_chars:
        return text
    mark = text[-1] if text[-1] in "？?" else ""
    cut = max(text.rfind(stop, 0, max_chars) for stop in "，、 ")
    return text[:cut].rstrip("，、 ") + mark if cut > max_chars // 3 else ""


# No search begins within blanks: each of many would look at all that follow.
_NUMERALS = re.compile(r"(?<!\s)\s*[(（\[［【](?:[0-9A-Za-zⅠ-Ⅻ'’]{1,5}[、，,\-~～和至]?\s*){1,8}[)）\]］】]")
# A bare numeral behind a noun ("容器1、"), unless it belongs to a quantity.
_BARE_NUMERAL = re.compile(
    r"(?<=[\u4e00-\u9fff])(?<![为于至约第达在到以近过超有每的共分比按由用加是成])"
    r"\d{1,3}[a-zA-Z]?(?:[-、,，]\d{1,3}[a-zA-Z]?)*"
    r"(?=[\u4e00-\u9fff，。；、：,;]|$)(?![个次份倍度年月日天时小分秒克千公毫厘米升吨种级层段条组位台块根片号步路阶项维元])"
)
_OPENING = re.compile(
    r"^(?:本(?:发明|实用新型|申请|技术|方案|公开)(?:实施例)?的?(?:主要|具体)?"
    r"(?:公开|涉及|提供|提出|属于|是关于|是|描述|揭示|的目的是|的目的在于)?了?(?:提供|有关)?(?:一种|一个)?)"
)
_SELF = re.compile(
    r"本(?:发明|实用新型|申请|技术方案|方案|方法|装置|产品|系统|设备)[的所]?|上述|所述的?|该(?=[\u4e00-\u9fff]{2})|"
    r"其特征(?:在于|是)[：:，,]?|具体(?:的说|地说|是|而言)[，,]?"
)
_AVOID = "不会|不易|不再|无需|不需要?|避免|防止|防治|抑制|减少|降低|减轻|减小|缓解|排除|预防|阻止|克服|消除|杜绝"
_GAIN = (
    "提高|提升|增强|改善|增加|延长|缩短|加快|加速|保证|确保|保障|简化|节省|节约|扩大|实现|满足|优化|促进|加强|便于|方便|"
    "有利于|有助于"
)
# These verbs also describe how a thing is built; after one of the leads below they tell what it is for.
_ACT = "保持|维持|稳定|控制|检测|监测|识别|调节|适应|清除|去除|回收|获得|得到|完成|治疗|缓冲|补偿|杀灭|分离|使"
_LEAD = "从而|进而|以便|能够?|可以?|有效[地的]?|用于|用来|达到|既|又|方便地?|快速地?|自动"
_STOP = "，。；：、,;:！？"
_NEXT = rf"、(?:{_AVOID}|{_GAIN})"
_WHAT = rf"(?P<what>[^{_STOP}]{{2,28}}(?:(?!{_NEXT})、[^{_STOP}]{{1,10}})*)(?=[，。；：,;:！？]|$|{_NEXT})"
_EFFECT = re.compile(
    rf"(?:(?:^|[{_STOP}]|并且?|且|同时|不但|不仅|而且|还|来|以|大大[地的]?|显著地?|极大[地的]?|明显地?|{_LEAD})"
    rf"(?P<verb>{_AVOID}|{_GAIN})|(?:{_LEAD})(?P<act>{_ACT}))[了到]?{_WHAT}"
)
_PROBLEM = re.compile(
    r"(?:解决|克服|弥补|改变|针对|消除|杜绝)了?(?P<what>[^。；！？]{4,60}?)(?:等|的)*(?:技术)?"
    r"(?:问题|缺陷|不足|缺点|难题|弊端|弊病|现象|难点|困难|局限)"
)
_USE = re.compile(rf"(?:适用于|适合于|应用于|用于|适于|特别是在)(?P<what>[^{_STOP}]{{3,20}})(?=[{_STOP}]|$)")
_MEANS = re.compile(
    rf"(?:^|[{_STOP}])(?:是|主要|它|其)?"
    rf"(?P<how>(?:通过|采用|利用|借助|运用|将|把|根据|基于)[^{_STOP}]{{6,34}})(?=[{_STOP}]|$)"
)
_STATE = re.compile(
    rf"(?:^|[{_STOP}])(?:其中|由于|以及|并且?|且|和|而|则|其|是|它|还|又)*"
    rf"(?P<how>[^{_STOP}]{{2,16}}(?:设有|设置有|安装有|装有|连接有|开有|套有|固定有|铰接有?|嵌有|布置有|形成有|连接|固定)"
    rf"[^{_STOP}]{{2,20}})(?=[{_STOP}]|$)"
)
_PARTS = re.compile(rf"(?:包[括含]有?|包括了|由|含有)(?P<parts>[^{_STOP}]{{1,12}}(?:[、和及与][^{_STOP}]{{1,12}})+)")
_TAIL = re.compile(
    r"(?:等|的)*(?:目的|效果|特点|优点|作用|功能|优势|要求|需要|需求|情况|现象|技术问题|问题|有益效果)?"
    r"(?:效果|性能)?(?:好|良好|显著|明显|佳|强|优异|突出)?(?:等|的)*$"
)
_OLD = re.compile(
    r"^(?:(?:现有|目前|以往|传统|常规|普通|已有|当前|过去|市场上)的?(?:技术|工艺|产品|方法|方式|设备|结构)?[中上里]?"
    r"[的所]*(?:普遍|往往)?(?:存在|具有|带来)?[着的]*)+"
)
# What nearly every patent claims says nothing about this one.
_GENERIC = re.compile(
    r"^(?:了|其|整体|整个|生产|工作|使用|制造|加工|运行|操作|经济|社会|产品|劳动|企业|安装|维修|维护|作业|运输|检测|人工|能源)*的?"
    r"(?:结构|成本|效率|费用|质量|寿命|强度|劳动力|人力|物力|时间|能耗|安全|安全性|稳定性|可靠性|性能|效果|精度|操作|使用|推广|"
    r"携带|方便|目的|功能|效益|要求|需要|需求|便利|保障|依据|市场|应用|工业化生产|资源|原料|材料|适用范围|竞争力|附加值|产量|"
    r"实用性|适用性|舒适度|水平|工作量|难度|环境|空间|过程|程序|工序|损耗|消耗|浪费)?"
    r"(?:[和与及、以]+(?:生产|制造|使用|劳动|运行)*(?:成本|效率|质量|强度|消耗|寿命|安全性?|稳定性|可靠性|推广|维护|费用))*[大高低好]?$"
)
_BAD_START = re.compile(
    r"^(?:[的了与和及或之地上下后前时于中性力等器件为是有用机剂环杆板到出入]|在于|装置|系统|单元|模块|方案|方法|对应|所|多个|一个)"
)
_BAD_END = re.compile(
    r"(?:[时后中下前内而且与和及或的使以来能可由在对将并不上为被从向给比等其]|所述|通过|一种|进行|分别|具有)$"
)
_TITLE_HEAD = re.compile(r"^(?:一种|一类|一套|一个)?(?:新型|新式|改进型?的?|改良的?|多功能|新的|高效|简易|实用)*的?")
_TITLE_TAIL = re.compile(
    r"(?:及其?|和|以及|与)(?:其|该|它)?[\u4e00-\u9fff]{0,10}(?:方法|工艺|用途|应用|装置|系统|设备|技术|制备|生产|制作)$"
)
_VAGUE_HEAD = re.compile(
    r"(?:方法|工艺|装置|系统|设备|机构|结构|应用|用途|组合物|组件|产品|制品|材料|技术|药物|中药|制剂|器|机|单元|模块|基站|电路|仪)$"
)


_STATE_OF = re.compile("不|无需|有利于|有助于|便于|方便")  # "怎样才能不会…" is not Chinese


@dataclass(frozen=True)
class Aspects:
    """What a Chinese abstract says, in phrases of its own (empty when it does not say it).

    Attributes:
        thing: the kind of thing, from the title.
        effects: verb phrases, the last two.
        means: "通过…", "将…".
        state: "…上设有…".
    """

    thing: str
    problem: str
    effects: tuple[str, ...]
    means: str
    state: str
    use: str
    parts: str


def aspects(title: str, abstract: str) -> Aspects:
    """Take a Chinese abstract apart."""
    text = clean(abstract)
    effects: dict[str, None] = {}
    for match in _EFFECT.finditer(text):
        what = _untitled(_phrase(match["what"]), title)
        if _is_specific(what):
            effects[(match["verb"] or match["act"]) + what] = None
    uses = (_untitled(_phrase(match["what"]), title) for match in _USE.finditer(text))
    parts = next((re.split(r"[、和及与]", match["parts"]) for match in _PARTS.finditer(text)), [])
    parts = [re.sub(r"(?:所?(?:组成|构成|制成)|等).*$", "", part) for part in parts]
    named = [part for part in parts if 2 <= len(part) <= 8 and not _BAD_START.match(part) and not _BAD_END.search(part)]
    return Aspects(
        thing=_head(title),
        problem=next((p for p in (_problem(match["what"]) for match in _PROBLEM.finditer(text)) if p), ""),
        effects=tuple(effects)[-2:],  # an abstract ends with its advantages
        means=_longest(match["how"] for match in _MEANS.finditer(text)),
        state=_longest(match["how"] for match in _STATE.finditer(text)),
        use=next((use for use in uses if _is_specific(use) and use not in title), ""),
        parts="、".join(named[:4]) if len(named) >= 2 else "",
    )


def clean(abstract: str) -> str:
    """A Chinese abstract without reference numerals, self-reference and stock openings."""
    text = _BARE_NUMERAL.sub("", _NUMERALS.sub("", abstract))
    return "".join(_SELF.sub("", _OPENING.sub("", clause)) for clause in re.split(r"(?<=[。；，])", text))


def _phrase(text: str) -> str:
    return _TAIL.sub("", text.lstrip("了着的 ")).strip("的了， ")


def _is_specific(what: str) -> bool:
    return len(what) >= 3 and not (_GENERIC.match(what) or _BAD_START.match(what) or _BAD_END.search(what))


def _untitled(what: str, title: str) -> str:
    """Without an end that is the title's own: "减少台灯频闪的装置" → "减少台灯频闪"."""
    front, _, back = what.rpartition("的")
    return front if front and (title.endswith(back) or back in title) else what


def _problem(text: str) -> str:
    """The problem in "解决了现有技术中…的问题", or empty when it is not one phrase."""
    clauses = [part for part in re.split(r"[，,：:]", _OLD.sub("", text.strip("了着 "))) if part]
    text = _phrase(_OLD.sub("", clauses[-1])) if clauses else ""
    return text if 4 <= len(text) <= 30 and _is_specific(text) else ""


def _longest(found: Iterable[str]) -> str:
    phrases = (_phrase(each) for each in found)
    usable = [p for p in phrases if 6 <= len(p) <= 34 and not _BAD_START.match(p) and not _BAD_END.search(p)]
    return max(usable, key=len, default="")


def _core(title: str) -> str:
    """A title without "一种", praise and "及其制备方法"."""
    return _TITLE_TAIL.sub("", _TITLE_HEAD.sub("", title)) or title


def _head(title: str) -> str:
    """The noun at the end of a title, about three to nine characters: what kind of thing it is."""
    items = re.split(r"[、，,（(）)]|(?<=[\u4e00-\u9fff]{3})[及和]其?(?=[\u4e00-\u9fff]{3})", _core(title))
    core = max(items, key=len)
    if len(core) <= 9 and _VAGUE_HEAD.search(core):
        return core
    words = segmenter().lcut(core)
    head = ""
    while words and len(words[-1]) + len(head) <= 9 and (len(head) < 3 or (len(head) < 5 and _VAGUE_HEAD.search(head))):
        head = words.pop() + head
    return re.sub(r"^(?:[的用及与和型式物]|专用)+", "", head) or core[-9:]


def _chinese(title: str, abstract: str, choose: int) -> list[RuleQuery]:
    """Possible queries, best first."""
    a = aspects(title, abstract)
    one = a.effects[-1] if a.effects else ""
    both = "，并".join(a.effects) if len("".join(a.effects)) <= 36 else one
    means = a.means if one not in a.means else ""
    found: list[str] = []
    if one:
        found.append(f"什么样的{a.thing}能够{both}？")
        if not _STATE_OF.match(both):
            found.append(f"{a.thing}怎样才能{both}？")
        if means:
            found.append(f"{means}，从而{one}")
            found.append(f"能否{means}，以便{one}？")
        if a.state:
            found.append(f"{a.state}的{a.thing}，用来{one}")
        if a.use:
            found.append(f"用于{a.use}，要求{a.thing}能{one}")
    if a.problem:
        subject = "" if a.thing in a.problem or _VAGUE_HEAD.search(a.thing) else a.thing
        found.append(f"如何解决{subject}{a.problem}的问题？")
        found.append(f"{a.problem}，有什么样的{a.thing}可以改善？")
    note = "" if found else "structure_only"
    if not found:
        how = a.means or a.state
        if a.use and how:
            found.append(f"用于{a.use}的{a.thing}，{how}")
        elif a.state:
            found.append(f"{a.state}的{a.thing}")
        elif a.means:
            found.append(f"{a.means}的{a.thing}")
        elif a.parts:
            found.append(f"由{a.parts}构成的{a.thing}")
        elif a.use:
            found.append(f"用于{a.use}的{a.thing}有哪些方案？")
        elif clause := _longest(re.split("[，。；]", clean(abstract))[1:]):
            found.append(f"{clause}的{a.thing}")
    start = choose % len(found) if found else 0
    return [(query, _kind(query), note) for query in found[start:] + found[:start]]


def _kind(query: str) -> str:
    if query[-1] in "？?":
        return "question"
    return "scenario" if query.startswith("用于") else "claim"


_VERBS = (
    "prevent avoid reduce improve increase enhance eliminate minimize enable allow facilitate simplify decrease detect "
    "ensure inhibit treat suppress protect maintain"
)
_STEMS = {re.sub("[ey]$", "", verb): verb for verb in _VERBS.split()}
_EN_EFFECT = re.compile(
    rf"\b(?:thereby|thus|so as to|in order to|to|can|may|which|for|by|while|and)\s+(?P<stem>{'|'.join(_STEMS)})"
    r"(?:e|es|s|ing|ed|y|ies|ying|ting)?\s+(?P<what>[^,.;:()]{8,90})"
)
_EN_PARTS = re.compile(r"\b(?:compris|includ|hav|provid|contain)(?:es|ing|s|e)\s+(?P<what>[^.;:()]{12,110})")
_EN_SELF = re.compile(
    r"(?<!\s)\s*\((?:\d+\w?(?:,\s*)?)+\)|\b(?:said|the present|disclosed|at least one|a plurality of)\s+", re.IGNORECASE
)


def _english(title: str, abstract: str, choose: int) -> list[RuleQuery]:
    """Possible queries, best first."""
    text = _EN_SELF.sub(" ", abstract).replace("  ", " ")
    thing = re.split(r"(?<!\s)\s+(?:for|and|of|with|using|having|comprising|in|by|to)\s+|,", title.lower())[0]
    thing = " ".join(re.sub(r"^(?:an?|the)\s+", "", thing).split()[-3:])
    found = []
    for match in list(_EN_EFFECT.finditer(text))[-2:]:
        goal = f"{_STEMS[match['stem']]} {match['what'].strip()}"
        found += [f"how can a {thing} {goal}?", f"{thing} to {goal}"]
    note = "" if found else "structure_only"
    if not found:
        found = [f"{thing} with {match['what'].strip(' ,')}" for match in _EN_PARTS.finditer(text)][:2]
    start = choose % len(found) if found else 0
    return [(query, _kind(query), note) for query in found[start:] + found[:start]]
