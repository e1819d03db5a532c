"""Texts to vectors for requests: those that come at once in one batch, with the right prompt, long ones in parts."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from patent_embed.arrays import Rows, Vectors
from patent_embed.config.model import Kind
from patent_embed.serving.batching import Batcher, changed
from patent_embed.serving.threads import use_threads_of_torch

if TYPE_CHECKING:
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.encoder.packing import Tokens

_REQUESTS_AT_ONCE = 32
_REQUESTS_OF_A_THREAD = 2  # on a CPU, where larger batches are hardly faster and make who comes next wait
_PATIENCE = 0.006  # seconds: a query alone takes 18 ms of a core, each of four 11
_SHORT = 128  # tokens of a text that one thread encodes as soon as several that wait for one another would
_KEPT_QUERIES = 2048
_MOST_PARTS = 16  # of a long text; what is behind them is left out, and said
_SENTENCE_END = re.compile(r"(?<=[。；！？;!?\n])|(?<=\.)\s")
_SPARE = 0.9  # of a part's share of tokens: sentences differ


@dataclass(frozen=True)
class Encoded:
    """What became of the texts of a request.

    Attributes:
        vectors: (texts, dim) float32 of length 1.
        tokens: (texts,) that were read of each, prompt and special tokens included.
        cut: (texts,) whether a text is as long as the model reads, so that its end may not have been read.
    """

    vectors: Vectors
    tokens: np.ndarray
    cut: np.ndarray


@dataclass(frozen=True)
class QueryVector:
    """A query's vector (dim,) float32; in how many parts it was read; whether its end was left out."""

    vector: Vectors
    parts: int = 1
    cut: bool = False


