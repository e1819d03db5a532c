"""Retrieval tasks of mteb as benchmarks: by name, or as an object that a program made itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from patent_embed.benchmark.tables import TEST, Benchmark, Item, assemble, whole_grade
from patent_embed.errors import UserError
from patent_embed.hashing import text_digest

MTEB = "mteb:"  # what the name of a task is written behind
DEFAULT = "default"  # mteb's name of the only subset of a task


@dataclass(frozen=True)
class MtebTask:
    """A task, and which of its subsets (languages, mostly; empty: the only one)."""

    task: Any
    subset: str = ""

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return str(self.task.metadata.name) + (f"-{self.subset}" if self.subset else "")

    @property
    def digest(self) -> str:
        """Of what says which data the task loads: its name, and the revision of its data set."""
        about = self.task.metadata
        return text_digest(*(f"{part}\0" for part in (about.name, repr(sorted(about.dataset.items())), self.subset)))

    def read(self) -> Benchmark:
        """The task's data, from mteb's cache or the hub.

        Raises:
            UserError: the data cannot be had, the subset is none, or its queries are no texts.
        """
        data = self._loaded()
        corpus, queries, relevant = (data[name] for name in ("corpus", "queries", "relevant_docs"))
        if data.get("top_ranked"):
            raise UserError(
                f"mteb task {self.name!r} gives each query its own candidates to rerank; name a retrieval task"
            )
        judgements = [
            (TEST, str(query), str(document), self._grade(query, document, grade))
            for query, graded in relevant.items()
            for document, grade in graded.items()
        ]
        documents = list(map(_document, corpus))
        # A query and the document of the same id, which some tasks leave out.
        identical = {item.id for item in documents} if getattr(self.task, "ignore_identical_ids", False) else set()
        excluded = {(query, query) for _, query, _, _ in judgements if query in identical}
        return assemble(self.name, documents, map(self._query, queries), judgements, excluded)

    def _grade(self, query: object, document: object, grade: float) -> int:
        found = whole_grade(grade)
        if found is None:
            raise UserError(
                f"mteb task {self.name!r} gives document {document!r} of query {query!r} grade {grade}, which is no "
                "whole number; trec_eval's metrics are of whole ones"
            )
        return found

    def _loaded(self) -> Mapping[str, Any]:
        task = self.task
        try:
            task.load_data()
            task.convert_v1_dataset_format_to_v2(num_proc=None)
        # Hub clients raise a dozen kinds: offline, unreachable, gated, moved.
        except Exception as error:  # noqa: BLE001
            said = next(iter(str(error).strip().splitlines()), "")
            raise UserError(
                f"the data of mteb task {self.name!r} cannot be had: {type(error).__name__}: {said}; set HF_ENDPOINT "
                "to a mirror that you reach, or name a BEIR folder instead"
            ) from None
        subset = self.subset or (DEFAULT if DEFAULT in task.dataset else "")
        if not subset and len(task.dataset) == 1:
            subset = next(iter(task.dataset))
        if subset not in task.dataset:
            raise UserError(
                f"mteb task {task.metadata.name!r} has the subsets {', '.join(sorted(task.dataset))}; name one: "
                f"{MTEB}{task.metadata.name}/SUBSET"
            )
        splits = list(task.metadata.eval_splits)
        found: Mapping[str, Any] = task.dataset[subset][TEST if TEST in splits else splits[0]]
        return found

    def _query(self, row: Mapping[str, Any]) -> Item:
        if not isinstance(row.get("text"), str):
            raise UserError(
                f"query {row.get('id')!r} of mteb task {self.name!r} is no text; such tasks cannot be measured"
            )
        return Item(str(row["id"]), row["text"])


def _document(row: Mapping[str, Any]) -> Item:
    return Item(str(row["id"]), f"{row.get('title') or ''} {row.get('text') or ''}".strip())


def find_task(name: str) -> MtebTask:
    """A retrieval task by its name in mteb, with ``/SUBSET`` where it has several.

    Raises:
        UserError: mteb is not installed, has no such task, or it is none of retrieval.
    """
    if importlib.util.find_spec("mteb") is None:
        raise UserError(f"--benchmark {MTEB}{name} needs the package mteb; pip install 'patent-embed[mteb]'")
    import mteb

    task_name, _, subset = name.partition("/")
    try:
        task = mteb.get_task(task_name)
    except KeyError as error:
        raise UserError(f"mteb has no task {task_name!r}: {str(error.args[0]).splitlines()[0]}") from None
    if task.metadata.type != "Retrieval":
        raise UserError(f"mteb task {task_name!r} is of type {task.metadata.type}; only retrieval can be measured here")
    return MtebTask(task, subset)
