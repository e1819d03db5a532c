"""What of the GPU path and its benchmark can be tested on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from patent_embed.encoder.packing import fill_up, pack
from tests.conftest import ROOT
from tests.unit.encoder.models import LENGTHS, POOLING, make_encoder, make_tokens, random_model


@pytest.mark.parametrize("architecture", POOLING)
@pytest.mark.parametrize(("texts", "tokens"), [(1, 1), (5, 40)])
def test_filling_up_changes_no_embedding(architecture: str, texts: int, tokens: int) -> None:
    encoder, batch = make_encoder(random_model(architecture), POOLING[architecture]), pack(make_tokens(LENGTHS))
    to_texts, to_tokens = len(LENGTHS) + texts, sum(LENGTHS) + tokens
    filled = fill_up(batch, to_texts, to_tokens)
    assert filled.input_ids.shape == filled.position_ids.shape == (1, to_tokens)
    assert filled.cu_seq_lens.tolist()[-1] == to_tokens
    assert int(torch.diff(filled.cu_seq_lens).max()) == filled.max_length
    embeddings = encoder.forward(filled)
    assert embeddings.isfinite().all()
    torch.testing.assert_close(embeddings[: len(LENGTHS)], encoder.forward(batch), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_benchmark_runs_at_toy_size() -> None:
    command = [sys.executable, "benchmarks/train_throughput.py", "--toy", "--batch", "4", "--stock_batch"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--shared", "3", "--windows", "2"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert (row["row"], row["batch"], row["shared"]) == ("packed", 4, 3)
    assert row["triplets_per_s"] > 0
    assert 20 < row["tokens_per_triplet"] < 35  # each query and positive counted once for its three triplets
