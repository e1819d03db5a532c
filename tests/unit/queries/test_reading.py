"""The query in an answer: behind drafts, in objects of any shape, in plain words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.queries.reading import ends_in_object, final_text, parse_answer

# The opening and the closing mark of families of models that think.
MARKS = [
    ("<think>", "</think>"),
    ("", "</think>"),  # the opening mark stands in the chat template
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("◁think▷", "◁/think▷"),
    ("", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|><|begin_of_solution|>"),
    ("analysis", "assistantfinal"),
    ("<|channel>thought\n", "<channel|>"),
    ("Here is my thought process:\n", "\nHere is my response:\n"),
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
QUERY = st.text("泵阀怎样防冻？ab ", min_size=1, max_size=30).map(lambda text: " ".join(text.split())).filter(bool)


@pytest.mark.parametrize(("opening", "closing"), MARKS)
@pytest.mark.parametrize(
    "draft",
    [
        "用户要一条语句。",
        '先写 {"query": "草稿一"}，再想想。\n{"query": "草稿二"}',
        "第一步</think>还要想\n\n",
        "",
    ],
)
@pytest.mark.parametrize("answer", ['{"query": "怎样防冻？"}', "\n怎样防冻？", '```json\n{"query": "怎样防冻？"}\n```'])
def test_a_draft_is_no_query(opening: str, closing: str, draft: str, answer: str) -> None:
    assert parse_answer(f"{opening}{draft}{closing}{answer}") == "怎样防冻？"


@given(draft=TEXT, query=QUERY, marks=st.sampled_from(MARKS), constrained=st.booleans())
def test_whatever_the_draft_says(draft: str, query: str, marks: tuple[str, str], constrained: bool) -> None:
    answer = json.dumps({"query": query}, ensure_ascii=constrained)
    assert parse_answer(f"{marks[0]}{draft}{marks[1]}{answer}") == query


@given(before=TEXT, first=QUERY, last=QUERY, indent=st.none() | st.integers(0, 4))
def test_the_last_object_counts(before: str, first: str, last: str, indent: int | None) -> None:
    answer = json.dumps({"query": last, "language": "zh"}, indent=indent)
    assert parse_answer(f'{{"query": "{first}"}}\n{answer}') == last
    assert parse_answer(f"一、{first}\n{answer}\n以上。") == last


@given(text=TEXT | st.text('{}[]":\\ query<think>/检索语句', max_size=60))
def test_nothing_is_raised_and_a_query_is_one_line(text: str) -> None:
    query = parse_answer(text)
    assert "\n" not in query
    assert query == query.strip()
    ends_in_object(text)


@pytest.mark.parametrize("opened", ["<think>", "<reasoning>", "◁think▷", "[THINK]", "<|channel|>analysis<|message|>"])
def test_a_draft_without_an_end_is_nothing(opened: str) -> None:
    assert final_text(f'{opened}也许 {{"query": "草稿"}}') == ""
    assert parse_answer(f'{opened}也许 {{"query": "草稿"}}') == ""
    assert parse_answer(f"一想</think>再想{opened}也许") == "再想"


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ('{"query": "怎样防冻？"}', "怎样防冻？"),
        ('```json\n{"query": "怎样\\n防冻？"}\n```', "怎样 防冻？"),
        ('好的：{"query": "说\\"停\\"就停"} 希望有用', '说"停"就停'),
        ('{"query": "没有写完', "没有写完"),
        ('怎样防冻？"}\n<patent>', "怎样防冻？"),  # a base model continues our opening
        ('怎样防冻？"}\n{"query": "别的"}', "怎样防冻？"),
        ("<think>想一想\n再想</think>查询：“怎样防冻？”", "怎样防冻？"),
        ("1. 怎样防冻？\n2. 别的", "怎样防冻？"),
        ('{"检索语句": "怎样防冻？"}', "怎样防冻？"),
        ('{"Search Query": "frost-proof pump"}', "frost-proof pump"),
        ('{"search_query": "frost-proof pump",}', "frost-proof pump"),
        ('{"检索语句": "没有写', "没有写"),
        ("{'query': '怎样防冻？'}", "怎样防冻？"),
        ("{“query”：“怎样防冻？”}", "怎样防冻？"),
        ('{"query": "说"停"就停"}', '说"停"就停'),
        ('{"关键词": ["防冻", "泵体", "保温"]}', "防冻 泵体 保温"),
        ('{"queries": ["怎样防冻？", "别的"]}', "怎样防冻？"),
        ('{"result": {"query": "怎样防冻？"}}', "怎样防冻？"),
        ('[{"query": "怎样防冻？"}]', "怎样防冻？"),
        ('{"query": "怎样防冻？"}\n{"note": "写好了"}', "怎样防冻？"),
        ("<answer>怎样防冻？</answer>", "怎样防冻？"),
        ("<|begin_of_box|>怎样防冻？<|end_of_box|>", "怎样防冻？"),
        ("好的，以下是检索语句：\n怎样防冻？", "怎样防冻？"),
        ("好的，检索语句如下：怎样防冻？", "怎样防冻？"),
        ("Sure!\n\n**Search query:** how can a pump stand frost?", "how can a pump stand frost?"),
        ("Here is the query: how can a pump stand frost?", "how can a pump stand frost?"),
        ("**检索语句：** 怎样防冻？", "怎样防冻？"),
        ("可以防冻的泵：带保温层", "可以防冻的泵：带保温层"),
        ('{"answer": 1}', ""),
        ('{"error": "busy"}', ""),
        ("", ""),
    ],
)
def test_answers_are_read(text: str, query: str) -> None:
    assert parse_answer(text) == query


def test_an_answer_that_was_filed_as_a_draft_is_known_by_its_end() -> None:
    assert ends_in_object('想好了。\n{"query": "怎样防冻？"}')
    assert ends_in_object('```json\n{"query": "怎样防冻？"}\n```')
    assert not ends_in_object('也许 {"query": "怎样防冻？"}，但是')
    assert not ends_in_object("想好了。")
    assert not ends_in_object('{"query": "怎样')


@pytest.mark.parametrize("text", ['{"a": ' * 50_000, "{" * 100_000, '{"query": "' * 20_000])
def test_objects_that_are_nested_too_deeply_raise_nothing(text: str) -> None:
    assert len(parse_answer(text)) <= len(text)
    assert parse_answer(f'{text}</think>{{"query": "怎样防冻？"}}') == "怎样防冻？"
