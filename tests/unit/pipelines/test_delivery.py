"""What is published together belongs together, wherever a kill falls."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

import pytest

from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from patent_embed.hashing import folder_digest
from pipelines import delivery
from pipelines.delivery import published
from pipelines.engine import Output
from pipelines.run_folder import SUMMARY, FinishedRun, require_together

NAMES = ("adapter", "model", "report.md", SUMMARY)


def deliver(output: Output, state: str, adapter: bool = True) -> None:
    with published(output, gone=("adapter",)) as out:
        for name in ("model", *(["adapter"] if adapter else [])):
            (out / name).mkdir()
            (out / name / "weights").write_text(state)
        for name in ("report.md", SUMMARY):
            (out / name).write_text(state)


def states(place: Folder) -> dict[str, str]:
    """Of all that is published, without what is hidden."""
    names = [entry.name for entry in place.entries() if not entry.name.startswith((".", "patent_embed.json"))]
    return {name.partition("/")[0]: (place.read(name) or b"").decode() for name in names}


@pytest.fixture(params=["here", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "here":
        return folder_at(tmp_path / "out")
    return folder_at(f"{request.getfixturevalue('s3')}/{tmp_path.name}/out")


def test_all_of_it_takes_the_place_of_all_that_was(place: Folder) -> None:
    deliver(Output(place), "1")
    assert states(place) == dict.fromkeys(NAMES, "1")
    deliver(Output(place), "2", adapter=False)
    assert states(place) == dict.fromkeys(("model", "report.md", SUMMARY), "2")


def test_what_fails_before_the_end_leaves_what_was(place: Folder) -> None:
    deliver(Output(place), "1")
    with pytest.raises(FileNotFoundError), published(Output(place)) as out:
        (out / "nowhere" / "model").mkdir()
    assert states(place) == dict.fromkeys(NAMES, "1")


def killed_at(number: int, place: Folder) -> int:
    """The exit status of a process that is killed before the change ``number`` that a delivery makes of names."""
    if (child := os.fork()) == 0:
        changes = itertools.count()

        def ends(event: str, arguments: tuple[object, ...]) -> None:
            if event in ("os.rename", "os.remove", "os.rmdir") and next(changes) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(ends)
        deliver(Output(place), "2")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_kill_anywhere_leaves_one_state_or_no_summary(tmp_path: Path) -> None:
    place, code, kills = folder_at(tmp_path / "out"), -signal.SIGKILL, 0
    while code == -signal.SIGKILL:
        deliver(Output(place), "1")
        code = killed_at(kills, place)
        found = states(place)
        assert len(set(found.values())) == 1 or SUMMARY not in found, (kills, found)
        kills += 1
    assert code == 0
    assert kills > 8
    assert states(place) == dict.fromkeys(NAMES, "2")


def test_export_refuses_a_model_that_is_not_the_summary_s(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("1")
    digest = folder_digest(tmp_path)
    require_together(FinishedRun(None, {}, {"model": digest}), tmp_path)  # type: ignore[arg-type]
    (tmp_path / "weights").write_text("2")
    for summary in ({"model": digest}, {}):
        with pytest.raises(UserError, match="is not the model that the summary beside it tells of"):
            require_together(FinishedRun(None, {}, summary), tmp_path)  # type: ignore[arg-type]


def test_beside_a_run_it_goes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    place = folder_at(tmp_path)
    deliver(Output(place), "1")
    output = Output(place, "beside-1")
    deliver(output, "2")
    output.close()
    assert {name: (place.read(name) or b"").decode() for name in ("model/weights", SUMMARY)} == {
        "model/weights": "1",
        SUMMARY: "1",
    }
    assert states(place / delivery.BESIDE_RUN) == dict.fromkeys(NAMES, "2")
