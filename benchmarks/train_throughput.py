"""Training speed: Trainer beside SentenceTransformerTrainer at its defaults (bf16), on the same triplets.

    python benchmarks/train_throughput.py                              # one GPU: BERT-base, random weights
    python benchmarks/train_throughput.py --batch 32 128 --shared 3    # k=3 negatives share query and positive
    python benchmarks/train_throughput.py --shape qwen3-0.6b --batch 32  # Qwen3-Embedding's shape, and others
    python benchmarks/train_throughput.py --compiled 32 --batch 32     # the stock trainer under torch.compile, too
    python benchmarks/train_throughput.py --gpus 1,2,4,8 --batch 256   # several GPUs of one host
    python benchmarks/train_throughput.py --device cpu --shape e5-small --batch 16 --stock_batch 16 --plain \
        --triplets 16 --windows 3 --warmup 1                           # a CPU, without and with its own layers
    python benchmarks/train_throughput.py --toy                        # CPU, seconds: that it runs

LoRA r=16 on all projections, all dropout 0.1 (in Qwen3 and ModernBERT: the adapters' alone), optimizer step included.
Queries have 18..42 tokens, passages 130..332 (means 30 and 231), all different. One JSON line a row: medians over
windows of steps, CUDA-synchronised; ``seconds`` runs from the first step to the last, warm-up included. A useful FLOP
is one that a frozen weight of a layer needs for a token: 2 in the forward pass, 2 for the gradient of the activations;
padding, attention and adapters do not count.
On a CPU ``peak_gib`` is the process's resident memory at most, and ``kb_a_token`` what it grew by, in a row.

With ``--gpus`` each number trains twice: with the same batch in all, and with the same batch on each GPU. There
``ratio`` is to the first number, and ``loss_off`` the mean distance of the loss curve from that of the first number,
as a part of its mean (dropout differs between ranks: --no_dropout leaves rounding); only the same batch in all has one.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import socket
import statistics
import tempfile
import time
import unittest.mock
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from patent_embed.config.training import LoraConfig, TrainingConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.kernels import cpu_fused, decoder, fused
from patent_embed.encoder.kernels.graphs import Graphs
from patent_embed.encoder.lora_targets import layer_names, linear_layers, target_names
from patent_embed.encoder.model_folder import write_sentence_transformer_files
from patent_embed.encoder.packing import Tokens
from patent_embed.progress.events import EpochEnded, TrainingStep
from patent_embed.training.data import TripletData
from patent_embed.training.trainer import Trainer

HAN = [bytes([row + 0xA0, cell + 0xA0]).decode("gb2312") for row in range(16, 56) for cell in range(1, 90)]
_CHARACTERS = np.array(HAN, "<U1")
VOCABULARY = 21128
# Kind; hidden size, layers, heads, feed-forward size: of bge-base-zh, the bundled multilingual-e5-small, bge-m3,
# Qwen3-Embedding and gte-modernbert-base.
SHAPES = {
    "bert-base": ("bert", (768, 12, 12, 3072)),
    "e5-small": ("bert", (384, 12, 12, 1536)),
    "bge-m3": ("xlm-roberta", (1024, 24, 16, 4096)),
    "qwen3-0.6b": ("qwen3", (1024, 28, 16, 3072)),
    "qwen3-4b": ("qwen3", (2560, 36, 32, 9728)),
    "modernbert-base": ("modernbert", (768, 22, 12, 1152)),
    "toy": ("bert", (32, 2, 2, 64)),
}


def config_of(shape: str) -> Any:
    """The model's sizes. All have the vocabulary of bge-base-zh, of which one token is one character."""
    from transformers import BertConfig, ModernBertConfig, Qwen3Config, XLMRobertaConfig

    kind, (hidden, layers, heads, wide) = SHAPES[shape]
    sizes = {
        "vocab_size": VOCABULARY, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "intermediate_size": wide, "pad_token_id": 0,
    }  # fmt: skip
    if kind == "qwen3":
        return Qwen3Config(**sizes, num_key_value_heads=8, head_dim=128, max_position_embeddings=32768)
    if kind == "modernbert":
        return ModernBertConfig(**sizes, global_attn_every_n_layers=3, local_attention=128)
    if kind == "xlm-roberta":
        return XLMRobertaConfig(**sizes, max_position_embeddings=514)
    return BertConfig(**sizes)


def make_model(folder: Path, shape: str, device: str = "cpu") -> Path:
    """A model with random weights, drawn on ``device``, and a tokenizer of one token a character."""
    from transformers import AutoModel, BertTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = specials + HAN + [f"[unused{i}]" for i in range(VOCABULARY - len(HAN) - len(specials))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    torch.manual_seed(0)
    config = config_of(shape)
    with torch.device(device):
        model = AutoModel.from_config(config, dtype=torch.float32)
    model.save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)
    pooling = {"e5-small": "mean", "qwen3-0.6b": "lasttoken", "qwen3-4b": "lasttoken"}.get(shape, "cls")
    write_sentence_transformer_files(folder, config.hidden_size, pooling, {"query": "", "passage": ""}, 512)
    return folder


