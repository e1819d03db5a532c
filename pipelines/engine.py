"""What a step is, and what runs steps: plans them, reuses them, runs them again, goes on with them. It knows none."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from patent_embed.artifacts import Artifact, ArtifactStore, ModelRef, Outcome, Step
from patent_embed.errors import UserError
from patent_embed.folders import Folder
from patent_embed.hashing import folder_digest
from patent_embed.progress.bus import Progress
from patent_embed.progress.clock import duration
from patent_embed.progress.events import Event, StepFinished
from patent_embed.progress.terminal import finished, note, planned, say
from pipelines.session import NODE_LOSSES, give_back_memory, on_cluster
from pipelines.tasks import Workplace

log = logging.getLogger("patent_embed")
STEPS = "steps"  # the folder of all artifacts
_MODEL = "model"  # of an artifact: the folder with the model that it made
_AGAIN = "again"  # beside the artifacts: where one of them is made again
_TRIES = 3  # of a step whose nodes are lost


Emit = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An ``Emit`` for those who do not look."""


class Input(Protocol):
    """What a step is made from: a step, an artifact of an earlier run, a model, files. A name is none, so that one
    that is mistyped cannot become part of a digest."""

    @property
    def digest(self) -> str:
        """Changes whenever its content does."""


@dataclass(frozen=True)
class Digest:
    """Something outside of the steps, by the digest of its content."""

    digest: str


@dataclass(frozen=True)
class LocalModel:
    """A model in a folder of the driver's machine."""

    folder: Path

    @cached_property
    def digest(self) -> str:
        """Of its weights and settings."""
        return folder_digest(self.folder)


@dataclass(frozen=True)
class Partial:
    """How an unfinished step goes on.

    Attributes:
        keep: whether this run goes on from what is there; otherwise it is dropped.
        found: what there is to go on from, in words ("checkpoint epoch-0002"); empty: nothing.
    """

    keep: bool
    found: Callable[[Folder], str] = lambda place: ""


@dataclass(frozen=True, eq=False)
class StepSpec:
    """A step: what it is made from, how it is made, and what is to be said of it.

    Attributes:
        name: of its folder and in reports.
        version: raised whenever the same settings and inputs would give another result.
        settings: what changes the result, and nothing else.
        inputs: by the names under which ``work`` asks for them.
        work: makes the result in ``Context.folder``.
        constants: numbers in the code that change the result: they are part of the version. A test holds them to it.
        partial: given: an unfinished step can be gone on with.
        check: raises UserError where a run cannot go on with the artifact.
        again: why a finished artifact is to be made again all the same, in words: what stands in for something that
            could not be had is not its last word. Empty: it is not.
        notes: lines below the finished step.
        rate: its throughput in words, empty where it says nothing.
        counts: of the artifact's rows those that are shown.
        announced: whether its name is printed when it starts, because lines of its own follow.
    """

    name: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, Input]
    work: Callable[[Context], Outcome]
    constants: Mapping[str, Any] = field(default_factory=dict)
    partial: Partial | None = None
    check: Callable[[Artifact], None] = lambda artifact: None
    again: Callable[[Artifact], str] = lambda artifact: ""
    notes: Callable[[Artifact], Sequence[str]] = lambda artifact: ()
    rate: Callable[[Artifact], str] = lambda artifact: ""
    counts: Callable[[Mapping[str, int]], Mapping[str, int]] = dict
    announced: bool = False

    @cached_property
    def identity(self) -> Step:
        """What its folder is named by."""
        for key, value in self.inputs.items():
            if not isinstance(getattr(value, "digest", None), str):
                raise TypeError(
                    f"input {key!r} of step {self.name!r} is {value!r}, which is no step, artifact or digest"
                )
        return Step(self.name, self.version, self.settings, {key: each.digest for key, each in self.inputs.items()})

    @property
    def digest(self) -> str:
        """Of all that goes into it."""
        return self.identity.digest

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return self.identity.folder


