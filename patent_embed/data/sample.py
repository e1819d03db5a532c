"""Generated patents: any number of records that look like Chinese patents, and queries for them.

Record ``i`` of a seed depends on (seed, i) only, so a corpus can be made in pieces, and a smaller one is the beginning
of a larger one. What makes them useful for retrieval:

- IPC symbols of 14 subclasses from all eight sections, 56 main groups of Zipf size, 5 subgroups each; a quarter of the
  records carries more symbols, a twentieth a CPC indexing symbol.
- A record is an object in a scene with a problem, a mechanism (its subgroup) and a detail. All records of a main group
  share their vocabulary, so the object alone finds nothing; the combination does.
- Every twelfth record or so repeats its predecessor: the B publication of the same application, or the same abstract
  under another number.
"""

from __future__ import annotations

import bisect
import gzip
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

import orjson

from patent_embed.config.commands import Layout
from patent_embed.data.files import QUERY_CACHE_NAME
from patent_embed.data.sample_terms import TERMS
from patent_embed.errors import UserError
from patent_embed.hashing import text_key

T = TypeVar("T")
_FILES_PER_FOLDER = 1000
_FLAT_UP_TO = 10_000
_NUMBERS = 10**8

_GAINS = (
    "结构紧凑，拆装维护方便",
    "运行稳定，能耗明显下降",
    "自动化程度高，减轻了劳动强度",
    "使用寿命长，综合成本低",
    "响应迅速，适应性强",
    "安全可靠，便于推广应用",
    "处理效率高，一致性好",
    "布局合理，占用空间小",
)
_RELATIONS = ("固定连接", "铰接", "螺纹连接", "滑动配合", "可拆卸连接", "间隔设置", "串联连通", "同轴布置")
_QUANTITIES = (("间距", "mm", 3), ("夹角", "°", 1), ("配合长度", "mm", 7), ("重量比", "∶100", 1), ("响应时间", "ms", 5))


class Term(tuple[str, str]):
    """A phrase as a patent puts it, and as a layman would."""

    __slots__ = ()

    @property
    def technical(self) -> str:
        """As a patent puts it."""
        return self[0]

    @property
    def plain(self) -> str:
        """As a layman would put it."""
        return self[1]


@dataclass
class Field:
    """One technical field: an IPC subclass and its vocabulary."""

    subclass: str
    name: str
    objects: list[tuple[str, Term]] = field(default_factory=list)  # with the main group's number
    mechanisms: list[tuple[str, Term]] = field(default_factory=list)  # with the subgroup's digits
    problems: list[Term] = field(default_factory=list)
    scenes: list[Term] = field(default_factory=list)
    details: list[Term] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)


@lru_cache(maxsize=1)
def fields() -> tuple[Field, ...]:
    """The vocabulary, parsed."""
    found: list[Field] = []
    for line in TERMS.strip().splitlines():
        mark, _, rest = line.partition(" ")
        if len(mark) > 1:
            found.append(Field(mark, rest))
            continue
        now = found[-1]
        if mark == "件":
            now.parts = rest.split(";")
            continue
        number, _, phrase = rest.rpartition(" ") if mark in "组理" else ("", "", rest)
        term = Term(phrase.split("|"))
        if mark in "组理":
            (now.objects if mark == "组" else now.mechanisms).append((number, term))
        else:
            {"患": now.problems, "景": now.scenes, "细": now.details}[mark].append(term)
    return tuple(found)


def _cumulative(weights: Sequence[float]) -> list[int]:
    """Running sums scaled to 32 bits, for a draw by bisection."""
    total = sum(weights)
    return [int(running / total * 2**32) for running in itertools.accumulate(weights)]


@lru_cache(maxsize=1)
def _groups() -> tuple[list[tuple[Field, str, Term]], list[int], list[int]]:
    """All main groups, largest first; their cumulative sizes; cumulative sizes of a group's subgroups."""
    groups = [(each, number, term) for each in fields() for number, term in each.objects]
    groups.sort(key=lambda group: text_key(f"{group[0].subclass}{group[1]}", 64))
    subgroups = len(fields()[0].mechanisms)
    return (
        groups,
        _cumulative([1 / (rank + 1) for rank in range(len(groups))]),
        _cumulative([1 / (rank + 1) ** 0.7 for rank in range(subgroups)]),
    )


