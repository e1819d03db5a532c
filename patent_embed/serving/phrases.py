"""What the page says, in English and Chinese."""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGES = {"en": "English", "zh": "中文"}

_BOTH: Mapping[str, tuple[str, str]] = {
    "title": ("Patent search", "专利检索"),
    "query": ("Search for", "检索内容"),
    "placeholder": (
        "A question, keywords, a claim or a whole abstract",
        "问题、关键词、一条权利要求或整篇摘要",
    ),
    "search": ("Search", "检索"),
    "hybrid_on": ("with a hybrid of {model} and BM25", "同时显示 {model} 与 BM25 的混合排序"),
    "tuned": ("Tuned", "微调后"),
    "base": ("Base", "微调前"),
    "bm25": ("BM25 (words)", "BM25（词）"),
    "hybrid": ("Hybrid", "混合"),
    "no_results": ("Nothing found.", "没有结果。"),
    "not_in": ("not in the first {depth}", "不在前 {depth} 名"),
    "like": ("More like this", "相似专利"),
    "like_of": ("Patents like {number}", "与 {number} 相似的专利"),
    "record": ("Full record", "完整著录"),
    "relevant": ("Relevant", "相关"),
    "not_relevant": ("Not relevant", "不相关"),
    "saved": ("Saved", "已保存"),
    "not_saved": ("Not saved: the server refused", "未保存：服务器拒绝"),
    "filters": ("Filters", "筛选"),
    "subclass": ("IPC subclass", "IPC 小类"),
    "main_group": ("IPC main group", "IPC 大组"),
    "year": ("Year", "年份"),
    "counts": ("in the first {depth} / in all", "前 {depth} 名中 / 全部"),
    "from": ("Published from", "公开日自"),
    "to": ("to", "至"),
    "apply": ("Apply", "应用"),
    "ipc": ("IPC begins with", "IPC 以此开头"),
    "remove": ("Remove filter {value}", "去掉筛选 {value}"),
    "patents": ("{count} patents searched", "检索了 {count} 件专利"),
    "seconds": ("{seconds} s", "{seconds} 秒"),
    "parts": ("the text was read in {count} parts", "文本分 {count} 段读取"),
    "cut": ("the end of the text was left out", "文本末尾未读取"),
    "too_long": (
        "The text has {count} characters, a link holds {most} at most; the API takes more.",
        "文本有 {count} 个字符，链接最多 {most} 个；接口可接受更长的文本。",
    ),
    "figures": ("Figures of the run", "训练结果"),
    "test_queries": ("{count} test queries", "{count} 条测试查询"),
    "system": ("System", "系统"),
    "keys": (
        "Keys: / query · j k next, previous result · o record · m like this · r relevant · n not relevant",
        "快捷键：/ 检索框 · j k 下一条、上一条 · o 著录 · m 相似 · r 相关 · n 不相关",
    ),
    "api": ("API", "接口"),
    "judged": ("Judgements: qrels", "判断：qrels"),
    "judged_queries": ("queries", "查询"),
    "skip": ("Skip to results", "跳到结果"),
    "login": ("This server needs its token", "此服务需要令牌"),
    "token": ("Token", "令牌"),
    "enter": ("Enter", "进入"),
    "wrong_token": ("That is not the token.", "令牌不正确。"),
    "rank_in": ("{system} {rank}", "{system} 第 {rank} 名"),
    "publication_number": ("Number", "公开号"),
    "applicants": ("Applicants", "申请人"),
    "codes": ("Classification", "分类号"),
    "publication_date": ("Published", "公开日"),
    "claims": ("Claims", "权利要求"),
    "description": ("Description", "说明书"),
    "citations": ("Cites", "引用"),
    "family_id": ("Family", "同族"),
}

PHRASES: Mapping[str, Mapping[str, str]] = {
    language: {key: both[at] for key, both in _BOTH.items()} for at, language in enumerate(LANGUAGES)
}
"""Language → key → text; ``{names}`` are filled in."""


def chosen(asked: str, accepted: str) -> str:
    """The language of a page: what a link asks for, else what the browser prefers, else English."""
    if asked in LANGUAGES:
        return asked
    wanted = [part.partition(";")[0].strip()[:2].lower() for part in accepted.split(",")]
    return next((language for language in wanted if language in LANGUAGES), "en")
