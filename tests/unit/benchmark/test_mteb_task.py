"""Tasks of mteb as benchmarks, without a hub: what they would load is given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from patent_embed.benchmark.mteb_task import MtebTask, find_task
from patent_embed.errors import UserError

FIELDS = ("title_en", "abstract_en", "claims_text", "description_en")


class Task:
    """What is asked of a task of mteb."""

    def __init__(self, **subsets: Any) -> None:
        self.metadata = SimpleNamespace(name="Made", dataset={"path": "a/b", "revision": "1"}, eval_splits=["dev"])
        self.dataset, self.ignore_identical_ids = subsets, True

    def load_data(self) -> None: ...

    def convert_v1_dataset_format_to_v2(self, num_proc: int | None) -> None: ...


def subset(**changes: Any) -> dict[str, Any]:
    split = {
        "corpus": [{"id": "d1", "title": "T", "text": "x"}, {"id": "q1", "text": "y"}],
        "queries": [{"id": "q1", "text": "asks"}],
        "relevant_docs": {"q1": {"d1": 2}},
        "top_ranked": None,
    }
    return {"dev": split | changes}


def test_a_task_by_object() -> None:
    task = MtebTask(Task(default=subset()))
    found = task.read()
    assert found.documents["text"].to_pylist() == ["y", "T x"]
    assert found.excluded.to_pylist() == [{"query_id": "q1", "doc_id": "q1"}]
    assert found.judgements()["test"].grade.tolist() == [2]
    other = Task(default=subset())
    other.metadata.dataset["revision"] = "2"
    assert task.digest == MtebTask(Task()).digest != MtebTask(other).digest


def test_subsets() -> None:
    task = Task(en=subset(), zh=subset())
    assert MtebTask(task, "zh").name == "Made-zh"
    assert len(MtebTask(task, "zh").read().queries) == 1
    with pytest.raises(UserError, match="has the subsets en, zh; name one: mteb:Made/SUBSET"):
        MtebTask(task).read()


def test_tasks_that_cannot_be_measured() -> None:
    with pytest.raises(UserError, match="candidates to rerank"):
        MtebTask(Task(default=subset(top_ranked={"q1": ["d1"]}))).read()
    with pytest.raises(UserError, match="'q1' of mteb task 'Made' is no text"):
        MtebTask(Task(default=subset(queries=[{"id": "q1", "image": b""}]))).read()


def test_without_mteb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'patent-embed\[mteb\]'"):
        find_task("SciFact")


def test_tasks_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """DAPFAM's 18 tasks, with stub texts; a name that is none; a task of another kind."""
    pytest.importorskip("mteb", reason="mteb is not installed (extra [mteb])")
    from datasets import Dataset
    from mteb.tasks.retrieval.eng import dapfam_patent_retrieval as dapfam

    patents = [{name: f"{name} {n}" for name in FIELDS} | {"relevant_id": f"F{n}"} for n in range(5)]
    asked = [{name: f"{name} {n}" for name in FIELDS} | {"query_id": f"Q{n}"} for n in range(2)]
    judged = [("Q0", "F1", 1.0, "IN"), ("Q0", "F2", 1.0, "OUT"), ("Q1", "F3", 0.0, "IN"), ("Q1", "F4", 1.0, "OUT")]
    relations = [
        dict(zip(("query_id", "relevant_id", "relevance_score", "domain_rel"), row, strict=True)) for row in judged
    ]
    stub = {"corpus": patents, "queries": asked, "relations": relations}
    monkeypatch.setattr(dapfam, "load_dataset", lambda path, name, **_: Dataset.from_list(stub[name]))
    names = [name for name in vars(dapfam) if name.startswith("DAPFAM")]
    assert len(names) == 18
    for name in names:
        found = find_task(name).read()
        pairs = [tuple(row.values())[1:3] for row in found.qrels.to_pylist()]
        expected = {"In": [("Q0", "F1")], "Out": [("Q0", "F2"), ("Q1", "F4")]}
        part = next((part for part in expected if name.startswith(f"DAPFAM{part}")), None)
        assert sorted(pairs) == (expected[part] if part else [("Q0", "F1"), ("Q0", "F2"), ("Q1", "F4")])
        assert len(found.documents) == 5
    with pytest.raises(UserError, match="mteb has no task 'NoSuchTask'"):
        find_task("NoSuchTask")
    with pytest.raises(UserError, match="is of type STS"):
        find_task("STS12")