def frozen_weights(shape: str) -> int:
    """Numbers that the layers' products multiply a token with, counted from the model itself."""
    from transformers import AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(config_of(shape))
    layers = layer_names(model)
    return sum(
        linear.weight.numel()
        for name, linear in linear_layers(model).items()
        if any(name.startswith(f"{layer}.") for layer in layers)
    )


def make_texts(triplets: int, shared: int, toy: bool, tokens: int | None = None) -> list[tuple[str, str, str]]:
    """Distinct triplets of random characters; ``shared`` in a row have one query and one positive.

    ``tokens``: of every text, queries among them.
    """
    rng = np.random.default_rng(0)

    def text(low: int, high: int) -> str:
        length = int(rng.integers(low, high + 1)) - 2  # [CLS] and [SEP]
        return _CHARACTERS[rng.integers(0, len(HAN), length)].tobytes().decode("utf-32-le")

    query, passage = ((5, 9), (12, 24)) if toy else ((18, 42), (130, 332))
    if tokens is not None:
        query = passage = (tokens, tokens)
    rows: list[tuple[str, str, str]] = []
    while len(rows) < triplets:
        head = (text(*query), text(*passage))
        rows += [(*head, text(*passage)) for _ in range(shared)]
    return rows[:triplets]


class Clock:
    """Seconds of windows of ``steps`` training steps, after ``warmup`` steps."""

    def __init__(self, warmup: int, steps: int, device: str) -> None:
        self.warmup, self.steps, self.cuda = warmup, steps, device == "cuda"
        self.count, self.seconds = 0, []  # type: int, list[float]
        self.last = time.perf_counter()
        self.losses: list[float] = []

    def tick(self) -> None:
        self.count += 1
        if self.count >= self.warmup and (self.count - self.warmup) % self.steps == 0:
            if self.cuda:
                torch.cuda.synchronize()
            now = time.perf_counter()
            if self.count > self.warmup:
                self.seconds.append(now - self.last)
            self.last = now

    # The two calls of a training.Reporter.
    def step(self, event: TrainingStep) -> None:
        self.losses.append(event.loss)
        self.tick()

    def epoch(self, event: EpochEnded, write: Callable[[Path], None] | None) -> None:
        pass


def run_stock(
    folder: Path,
    rows: list[tuple[str, str, str]],
    batch: int,
    clock: Clock,
    device: str,
    *,
    bf16: bool,
    compiled: bool = False,
) -> None:
    """``compiled``: the transformer under torch.compile, for batches of any length."""
    import peft
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.losses import TripletDistanceMetric, TripletLoss
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    model = SentenceTransformer(str(folder), device=device)
    adapters = peft.LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.1, target_modules=target_names(model[0].auto_model),
        exclude_modules=r".*pooler.*",
    )  # fmt: skip
    peft.inject_adapter_in_model(adapters, model[0].auto_model)  # trains the adapters alone
    if compiled:
        model[0].auto_model.forward = torch.compile(model[0].auto_model.forward, dynamic=True)
    columns = {name: [row[i] for row in rows] for i, name in enumerate(("anchor", "positive", "negative"))}
    with tempfile.TemporaryDirectory() as scratch:
        arguments = SentenceTransformerTrainingArguments(
            scratch, per_device_train_batch_size=batch, num_train_epochs=1, learning_rate=2e-5, bf16=bf16,
            report_to="none", save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=device == "cpu",
        )  # fmt: skip
        loss = TripletLoss(model, distance_metric=TripletDistanceMetric.EUCLIDEAN, triplet_margin=0.3)
        trainer = SentenceTransformerTrainer(
            model, arguments, train_dataset=Dataset.from_dict(columns), loss=loss, callbacks=[Ticks()]
        )
        trainer.train()


