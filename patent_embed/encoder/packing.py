"""Padding-free batches: texts stand behind one another in one row of tokens, and attention stays inside each text.

It goes in by transformers' public extension point. A model whose attention implementation is ``ATTENTION`` is called
with ``input_ids`` and ``position_ids`` of shape (1, T) and the boundaries of its texts, which transformers hands
through to ``packed_attention``. No function is registered at ``AttentionMaskInterface``: without one transformers
builds no mask, which is what is wanted here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from patent_embed.arrays import inverse_of, places_in, ranges_of, starts_of
from patent_embed.devices import to_device
from patent_embed.encoder import windows
from patent_embed.encoder.kernels.cpu_dropout import dropout as drop
from patent_embed.errors import UserError

ATTENTION = "patent_embed_packed"
# Name of an attention module's attribute that holds what is to compute its attention (``kernels.fused``).
TRAINS_BY = "packed_attention_in_training"
# The same, for the ``FirstTokens`` that reads its output.
_FIRST_TOKENS = "packed_first_tokens"
_SAME = 1e-4  # of a state's length; fp32 rounds to some 1e-6


class UnpackableError(UserError):
    """A model's attention does what packed attention does not."""


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts, flat.

    Attributes:
        ids: (total,) int32, special tokens included.
        offsets: (n + 1,) int64; text i is ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(n,) int64, tokens of each text."""
        return np.diff(self.offsets)

    def lengths_of(self, indices: np.ndarray) -> np.ndarray:
        """``lengths[indices]`` without those of all texts."""
        lengths: np.ndarray = self.offsets[indices + 1] - self.offsets[indices]
        return lengths

    @staticmethod
    def from_lists(texts: Iterable[Sequence[int]]) -> Tokens:
        """Of texts that are lists of ids."""
        rows = [np.asarray(text, np.int32) for text in texts]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return Tokens(np.concatenate([np.empty(0, np.int32), *rows]), starts_of(lengths))

    @staticmethod
    def concat(parts: Sequence[Tokens]) -> Tokens:
        """All texts of ``parts``, in order."""
        lengths = np.concatenate([np.empty(0, np.int64), *(part.lengths for part in parts)])
        ids = np.concatenate([np.empty(0, np.int32), *(part.ids for part in parts)])
        return Tokens(ids, starts_of(lengths))

    def take(self, indices: np.ndarray) -> Tokens:
        """The texts at ``indices``, in that order; one may be taken twice."""
        lengths = self.lengths_of(indices)
        return Tokens(self.ids[ranges_of(self.offsets[indices], lengths)], starts_of(lengths))


@dataclass(frozen=True)
class PackedBatch:
    """n texts in one row of T tokens, ordered by length.

    Attributes:
        input_ids, position_ids: (1, T) int64; positions start at 0 in every text.
        cu_seq_lens: (n + 1,) int32, where texts begin and end.
        max_length: tokens of the longest text.
        inverse: (n,) int64, place in the row of each text that was asked for.
    """

    input_ids: Tensor
    position_ids: Tensor
    cu_seq_lens: Tensor
    max_length: int
    inverse: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Ids, positions, bounds and inverse."""
        return self.input_ids, self.position_ids, self.cu_seq_lens, self.inverse

    def to(self, device: torch.device | str) -> PackedBatch:
        """The batch on ``device``, by copies that nobody waits for."""
        ids, positions, bounds, inverse = (to_device(t, device) for t in self.tensors)
        return PackedBatch(ids, positions, bounds, self.max_length, inverse)


