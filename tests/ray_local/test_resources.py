"""A run that cannot go on says what it waits for."""

from __future__ import annotations

import time

import pytest

from pipelines.resources import NodeSize, cluster_nodes, waiting_is_said


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_run_waits_for_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    import ray

    assert cluster_nodes() == [NodeSize(2.0, 0)]

    @ray.remote(num_cpus=3)
    def too_large() -> None: ...

    with waiting_is_said(after=2, interval=0.2):
        refs = [too_large.remote() for _ in range(2)]
        text, end = "", time.monotonic() + 60
        while "waited" not in text and time.monotonic() < end:
            time.sleep(0.2)
            text += capfd.readouterr().out
        for ref in refs:
            ray.cancel(ref)
    assert "for 2 x (CPU 3); the cluster has 0 of 2 CPU in use, no GPU" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