def prepare(
    folder: Path,
    rows: list[tuple[str, str, str]],
    batch: int,
    device: str,
    loss: str = "triplet",
    ranks: int = 1,
    largest_graph: int = Graphs.LARGEST,
    precision: str = "auto",
    plain: bool = False,
) -> Trainer:
    """``plain``: PEFT's layers on a CPU, as they are, a batch in one pass."""
    torch.manual_seed(0)  # every rank starts from the same adapters
    encoder = Encoder.load(folder, device=device)
    places: dict[str, int] = {}
    triplets = np.array([[places.setdefault(text, len(places)) for text in row] for row in rows])
    tokens: Tokens = encoder.tokenize(list(places), "passage")
    data = TripletData(tokens, triplets, np.arange(len(places)))
    needed = int(1.1 * batch / ranks * tokens.lengths[triplets].sum(1).mean())
    config = TrainingConfig(batch_size=batch, epochs=1, loss=loss, precision=precision)
    encoder.add_lora(LoraConfig(r=16, alpha=32, dropout=0.1))
    # A batch in one pass where memory is no question; of a decoder what fits is known.
    if plain or (device != "cpu" and not decoder.supported(encoder.model)):
        config = config.model_copy(update={"max_tokens_per_forward": max(65_536, needed)})
    fused.PAYS_FROM_TRIPLETS = 0  # few steps of what a long training does
    Graphs.LARGEST = largest_graph
    with unittest.mock.patch.object(cpu_fused, "supported", return_value=False) if plain else contextlib.nullcontext():
        return Trainer(encoder, data, config, seed=0, fingerprint="0" * 64, validate=None)


