"""Training queries with a part of their words left out, another part each time.

With few queries an encoder learns their wording by heart. Left out at random, words teach it to find a patent by those
that are left (random deletion: Wei and Zou, EDA, arXiv 1901.11196; word dropout: Iyyer et al., ACL 2015, P15-1162).
"""

from __future__ import annotations

import numpy as np

from patent_embed.arrays import places_in, starts_of
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens

SPAN = 2  # neighbouring tokens go together: most Chinese words are two characters
LEAST = 3  # a query of which less would be left stays whole


class QueryDropout:
    """Leaves ``share`` of the tokens out of queries of ``encoder``; its prompt and special tokens stay."""

    def __init__(self, encoder: Encoder, share: float) -> None:
        self.share = share
        self._frame = np.append(encoder.tokenize([""], "query").ids, -1)  # ends with what no text has
        names = ("cls_token_id", "bos_token_id", "sep_token_id", "eos_token_id")
        ids = [getattr(encoder.tokenizer, name, None) for name in names]
        self._special = np.array([number for number in ids if number is not None], np.int32)

    def __call__(self, tokens: Tokens, chosen: np.ndarray, rng: np.random.Generator) -> Tokens:
        """The texts of ``tokens``, those where ``chosen`` (n,) bool is true with tokens left out."""
        lengths, starts = tokens.lengths, tokens.offsets[:-1]
        place = places_in(lengths)
        same = tokens.ids == self._frame[np.minimum(place, len(self._frame) - 1)]
        prompt = np.minimum.reduceat(np.where(same, lengths.max(), place), starts)  # where a text leaves the frame
        loose = np.repeat(chosen, lengths) & (place >= np.repeat(prompt, lengths)) & ~np.isin(tokens.ids, self._special)
        spans = (np.arange(len(place)) + np.repeat(rng.integers(0, SPAN, len(tokens)), lengths)) // SPAN
        out = loose & (rng.random(spans[-1] + 1) < self.share)[spans]
        had, gone = (np.add.reduceat(mask, starts, dtype=np.int64) for mask in (loose, out))
        gone[had - gone < np.minimum(LEAST, had)] = 0
        out &= np.repeat(gone > 0, lengths)
        return Tokens(tokens.ids[~out], starts_of(lengths - gone))