class Output:
    """The output folder of a run: its steps, and what lies beside them, which is made ``here`` and then published.

    Args:
        beside: a folder in ``folder``, where what is made goes while another run works there; empty: nobody does.
        finishes: whether steps are made again that ask for it (``StepSpec.again``); who only measures takes them.
    """

    def __init__(self, folder: Folder, beside: str = "", *, finishes: bool = True) -> None:
        self.folder, self.beside, self.finishes = folder, beside, finishes
        self._work = folder / beside if beside else folder
        self.store = ArtifactStore(folder / STEPS, self._work / STEPS if beside else None)
        self.read: list[Artifact] = []  # of which this machine may have copies

    @cached_property
    def here(self) -> Path:
        """The folder itself on this machine, a workspace for one in a store."""
        return self._work.workspace("output")

    def publish(self, *names: str) -> None:
        """Bring files and folders of ``here`` to the output folder."""
        for name in names:
            self.folder.put(self.here / name, name)

    def close(self) -> None:
        """Remove what was only a workspace, and copies of what lies elsewhere."""
        if "here" in vars(self):
            self._work.leave(self.here)
        for artifact in self.read:
            artifact.place.leave(artifact.path)
        if self.beside:
            self.folder.delete(self.beside)

    def share(self, model: LocalModel) -> ModelRef:
        """Where workers find a model of the driver's machine: there, or, where they may be on other machines, in the
        output folder."""
        if not self.folder.everywhere and not on_cluster():
            return ModelRef(str(model.folder))

        def copy(target: Path) -> Outcome:
            shutil.copytree(model.folder, target, dirs_exist_ok=True)
            return Outcome()

        step = _shared_model(model.digest)
        return ModelRef((self.store.find(step) or self.store.run(step, copy)).address, "")

    def shared(self, digest: str) -> ModelRef | None:
        """A model that ``share`` copied; None: none with this digest was."""
        found = self.store.find(_shared_model(digest))
        return None if found is None else ModelRef(found.address, "")


def _shared_model(digest: str) -> Step:
    return Step(_MODEL, 1, {}, {"folder": digest})


@dataclass(frozen=True)
class Context(Workplace):
    """What a step's work is given.

    Attributes:
        spec: the step.
        output: of the run.
        progress: takes the events of the work.
    """

    spec: StepSpec
    output: Output
    progress: Progress

    def model(self, key: str = _MODEL) -> ModelRef:
        """Where workers find the model that the input ``key`` is, or that it made."""
        source = self.spec.inputs[key]
        return (
            self.output.share(source) if isinstance(source, LocalModel) else ModelRef(self.inputs[key].address, _MODEL)
        )


@dataclass(frozen=True)
class Done:
    """A step that is done: its artifact, whether it was there before, and how fast it was made, in words."""

    artifact: Artifact
    reused: bool
    rate: str = ""


@dataclass
class Results:
    """The steps that are done, in the order they ran. Also those of an earlier run, which have names only."""

    made: dict[StepSpec, Artifact] = field(default_factory=dict)
    by_name: dict[str, Done] = field(default_factory=dict)

    def __getitem__(self, source: Input) -> Artifact:
        """The artifact of a step, or the artifact itself."""
        return source if isinstance(source, Artifact) else self.made[source]  # type: ignore[index]  # a KeyError says it

    def add(self, step: StepSpec, artifact: Artifact, *, reused: bool) -> None:
        """A step is done."""
        self.made[step] = artifact
        self.by_name[step.name] = Done(artifact, reused, step.rate(artifact))