class Memory:
    """Resident memory of this process since it was made, in bytes (Linux)."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self._before = self.peak

    @property
    def peak(self) -> int:
        """At most."""
        (line,) = (row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    @property
    def grown(self) -> int:
        """By how much."""
        return self.peak - self._before


def _rank(rank: int, gpus: int, port: int, job: dict[str, Any], out: str) -> None:
    """One of ``gpus`` processes that train together."""
    device = "cpu" if job["toy"] else f"cuda:{rank}"
    if device == "cpu":
        torch.set_num_threads(1)
    else:
        torch.cuda.set_device(rank)
        torch.set_num_threads(4)  # what a worker of the pipeline gets beside a GPU
    if gpus > 1:
        torch.distributed.init_process_group(
            "gloo" if device == "cpu" else "nccl", f"tcp://127.0.0.1:{port}", world_size=gpus, rank=rank
        )
    rows = make_texts(job["triplets"], 1, job["toy"])
    trainer = prepare(Path(job["folder"]), rows, job["batch"], device, job["loss"], gpus, job["largest_graph"])
    if not job["dropout"]:
        for module in trainer.encoder.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    clock = Clock(job["warmup"], job["steps"], device.partition(":")[0])
    trainer.fit(clock)
    if rank == 0:
        peak = torch.cuda.max_memory_allocated() / 2**30 if device != "cpu" else None
        Path(out).write_text(json.dumps({"seconds": clock.seconds, "losses": clock.losses, "peak_gib": peak}))
    if gpus > 1:
        torch.distributed.destroy_process_group()


def run_several(folder: Path, args: argparse.Namespace) -> None:
    """The rows of ``--gpus``."""
    for loss, batch in product(args.loss, args.batch):
        first: dict[str, Any] = {}
        for share, gpus in product(args.share, args.gpus):
            each_gpu = share == "each"
            if each_gpu and gpus == 1 and first:
                continue  # the row of the same batch in all
            total = batch * gpus if each_gpu else batch
            steps = 2 if args.toy else max(4, args.triplets // batch)
            found = _train_together(folder, args, loss, total, gpus, steps)
            speeds = [total * steps / seconds for seconds in found["seconds"]]
            found["speed"] = statistics.median(speeds)
            first = first or found
            off = np.abs(np.subtract(found["losses"], first["losses"])).mean() / np.mean(first["losses"])
            result = {
                "benchmark": "train_throughput",
                "row": "same batch on each GPU" if each_gpu else "same batch in all",
                "gpus": gpus,
                "loss": loss,
                "batch": total,
                "triplets_per_s": round(found["speed"], 1),
                "slowest_fastest": [round(min(speeds), 1), round(max(speeds), 1)],
                "ratio": round(found["speed"] / first["speed"], 2),
                "loss_off": None if each_gpu else round(float(off), 4),
                "peak_gib": found["peak_gib"] and round(found["peak_gib"], 2),
                "device": "cpu" if args.toy else torch.cuda.get_device_name(),
                "torch": torch.__version__,
            }
            print(json.dumps(result), flush=True)


def _train_together(
    folder: Path, args: argparse.Namespace, loss: str, batch: int, gpus: int, steps: int
) -> dict[str, Any]:
    """Train on ``gpus`` processes; what the first one measured in windows of ``steps`` steps."""
    warmup = 2 if args.toy else args.warmup or 20
    out = folder / "rank0.json"
    job = {
        "folder": str(folder),
        "toy": args.toy,
        "batch": batch,
        "loss": loss,
        "largest_graph": args.largest_graph,
        "dropout": not args.no_dropout,
        "triplets": batch * (warmup + args.windows * steps + 1),
        "warmup": warmup,
        "steps": steps,
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_rank, (gpus, port, job, str(out)), nprocs=gpus)  # type: ignore[attr-defined,no-untyped-call]
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="*", default=[32, 128, 256], help="triplets a step")
    parser.add_argument("--stock_batch", type=int, nargs="*", default=[32])
    parser.add_argument("--compiled", type=int, nargs="*", default=[], help="batches of the stock trainer under "
        "torch.compile")  # fmt: skip
    parser.add_argument("--shared", type=int, default=1, help="triplets that share a query and a positive")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--share", nargs="+", choices=["all", "each"], default=["all", "each"], help="with --gpus: the "
        "batch is that of all GPUs together, or of each")  # fmt: skip
    parser.add_argument("--no_dropout", action="store_true", help="with --gpus: for loss_off")
    parser.add_argument("--warmup", type=int, help="steps before the first window; 20 with --gpus, otherwise 8")
    parser.add_argument("--largest_graph", type=int, default=Graphs.LARGEST, help="tokens, with --gpus")
    parser.add_argument("--triplets", type=int, default=1280, help="triplets a window, about")
    parser.add_argument("--gpus", type=lambda text: [int(n) for n in text.split(",")], help="as in 1,2,4,8")
    parser.add_argument("--loss", nargs="+", choices=["triplet", "infonce"], default=["triplet"], help="with --gpus")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=list(SHAPES), default="bert-base")
    parser.add_argument("--precision", nargs="+", choices=["auto", "fp32", "bf16"], default=["auto"])
    parser.add_argument("--plain", action="store_true", help="also PEFT's layers as they are, on a CPU")
    parser.add_argument("--tokens", type=int, help="of every text, as 512 for the memory of the longest")
    parser.add_argument("--toy", action="store_true", help="tiny sizes on the CPU")
    args = parser.parse_args()
    if args.toy:
        args.device, args.shape = "cpu", "toy"
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_model(Path(scratch), args.shape, args.device)
        if args.gpus:
            run_several(folder, args)
            return
        # On a GPU always bf16; on a CPU its default is fp32, and both are asked for to be fair.
        stock_precision = ["bf16"] if args.device == "cuda" else args.precision
        rows = [("stock", *chosen) for chosen in product(args.stock_batch, stock_precision)]
        rows += [("plain", batch, "fp32") for batch in args.batch if args.plain]
        rows += [("packed", *chosen) for chosen in product(args.batch, args.precision)]
        rows += [("compiled", *chosen) for chosen in product(args.compiled, stock_precision)]
        stock: float | None = None
        for kind, batch, precision in rows:
            result = measured(folder, args, kind, batch, precision)
            stock = result["triplets_per_s"] if stock is None and kind == "stock" else stock
            result["ratio_to_stock"] = round(result["triplets_per_s"] / stock, 2) if stock else None
            print(json.dumps(result), flush=True)
            gc.collect()
            if args.device == "cuda":
                torch.cuda.empty_cache()


def measured(folder: Path, args: argparse.Namespace, kind: str, batch: int, precision: str) -> dict[str, Any]:
    """A row."""
    device = args.device
    stock = kind in ("stock", "compiled")
    # A third of the work for the slow rows.
    steps = 2 if args.toy else max(4 if device == "cuda" else 1, args.triplets // batch // (3 if stock else 1))
    clock = Clock(2 if args.toy else args.warmup or 8, steps, device)
    rows = make_texts(batch * (clock.warmup + args.windows * steps + 1), args.shared, args.toy, args.tokens)
    prepared = None
    if not stock:
        prepared = prepare(folder, rows, batch, device, precision=precision, plain=kind == "plain")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    memory = Memory() if device == "cpu" else None
    started = time.perf_counter()
    if prepared is None:
        run_stock(folder, rows, batch, clock, device, bf16=precision == "bf16", compiled=kind == "compiled")
    else:
        prepared.fit(clock)
    seconds = time.perf_counter() - started
    distinct = {text for row in rows for text in row}
    tokens = sum(len(text) + 2 for text in distinct) / len(rows)
    speeds = [batch * clock.steps / s for s in clock.seconds]
    speed = statistics.median(speeds)
    peak = memory.peak if memory is not None else torch.cuda.max_memory_allocated()
    return {
        "benchmark": "train_throughput",
        "row": kind,
        "shape": args.shape,
        "precision": ("bf16" if precision == "bf16" else "fp32") if prepared is None else prepared.precision,
        "batch": batch,
        "shared": args.shared,
        "triplets_per_s": round(speed, 2),
        "slowest_fastest": [round(min(speeds), 2), round(max(speeds), 2)],
        "tokens_per_triplet": round(tokens, 1),
        "tokens_per_s": round(speed * tokens),
        "useful_tflop_per_s": round(speed * tokens * 4 * frozen_weights(args.shape) / 1e12, 4),
        "peak_gib": round(peak / 2**30, 2),
        "kb_a_token": round(memory.grown / 1e3 / (tokens * batch)) if memory is not None else None,
        "seconds": round(seconds, 2),
        "device": torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
