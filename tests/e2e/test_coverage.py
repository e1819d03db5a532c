"""The coverage curve, from what a finished run made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.commands import SETTINGS, patent_embed_here

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.usefixtures("ray_here")
def test_a_curve_reuses_the_run_and_trains_on_nested_shares(
    finished: tuple[tuple[str, ...], Path, object], tmp_path: Path
) -> None:
    arguments, before, _ = finished
    out = tmp_path / "out"
    shutil.copytree(before, out)
    arguments = tuple(str(out) if each == arguments[3] else each for each in arguments)
    assert set(SETTINGS) < set(arguments)
    done = patent_embed_here("coverage", *arguments)
    made = {path.name.rpartition("-")[0]: path for path in (out / "steps").iterdir()}
    parts = [made["tokens"], made["tokens-part-patents-50"], made["tokens-part-patents-25"]]
    asked = [set(np.load(path / "data" / "train-triplets.npy")[:, 0].tolist()) for path in parts]
    assert asked[2] < asked[1] < asked[0]
    assert len(list((out / "steps").glob("train-????????"))) == 1  # that of the run
    report = json.loads((made["coverage"] / "manifest.json").read_text())["report"]
    (curve,) = report["curves"]
    assert set(curve["means"]) == {"0", "0.25", "0.5", "1"}
    assert f"patents: nDCG@10 on {curve['last']['queries']} val queries: 0% {curve['means']['0']:.4f}" in done.stdout
    assert "the last doubling of patents brought" in done.stdout
    again = patent_embed_here("coverage", *arguments)
    steps = [line for line in again.stdout.splitlines() if line.startswith("[")]
    assert len(steps) > 8
    assert all("reused" in line for line in steps)
    assert curve["last"]["queries"] > 0
