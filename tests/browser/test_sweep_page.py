"""sweep.html in a real browser: at the width of a desk and of a phone, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from patent_embed.sweep.page import write_page
from patent_embed.sweep.trials import Sweep
from tests.browser.pages import whole
from tests.sweeps import sweep, wide_sweep

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SWEEPS = {
    "wide": wide_sweep(),
    "long": wide_sweep(150),
    "small": sweep(),
    "one trial": Sweep(sweep().space, 2, sweep().trials[:1]),
    "two trials": Sweep(sweep().space, 2, sweep().trials[:2]),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", SWEEPS)
def test_the_page_is_whole(chromium, tmp_path: Path, name: str, width: int, scheme: str) -> None:
    path = tmp_path / "sweep.html"
    write_page(path, SWEEPS[name], Path("输出 文件夹/" * 9 + "sweep/best.yaml"), refits=False)
    charts = whole(chromium, path.as_uri(), width, scheme)
    settings = len(SWEEPS[name].space)
    assert len(charts) == settings + 3 + (len(SWEEPS[name].judged) >= 4)
