"""Who asks, in whose words, from which side; and the user's own queries as examples."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from patent_embed.config.mix import MixConfig
from patent_embed.config.queries import QueriesConfig
from patent_embed.errors import UserError
from patent_embed.queries.asking import Asking, Patent
from patent_embed.queries.examples import SHOWN, read_examples, shown_examples
from patent_embed.queries.prompts import chat_messages
from patent_embed.queries.store import Answer
from patent_embed.queries.styles import DIFFICULTIES, Style, choose_style

MIX = MixConfig(
    personas={"examiner": 0.5, "layman": 0.5}, difficulties={"paraphrases": 3, "effect_only": 1}, views={"use": 1}
)
PATENT = Patent("CN1A", "一种水泵", "一种水泵，设有自动排空积水的阀门，避免冬季冻裂。", "zh")
PLAIN = Asking("m", QueriesConfig(backend="api"), 1)


def test_styles_follow_the_mix_and_its_parts_are_independent() -> None:
    drawn = [choose_style(f"CN{i}A", 0, MIX, 1) for i in range(4000)]
    assert {style.view for style in drawn} == {"use"}
    counts = Counter((style.persona, style.difficulty) for style in drawn)
    for persona in ("examiner", "layman"):
        assert counts[persona, "paraphrases"] / 4000 == pytest.approx(0.375, abs=0.03)
        assert counts[persona, "effect_only"] / 4000 == pytest.approx(0.125, abs=0.03)
    assert choose_style("CN1A", 0, MIX, 1) == choose_style("CN1A", 0, MIX, 1)
    assert {choose_style("CN1A", number, MIX, 1).persona for number in range(2)} == {"examiner", "layman"}
    assert not choose_style("CN1A", 0, MixConfig(), 1)


def test_a_style_moves_one_step_and_stops_at_the_ends() -> None:
    easy, middle, hard = (Style("layman", each) for each in DIFFICULTIES)
    assert (easy.moved(True), middle.moved(True), hard.moved(True)) == (middle, hard, hard)
    assert (easy.moved(False), middle.moved(False), hard.moved(False)) == (easy, easy, middle)
    assert (Style().moved(True).difficulty, Style().moved(False).difficulty) == ("paraphrases", "shares_words")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_what_is_said_of_a_style_comes_after_the_shared_part(language: str) -> None:
    plain = chat_messages("泵", "一种泵", "scenario", language, 100)
    styled = chat_messages("泵", "一种泵", "scenario", language, 100, Style("attorney", "effect_only", "claim"))
    assert styled[0] == plain[0]  # read once by an engine
    assert len(styled[1]["content"].splitlines()) == len(plain[1]["content"].splitlines()) + 3
    assert ("外行" if language == "zh" else "layman") not in styled[1]["content"]


def test_only_what_is_set_changes_a_question() -> None:
    request = PLAIN.request(PATENT, 0)
    styled = replace(PLAIN, config=PLAIN.config.model_copy(update={"mix": MIX})).request(PATENT, 0)
    shown = replace(PLAIN, examples={"zh": ("冬天水管冻裂怎么办",)})
    assert len({request.key, styled.key, shown.request(PATENT, 0).key}) == 3
    # As it was before there were styles: what was paid for is found.
    assert request.key == Asking("m", QueriesConfig(backend="api", max_tokens_again=4096), 1).request(PATENT, 0).key
    assert PLAIN.messages(request) == chat_messages(PATENT.title, PATENT.abstract, request.kind, "zh", 3000)


def test_an_example_is_shown_and_must_not_be_copied() -> None:
    own = ("户外水管一到冬天就裂开，有没有自己会放水的办法",)
    asking = replace(PLAIN, examples={"zh": own})
    request = asking.request(PATENT, 0)
    assert own[0] in asking.messages(request)[0]["content"]
    assert own[0] not in asking.messages(asking.request(replace(PATENT, language="en"), 0))[0]["content"]

    def verdict(query: str) -> str:
        return asking.verdict(request, Answer(request.key, json.dumps({"query": query}))).reject

    assert verdict("我家户外水管一到冬天就裂开，想要会放水的阀") == "example_copied"
    assert verdict("天冷以后抽水的机器里剩水会把壳撑破，要能自行放掉") == ""
    styled = replace(asking, config=asking.config.model_copy(update={"mix": MixConfig(personas={"layman": 1})}))
    request = styled.request(PATENT, 0)
    told = json.dumps({"query": "没有技术背景的普通人怎样防止水泵冻坏"})
    assert styled.verdict(request, Answer(request.key, told)).reject == "prompt_repeated"


@pytest.mark.parametrize(
    ("content", "queries"),
    [
        ("怎样防冻\n\n  怎样防冻 \n水泵冻裂\n", ["怎样防冻", "水泵冻裂"]),
        ('{"query": "怎样防冻", "clicks": 3}\n{"text": "水泵冻裂"}\n{"id": 1}\n', ["怎样防冻", "水泵冻裂"]),
        ('"怎样防冻"\n{坏的\n', ["怎样防冻", "{坏的"]),
        ("\ufeffhow to drain a pump\r\n", ["how to drain a pump"]),
    ],
)
def test_examples_are_read(tmp_path: Path, content: str, queries: list[str]) -> None:
    (tmp_path / "own.txt").write_text(content, encoding="utf-8")
    assert read_examples(tmp_path / "own.txt") == queries


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n\n", "holds no query"), (b"\xff\xfe", "no UTF-8"), (None, "read")]
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "own.txt").write_bytes(content)
    with pytest.raises(UserError, match=rf"queries\.examples .*own\.txt.* {message}"):
        read_examples(tmp_path / "own.txt")


def test_few_examples_are_shown_and_always_the_same() -> None:
    queries = [f"怎样防止第{i}号泵冻裂" for i in range(50)] + ["how to drain a pump"]
    assert len(shown_examples(queries, "zh", 1)) == SHOWN
    assert shown_examples(queries, "zh", 1) == shown_examples(queries[::-1], "zh", 1)
    assert shown_examples(queries, "en", 1) == ["how to drain a pump"]


def test_weights_are_checked() -> None:
    with pytest.raises(ValidationError, match=r"mix\.personas .* not all 0"):
        MixConfig(personas={"layman": 0})
    with pytest.raises(ValidationError, match="difficulties"):
        MixConfig(difficulties={"paraphrases": -1, "effect_only": 2})
