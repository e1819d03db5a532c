"""Why a program's vectors are not the encoder's: the same texts, embedded under each fault that is known.

A program that serves a model can leave out or replace parts of how it reads texts. Each such fault is a ``Reading``:
the encoder embeds under it, and the one whose vectors are the program's is what the program does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, product
from typing import Any, get_args

import numpy as np

from patent_embed.arrays import Vectors
from patent_embed.config.model import Kind
from patent_embed.encoder import packing
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.head import Head
from patent_embed.encoder.model_folder import Pooling

EXPLAINS = 0.999  # the lowest cosine of a text's two vectors under the fault that a program has
_TEXTS = 16  # of each kind, on which faults are tried
_USUAL_LENGTHS = tuple(2**power for power in range(5, 14))
_LENGTHS_AT_ONCE = 8  # tried between two others


@dataclass(frozen=True)
class Reading:
    """How a text becomes a vector, where that differs from the encoder's own way.

    Attributes:
        faults: what is wrong with it, in words; none: the encoder as it is.
        pooling, prompts, tokens: in place of the encoder's own; None: those.
        weights: of another encoder, such as the base model's; None: its own.
        head: whether Dense layers follow pooling where the model has them.
    """

    faults: tuple[str, ...] = ()
    pooling: Pooling | None = None
    prompts: Mapping[Kind, str] | None = None
    tokens: int | None = None
    weights: Encoder | None = None
    head: bool = True

    def of(self, encoder: Encoder) -> Encoder:
        """The encoder under this reading, which shares its weights."""
        source = self.weights or encoder
        return Encoder(
            source.model,
            encoder.tokenizer,
            pooling=self.pooling or encoder.pooling,
            prompts=encoder.prompts if self.prompts is None else self.prompts,
            max_seq_length=self.tokens or encoder.max_seq_length,
            source=encoder.source,
            head=source.head if self.head else Head(),
            packs=source.packs,
        )

    def beside(self, other: Reading) -> Reading:
        """Both faults at once."""
        changed = {name: value for name, value in vars(other).items() if value != getattr(_AS_IT_IS, name)}
        return replace(self, **changed | {"faults": self.faults + other.faults})


_AS_IT_IS = Reading()


@dataclass(frozen=True)
class Diagnosis:
    """What explains a program's vectors.

    Attributes:
        words: what differs, in a sentence's part.
        faults: the known ones that explain it; none: no known one does.
    """

    words: str
    faults: tuple[str, ...] = ()


def diagnose(
    encoder: Encoder,
    texts: Mapping[Kind, Sequence[str]],
    own: Mapping[Kind, Vectors],
    found: Mapping[Kind, Vectors],
    base: Encoder | None = None,
) -> Diagnosis:
    """What makes ``found`` of ``own``, the vectors of a program and of the pipeline, (n, dim) of length 1 by kind.

    Args:
        base: the model before training, which answers where adapters are ignored; None: it is not there.
    """
    width = found["query"].shape[1]
    kept = min(width, encoder.dim)
    if width != encoder.dim and not (len(encoder.head.layers) and width == encoder.width):
        near = min(float(_cosines(own[kind][:, :kept], found[kind][:, :kept]).min()) for kind in texts)
        words = f"its vectors have {width:,} numbers, the model's {encoder.dim:,}"
        if near >= EXPLAINS:
            return Diagnosis(f"{words}: they are cut to the first {kept:,}", ("dimensions",))
        return Diagnosis(f"{words}: it serves another model")
    trial = _Trial(encoder, texts, own, found)
    if trial.tried(_AS_IT_IS)[0] >= EXPLAINS:
        return Diagnosis("its vectors are the model's, and not those that were measured: run the same command again")
    groups = _groups(encoder, trial.longest, base)
    singles = [trial.tried(reading) for reading in chain.from_iterable(groups)]
    best = max(singles, key=lambda each: each[0], default=None)
    if best is not None and best[1].tokens is not None:
        best = _exact_length(trial, best, [reading.tokens for group in groups for reading in group if reading.tokens])
    if best is None or best[0] < EXPLAINS:
        several = (one.beside(other) for a, b in combinations(groups, 2) for one, other in product(a, b))
        best = max((trial.tried(reading) for reading in several), key=lambda each: each[0], default=best)
    if best is not None and best[0] >= EXPLAINS:
        return Diagnosis("; ".join(best[1].faults), best[1].faults)
    return Diagnosis(_unexplained(trial.lowest, best))


def _exact_length(trial: _Trial, best: tuple[float, Reading], tried: Sequence[int]) -> tuple[float, Reading]:
    """The length at which a program cuts, near the best one that was tried: vectors come nearer towards it from both
    sides. The best one itself where no other is nearer."""
    known = {2, *tried, trial.encoder.max_seq_length}
    while between := _between(sorted(known), best[1].tokens or 0):
        best = max([best, *(trial.tried(_cut(trial.encoder, length)) for length in between)], key=lambda each: each[0])
        known |= between
    return best


def _between(known: Sequence[int], length: int) -> set[int]:
    """Some lengths between the one of ``known`` and those before and behind it."""
    place = known.index(length)
    low, high = known[max(0, place - 1)], known[min(len(known) - 1, place + 1)]
    return set(np.linspace(low, high, _LENGTHS_AT_ONCE + 2).astype(int).tolist()) - set(known)


def _unexplained(lowest: float, best: tuple[float, Reading] | None) -> str:
    near = f"; nearest, with a lowest cosine of {best[0]:.4f}: {'; '.join(best[1].faults)}" if best else ""
    kind = "rounded weights or arithmetic of few bits" if lowest > 0.9 else "other weights, another model or tokenizer"
    return f"no known fault explains it (it looks like {kind}){near}"


class _Trial:
    """A few texts of each kind, those that differ most among them, and a program's vectors of them.

    Attributes:
        encoder: that of the pipeline.
        lowest: the lowest cosine of the pipeline's and the program's vectors of a text, of all of them.
        longest: tokens of the longest text.
    """

    def __init__(
        self,
        encoder: Encoder,
        texts: Mapping[Kind, Sequence[str]],
        own: Mapping[Kind, Vectors],
        found: Mapping[Kind, Vectors],
    ) -> None:
        self.encoder, self.lowest, self.longest = encoder, 1.0, 0
        self._texts, self._found = dict[Kind, list[str]](), dict[Kind, Vectors]()
        for kind, mine in texts.items():
            comparable = own[kind].shape == found[kind].shape
            cosines = _cosines(own[kind], found[kind]) if comparable else np.zeros(len(mine))
            lowest = np.argsort(cosines, kind="stable")[: _TEXTS // 2]
            spread = np.linspace(0, len(mine) - 1, _TEXTS // 2).astype(int)
            rows = np.unique(np.concatenate([lowest, spread]))
            self._texts[kind], self._found[kind] = [mine[row] for row in rows], found[kind][rows]
            self.lowest = min(self.lowest, float(cosines.min()))
            self.longest = max(self.longest, int(encoder.whole_lengths(self._texts[kind], kind).max()))

    def tried(self, reading: Reading) -> tuple[float, Reading]:
        """The lowest cosine of a text's vector under a reading to the program's."""
        other, lowest = reading.of(self.encoder), 1.0
        for kind, texts in self._texts.items():
            vectors = other.encode(texts, kind, precision="fp32")
            if vectors.shape != self._found[kind].shape:
                return -1.0, reading
            lowest = min(lowest, float(_cosines(vectors, self._found[kind]).min()))
        return round(lowest, 5), reading  # behind that, batches differ


def _groups(encoder: Encoder, longest: int, base: Encoder | None) -> list[list[Reading]]:
    """Faults that exclude one another, a list a kind of them."""
    pooling = [
        Reading((f"wrong pooling: it pools {other!r}, the model {encoder.pooling!r}",), pooling=other)
        for other in get_args(Pooling)
        if other != encoder.pooling
    ]
    adapter = [
        Reading(("an ignored adapter: its vectors are the base model's",), weights=base) for base in [base] if base
    ]
    head = [Reading(("Dense layers are left out",), head=False)] if len(encoder.head.layers) else []
    most = min(_positions(encoder), longest)
    lengths = [length for length in (*_USUAL_LENGTHS, most) if 2 < length <= most and length != encoder.max_seq_length]
    cuts = [_cut(encoder, length) for length in dict.fromkeys(lengths)]
    return [pooling, list(_prompts(encoder.prompts)), cuts, adapter, head]


def _cut(encoder: Encoder, length: int) -> Reading:
    kind = "a truncated length" if length < encoder.max_seq_length else "another length"
    return Reading(
        (f"{kind}: it reads {length:,} tokens of a text, the pipeline {encoder.max_seq_length:,}",), tokens=length
    )


def _positions(encoder: Encoder) -> int:
    """Tokens that the model has positions for."""
    config: Any = encoder.model.config
    first = encoder.max_seq_length
    return max(
        first, int(getattr(config, "max_position_embeddings", first) or first) - packing.first_position(encoder.model)
    )


def _prompts(prompts: Mapping[Kind, str]) -> Iterator[Reading]:
    """Prompts that are left out, mixed up, or put twice; those that change nothing are left out."""
    query, passage = prompts["query"], prompts["passage"]
    found: dict[tuple[str, str], str] = {}

    def add(pair: tuple[str, str], words: str) -> None:
        if pair != (query, passage):
            found.setdefault(pair, words)

    add(("", ""), "a forgotten prompt: nothing is put before " + _which(query, passage))
    add(("", passage), f"a forgotten prompt: {query!r} is not put before queries")
    add((query, ""), f"a forgotten prompt: {passage!r} is not put before passages")
    add((query, query), f"the wrong prompt: passages get that of queries, {query!r}, too")
    add((passage, passage), f"the wrong prompt: queries get that of passages, {passage!r}, too")
    add((passage, query), "the wrong prompt: queries and passages get each other's")
    add((query + query, passage + passage), "a doubled prompt: it puts prompts before texts that have them already")
    add((query + query, query + passage), f"a doubled prompt: it puts {query!r} before all texts, also before prompts")
    add((passage + query, passage + passage), f"a doubled prompt: it puts {passage!r} before all texts and prompts")
    for (one, other), words in found.items():
        yield Reading((words,), prompts={"query": one, "passage": other})


def _which(query: str, passage: str) -> str:
    told = {"queries": query, "passages": passage}
    return " and ".join(f"{name} (the model wants {prompt!r})" for name, prompt in told.items() if prompt) or "texts"


def _cosines(one: Vectors, other: Vectors) -> np.ndarray:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) / np.maximum(norms, 1e-12))
