"""Dropout of one BERT layer's activations on a CPU, forward and backward: torch's against patent_embed's.

    python benchmarks/dropout.py [--tokens 7000] [--width 1536] [--rounds 7]

Prints one JSON line a system, and the ratio of the medians; rounds alternate.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from patent_embed.encoder.kernels.cpu_dropout import dropout


def seconds(function: Callable[[torch.Tensor, float], torch.Tensor], values: torch.Tensor) -> float:
    started = time.perf_counter()
    function(values, 0.1).sum().backward()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("tokens", 7000), ("width", 1536), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    values = torch.randn(options.tokens, options.width, requires_grad=True)
    systems = {"torch": torch.nn.functional.dropout, "patent_embed": dropout}
    taken: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(options.rounds + 1):
        for name, function in systems.items():
            taken[name].append(seconds(function, values))
    medians = {name: statistics.median(times[1:]) for name, times in taken.items()}  # the first round warms up
    for name, median in medians.items():
        rate = values.numel() / median / 1e6
        print(json.dumps({"system": name, "seconds": round(median, 4), "million_values_per_s": round(rate, 1)}))
    print(json.dumps({"torch_over_patent_embed": round(medians["torch"] / medians["patent_embed"], 2)}))


if __name__ == "__main__":
    main()
