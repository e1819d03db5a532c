"""How much room a text takes where characters stand in columns, and what it is made of."""

from __future__ import annotations

from patent_embed.text import columns, cut, plain, words


def test_columns_of_a_text() -> None:
    assert columns("专利ab") == 6
    assert cut("专利检索模型", 8) == "专利检…"
    assert cut("model", 5) == "model"


def test_words_are_lower_case_and_without_punctuation() -> None:
    assert words("LED灯具，（散热）") == ["led", "灯具", "散热"]
    assert words("，。 ！") == []


def test_letters_and_digits_are_what_two_spellings_have_in_common() -> None:
    assert plain("一种 LED灯具（5_W）！") == plain("一种led灯具5w") == "一种led灯具5w"
    assert plain("，。_ ！") == ""
