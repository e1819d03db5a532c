"""What a training step on a CPU needs does not grow with its batch."""

from __future__ import annotations

import subprocess
import sys

import pytest

_STEPS = """
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

from patent_embed.config.training import LoraConfig, TrainingConfig
from patent_embed.encoder.kernels.cpu_fused import CpuFused
from patent_embed.training import passes
from patent_embed.training.data import TripletData
from patent_embed.training.trainer import Trainer
from tests.unit.encoder.models import make_encoder, make_tokens
from tests.unit.training.tiny import Silent


def peak():
    (line,) = (row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


passes._CPU_BYTES = 2**25
sizes = dict(hidden_size=128, num_hidden_layers=4, intermediate_size=512, num_attention_heads=4)
for triplets in (16, 128):
    encoder = make_encoder(BertModel(BertConfig(vocab_size=100, **sizes)), "mean")
    encoder.add_lora(LoraConfig(r=4))
    tokens = make_tokens([100] * 3 * triplets)
    data = TripletData(tokens, np.arange(3 * triplets).reshape(-1, 3), np.arange(3 * triplets))
    config = TrainingConfig(batch_size=triplets, epochs=1, loss="triplet", precision="fp32")
    Trainer(encoder, data, config, seed=0, fingerprint="0" * 64, validate=None).fit(Silent())
    print(peak(), 300 * triplets * CpuFused(encoder.model).bytes_per_token)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from Linux")
def test_eight_times_the_batch_takes_hardly_more_memory() -> None:
    """A batch that would keep 0.8 GB at once beside one of an eighth, both in pieces of 32 MiB."""
    done = subprocess.run([sys.executable, "-c", _STEPS], capture_output=True, text=True, check=True)
    (small, _), (large, kept) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert kept > 20 * 2**25
    assert large - small < 2**25
