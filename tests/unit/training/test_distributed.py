"""Several workers train as one does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from torch.distributed.tensor import DTensor

from patent_embed.config.training import LoraConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.errors import UserError
from patent_embed.training.selection import Validation
from patent_embed.training.sharding import shard
from patent_embed.training.trainer import Trainer
from patent_embed.training.validation import RetrievalSet, validation_ndcg
from tests.unit.training.tiny import Silent, make_trainer

LOSSES = ("triplet", "infonce")
SPLIT = {"shard": True, "num_workers": 2}


class Recorded:
    """A function, and what it returned."""

    def __init__(self, function: Callable[..., int]) -> None:
        self.function, self.values = function, list[int]()

    def __call__(self, *arguments: Any) -> int:
        self.values.append(self.function(*arguments))
        return self.values[-1]


def _curve(model: Path, loss: str, **settings: Any) -> dict[str, Any]:
    left_out = 0.4 if loss == "infonce" else 0.0  # drawn alike on every rank
    trainer = make_trainer(model, dropout=0.0, loss=loss, epochs=2, query_dropout=left_out, **settings)
    reporter = Silent()
    trainer.fit(reporter)
    return {"losses": reporter.losses, "sum": _sum(trainer)}


def _sum(trainer: Trainer) -> float:
    return sum(float(p.detach().double().sum()) for p in trainer.parameters.values())


def _judged(trainer: Trainer) -> Trainer:
    """With a validation by its encoder, and forward passes so short that a rank has several, not all as many."""
    trainer._most_tokens = 30
    trainer.encoder._tokens_per_forward = lambda: 50  # type: ignore[method-assign]
    encoder, data = trainer.encoder, trainer.data
    family = np.arange(20)
    val = RetrievalSet(data.tokens.take(family), data.tokens.take(family + 20), family, family)
    trainer.validate = Validation(lambda: validation_ndcg(encoder, val), family)
    return trainer


def _split_curve(model: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    """A training, and one that goes on from its first epoch's checkpoint."""
    settings = {"dropout": 0.0, "epochs": 2, "batch_size": 30, **settings}
    whole = _judged(make_trainer(model, **settings))
    idle, reporter = Recorded(whole._idle_passes), Silent(folder)
    whole._idle_passes = idle  # type: ignore[method-assign]
    whole.fit(reporter)
    again = _judged(make_trainer(model, **settings))
    again.load(folder / "epoch-1")
    later = Silent()
    again.fit(later)
    again.load_kept()
    return {
        "losses": reporter.losses,
        "idle": idle.values,
        "resumed": later.losses,
        "sum": _sum(whole),
        "resumed sum": _sum(again),
        "val": [epoch["val_ndcg@10"] for epoch in whole.state.history],
        "embedding": whole.encoder.encode(whole.data.tokens.take(np.arange(2))).tolist(),
        "frozen": sum(
            p.to_local().numel() if isinstance(p, DTensor) else p.numel()
            for p in whole.encoder.model.parameters()
            if not p.requires_grad
        ),
    }


def _run_rank(rank: int, model: str, port: int, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    curves = {loss: _curve(Path(model), loss) for loss in LOSSES}
    curves["split"] = _split_curve(Path(model), Path(out, f"split-{rank}"), **SPLIT)
    Path(out, f"{rank}.json").write_text(json.dumps(curves))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found that trained together."""
    import socket

    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_run_rank, (str(tiny_model), port, str(folder)), nprocs=2)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_two_workers_follow_the_loss_curve_of_one(tiny_model: Path, ranks: list[dict[str, Any]]) -> None:
    for loss in LOSSES:
        one, two, other = (curves[loss] for curves in ({loss: _curve(tiny_model, loss)}, *ranks))
        assert two["losses"] == other["losses"]
        assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
        assert two["sum"] == other["sum"]
        assert two["sum"] == pytest.approx(one["sum"], abs=1e-3)


def test_a_split_model_follows_the_loss_curve_of_one_worker(
    tiny_model: Path, ranks: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Validated, stopped and resumed; each rank holds about half of the frozen weights."""
    one = _split_curve(tiny_model, tmp_path)
    two, other = (rank["split"] for rank in ranks)
    for name in ("losses", "resumed", "sum", "resumed sum", "val"):
        assert two[name] == other[name], name
        assert two[name] == pytest.approx(one[name], abs=1e-4), name
    assert two["losses"][-len(two["resumed"]) :] == two["resumed"]
    assert two["embedding"] == [pytest.approx(row, abs=1e-4) for row in one["embedding"]]
    assert sum(two["idle"]) + sum(other["idle"]) > 0
    assert two["frozen"] + other["frozen"] == one["frozen"]
    assert two["frozen"] < 0.6 * one["frozen"]


def test_one_worker_splits_nothing(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model)
    encoder.add_lora(LoraConfig())
    with pytest.raises(UserError, match="num_workers"):
        shard(encoder, torch.device("cpu"))
