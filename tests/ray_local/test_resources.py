"""What is asked of the cluster fits its nodes, and a run that cannot go on says what it waits for."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from pipelines.resources import NodeSize, cluster_nodes, waiting_is_said
from pipelines.session import _stop_is_interrupt
from pipelines.steps.embed import _cpu_actors
from pipelines.steps.train import _cpus_per_worker


@pytest.mark.parametrize(
    ("cpus", "actors", "threads"),
    [
        ([1], 1, 1),
        ([2], 1, 2),
        ([16], 4, 4),
        ([1, 1, 1], 3, 1),
        ([0.5], 1, 1),  # less than a core in all: nothing smaller can be asked for
        ([2, 32], 17, 2),
        ([32] * 8, 64, 4),
    ],
)
def test_embedding_fills_the_nodes_and_fits_each(cpus: list[float], actors: int, threads: int) -> None:
    assert _cpu_actors([NodeSize(count, 0) for count in cpus]) == (actors, threads)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpu", "cpus"),
    [
        ([(2, 0)], 1, False, 2),
        ([(1, 0)] * 3, 1, False, 1),
        ([(1, 0)] * 3, 3, False, 1),
        ([(8, 0), (2, 0)], 2, False, 4),
        ([(16, 8)], 8, True, 2),
        ([(32, 0), (8, 1)], 1, True, 4),
        ([(2, 0)], 4, False, 0.45),
    ],
)
def test_training_workers_find_a_place(nodes: list[tuple[float, int]], workers: int, gpu: bool, cpus: float) -> None:
    found = _cpus_per_worker([NodeSize(*node) for node in nodes], workers, gpu)
    assert found == pytest.approx(cpus)


@pytest.mark.parametrize("ctrl_c", [signal.SIG_IGN, signal.default_int_handler])
def test_sigterm_interrupts_also_what_ignores_ctrl_c(ctrl_c: Any) -> None:
    before = signal.signal(signal.SIGINT, ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt), _stop_is_interrupt():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.ray
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