class Draws:
    """Independent choices, all from one hash of (seed, i, purpose)."""

    def __init__(self, seed: int, i: int, purpose: str = "") -> None:
        self._value = int(text_key(f"{seed}:{i}:{purpose}", 64), 16)

    def below(self, n: int) -> int:
        """A number from 0 to ``n - 1``."""
        self._value, choice = divmod(self._value, n)
        return choice

    def of(self, items: Sequence[T]) -> T:
        """One of ``items``."""
        return items[self.below(len(items))]

    def weighted(self, cumulative: list[int]) -> int:
        """A place in a list, likely by the running sums of the places' weights, scaled to 32 bits."""
        return min(bisect.bisect_right(cumulative, self.below(2**32)), len(cumulative) - 1)


@dataclass(frozen=True)
class Facts:
    """What an invention is about: everything its abstract and its queries are made from."""

    field: Field
    group: str
    object: Term
    subgroup: int
    mechanism: Term
    problem: Term
    scene: Term
    detail: Term


def _is_repeat(seed: int, i: int) -> bool:
    return i % 2 == 1 and Draws(seed, i, "repeat").below(6) == 0


def facts(seed: int, i: int, draws: Draws | None = None) -> Facts:
    """The facts of invention ``i``, taken from the front of its draws."""
    draws = draws or Draws(seed, i)
    groups, group_sizes, subgroup_sizes = _groups()
    where, group, thing = groups[draws.weighted(group_sizes)]
    subgroup = draws.weighted(subgroup_sizes)
    return Facts(
        where,
        group,
        thing,
        subgroup,
        where.mechanisms[subgroup][1],
        draws.of(where.problems),
        draws.of(where.scenes),
        draws.of(where.details),
    )


def record(seed: int, i: int) -> dict[str, Any]:
    """Record ``i`` in the layout that users have."""
    repeat = _is_repeat(seed, i)
    source = i - 1 if repeat else i
    draws = Draws(seed, source)
    about = facts(seed, source, draws)
    utility = draws.below(5) < 2
    title = _title(about, draws)
    abstract = _abstract(about, title, utility, draws)
    codes = _codes(about, draws)
    kind = "U" if utility else "A"
    number = source
    if repeat:
        twin = Draws(seed, i, "twin")
        if not utility and twin.below(5) < 3:  # granted: the same number with B, now and then with an amended abstract
            kind = "B"
            if twin.below(2):
                abstract = abstract.replace("现有技术中", "").replace("明显", "显著").replace("包括", "包含")
        else:
            number = i
    return {
        "publication_number": _publication_number(seed, number, kind),
        "title": title,
        "abstract": abstract,
        "classifications": [{"code": code} for code in codes],
    }


def _publication_number(seed: int, i: int, kind: str) -> str:
    # The factor is coprime to 10**8, so no number comes twice; neighbours in i are far apart in number.
    digits = (i * 62_089_911 + seed * 1_000_003 + 10_487_256) % _NUMBERS
    return f"CN{'2' if kind == 'U' else '1'}{digits:08d}{kind}"


def _codes(about: Facts, draws: Draws) -> list[str]:
    where, mechanisms = about.field, about.field.mechanisms
    codes = [f"{where.subclass}{about.group}/{mechanisms[about.subgroup][0]}"]
    more = draws.below(20)
    if more < 3:  # another subgroup of the same main group
        other = mechanisms[(about.subgroup + 1 + draws.below(len(mechanisms) - 1)) % len(mechanisms)][0]
        codes.append(f"{where.subclass}{about.group}/{other}")
    elif more < 5:  # another field altogether
        elsewhere, group, _ = draws.of(_groups()[0])
        if elsewhere is not where:
            codes.append(f"{elsewhere.subclass}{group}/{draws.of(elsewhere.mechanisms)[0]}")
    if draws.below(20) == 0:
        codes.append(f"{where.subclass}2{draws.below(3)}00/{10 + draws.below(80)}")
    return codes


def _title(about: Facts, draws: Draws) -> str:
    thing, scene = about.object.technical, about.scene.technical
    return (
        f"一种{thing}",
        f"一种用于{scene}的{thing}",
        f"{scene}用{thing}",
        f"一种改进的{thing}",
    )[draws.below(4)]