class TextEncoder(Protocol):
    """What embeds the texts of requests."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    def submit(self, texts: Sequence[str], kind: Kind) -> Future[Encoded]:
        """Embed texts, each with the prompt of its kind and cut where the model ends."""

    def query(self, text: str) -> Future[QueryVector]:
        """The vector of a query, whatever its length."""


class BatchedEncoder:
    """An ``Encoder``, which nobody else uses from then on, behind a ``Batcher``. Queries that were asked lately are not
    encoded again."""

    def __init__(self, encoder: Encoder, name: str) -> None:
        self.dim = encoder.dim
        threads = _run_lean(encoder)
        work, most = _Work(encoder, threads), _REQUESTS_AT_ONCE if threads == 1 else _REQUESTS_OF_A_THREAD * threads
        self._batches: Batcher[tuple[Sequence[str], Kind | None], Encoded | list[QueryVector]]
        self._batches = Batcher(work, most, f"encode {name}", patience=_PATIENCE)
        self._known: OrderedDict[str, Future[QueryVector]] = OrderedDict()
        self._lock = threading.Lock()

    def submit(self, texts: Sequence[str], kind: Kind) -> Future[Encoded]:
        """See ``TextEncoder``."""
        return self._batches.submit((texts, kind))  # type: ignore[return-value]  # texts with a kind

    def query(self, text: str) -> Future[QueryVector]:
        """See ``TextEncoder``."""
        with self._lock:
            future = self._known.get(text)
            if future is None or (future.done() and future.exception() is not None):
                future = self._known[text] = changed(self._batches.submit(([text], None)), _only)
            self._known.move_to_end(text)
            if len(self._known) > _KEPT_QUERIES:
                self._known.popitem(last=False)
        return future


def _run_lean(encoder: Encoder) -> int:
    """Let a BERT on a CPU run as ``cpu_inference`` does, in what ``encode`` computes in there; fp32 with weights in
    fp16 where the CPU has that, which changes no vector by more than bf16 would.

    Returns:
        How many threads may encode at once: of such a pass, as many as torch has, which need not wait for one another
        as the threads of one pass do after each product.
    """
    import torch

    from patent_embed.encoder.encoder import native_bf16
    from patent_embed.encoder.kernels.cpu_inference import CpuInference, keeps_halves, supported

    encoder.model.eval()
    if encoder.device.type != "cpu" or not supported(encoder.model):
        return 1
    fp32 = torch.float16 if keeps_halves() else torch.float32
    CpuInference(encoder.model, torch.bfloat16 if native_bf16(encoder.device) else fp32).enter()
    return torch.get_num_threads()


def _only(found: Encoded | list[QueryVector]) -> QueryVector:
    (query,) = found  # type: ignore[misc]  # texts without a kind: queries
    return query


class _Work:
    """The batches' work: all texts of all requests in one pass of the encoder."""

    def __init__(self, encoder: Encoder, threads: int) -> None:
        """``threads``: that may encode at once."""
        import torch

        self._encoder, self._threads, self._threads_of_torch = encoder, threads, torch.get_num_threads()
        self._pool = ThreadPoolExecutor(threads)

    def __call__(self, asked: list[tuple[Sequence[str], Kind | None]]) -> list[Encoded | list[QueryVector]]:
        parts = [
            [self._parts(text) for text in texts] if kind is None else [([text], False) for text in texts]
            for texts, kind in asked
        ]
        flat = [
            (part, kind or "query")
            for (_, kind), request in zip(asked, parts, strict=True)
            for pieces, _ in request
            for part in pieces
        ]
        vectors = np.empty((len(flat), self._encoder.dim), np.float32)
        counts = np.empty(len(flat), np.int64)
        kinds: tuple[Kind, ...] = ("query", "passage")
        for prompt in kinds:
            mine = [at for at, (_, kind) in enumerate(flat) if kind == prompt]
            if mine:
                tokens = self._encoder.tokenize([flat[at][0] for at in mine], prompt)
                vectors[mine], counts[mine] = self._encode(tokens), tokens.lengths
        if not np.isfinite(vectors).all():
            raise RuntimeError("an embedding of a request holds NaN or infinity")
        results, at = list[Encoded | list[QueryVector]](), 0
        for (texts, kind), request in zip(asked, parts, strict=True):
            if kind is not None:
                part = slice(at, at + len(texts))
                results.append(Encoded(vectors[part], counts[part], counts[part] >= self._encoder.max_seq_length))
                at += len(texts)
                continue
            queries = []
            for pieces, left_out in request:
                part = slice(at, at + len(pieces))
                queries.append(QueryVector(_mean(vectors[part], counts[part]), len(pieces), left_out))
                at += len(pieces)
            results.append(queries)
        return results

    def _encode(self, tokens: Tokens) -> Vectors:
        """A share of the texts a thread, the long ones dealt out like cards."""
        shares = min(self._threads, len(tokens))
        if shares == 1:
            short = self._threads > 1 and tokens.lengths[0] <= _SHORT
            use_threads_of_torch(1 if short else self._threads_of_torch)
            return self._encoder.encode(tokens)
        order = np.argsort(-tokens.lengths, kind="stable")
        vectors = np.empty((len(tokens), self._encoder.dim), np.float32)

        def encode(rows: Rows) -> None:
            use_threads_of_torch(max(1, self._threads_of_torch // shares))
            vectors[rows] = self._encoder.encode(tokens.take(rows))

        list(self._pool.map(encode, [order[first::shares] for first in range(shares)]))
        return vectors

    def _parts(self, text: str) -> tuple[list[str], bool]:
        """A text cut, at sentences, into parts that the model reads whole; whether there were more."""
        most = self._encoder.max_seq_length
        if len(text) < most // 2:  # no tokenizer makes two tokens of a character, prompt included
            return [text], False
        tokens = len(self._encoder.tokenizer(self._encoder.prompts["query"] + text, truncation=False)["input_ids"])
        if tokens <= most:
            return [text], False
        prompt = len(self._encoder.tokenizer(self._encoder.prompts["query"])["input_ids"])
        room = max(1, int(len(text) / tokens * max(1, most - prompt) * _SPARE))
        parts = [""]
        for sentence in filter(None, _SENTENCE_END.split(text)):
            if len(parts[-1]) + len(sentence) > room and parts[-1]:
                parts.append("")
            while len(parts[-1]) + len(sentence) > room:
                parts[-1], sentence = sentence[:room], sentence[room:]
                parts.append("")
            parts[-1] += sentence
        parts = [part for part in parts if part.strip()] or [text]
        return parts[:_MOST_PARTS], len(parts) > _MOST_PARTS


def _mean(vectors: Vectors, weights: np.ndarray) -> Vectors:
    """The mean direction of a text's parts, each as heavy as it has tokens; of one part, its vector to the bit."""
    if len(vectors) == 1:
        only: Vectors = vectors[0]
        return only
    mean = (vectors * weights[:, None]).sum(axis=0)
    unit: Vectors = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return unit
