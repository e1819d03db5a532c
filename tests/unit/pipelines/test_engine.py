"""The engine with steps of its own: it plans, reuses, retries and goes on, whatever the steps are called."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any

import pytest
import ray

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.progress.bus import Progress
from patent_embed.progress.events import Event, StepFinished
from pipelines.engine import Context, Digest, LocalModel, Output, Partial, Runner, StepSpec, needed_for, rate
from tests.conftest import ROOT


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(folder_at(tmp_path / "out"))


def write(context: Context) -> Outcome:
    text = "+".join(each.file("text").read_text() for each in context.inputs.values()) or "begin"
    (context.folder / "text").write_text(f"{context.spec.name}({text})")
    return Outcome(rows={"letters": len(text), "left_out": 0}, report={"text": text})


def step(name: str, /, work: Any = write, version: int = 1, **more: Any) -> StepSpec:
    inputs = {key: more.pop(key) for key in list(more) if hasattr(more[key], "digest")}
    return StepSpec(name, version, {"of": name}, inputs or {"files": Digest("f")}, work, **more)


def run(output: Output, *steps: StepSpec, use_cache: bool = True) -> Runner:
    runner = Runner(output, use_cache=use_cache)
    runner.run(steps)
    return runner


def test_a_name_is_no_input() -> None:
    with pytest.raises(TypeError, match="input 'ingest' of step 'splits' is 'ingset', which is no step"):
        _ = StepSpec("splits", 1, {}, {"ingest": "ingset"}, write).digest  # type: ignore[dict-item]


def test_steps_get_what_their_inputs_made(output: Output) -> None:
    first = step("first")
    second = step("second", first=first)
    runner = run(output, first, second)
    assert runner.results[second].file("text").read_text() == "second(first(begin))"
    assert runner.results[second].manifest.inputs == {"first": first.digest}
    again = run(output, first, second)
    assert all(done.reused for done in again.results.by_name.values())
    assert not any(done.reused for done in run(output, first, second, use_cache=False).results.by_name.values())


def test_an_artifact_of_an_earlier_run_is_an_input_like_a_step(output: Output) -> None:
    first = step("first")
    made = run(output, first).results[first]
    assert step("second", first=made).digest == step("second", first=first).digest
    second = step("second", first=made)
    assert run(output, second).results[second].report == {"text": "first(begin)"}


@pytest.mark.parametrize("change", ["version", "settings", "upstream version"])
def test_what_goes_into_a_step_names_its_folder(change: str) -> None:
    def made(version: int = 1, upstream: int = 1, **settings: Any) -> str:
        return StepSpec("s", version, settings, {"up": step("up", version=upstream)}, write).folder

    changed = {"version": made(version=2), "settings": made(k=1), "upstream version": made(upstream=2)}[change]
    assert changed != made()
    assert made() == made()


def test_only_a_step_that_says_so_goes_on(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(context: Context) -> Outcome:
        (context.folder / "checkpoint").write_text("1")
        raise OSError("interrupted")

    def goes_on(context: Context) -> Outcome:
        return Outcome(rows={"found": (context.folder / "checkpoint").exists()})

    def found(place: Any) -> str:
        return "checkpoint 1" if place.size("checkpoint") else ""

    # What it is called, and what its inputs are called, says nothing.
    for name, partial, kept in (
        ("train", None, False),
        ("plain", Partial(keep=False, found=found), False),
        ("other", Partial(keep=True, found=found), True),
    ):
        with pytest.raises(OSError, match="interrupted"):
            run(output, step(name, fails, tokens=Digest("t"), partial=partial))
        again = step(name, goes_on, tokens=Digest("t"), partial=partial)
        Runner(output, use_cache=True).plan([again])
        assert ("checkpoint 1 can be resumed" in capsys.readouterr().out) == (partial is not None)
        assert run(output, again).results[again].manifest.rows == {"found": kept}
        said = capsys.readouterr().out
        assert ("starting anew: the checkpoint 1 of an earlier run is dropped" in said) == (name == "plain")


@pytest.mark.parametrize(("losses", "runs"), [(1, 2), (2, 3), (3, 3)])
def test_a_step_starts_again_when_a_node_is_lost(output: Output, losses: int, runs: int) -> None:
    tried = []

    def work(context: Context) -> Outcome:
        tried.append(len(list(context.folder.iterdir())))
        (context.folder / "half").write_text("x")
        if len(tried) <= losses:
            raise ray.exceptions.NodeDiedError("gone")
        return Outcome()

    if losses < runs:
        run(output, step("s", work))
    else:
        with pytest.raises(ray.exceptions.NodeDiedError):
            run(output, step("s", work))
    assert tried == [0] * runs  # each begins in an empty folder


def counting(missing: list[int], letters: str = "x") -> StepSpec:
    """A step whose result lacks something as long as ``missing`` says so, and then comes out otherwise."""

    def work(context: Context) -> Outcome:
        if missing[0] < 0:
            raise UserError("nobody answers")
        (context.folder / "text").write_text(letters * (3 - missing[0]))
        return Outcome(rows={"missing": missing[0]})

    def again(artifact: Artifact) -> str:
        return f"{artifact.manifest.rows['missing']} answers had not come" if artifact.manifest.rows["missing"] else ""

    return step("queries", work, again=again)


def test_a_stand_in_is_not_the_last_word(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    missing = [2]
    first = counting(missing)
    second = step("second", first=first)
    assert run(output, first, second).results[second].report["text"] == "x"
    assert [each.name for each in Runner(output, use_cache=True).unfinished([first, second])] == ["queries", "second"]
    again = run(output, first, second)  # nothing more has come: the same bytes, so what follows is reused
    assert {name: done.reused for name, done in again.results.by_name.items()} == {"queries": False, "second": True}
    assert "queries is made again: 2 answers had not come" in capsys.readouterr().out
    missing[0] = 0
    last = run(output, first, second)
    assert last.results[second].report["text"] == "xxx"
    assert not any(done.reused for done in last.results.by_name.values())
    assert all(done.reused for done in run(output, first, second).results.by_name.values())


def test_what_was_made_stands_where_it_cannot_be_made_again(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    missing = [2]
    first = counting(missing)
    made = run(output, first).results[first]
    missing[0] = -1
    assert run(output, first).results[first].manifest == made.manifest
    assert "what was made before stands: nobody answers" in capsys.readouterr().out
    assert sorted(path.name for path in made.path.parent.iterdir()) == [first.folder]


def test_who_only_measures_takes_what_is_there(output: Output) -> None:
    first = counting([2])
    run(output, first)
    reader = Output(output.folder, finishes=False)
    assert all(done.reused for done in run(reader, first).results.by_name.values())


def test_what_was_made_from_another_result_is_made_anew(output: Output) -> None:
    missing = [2]
    first = counting(missing)
    second = step("second", first=first)
    made = run(output, first, second).results[first]
    shutil.rmtree(made.path)  # as a user who wants it anew
    assert run(output, first, second).results.by_name["second"].reused  # the same came out
    shutil.rmtree(made.path)
    missing[0] = 0
    assert not run(output, first, second).results.by_name["second"].reused


def test_what_must_hold_is_checked_for_reused_steps_too(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    def check(artifact: Artifact) -> None:
        if artifact.manifest.rows["letters"] < 9:
            raise UserError("too few letters")

    told = {"check": check, "notes": lambda artifact: [f"text is {artifact.report['text']}"]}
    for _ in range(2):
        with pytest.raises(UserError, match="too few letters"):
            run(output, step("s", **told, counts=lambda rows: {k: v for k, v in rows.items() if v}))
        assert "text is begin" in capsys.readouterr().out
    run(output, step("s"))
    assert "5 letters, 0 left_out" in capsys.readouterr().out


def test_the_events_of_a_run(output: Output) -> None:
    seen: list[Event] = []

    class Listener:
        def on_event(self, event: Event) -> None:
            seen.append(event)

        def close(self) -> None:
            pass

    first, finished = step("first"), list[str]()
    runner = Runner(output, use_cache=True, progress=Progress([Listener()]))
    runner.run([first, step("second", first=first)], after=lambda: finished.append(seen[-1].step))
    assert [event.step for event in seen if isinstance(event, StepFinished)] == finished
    assert finished[0] == first.folder


def test_what_a_step_needs_is_found_at_any_distance() -> None:
    first, other = step("first"), step("other")
    second = step("second", first=first, given=Digest("g"))
    third = step("third", second=second)
    assert needed_for(third, [first, other, second, third]) == [first, second, third]


def test_a_model_of_this_machine_stays_where_it_is(output: Output, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    model = LocalModel(tmp_path / "model")
    seen = []
    run(output, step("embed", lambda context: seen.append(context.model("model")) or Outcome(), model=model))
    assert [ref.folder() for ref in seen] == [model.folder]


def test_a_rate_is_that_of_the_most_frequent_rows(output: Output) -> None:
    first = step("first")
    made = run(output, first).results[first]
    assert rate(made, of={"patents": 30, "families": 3}, seconds=2) == "15 patents/s"
    assert rate(made, of={"val_queries": 3}, seconds=2) == "1.5 val queries/s"
    assert rate(made, of={}, seconds=2) == rate(made, of={"patents": 3}, seconds=0) == ""


def test_no_step_is_known_by_its_name_outside_of_its_file() -> None:
    """A step's name is a constant of its module: code elsewhere that asks for names would be about a step from afar."""
    names = set()
    for path in (ROOT / "pipelines" / "steps").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and "NAME" in ast.unparse(node.targets[0]):
                names |= {each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant)}
    assert {"ingest", "train", "embed", "negatives-scored"} <= names
    for path in (ROOT / "pipelines").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            asks = isinstance(node, ast.Compare) and path.parent.name != "steps"
            asks |= isinstance(node, ast.Call) and ast.unparse(node.func).endswith("startswith")
            found = {each.value for each in ast.walk(node) if asks and isinstance(each, ast.Constant)} & names
            assert not found, f"{path.name} asks for {found} in {ast.unparse(node)}"
