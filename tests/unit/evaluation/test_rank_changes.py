import numpy as np

from patent_embed.evaluation.measure import EvalResult, evaluate
from patent_embed.evaluation.rank_changes import rank_changes
from patent_embed.evaluation.search import top_k
from tests.evidence import World, world


class Ranked:
    """A system that ranks each query's own patent at a given place (from 1)."""

    scale = "cosine"

    def __init__(self, patents: int, places: list[int]) -> None:
        self._scores = np.zeros((len(places), patents), np.float32)
        for query, place in enumerate(places):
            others = [row for row in range(patents) if row != query]
            order = [*others[: place - 1], query, *others[place - 1 :]]
            self._scores[query, order] = np.linspace(1, 0, patents)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = [top_k(self._scores[query], k) for query in queries]
        return np.stack([s for s, _ in found]), np.stack([r for _, r in found])

    def pairs(self, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        return self._scores[queries, passages]


def ranked(given: World, name: str, places: list[int]) -> EvalResult:
    return evaluate(name, Ranked(len(given.corpus), places), given.queries, given.splits, given.negatives)


def test_what_rose_and_fell_with_the_texts() -> None:
    given = world(60, test=0.1)  # six test queries
    rest = [1] * 54
    base = ranked(given, "base", [1, 5, 60, 20, 2, 7, *rest])
    tuned = ranked(given, "tuned", [2, 1, 3, 60, 2, 8, *rest])
    found = rank_changes(tuned, base, given.queries, given.corpus)
    assert (found.rose, found.fell, found.stayed) == (2, 3, 1)
    assert [(change.before, change.after) for change in found.won] == [(5, 1), (None, 3)]  # nDCG@10 gains 0.61, 0.5
    # First those that lost most of nDCG@10; 20 to not found costs nothing of it, but is a fall.
    assert [(change.before, change.after) for change in found.lost] == [(1, 2), (7, 8), (20, None)]
    first = found.won[0]
    assert first.publication_number == "CN00001A"
    assert first.query == "怎样固定装置的稳定性第1号"
    assert first.title == "一种装置第1号"
    assert first.above_before == "一种装置第0号"
    assert first.above_after == ""
    assert found.lost[0].above_after == "一种装置第1号"


def test_only_the_largest_changes_are_shown_and_a_tie_keeps_the_order() -> None:
    given = world(60, test=0.5)
    base, tuned = ranked(given, "base", [2] * 60), ranked(given, "tuned", [1] * 60)
    found = rank_changes(tuned, base, given.queries, given.corpus, shown=3)
    assert found.rose == 30
    assert [change.publication_number for change in found.won] == ["CN00000A", "CN00001A", "CN00002A"]
    assert found.lost == []
