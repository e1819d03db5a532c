"""What a command may do in its output folder, alone and beside a run."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from patent_embed.artifacts import Outcome, Step
from patent_embed.config.load import load_config
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.ownership import MARKER
from patent_embed.run_lock import LOCK, Held
from pipelines.output_folder import REPLACED_BY_A_RUN, working_in

STEP = Step("mine", 1, {}, {})


def config(out: Path, **options: object) -> Config:
    return load_config(options={"run.output_dir": str(out)} | {key.replace("__", "."): v for key, v in options.items()})


def one(folder: Path) -> Outcome:
    (folder / "one").write_text("1")
    return Outcome()


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with working_in(config(tmp_path), "run", REPLACED_BY_A_RUN):
        with (
            pytest.raises(Held, match="in use by `run`"),
            working_in(config(tmp_path), "run", REPLACED_BY_A_RUN),
        ):
            pass
        assert (tmp_path / LOCK).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER]


@pytest.mark.parametrize("raised", [None, RuntimeError, KeyboardInterrupt])
def test_who_leaves_the_folder_leaves_no_lock(tmp_path: Path, raised: type[BaseException] | None) -> None:
    with working_in(config(tmp_path), "run", ()), contextlib.ExitStack() as expected:
        if raised:
            expected.enter_context(pytest.raises(raised))
        with working_in(config(tmp_path), "compare", (), reads=True) as beside:
            assert (tmp_path / beside.beside / LOCK).exists()
            if raised:
                raise raised
    assert sorted(path.name for path in tmp_path.iterdir()) == [MARKER]


def test_who_reads_beside_a_run_makes_its_steps_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = Step("other", 1, {}, {})
    with working_in(config(tmp_path), "run", ()) as run:
        made = run.store.run(STEP, one)
        half = run.store.place(other).workspace("other")
        (half / "training").write_text("under way")
        with working_in(config(tmp_path), "compare", (), reads=True) as beside:
            found = beside.store.find(STEP)
            assert found is not None
            assert found.path == made.path
            assert beside.store.run(other, one).path.is_relative_to(tmp_path / beside.beside)
            assert beside.store.find(other) is not None
        assert "beside  `run`, process" in capsys.readouterr().out
        assert (half / "training").read_text() == "under way"
        assert run.store.find(other) is None
        assert not list(tmp_path.glob("beside-*"))


def test_what_a_killed_reader_left_is_removed(tmp_path: Path) -> None:
    """Not that of one who begins, and has no lock yet."""
    begins, left = tmp_path / "beside-01234567", tmp_path / "beside-89abcdef"
    for path in (begins, left):
        folder_at(path).write("steps/x", b"1")
    os.utime(left, (0, 0))
    with working_in(config(tmp_path), "run", ()):
        assert list(tmp_path.glob("beside-*")) == [begins]


@pytest.mark.parametrize("name", ["model", "adapter", "config.yaml", "report.md", "run_summary.json"])
def test_folders_and_files_of_others_are_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    theirs = tmp_path / name
    theirs.write_text("theirs")
    with (
        pytest.raises(UserError, match=f"{name} was not made by this program"),
        working_in(config(tmp_path), "run", REPLACED_BY_A_RUN),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert theirs.read_text() == "theirs"


def test_a_base_model_in_the_folder_that_is_replaced_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out" / "model" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "out" / "model")
    for base in (tmp_path / "out" / "model", tmp_path / "out" / "model" / "deep", tmp_path / "link"):
        with (
            pytest.raises(UserError, match=r"lies in model/ of --output_dir .* the base would be gone"),
            working_in(config(tmp_path / "out", model__name=str(base)), "run", ()),
        ):
            pass
        with working_in(config(tmp_path / "out", model__name=str(base)), "run --test_only", (), reads=True):
            pass


@pytest.mark.parametrize("empty", ["", " "])
def test_no_folder_is_not_the_current_one(empty: str) -> None:
    with pytest.raises(UserError, match=r"run\.output_dir"):
        load_config(options={"run.output_dir": empty})
