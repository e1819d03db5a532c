"""What is not ours is neither replaced nor removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patent_embed.artifacts import ArtifactStore, Outcome, Step
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from patent_embed.ownership import MARKER, claim, require_ours


@pytest.fixture(params=["here", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "here":
        return folder_at(tmp_path / "out")
    return folder_at(f"{request.getfixturevalue('s3')}/{tmp_path.name}/out")


def test_an_empty_folder_is_taken_and_what_we_make_stays_ours(place: Folder) -> None:
    claim(place, ["model", "report.md"])
    place.write("report.md", b"ours")
    place.write("model/config.json", b"{}")
    claim(place, ["model", "report.md"])
    claim(place, ["sweep"])
    assert json.loads(place.read(MARKER) or b"")["names"] == ["model", "report.md", "sweep"]


@pytest.mark.parametrize("name", ["model/weights", "report.md", "sweep/notes.txt"])
def test_what_is_there_already_is_refused(place: Folder, name: str) -> None:
    place.write("data/a.json", b"{}")  # others may keep other things there
    place.write(name, b"theirs")
    taken = name.partition("/")[0]
    with pytest.raises(UserError, match=rf"{taken} was not made by this program \({MARKER} in .* is missing\)"):
        claim(place, ["model", "report.md", "sweep"])
    assert place.size(MARKER) is None


def test_what_comes_into_a_folder_of_ours_is_refused_too(place: Folder) -> None:
    claim(place, ["steps"])
    place.write("model/weights", b"theirs")
    for ask in (require_ours, claim):
        with pytest.raises(UserError, match=r"model was not made by this program \(.* does not name it\)"):
            ask(place, ["steps", "model"])


def test_a_link_counts_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="model was not made"):
        claim(folder_at(tmp_path), ["model"])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"program": "patent_embed", "names": 3}'])
def test_a_torn_or_foreign_marker_is_refused(place: Folder, content: bytes) -> None:
    place.write(MARKER, content)
    with pytest.raises(UserError, match="torn, or not of this program"):
        claim(place, ["model"])


@pytest.mark.parametrize("by", ["step", "summary"])
def test_folders_of_before_there_were_markers_are_known(place: Folder, by: str) -> None:
    place.write("model/weights", b"ours")
    if by == "step":
        ArtifactStore(place / "steps").run(Step("mine", 1, {}, {}), lambda folder: Outcome())
    else:
        place.write("run_summary.json", json.dumps({"steps": {}, "config": {}, "versions": {}}).encode())
    claim(place, ["model"])
