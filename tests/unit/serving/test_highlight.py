from __future__ import annotations

import pytest

from patent_embed.serving.highlight import pieces, query_words, spans


def test_words_worth_a_mark() -> None:
    assert query_words("一种 带滤网的 Wi-Fi 水泵，水泵", lambda word: word == "一种") == ["滤网", "wi", "fi", "水泵"]


@pytest.mark.parametrize(
    ("text", "marked", "found"),
    [
        ("水泵和滤网", ["滤网", "水泵"], [(0, 2), (3, 5)]),
        ("An ARM, no alarm", ["arm"], [(3, 6)]),
        ("离心水泵", ["水泵", "离心水泵"], [(0, 4)]),
        ("a.b (", ["b ("], [(2, 5)]),
        ("İstanbul水泵", ["水泵"], [(8, 10)]),  # a letter whose lower case is two
        ("nothing", [], []),
    ],
)
def test_where_they_stand(text: str, marked: list[str], found: list[tuple[int, int]]) -> None:
    assert spans(text, marked) == found
    assert "".join(piece for piece, _ in pieces(text, marked)) == text
    assert [piece for piece, mark in pieces(text, marked) if mark] == [text[slice(*span)] for span in found]