def fill_up(batch: PackedBatch, texts: int, tokens: int) -> PackedBatch:
    """``batch`` with meaningless texts at its end, ``texts`` texts and ``tokens`` tokens in all.

    They have at least one token each and come last in the order asked for.
    """
    # numpy, which stays on one core: torch would wake all of them for each of these small arrays, in every process.
    have, filled = len(batch.inverse), batch.input_ids.shape[1]
    count, missing = texts - have, tokens - filled
    lengths = np.full(count, missing // count)
    lengths[: missing % count] += 1
    fill = (
        np.zeros((1, missing), np.int64),
        places_in(lengths)[None],
        (filled + np.cumsum(lengths)).astype(np.int32),
        np.arange(have, texts),
    )
    ids, positions, bounds, inverse = (
        torch.from_numpy(np.concatenate([tensor.numpy(), more], axis=-1))
        for tensor, more in zip(batch.tensors, fill, strict=True)
    )
    return PackedBatch(ids, positions, bounds, max(batch.max_length, int(lengths[0])), inverse)


def pack(tokens: Tokens, indices: np.ndarray | None = None) -> PackedBatch:
    """Pack the texts at ``indices`` (all when None; at least one).

    Texts of one length stand together, so that off the GPU one call serves the attention of all of them.
    """
    lengths = tokens.lengths if indices is None else tokens.lengths_of(indices)
    order = np.argsort(lengths, kind="stable")
    chosen = tokens.take(order if indices is None else np.asarray(indices)[order])
    return PackedBatch(
        input_ids=torch.from_numpy(chosen.ids.astype(np.int64))[None],
        position_ids=torch.from_numpy(places_in(chosen.lengths))[None],
        cu_seq_lens=torch.from_numpy(chosen.offsets.astype(np.int32)),
        max_length=int(chosen.lengths[-1]),
        inverse=torch.from_numpy(inverse_of(order)),
    )


class FirstTokens:
    """Makes ``model``'s last layer compute only the texts' first tokens after its attention, while ``of`` is entered.

    CLS pooling reads nothing else, and three quarters of a layer's products lie there. Raises LookupError for a model
    that is not built like BERT.
    """

    def __init__(self, model: nn.Module) -> None:
        self._entered: dict[int, Tensor] = {}  # by thread: a server runs passes side by side
        layers = getattr(getattr(model, "encoder", None), "layer", [None])
        attention = getattr(layers[-1], "attention", None)
        inner, output = getattr(attention, "self", None), getattr(attention, "output", None)
        if inner is None or output is None or not type(output).__name__.endswith("SelfOutput"):
            raise LookupError(f"{type(model).__name__} does not end in a layer of BERT's kind")
        output.register_forward_pre_hook(self._pick)
        vars(inner)[_FIRST_TOKENS] = self

    @property
    def entered(self) -> bool:
        """Whether ``of`` is."""
        return self._rows is not None

    @property
    def _rows(self) -> Tensor | None:
        """The first tokens of this thread's batch; None: it is not entered."""
        return self._entered.get(threading.get_ident())

    @contextlib.contextmanager
    def of(self, batch: PackedBatch) -> Iterator[None]:
        """While it is entered, ``batch``'s first tokens are what the last layer computes."""
        self._entered[threading.get_ident()] = batch.cu_seq_lens[:-1]
        try:
            yield
        finally:
            self._entered.pop(threading.get_ident(), None)

    def _pick(self, module: nn.Module, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """What attention has written, and the layer's input: (1, T, hidden) → (1, n, hidden)."""
        rows = self._rows
        return None if rows is None else tuple(tensor.index_select(1, rows) for tensor in tensors)


def only_first_tokens(attention: nn.Module) -> bool:
    """Whether of this module's output only the texts' first tokens are read now."""
    reader: FirstTokens | None = vars(attention).get(_FIRST_TOKENS)
    return reader is not None and reader.entered


def first_position(model: nn.Module) -> int:
    """Position id of a text's first token: RoBERTa counts from the padding index + 1, and its table shows it."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def packed_forward(model: nn.Module, batch: PackedBatch, first_position: int = 0) -> Tensor:
    """Last hidden states, (T, hidden), or (n, hidden) inside ``FirstTokens.of``.

    ``first_position``: position id of a text's first token (RoBERTa: 2).
    """
    bounds, longest = batch.cu_seq_lens, batch.max_length
    output = model(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids + first_position if first_position else batch.position_ids,
        use_cache=False,
        cu_seq_lens_q=bounds,
        cu_seq_lens_k=bounds,
        max_length_q=longest,
        max_length_k=longest,
    )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention inside each text of a packed row: a transformers attention function.

    Args:
        query: (1, heads, T, head size); ``key`` and ``value`` may have fewer heads (grouped-query attention).
        attention_mask: always None, see above.
        cu_seq_lens_q, max_length_q: of the ``PackedBatch``.
        sliding_window: a token sees those less than so many places away (``windows``); None: all of its text.

    Returns:
        (1, T, heads, head size), and None for the weights, which are never materialised. Inside ``FirstTokens.of``
        the last layer's rows of other tokens may hold anything.

    Raises:
        UnpackableError: a mask of the model's own or a soft cap of the scores is asked for.
    """
    if softcap is not None or attention_mask is not None:
        asked = "a mask of its own" if softcap is None else f"a soft cap of {softcap}"
        raise UnpackableError(
            f"{type(module).__name__} asks for {asked}, which packed attention does not do: texts would get other "
            "embeddings; choose another model"
        )
    window = sliding_window if sliding_window is not None and sliding_window < max_length_q else None
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    # (T, heads, head size), by views alone: indexing with [0] would cost two copies in the backward pass.
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    if k.shape[1] != q.shape[1]:
        k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], 1) for tensor in (k, v))
    if TRAINS_BY in vars(module) and not causal and window is None:
        first = only_first_tokens(module)
        output = vars(module)[TRAINS_BY](q, k, v, cu_seq_lens_q, max_length_q, scaling, dropout, first)
    elif q.is_cuda and q.dtype in (torch.bfloat16, torch.float16):
        output = _flash_attention(q, k, v, cu_seq_lens_q, max_length_q, scaling, dropout, causal, window)
    else:
        output = _exact_attention(q, k, v, cu_seq_lens_q, scaling, dropout, causal, window)
    return output[None], None