class Runner:
    """Runs steps in the output folder ``output``. ``use_cache``: whether finished ones are reused."""

    def __init__(self, output: Output, *, use_cache: bool, progress: Progress | None = None) -> None:
        self._output, self._store, self._use_cache = output, output.store, use_cache
        self._progress = progress or Progress()
        self.results = Results()

    def find(self, step: StepSpec, known: Mapping[StepSpec, Artifact | None] | None = None) -> Artifact | None:
        """The finished artifact that may be reused. ``known``: the artifacts of steps before it, None where one is to
        be made; without it those that this run has made or reused."""
        found = self._made_from(step, self.results.made if known is None else known)
        return None if found is None or (self._output.finishes and step.again(found)) else found

    def _made_from(self, step: StepSpec, known: Mapping[StepSpec, Artifact | None]) -> Artifact | None:
        """The finished artifact, if what it was made from is as it was: a step before it may have been made again and
        have come out otherwise, under the same name."""
        found = self._store.find(step.identity) if self._use_cache else None
        if found is None:
            return None
        for key, each in step.inputs.items():
            if isinstance(each, StepSpec) and each in known:
                source = known[each]
            elif isinstance(each, Artifact):
                source = each
            else:
                continue
            if source is None or source.manifest.content != found.manifest.made_from.get(key):
                return None
        return found

    def _survey(self, steps: Iterable[StepSpec]) -> dict[StepSpec, Artifact | None]:
        known: dict[StepSpec, Artifact | None] = {}
        for step in steps:
            known[step] = self.find(step, known)
        return known

    def unfinished(self, steps: Iterable[StepSpec]) -> list[StepSpec]:
        """Those of ``steps``, in their order, that have to run as far as is known."""
        return [step for step, found in self._survey(steps).items() if found is None]

    def plan(self, steps: Sequence[StepSpec]) -> None:
        """Print the steps, what would be reused or run, and what is known of their results."""
        for number, (step, found) in enumerate(self._survey(steps).items(), start=1):
            remark = ", ".join(f"{value:,} {key}" for key, value in found.manifest.rows.items()) if found else ""
            if found is None and (left := self._left(step)):
                remark = f"{left} can be resumed"
            planned(number, step.folder, "reuse" if found else "run", remark)

    def run(self, steps: Sequence[StepSpec], after: Callable[[], None] = lambda: None) -> Results:
        """Run the steps in their order, an input before what is made from it; ``after`` each of them."""
        for number, step in enumerate(steps, start=1):
            self._run(f"[{number}/{len(steps)}] {step.name:16}", step, after)
        return self.results

    def _run(self, head: str, step: StepSpec, after: Callable[[], None]) -> None:
        artifact = self.find(step)
        reused = artifact is not None
        if artifact is None:
            if step.announced:
                say(head.rstrip())
            artifact = self._made_from(step, self.results.made)
            artifact = self._make(step, self._store) if artifact is None else self._make_again(step, artifact)
        self.results.add(step, artifact, reused=reused)
        give_back_memory()
        self._output.read.append(artifact)
        manifest = artifact.manifest
        rows = ", ".join(f"{value:,} {key}" for key, value in step.counts(manifest.rows).items())
        finished(head, rows, "reused" if reused else duration(manifest.seconds))
        self._progress.emit(StepFinished(step.folder, reused, manifest.rows, manifest.seconds))
        after()
        for line in step.notes(artifact):
            note(line)
        step.check(artifact)

    def _make_again(self, step: StepSpec, before: Artifact) -> Artifact:
        """Make a finished step again, aside: what it was stays where that fails."""
        note(f"{step.name} is made again: {step.again(before)}")
        aside = ArtifactStore(self._store.root / _AGAIN)
        try:
            return self._store.replace(step.identity, self._make(step, aside))
        except UserError as error:
            note(f"what was made before stands: {error}")
            return before
        finally:
            aside.root.delete()

    def _make(self, step: StepSpec, store: ArtifactStore) -> Artifact:
        """Run a step; once more when a node died with something that Ray does not make again by itself."""
        place = store.place(step.identity)
        inputs = {key: self.results.made[each] for key, each in step.inputs.items() if isinstance(each, StepSpec)}
        inputs |= {key: each for key, each in step.inputs.items() if isinstance(each, Artifact)}
        made_from = {key: each.manifest.content for key, each in inputs.items()}

        def work(folder: Path) -> Outcome:
            return step.work(Context(folder, place, inputs, step, self._output, self._progress))

        for left in reversed(range(_TRIES)):
            try:
                with self._progress.at_work(step.name):
                    return store.run(step.identity, work, keep_partial=self._goes_on(step), made_from=made_from)
            except NODE_LOSSES as error:
                if not left or getattr(error, "actor_init_failed", False):
                    raise
                log.debug("a node was lost: %s", error)
                note(f"a node was lost ({type(error).__name__}): the step starts again")
        raise AssertionError("the last try returns or raises")

    def _left(self, step: StepSpec) -> str:
        return step.partial.found(self._store.place(step.identity)) if step.partial else ""

    def _goes_on(self, step: StepSpec) -> bool:
        if step.partial is None or step.partial.keep:
            return step.partial is not None
        if left := self._left(step):
            note(f"starting anew: the {left} of an earlier run is dropped; --resume goes on")
        return False


def rate(artifact: Artifact, *, of: Mapping[str, int] | None = None, seconds: float | None = None) -> str:
    """``3.8 triplets/s``: of the rows (None: the artifact's) the most frequent kind, a second."""
    rows = artifact.manifest.rows if of is None else of
    seconds = artifact.manifest.seconds if seconds is None else seconds
    kind = max(rows, key=lambda kind: rows[kind], default="")
    if not kind or not seconds:
        return ""
    per_second = rows[kind] / seconds
    return f"{per_second:,.{0 if per_second >= 10 else 1}f} {kind.replace('_', ' ')}/s"


def needed_for(target: StepSpec, steps: Sequence[StepSpec]) -> list[StepSpec]:
    """Those of ``steps`` that ``target`` is made from, at any distance, and itself, in their order."""
    needed = {target}
    for step in reversed(steps):
        if step in needed:
            needed |= {each for each in step.inputs.values() if isinstance(each, StepSpec)}
    return [step for step in steps if step in needed]
