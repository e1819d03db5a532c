"""Cleaned texts, and the languages they are in."""

from __future__ import annotations

import pytest

from patent_embed.data import cleaning


def test_headings_go_and_the_same_words_as_content_stay() -> None:
    assert cleaning.clean_abstract("[0000]    Abstract A tool comprising a motor.") == "A tool comprising a motor."
    assert cleaning.clean_abstract("摘要生成方法包括分词") == "摘要生成方法包括分词"  # the word itself is content here


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("一种LED驱动电路，包括PWM控制器", "zh"),
        ("A LED driver with a PWM controller", "en"),
        ("折りたたみ式の花台に関するものである", "other"),
        ("접이식 화분 받침대", "other"),
        ("12345", "other"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert cleaning.detect_language(text) == language