def _flash_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: Tensor,
    longest: int,
    scale: float | None,
    dropout: float,
    causal: bool,
    window: int | None = None,
) -> Tensor:
    reach = -1 if window is None else window - 1  # tokens on a side; -1: all
    if dropout:
        # varlen_attn has no dropout; this is the operator it calls, which has, with its own backward.
        local = {} if window is None else {"window_size_left": reach, "window_size_right": 0 if causal else reach}
        output: Tensor = torch.ops.aten._flash_attention_forward(  # noqa: SLF001
            q, k, v, bounds, bounds, longest, longest, dropout, causal, False, scale=scale, **local
        )[0]
        return output
    from torch.nn.attention.varlen import varlen_attn

    size = (reach, 0) if causal else (reach, reach)
    return cast(Tensor, varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale, window_size=size))


def _exact_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds: Tensor,
    scale: float | None,
    dropout: float,
    causal: bool,
    window: int | None = None,
) -> Tensor:
    """One call of plain attention for each run of texts of one length, on views of the row."""
    lengths = torch.diff(bounds).tolist()
    outputs, begin, first = [], 0, 0
    while first < len(lengths):
        length, last = lengths[first], first
        while last < len(lengths) and lengths[last] == length:
            last += 1
        end = begin + length * (last - first)
        rq, rk, rv = (t[begin:end].view(last - first, length, *t.shape[1:]).transpose(1, 2) for t in (q, k, v))
        if window is not None and window < length:
            output = _local_attention(rq, rk, rv, scale, dropout, causal, window)
        elif dropout:
            output = _attention_with_dropout(rq, rk, rv, scale, dropout, causal)
        else:
            output = scaled_dot_product_attention(rq, rk, rv, is_causal=causal, scale=scale)
        outputs.append(output.transpose(1, 2).flatten(0, 1))
        begin, first = end, last
    return torch.cat(outputs)


def _local_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None, dropout: float, causal: bool, window: int
) -> Tensor:
    """Plain attention, (texts, heads, length, size), in which a token sees those of its window."""
    outputs = []
    for piece in windows.pieces(q.shape[2], window, causal, q.device):
        some, keys, values = q[:, :, piece.queries], k[:, :, piece.keys], v[:, :, piece.keys]
        if dropout:
            outputs.append(_attention_with_dropout(some, keys, values, scale, dropout, seen=piece.mask))
        else:
            outputs.append(scaled_dot_product_attention(some, keys, values, attn_mask=piece.mask, scale=scale))
    return torch.cat(outputs, 2)


def _attention_with_dropout(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float | None,
    dropout: float,
    causal: bool = False,
    seen: Tensor | None = None,
) -> Tensor:
    """Plain attention, (texts, heads, length, size), whose weights are dropped as in ``cpu_dropout``.

    ``seen``: (queries, keys) booleans, False where a query does not read a key.
    """
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if causal:
        length = scores.shape[-1]
        seen = ~torch.ones(length, length, dtype=torch.bool, device=q.device).triu(1)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    return drop(scores.softmax(-1), dropout) @ v


def keeps_texts_apart(model: nn.Module) -> bool:
    """Whether a text has the same states in a packed row as alone: found out with two texts of a few tokens.

    Not every model lets ``ATTENTION`` compute its attention (MPNet, DeBERTa), and some mix tokens by other means
    (convolutions, recurrent states). They take a packed row without a word, and its texts then see one another.
    """
    tokens, begin = Tokens.from_lists([[1, 2, 3], [4, 5, 6, 7, 8]]), first_position(model)
    with torch.inference_mode():
        try:
            together = packed_forward(model, pack(tokens), begin)
            alone = [packed_forward(model, pack(tokens, np.array([row])), begin) for row in range(2)]
        except (UnpackableError, TypeError):  # TypeError: a model of foreign code that does not take the bounds
            return False
    apart = torch.cat(alone)
    return bool(((together - apart).norm(dim=-1) <= _SAME * apart.norm(dim=-1)).all())


def register() -> None:
    """Make ``ATTENTION`` known to transformers. May be called more than once."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