def _abstract(about: Facts, title: str, utility: bool, draws: Draws) -> str:
    parts, problem, scene = about.field.parts, about.problem.technical, about.scene.technical
    start = draws.below(len(parts))
    first, second, third = (parts[(start + step) % len(parts)] for step in range(3))
    opening = draws.of(("公开了", "涉及", "提供了"))
    what = f"{'本实用新型' if utility else '本发明'}{opening}{title}，"
    if draws.below(3) == 0:
        what += f"属于{about.field.name}技术领域，"
    build = f"包括{first}、{second}和{third}，所述{first}与{second}{draws.of(_RELATIONS)}"
    name, unit, step = draws.of(_QUANTITIES)
    size = 2 + draws.below(60) * step
    if draws.below(2):
        build += f"，{second}与{third}的{name}为{size}{unit}至{size + step * (1 + draws.below(20))}{unit}"
    how = f"{about.mechanism.technical}，{about.detail.technical}"
    gain = draws.of(_GAINS)
    form = draws.below(5)
    if form == 0:
        return f"{what}{build}；{how}。解决了现有技术中{scene}时{problem}的问题，{gain}。"
    if form == 1:
        return f"{what}{build}，{how}。与现有技术相比，能够避免{problem}，适用于{scene}，具有{gain}的优点。"
    if form == 2:
        return f"{what}针对{scene}{problem}的缺陷，{build}。工作时，{how}，从而改善上述状况，{gain}。"
    if form == 3:
        return (
            f"{what}{build}。其特征在于：{how}。本{'实用新型' if utility else '发明'}可用于{scene}，有效防止{problem}。"
        )
    return f"{what}{build}；使用时{how}。有益效果是：克服了{problem}的不足，{gain}，尤其适合{scene}。"


def query(seed: int, i: int) -> str:
    """A query for record ``i`` in a layman's words, as another person than the drafter would ask."""
    about = facts(seed, i - 1 if _is_repeat(seed, i) else i)
    thing, how, trouble = about.object.plain, about.mechanism.plain, about.problem.plain
    where, extra = about.scene.plain, about.detail.plain
    return (
        f"{thing}在{where}总是{trouble}，能不能{how}？",
        f"想找{where}用的{thing}，要能{how}，{extra}",
        f"怎样让{thing}{how}，{extra}，不再{trouble}？",
        f"{where}怕{trouble}，有没有{extra}的{thing}？",
        f"{how}、{extra}的{thing}，适合{where}吗？",
    )[Draws(seed, i, "query").below(5)]


def generate(n: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """The first ``n`` records of ``seed``."""
    return generate_range(0, n, seed)


def generate_range(start: int, stop: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Records ``start`` to ``stop - 1``: the same as in ``generate``, for making a corpus in pieces."""
    if not 0 <= start <= stop <= _NUMBERS:
        raise UserError(f"records {start} to {stop} cannot be made: the sample has {_NUMBERS:,} publication numbers")
    return (record(seed, i) for i in range(start, stop))


def llm_style_queries(n: int, seed: int = 0) -> dict[str, Any]:
    """Queries for the first ``n`` records, in the form of ``llm_queries_cache.json``."""
    numbers = [item["publication_number"] for item in generate(n, seed)]
    queries = {number: {"query": query(seed, i), "patent_id": number} for i, number in enumerate(numbers)}
    return {"patent_ids": numbers, "queries_by_id": queries}


def write_sample(out: Path, n: int, seed: int = 0, layout: Layout = "files", *, queries: bool = False) -> None:
    """Write ``n`` records below ``out``, and with ``queries`` also ``processed/llm_queries_cache.json``.

    The records are one JSON file a patent (in folders of 1,000 when there are more than 10,000), or
    ``patents.jsonl[.gz]``.

    A file that already holds the same bytes is left alone, so that what was built on it stays valid.
    Raises UserError when ``out`` holds patent files that are not of this sample.
    """
    out.mkdir(parents=True, exist_ok=True)
    if layout == "files":
        foreign = {path for path in out.rglob("*.json*") if path.parent.name != "processed"}
        for i, item in enumerate(generate(n, seed)):
            folder = out if n <= _FLAT_UP_TO else out / f"{i // _FILES_PER_FOLDER:05d}"
            path = folder / f"{item['publication_number']}.json"
            foreign.discard(path)
            _write(path, orjson.dumps(item, option=orjson.OPT_INDENT_2) + b"\n")
        if foreign:
            raise UserError(
                f"{out} also holds {len(foreign)} other files (such as {min(foreign).name}): they would be read as "
                "part of the sample; choose an empty folder"
            )
    else:
        path = out / f"patents.{layout}"
        with path.open("wb") as file, _packed(file) if layout == "jsonl.gz" else file as sink:
            for item in generate(n, seed):
                sink.write(orjson.dumps(item) + b"\n")
    if queries:
        _write(
            out / "processed" / QUERY_CACHE_NAME, orjson.dumps(llm_style_queries(n, seed), option=orjson.OPT_INDENT_2)
        )


def _packed(file: IO[bytes]) -> gzip.GzipFile:
    # No time stamp and no name in the header: the same sample is the same bytes.
    return gzip.GzipFile("", "wb", 6, file, mtime=0)


def _write(path: Path, content: bytes) -> None:
    if path.exists() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
