"""Several workers train as one does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing

from tests.unit.training.tiny import Silent, make_trainer

LOSSES = ("triplet", "infonce")


def _curve(model: Path, loss: str) -> dict[str, Any]:
    left_out = 0.4 if loss == "infonce" else 0.0  # drawn alike on every rank
    trainer = make_trainer(model, dropout=0.0, loss=loss, epochs=2, query_dropout=left_out)
    reporter = Silent()
    trainer.fit(reporter)
    total = sum(float(p.detach().double().sum()) for p in trainer.parameters.values())
    return {"losses": reporter.losses, "sum": total}


def _run_rank(rank: int, model: str, port: int, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    curves = {loss: _curve(Path(model), loss) for loss in LOSSES}
    Path(out, f"{rank}.json").write_text(json.dumps(curves))
    torch.distributed.destroy_process_group()


def test_two_workers_follow_the_loss_curve_of_one(tiny_model: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_run_rank, (str(tiny_model), port, str(tmp_path)), nprocs=2)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    for loss in LOSSES:
        one, two, other = (curves[loss] for curves in ({loss: _curve(tiny_model, loss)}, *ranks))
        assert two["losses"] == other["losses"]
        assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
        assert two["sum"] == other["sum"]
        assert two["sum"] == pytest.approx(one["sum"], abs=1e-3)
