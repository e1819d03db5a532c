"""sweep.html."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from patent_embed.sweep.page import curve_figure, progress_figure, setting_axis, setting_figures, write_page
from patent_embed.sweep.space import Range
from patent_embed.sweep.trials import Sweep, Trial
from tests.sweeps import sweep, wide_sweep
from tests.unit.report.test_html import EVIL, Page

BEST = Path("output/sweep/best.yaml")


def page(folder: Path, given: Sweep, *, best: Path = BEST, refits: bool = False) -> Page:
    write_page(folder / "sweep.html", given, best, refits=refits)
    return Page(folder / "sweep.html")


def test_the_page_says_which_trial_is_best_and_what_to_do_next(tmp_path: Path) -> None:
    found = page(tmp_path, sweep())
    assert "Trial 5 is the best: val nDCG@10 0.6000 after epoch 2 of 2; before training 0.5000" in found.text
    for part in ("learning_rate 1e-3", "margin 0.25", "Train and test with these settings", "the loss became nan"):
        assert part in found.text
    assert "python pipelines/run.py --config output/sweep/best.yaml" in found.text
    assert "--config 'my output/best.yaml'" in page(tmp_path, sweep(), best=Path("my output/best.yaml")).text
    assert "trains and tests with these settings" in page(tmp_path, sweep(), refits=True).text


def test_all_parts_are_there(tmp_path: Path) -> None:
    found = page(tmp_path, wide_sweep())
    assert found.headings == ["Trials", "What each setting does", "Course of the sweep", "Which setting counts most"]
    names = [
        "learning_rate",
        "temperature",
        "weight_decay",
        "margin",
        "warmup_ratio",
        "lora.r",
        "epochs",
        "loss",
        "distance",
    ]
    assert found.charts == [
        *(f"val nDCG@10 by {name}" for name in names),
        *("the settings of each trial, and its val nDCG@10", "val nDCG@10 by epoch"),
        *("val nDCG@10 by trial, and the best so far", "importance of each setting"),
    ]
    assert sorted(found.addresses) == sorted(["data:,", *(f"#{name}" for name in found.ids)])
    rows = re.findall(r"<tr[^>]*><td>(\d+)</td>", found.source)
    assert sorted(map(int, rows)) == list(range(1, 32))  # every trial once
    assert "19 more" in found.text
    assert "文件 corpus.parquet 不存在" in found.text
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", found.text)


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    found = page(tmp_path, wide_sweep())
    assert not found.tags & {"script", "iframe", "img", "object", "embed", "base", "form"}
    assert not re.search(r"https?://|@import|url\(", found.source)
    assert "default-src 'none'" in found.source


def test_texts_of_a_sweep_are_text(tmp_path: Path) -> None:
    given = wide_sweep(error=EVIL)
    space = dict(given.space) | {"training.distance": Range("choice", (EVIL, "b"))}
    trials = [dataclasses.replace(t, values=dict(t.values) | {"training.distance": EVIL}) for t in given.trials]
    found = page(tmp_path, Sweep(space, 12, trials), best=Path(EVIL))
    assert "script" not in found.tags
    assert found.text.count(EVIL) >= len(trials)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_trials_have_a_sentence_in_place_of_importances(tmp_path: Path, count: int) -> None:
    given = sweep()
    found = page(tmp_path, Sweep(given.space, 2, given.trials[:count]))
    have = "one has one" if count == 1 else f"{count} have one"
    assert f"it takes 4 with a value, and {have}" in found.text
    assert "importance of each setting" not in found.charts


def test_trials_that_all_did_the_same_have_a_sentence_too(tmp_path: Path) -> None:
    given = sweep()
    same = [dataclasses.replace(trial, curve=(0.5, 0.6)) for trial in given.trials]
    found = page(tmp_path, Sweep(given.space, 2, same))
    assert "All trials did the same" in found.text


def test_a_single_setting_is_not_drawn_with_others(tmp_path: Path) -> None:
    one = {"training.margin": Range("uniform", (0.05, 0.5))}
    trials = [Trial(number, {"training.margin": 0.1 * number}, "done", [0.5, 0.6 + number / 100]) for number in (1, 2)]
    found = page(tmp_path, Sweep(one, 1, trials))
    assert found.charts[:2] == ["val nDCG@10 by margin", "val nDCG@10 by epoch"]


def test_axes_are_those_that_values_are_drawn_on() -> None:
    space = wide_sweep().space
    axes = {path.removeprefix("training."): setting_axis(path, values) for path, values in space.items()}
    assert {name for name, axis in axes.items() if axis.log} == {
        "learning_rate",
        "temperature",
        "weight_decay",
        "lora.r",
    }
    assert axes["epochs"].low < 1 < 12 < axes["epochs"].high
    assert all(tick == round(tick) for tick in axes["epochs"].ticks)
    assert list(map(axes["loss"].shown, axes["loss"].ticks)) == ["triplet", "infonce"]
    assert axes["distance"].label == "distance, by number in the list"


def test_a_failed_trial_is_a_cross_and_the_best_lies_on_top() -> None:
    for figure in (*setting_figures(sweep()), progress_figure(sweep())):
        marks = re.findall(r'class="(dot|cross) (\w+)"', figure["chart"])
        assert marks[0] == ("cross", "failed")
        assert marks[-1] == ("dot", "best")
        assert len(marks) == 6
    kinds = re.findall(r'class="line (\w+)"', curve_figure(sweep())["chart"])
    assert (len(kinds), kinds[-1]) == (5, "best")


def test_the_best_so_far_only_rises_and_goes_to_the_last_trial() -> None:
    chart = progress_figure(sweep())["chart"]
    found = re.search(r'class="line so-far" d="M([^"]+)"', chart)
    assert found is not None
    points = [tuple(map(float, point.split())) for point in found[1].split("L")]
    assert [up for _, up in points] == sorted((up for _, up in points), reverse=True)
    crosses = [float(x) for x in re.findall(r'class="cross failed" d="M([\d.]+) ', chart)]
    assert points[-1][0] == pytest.approx(crosses[0] + 3.5, abs=0.2)  # the last trial is the failed one
    ticks = re.findall(r'class="middle" x="[^"]+" y="208">([^<]+)<', chart)
    assert ticks == ["1", "2", "3", "4", "5", "6"]


def test_the_same_sweep_gives_the_same_page(tmp_path: Path) -> None:
    assert page(tmp_path, wide_sweep()).source == page(tmp_path, wide_sweep()).source
