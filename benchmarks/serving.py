"""Search over HTTP on generated patents: latency with several users, memory over time, and exact search by others.

    python benchmarks/serving.py goals DIR                        # all goals, with 100,000 and a million patents

    python benchmarks/serving.py make DIR --patents 100000        # once: corpus, words, vectors
    python benchmarks/serving.py load DIR --users 8               # p50, p95 by what is asked; start of the server
    python benchmarks/serving.py memory DIR --seconds 600 --rate 20
    python benchmarks/serving.py peers DIR                        # beside faiss-cpu and LanceDB, same vectors

The patents are those of ``patent-embed sample`` with a date each. Their vectors are no encoder's: a text's is the mean
of fixed random vectors of its words (384 numbers, of length 1), which a search cannot tell from others, and which
100,000 texts get in a minute. Queries are encoded by the bundled encoder, as in use. Both models of the page are that
encoder. No query is asked twice, and none is known to the server before. The users are threads of a process of its own
on the same machine, each asks again as soon as it has its answer. One JSON line a figure. ``goals`` makes what it needs
in ``DIR/100000`` and ``DIR/1000000`` where that is not there, and ends with a line a goal; ``--patents 2000 --large
4000 --seconds 10 --requests 40`` shows in two minutes that it works.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import threadpoolctl

from patent_embed.data.sample import generate_range, query
from patent_embed.data.schemas import RECORDS
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.evaluation.halves import Halves
from patent_embed.evaluation.search import block_spans, exact_search, longest_of
from patent_embed.serving.corpus import write_corpus
from patent_embed.serving.threads import calm_threads
from patent_embed.text import words

Method = Callable[[np.ndarray, int], np.ndarray]  # queries (q, DIM) and k: rows (q, k)
CLAUSE = re.compile("[^，。；：、]+")
DIM, SEED, GROUP = 384, 11, 10_000
MOST_QUERIES = 1_000_000  # some of which are the same
FIRST_S = 20  # seconds in which a server makes what it holds in memory; they are a figure of their own
OURS, FAISS, LANCE = "exact_search as served, fp16 held too", "faiss IndexFlatIP", "LanceDB, no index"
ASKED = {
    "dense": {"systems": ["tuned"]},
    "bm25": {"systems": ["bm25"]},
    "hybrid": {"systems": ["hybrid"]},
    "dense, bm25 and hybrid": {"systems": ["hybrid", "tuned", "bm25"]},
    "hybrid, one subclass": {"systems": ["hybrid"], "ipc": ["G06T"]},
    "all four lists": {"systems": ["hybrid", "tuned", "base", "bm25"]},
}


def groups(patents: int) -> Iterator[pa.Table]:
    schema = pa.schema([RECORDS.field(i) for i in range(RECORDS.get_field_index("source") + 1)])
    for begin in range(0, patents, GROUP):
        rows = [
            {key: record[key] for key in ("publication_number", "title", "abstract")}
            | {"codes": [each["code"] for each in record["classifications"]], "language": "zh"}
            | {"publication_date": f"{2004 + n % 20}-{1 + n % 12:02d}-{1 + n % 28:02d}"}
            for n, record in enumerate(generate_range(begin, min(begin + GROUP, patents), SEED), begin)
        ]
        yield pa.Table.from_pylist(rows, schema)


def make(folder: Path, patents: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    abstracts = list[str]()

    def written() -> Iterator[pa.Table]:
        for group in groups(patents):
            abstracts.extend(group["abstract"].to_pylist())
            yield group

    write_corpus(folder, written())
    # What is between two marks is cut into the same words wherever it stands, and generated texts repeat it often.
    of_clause = cache(words)
    texts = [[word for clause in CLAUSE.findall(text) for word in of_clause(clause)] for text in abstracts]
    write_vectors(folder / "passages.npy", texts)
    Bm25Index.of_words(texts).save(folder / "bm25")


def write_vectors(file: Path, texts: Sequence[Sequence[str]]) -> None:
    """The vector of each text (its words): the mean of its words' vectors, of length 1."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
    of_words = np.random.default_rng(SEED).normal(size=(len(numbers), DIM)).astype(np.float32)
    vectors = np.lib.format.open_memmap(file, "w+", np.float32, (len(texts), DIM))
    for row, text in enumerate(texts):
        vectors[row] = of_words[[numbers[word] for word in text]].sum(axis=0)
        vectors[row] /= np.linalg.norm(vectors[row])
    vectors.flush()


