import numpy as np
import pyarrow as pa
import pytest

from patent_embed.evaluation.comparison import compare
from patent_embed.evaluation.slices import compare_slices, query_labels
from patent_embed.report.content import slices_line
from tests.evidence import World, world


def labels_of(given: World) -> dict[str, np.ndarray]:
    per_query = given.measured("base", 0.5).per_query
    return query_labels(per_query, given.queries, given.corpus, given.splits)


def test_labels_of_a_query() -> None:
    codes = [["A01B1/10", "H01B2/10"], ["A01B1/12"], ["B60L7/10"], ["H01B2/10"]]
    given = world(4, test=0.75)
    codes_column = pa.array(codes, pa.list_(pa.string()))
    given = World(given.corpus.set_column(3, "codes", codes_column), given.splits, given.queries, given.negatives)
    found = labels_of(given)
    assert found["section"].tolist() == ["A", "A", "B"]
    assert found["subclass"].tolist() == ["A01B", "A01B", "B60L"]
    assert found["main-group size"].tolist() == ["2 to 9 patents", "2 to 9 patents", "1 patent"]
    # The only training patent is in H01B2: a second code puts the first patent into its domain.
    assert found["main group in training"].tolist() == ["seen in training", *["unseen in training"] * 2]
    assert found["query kind"].tolist() == ["scenario", "question", "scenario"]
    assert found["query length"].tolist() == ["1 to 13 characters", "1 to 13 characters", "14 characters or more"]


def test_labels_do_not_depend_on_the_order_of_the_queries() -> None:
    given = world(60)
    result = given.measured("base", 0.5).per_query
    turned = given.queries.take(pa.array(np.arange(60)[::-1]))
    one, other = (query_labels(result, asked, given.corpus, given.splits) for asked in (given.queries, turned))
    assert {name: values.tolist() for name, values in one.items()} == {n: v.tolist() for n, v in other.items()}


def test_a_regression_in_one_slice_is_named_though_the_whole_got_better() -> None:
    given = world(600)
    in_g = np.arange(600) % 8 == 6
    base = given.measured("base", 0.7)
    tuned = given.measured("tuned", np.where(in_g, 1.4, 0.5))
    whole = compare(tuned, base)
    assert whole is not None
    assert whole.verdict == "better"
    labels = query_labels(tuned.per_query, given.queries, given.corpus, given.splits)
    found = compare_slices(tuned, base, labels)
    worse = {(part.dimension, part.value) for part in found.found("worse")}
    assert ("section", "G") in worse
    assert all(value.startswith("G") for _, value in worse)
    assert "but tuned is worse than base in section G (" in slices_line(found)
    assert {part.value for part in found.found("better")} >= {"A", "B"}


def test_chance_is_not_called_a_regression() -> None:
    """Many slices of two systems that differ by chance alone: without the adjustment one in twenty would be named."""
    rng = np.random.default_rng(0)
    named = raw = 0
    given = world(400, test=1.0)
    for seed in range(6):
        base, tuned = (given.measured(name, 0.8, seed=100 + 2 * seed + n) for n, name in enumerate(("base", "tuned")))
        labels = {f"cut {n}": rng.choice(["a", "b", "c", "d"], 400).astype(object) for n in range(10)}
        found = compare_slices(tuned, base, labels, seed=seed)
        assert found.tested == 40
        named += bool(found.found("worse") or found.found("better"))
        raw += any(part.comparison.low > 0 or part.comparison.high < 0 for part in found.slices if part.comparison)
    assert named <= 1
    assert raw >= 3


def test_few_queries_are_shown_and_not_tested() -> None:
    given = world(200)  # 120 test queries: 15 a section
    base, tuned = given.measured("base", 0.9), given.measured("tuned", 0.4)
    labels = query_labels(tuned.per_query, given.queries, given.corpus, given.splits)
    found = compare_slices(tuned, base, labels, others=[given.measured("other", 0.5)])
    sections = [part for part in found.slices if part.dimension == "section"]
    assert [part.queries for part in sections] == [15] * 8
    assert all(part.comparison is None for part in sections)
    assert list(sections[0].means) == ["other", "base", "tuned"]
    # One source only: it would be the verdict once more.
    assert all(part.comparison is None for part in found.slices if part.dimension == "query source")


def test_a_split_without_queries_has_no_slices() -> None:
    given = world(40)
    base, tuned = given.measured("base", 0.9), given.measured("tuned", 0.4)
    found = compare_slices(tuned, base, labels_of(given), split="val")
    assert (list(found.slices), found.tested) == ([], 0)
    assert slices_line(found) == "no slice has 30 queries, so none was tested"


@pytest.mark.parametrize("number", [30, 31])
def test_the_least_number_of_queries_of_a_test(number: int) -> None:
    given = world(61, test=1.0)
    base, tuned = given.measured("base", 0.9), given.measured("tuned", 0.4)
    labels = {"half": np.array(["first" if row < number else "second" for row in range(61)], object)}
    tested = {part.value: part.comparison is not None for part in compare_slices(tuned, base, labels).slices}
    assert tested == {"first": True, "second": number == 31 or 61 - number >= 30}
