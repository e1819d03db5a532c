"""Texts per second: Encoder.encode beside SentenceTransformer.encode at its defaults, interleaved, medians.

    python benchmarks/encode.py                                     # bundled encoder, this machine's CPU
    python benchmarks/encode.py --device cuda --texts 8192 --model BAAI/bge-base-zh-v1.5
    python benchmarks/encode.py --device cuda --random bert-base    # shape of a BERT-base, random weights, no hub

One JSON line a row. ``min_cosine`` is against the first row, ``mean_tokens`` includes special tokens and prompt.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from patent_embed.data import sample
from patent_embed.encoder.encoder import Encoder, native_bf16
from patent_embed.encoder.hub import resolve_model


def generate_texts(count: int, tokens: int) -> list[str]:
    """Generated abstracts of about ``tokens`` tokens (1.2 characters a token), half to one and a half times that."""
    texts, i = [], 0
    for row in range(count):
        text, wanted = "", int(1.2 * tokens * (0.5 + row * 0.618034 % 1))
        while len(text) < wanted:
            text += sample.record(0, i)["abstract"]
            i += 1
        texts.append(text[:wanted])
    return texts


def random_bert_base(folder: Path, model: Path) -> Path:
    """BERT-base with random weights around the tokenizer of ``model``."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    from patent_embed.encoder.model_folder import write_sentence_transformer_files

    tokenizer = AutoTokenizer.from_pretrained(model)
    BertModel(BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_sentence_transformer_files(folder, 768, "cls", {"query": "", "passage": ""}, 512)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--random", choices=["bert-base"], help="random weights of this shape, tokenizer of --model")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max_tokens", type=int, nargs="*", help="also try these sizes of a forward pass")
    args = parser.parse_args()

    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as scratch:
        model = resolve_model(args.model)
        folder = random_bert_base(Path(scratch), model) if args.random else model
        encoder = Encoder.load(folder, device=args.device)
        stock = SentenceTransformer(str(folder), device=args.device)
    texts = generate_texts(args.texts, args.tokens)
    prompt = encoder.prompts["passage"]
    rows: dict[str, Callable[[], np.ndarray]] = {
        "sentence-transformers default": lambda: stock.encode(texts, prompt=prompt, show_progress_bar=False),
        "packed fp32": lambda: encoder.encode(texts, "passage", precision="fp32"),
        "packed auto": lambda: encoder.encode(texts, "passage"),
    }
    if native_bf16(encoder.device):  # emulated it takes minutes, and "auto" does not use it
        rows["packed bf16"] = lambda: encoder.encode(texts, "passage", precision="bf16")
    for size in args.max_tokens or []:
        rows[f"packed auto, {size} tokens"] = lambda size=size: encoder.encode(texts, "passage", max_tokens=size)  # type: ignore[misc]
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    embeddings: dict[str, np.ndarray] = {}
    for round_number in range(args.rounds + 1):  # the first one warms up
        for name, row in rows.items():
            started = time.perf_counter()
            embeddings[name] = row()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    reference = next(iter(embeddings.values()))
    baseline = statistics.median(seconds["sentence-transformers default"])
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.processor() or "cpu"
    for name, times in seconds.items():
        middle = statistics.median(times)
        result = {
            "benchmark": "encode",
            "row": name,
            "texts_per_s": round(len(texts) / middle, 1),
            "speedup": round(baseline / middle, 2),
            "min_cosine": round(float((reference * embeddings[name]).sum(1).min()), 5),
            "texts": len(texts),
            "mean_tokens": round(float(encoder.tokenize(texts, "passage").lengths.mean()), 1),
            "model": args.random or args.model,
            "device": device,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        print(json.dumps(result, ensure_ascii=False))


if __name__ == "__main__":
    main()
