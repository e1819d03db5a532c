"""Texts that say that there is none."""

from __future__ import annotations

import pytest

from patent_embed.data.placeholders import is_placeholder, says_nothing


@pytest.mark.parametrize(
    "text",
    [
        *(
            "无",
            "无。",
            "（无）",
            "暂无",
            "暂无摘要",
            "无摘要",
            "N/A",
            "n.a.",
            "NA",
            "null",
            "None",
            "NaN",
            "--",
            "…",
            "***",
        ),
        *(
            "暂无摘要信息，请查看全文说明书内容和附图信息",
            "该专利暂无中文摘要",
            "本申请没有摘要。",
            "摘要未公布",
            "摘要：暂缺",
        ),
        *(
            "（此文件无摘要）该专利申请已撤回，摘要不予公布，特此说明。",
            "该申请已被视为撤回，不予公布。",
            "见说明书",
            "详见全文",
        ),
        *(
            "Withdrawn, not published",
            "This application has been withdrawn.",
            "No abstract available.",
            "(No Abstract)",
        ),
        *(
            "Abstract not available",
            "The abstract is not available for this document",
            "Abstract has not been translated",
        ),
        *(
            "要約はありません",
            "要約なし",
            "초록 없음",
            "요약 정보가 없습니다",
            "Keine Zusammenfassung",
            "Abrégé non disponible",
        ),
        *(
            "----------------------------------------",
            "#N/A",
            "\\N",
            "[object Object]",
            "undefined",
            "摘要",
            "Abstract",
        ),
    ],
)
def test_placeholders(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize(
    "text",
    [
        "一种图像放大装置，包括采集模块。",
        "本发明公开了一种无摘要生成的装置，用于图像处理。",
        "一种自动生成摘要的方法，当文件无摘要时，由模型根据说明书生成。",
        "A needle is withdrawn from the patient by a motor.",
        "A system that tells whether an application is withdrawn by its owner, and stores the result.",
        "x" * 40,
        "本申请已撤回信号的处理方法，包括接收和发送步骤，" * 5,
    ],
)
def test_abstracts(text: str) -> None:
    assert not is_placeholder(text)


@pytest.mark.parametrize(
    ("text", "nothing"), [("nan", True), ("None", True), ("-", True), ("CN1A", False), ("10", False)]
)
def test_numbers_and_titles(text: str, nothing: bool) -> None:
    assert says_nothing(text) is nothing