def serve(folder: Path) -> None:
    """The server's process: prints its port."""
    import socket

    import uvicorn

    calm_threads()
    from patent_embed.encoder.bundled import bundled_encoder
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.serving.app import create_app
    from patent_embed.serving.corpus import Corpus
    from patent_embed.serving.encoding import BatchedEncoder
    from patent_embed.serving.engine import Engine, Model
    from patent_embed.serving.guard import Limits
    from patent_embed.serving.live import Live
    from patent_embed.serving.vectors import VectorMatrix

    corpus, models = Corpus(folder), {}
    for name in ("tuned", "base"):
        vectors = np.load(folder / "passages.npy", mmap_mode="r")
        encoder = BatchedEncoder(Encoder.load(bundled_encoder()), name)
        models[name] = Model(encoder, VectorMatrix(corpus, vectors, name, halves=True), vectors)
    engine = Engine(corpus, Bm25Index.load(folder / "bm25"), models)
    app = create_app(Live(lambda output: engine, ""), Limits())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run([listening])


class Running:
    """The server as a process, and the seconds of its start until it answers."""

    def __init__(self, folder: Path) -> None:
        began = time.perf_counter()
        self.process = subprocess.Popen([sys.executable, __file__, "serve", folder], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.ask({"query": "水泵"})
        self.start = time.perf_counter() - began

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, body: dict[str, Any], connection: http.client.HTTPConnection | None = None) -> None:
        connection = connection or self.connection()
        connection.request("POST", "/search", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content

    def gib(self) -> dict[str, float]:
        """What the server holds: now, of that without mapped files, and at most since its start."""
        found = psutil.Process(self.process.pid).memory_info()
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        sizes = {"resident_gib": found.rss, "own_gib": found.rss - found.shared, "peak_gib": peak}
        return {name: round(size / 2**30, 3) for name, size in sizes.items()}


def queries() -> Iterator[str]:
    """Each text once: some patents have the same query, and a server does not encode what it knows."""
    known = set[str]()
    for number in np.random.default_rng(1).permutation(MOST_QUERIES):
        text = query(SEED, int(number))
        if text not in known:
            known.add(text)
            yield text


def load(folder: Path, users: int, requests: int, names: Sequence[str] = tuple(ASKED)) -> dict[str, float]:
    """Figures of ``users`` who ask at once: seconds of the start, p95 of each of ``names`` in ms, the peak in GiB."""
    running = Running(folder)
    say("start", seconds=round(running.start, 1), **running.gib())
    found = {"start_s": round(running.start, 1)}
    try:
        texts, lock = queries(), threading.Lock()
        first, began = list[float](), time.perf_counter()
        while time.perf_counter() - began < FIRST_S:
            first += _asked_at_once(running, ASKED["all four lists"], users, users, texts, lock)[0]
        say(f"all four lists, first {FIRST_S} s", requests=len(first), p95_ms=round(1000 * np.quantile(first, 0.95), 1))
        for name in names:
            took, seconds = _asked_at_once(running, ASKED[name], users, requests, texts, lock)
            p50, p95 = (round(1000 * float(np.quantile(took[users:], q)), 1) for q in (0.5, 0.95))
            say(name, users=users, requests=len(took), p50_ms=p50, p95_ms=p95, per_s=round(len(took) / seconds, 1))
            found[name] = p95
        held = running.gib()
        say("after", **held)
        return found | {"peak_gib": held["peak_gib"]}
    finally:
        running.process.kill()


def _asked_at_once(
    running: Running, asked: dict[str, Any], users: int, requests: int, texts: Iterator[str], lock: threading.Lock
) -> tuple[list[float], float]:
    """Seconds of each request, in the order of their ends, and of all."""
    took: list[float] = []

    def user() -> None:
        connection = running.connection()
        for _ in range(requests // users):
            with lock:
                text = next(texts)
            began = time.perf_counter()
            running.ask({"query": text, "count": 10} | asked, connection)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    threads = [threading.Thread(target=user) for _ in range(users)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return took, time.perf_counter() - began


def memory(folder: Path, seconds: int, rate: float) -> list[float]:
    """``rate`` requests a second whether or not the ones before are answered; GiB of its own that the server holds, at
    the start and each minute."""
    from concurrent.futures import ThreadPoolExecutor

    running, step, held = Running(folder), min(60, seconds), list[float]()
    try:
        texts, took = queries(), list[float]()

        def one(text: str) -> None:
            began = time.perf_counter()
            running.ask({"query": text, "systems": ["hybrid"]})
            took.append(time.perf_counter() - began)

        with ThreadPoolExecutor(32) as pool:
            began, asked = time.perf_counter(), 0
            for minute in range(seconds // step + 1):
                while (passed := time.perf_counter() - began) < step * minute:
                    if asked < passed * rate:
                        pool.submit(one, next(texts))
                        asked += 1
                    else:
                        time.sleep(0.002)
                p95 = round(1000 * float(np.quantile(took, 0.95)), 1) if took else None
                now = running.gib()
                say("memory", at_s=step * minute, asked=asked, answered=len(took), p95_ms=p95, **now)
                held.append(now["own_gib"])
        return held
    finally:
        running.process.kill()


def goals(given: argparse.Namespace) -> None:
    """What was set as a goal, measured: a line for each with its figure, its limit, and whether it holds."""
    small, large = (given.folder / str(patents) for patents in (given.patents, given.large))
    for place in (small, large):
        if not (place / "bm25" / "size.json").exists():  # what ``make`` writes last
            make(place, int(place.name))
    asked = ("dense", "bm25", "hybrid", "dense, bm25 and hybrid")
    of_small = load(small, given.users, given.requests, asked)
    held = memory(small, given.seconds, given.rate)
    of_large = load(large, given.users, given.requests, asked)
    found = {f"{name}, p95 ms": (of_small[name], 150.0) for name in asked}
    found["start, s"] = (of_small["start_s"], 10.0)
    settled = held[min(2, len(held) - 1)]  # buffers have their sizes after two minutes
    found["own memory, growth from the second minute on, GiB"] = (round(held[-1] - settled, 3), 0.05)
    found["exact search, times of the faster of faiss and LanceDB"] = (round(peers(small), 2), 1.2)
    found |= {f"{given.large:,} patents: {name}, p95 ms": (of_large[name], 500.0) for name in asked}
    found[f"{given.large:,} patents: peak, GiB"] = (of_large["peak_gib"], 6.0)
    for name, (figure, limit) in found.items():
        say("goal", of=name, figure=figure, below=limit, holds=figure < limit)


def peers(folder: Path) -> float:
    """Exact inner products of the same vectors, in this process: milliseconds a call, the median of some. The most that
    the search of a server takes of the time of the faster other one, over all sizes."""
    vectors = np.load(folder / "passages.npy")
    asked = vectors[np.random.default_rng(2).integers(len(vectors), size=8)] + 0.01
    asked = (asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float32)
    methods, worst = methods_of(vectors, folder), 0.0
    for size in (1, 8):
        for k in (10, 200):
            times: dict[str, list[float]] = {name: [] for name in methods}
            expected = [set(rows) for rows in methods[OURS](asked[:size], k).tolist()]
            for _ in range(15):  # in turns
                for name, method in methods.items():
                    times[name].append(timed(method, asked[:size], k))
            middle = {name: 1000 * float(np.median(took[2:])) for name, took in times.items()}
            for name, method in methods.items():
                found = method(asked[:size], k).tolist()
                same = np.mean([len(set(a) & b) / k for a, b in zip(found, expected, strict=True)])
                say(name, queries=size, k=k, ms=round(middle[name], 1), found_alike=round(float(same), 4))
            worst = max(worst, middle[OURS] / min(middle[FAISS], middle[LANCE]))
    return worst


def methods_of(vectors: np.ndarray, folder: Path) -> dict[str, Method]:
    """What finds rows (q, k) of queries (q, dim), each with one thread but for LanceDB, which has its own."""
    import faiss
    import lancedb
    import torch

    threadpoolctl.threadpool_limits(1, user_api="blas")
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = lancedb.connect(folder / "lance").create_table("t", pa.table({"vector": column}), mode="overwrite")
    longest, halves = longest_of(vectors), Halves.of(vectors, block_spans(len(vectors), 256, 1 << 14))

    def by_lance(batch: np.ndarray, k: int) -> np.ndarray:
        found = [
            table.search(each).distance_type("dot").with_row_id(True).limit(k).select([]).to_arrow() for each in batch
        ]
        return np.stack([each["_rowid"].to_numpy() for each in found]).astype(np.int64) % 2**32  # less its fragment

    return {
        OURS: lambda batch, k: exact_search(batch, vectors, k, longest=longest, halves=halves)[1],
        "exact_search, fp32 alone": lambda batch, k: exact_search(batch, vectors, k, longest=longest)[1],
        FAISS: lambda batch, k: index.search(batch, k)[1],
        LANCE: by_lance,
    }


def timed(method: Method, batch: np.ndarray, k: int) -> float:
    began = time.perf_counter()
    method(batch, k)
    return time.perf_counter() - began


def say(what: str, **figures: Any) -> None:
    print(json.dumps({"what": what, **figures}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("goals", "make", "serve", "load", "memory", "peers"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patents", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=1_000_000, help="patents of the second corpus of goals")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rate", type=float, default=20)
    given = parser.parse_args()
    if given.what in ("goals", "load"):
        say("machine", cores=os.cpu_count(), affinity=len(os.sched_getaffinity(0)))
    match given.what:
        case "goals":
            goals(given)
        case "make":
            make(given.folder, given.patents)
        case "serve":
            serve(given.folder)
        case "load":
            load(given.folder, given.users, given.requests)
        case "memory":
            memory(given.folder, given.seconds, given.rate)
        case "peers":
            peers(given.folder)
