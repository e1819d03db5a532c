"""The training loop: packed batches, exact resume, and the same arithmetic on any number of workers.

A step encodes every distinct text of the *global* batch once. The ranks share the texts by token count, exchange the
embeddings, and each computes the loss of the whole batch; the slice of its gradient that belongs to a rank's texts
then flows back through that rank's forward pass (Gao et al., GradCache, arXiv 2101.06983, with one gather). So one
worker and many compute the same loss, in-batch negatives included, and the texts of a step that do not fit into its
first forward pass are encoded again for the backward pass instead of changing the batch.

Everything random is drawn from (seed, epoch) or (seed, step, rank): a checkpoint needs no generator state to go on
exactly.
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from patent_embed.arrays import pieces_within
from patent_embed.config.training import TrainingConfig
from patent_embed.encoder.encoder import Encoder, native_bf16
from patent_embed.encoder.kernels import cpu_fused, fused
from patent_embed.encoder.kernels.cpu_dropout import use_fast_dropout
from patent_embed.encoder.kernels.cpu_fused import CpuFused
from patent_embed.encoder.kernels.fused import Fused
from patent_embed.encoder.kernels.graphs import Graphs
from patent_embed.encoder.packing import Tokens, pack
from patent_embed.errors import UserError
from patent_embed.progress.events import EpochEnded, TrainingStep
from patent_embed.training import distributed
from patent_embed.training.checkpoint import (
    Checkpoint,
    TrainState,
    load_checkpoint,
    moments_of,
    restore_moments,
    save_checkpoint,
)
from patent_embed.training.data import TripletData
from patent_embed.training.objective import Objective
from patent_embed.training.passes import most_tokens
from patent_embed.training.published import toward_base
from patent_embed.training.query_dropout import QueryDropout
from patent_embed.training.selection import Validation, doubt


class Reporter(Protocol):
    """What the loop tells the outside. All ranks call both; only rank 0 acts on ``write``."""

    def step(self, event: TrainingStep) -> None:
        """An optimizer step is done."""

    def epoch(self, event: EpochEnded, write: Callable[[Path], None] | None) -> None:
        """An epoch is over; ``write`` puts a checkpoint into a folder, None where none is due."""


class _Begun(NamedTuple):
    """An optimizer step whose loss has not been read yet."""

    step: int
    rate: float  # of learning
    triplets: int
    done: int  # triplets of the epoch, this step's included
    loss: Callable[[], float]


class Trainer:
    """Trains ``encoder`` on ``data``.

    Args:
        encoder: with adapters attached when LoRA is used; its trainable parameters are trained.
        validate: judges every epoch. None: no early stopping, and the last epoch is kept.
        fingerprint: names model, data and settings; a checkpoint with another one is refused.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: TripletData,
        config: TrainingConfig,
        *,
        seed: int,
        fingerprint: str,
        validate: Validation | None,
    ) -> None:
        if not len(data.triplets):
            raise UserError("there are no training triplets: no training patent has both a query and a negative")
        self.encoder, self.data, self.config = encoder, data, config
        self.seed, self.validate = seed, validate
        self.state = TrainState(fingerprint)
        self.parameters: dict[str, torch.nn.Parameter] = dict(encoder.trainable_parameters())
        self.device = next(iter(self.parameters.values())).device
        layers = self.device.type == "cpu" and not encoder.sharded and cpu_fused.supported(encoder.model)
        self.precision = precision_on(self.device, config.precision, layers)
        self.steps_per_epoch = data.batch_count(config.batch_size, config.max_triplets_per_epoch)
        self.epoch_size = data.epoch_size(config.max_triplets_per_epoch)
        self.total_steps = self.steps_per_epoch * config.epochs
        self.objective = Objective(config, encoder.dim)
        self._fused: Fused | CpuFused | None = None
        self._graphs: Graphs | None = None
        pays = self.epoch_size * config.epochs >= fused.PAYS_FROM_TRIPLETS
        whole = encoder.packs and not encoder.sharded
        if self.precision == "bf16" and pays and whole and fused.supported(encoder.model, self.device):
            self._fused = Fused(encoder.model, last_tokens=encoder.pooling == "lasttoken")
            self._graphs = Graphs(encoder, int(data.tokens.lengths.max()))
        if self.device.type == "cpu":
            use_fast_dropout(encoder.model)
            if layers:
                self._fused = CpuFused(encoder.model, torch.bfloat16 if self.precision == "bf16" else torch.float32)
        self._most_tokens = config.max_tokens_per_forward or most_tokens(encoder, self.device, self._fused)
        self._drop_words = QueryDropout(encoder, config.query_dropout) if config.query_dropout else None
        decayed = [p for p in self.parameters.values() if p.ndim > 1]
        others = [p for p in self.parameters.values() if p.ndim <= 1]  # biases and norms
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], lr=config.learning_rate, fused=self.device.type == "cuda"
        )
        self._best: dict[str, Tensor] = {}  # weights of the epoch that was best on val so far
        self._best_values = np.zeros(0)  # its values on each val query
        self._last: dict[str, Tensor] = {}
        # Where it is to be found out, that is done when the training is over, for the mean of several of them.
        self._base_share = 0.0 if config.base_share == "auto" else config.base_share
        # What LoRA adds is zero at the start, so only full fine-tuning has something to remember.
        self._base = encoder.adapter_state() if self._base_share and not config.use_lora else {}

    def fit(self, reporter: Reporter) -> TrainState:
        """Train to the last epoch or until early stopping, from the state that is loaded."""
        state, config = self.state, self.config
        if state.epoch == 0 and self.validate is not None:
            value = float(self.validate.measure().mean())
            state.history.append({"epoch": 0, "val_ndcg@10": value})
            reporter.epoch(EpochEnded(epoch=0, val_ndcg=value, best_val=value), None)
        with _old_objects_left_alone():
            while state.epoch < config.epochs and not state.stopped:
                reporter.epoch(*self._epoch(reporter))
        return state

    def _epoch(self, reporter: Reporter) -> tuple[EpochEnded, Callable[[Path], None] | None]:
        """Train one, and judge it. What ended, and how to save it where that is due."""
        state, config = self.state, self.config
        started = time.perf_counter()
        loss = self._train_epoch(reporter)
        state.epoch += 1
        record = {"epoch": state.epoch, "loss": loss, "train_seconds": time.perf_counter() - started}
        record |= self._judge()
        state.history.append(record)
        last = state.epoch == config.epochs or state.stopped
        due = last or state.epoch % config.checkpoint_every_n_epochs == 0
        ended = EpochEnded(
            epoch=state.epoch,
            loss=loss,
            train_seconds=record["train_seconds"],
            val_ndcg=record.get("val_ndcg@10"),
            kept_epoch=state.kept_epoch,
            best_val=state.best_value,
            stopped=state.stopped,
        )
        return ended, self.save if due else None

    def _judge(self) -> dict[str, float]:
        """Measure the epoch that has ended, decide which one would be published now and whether to stop."""
        state, config = self.state, self.config
        self._last = self.encoder.adapter_state()
        state.kept_epoch, state.doubt = state.epoch, None
        if self.validate is None:
            return {}
        values = self.validate.measure()
        value = float(values.mean())
        if state.best_value is None or value > state.best_value + config.early_stopping_threshold:
            state.best_value, state.best_epoch, state.stale = value, state.epoch, 0
            self._best, self._best_values = self._last, values
        else:
            state.stale += 1
            found = doubt(
                *(self._best_values, values, self.validate.unit), seed=self.seed, comparisons=max(1, state.epoch - 1)
            )
            state.doubt = asdict(found)
            state.stopped = 0 < config.early_stopping_patience <= state.stale and found.shown
            if found.shown and config.publish == "best":
                state.kept_epoch = state.best_epoch
        return {"val_ndcg@10": value}

    def _train_epoch(self, reporter: Reporter) -> float:
        """One pass over the data; returns the mean loss over its triplets."""
        state, done, config, every = self.state, 0, self.config, self.epoch_size
        batches = self.data.batches(self.seed, state.epoch, config.batch_size, config.max_triplets_per_epoch)
        self.encoder.model.train()
        total, started = 0.0, time.perf_counter()
        running: deque[_Begun] = deque()

        def finish() -> None:
            nonlocal total
            begun = running.popleft()
            loss = begun.loss()
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} at step {begun.step} (learning rate {begun.rate:.3g}): the weights are "
                    "lost from here; set a lower --learning_rate"
                )
            total += loss * begun.triplets
            speed = begun.done / (time.perf_counter() - started)
            left = (config.epochs - state.epoch) * every - begun.done
            reporter.step(
                TrainingStep(
                    epoch=state.epoch + 1,
                    epochs=config.epochs,
                    step=begun.step,
                    steps=self.total_steps,
                    lr=begun.rate,
                    loss=loss,
                    triplets_per_s=speed,
                    eta_s=left / speed,
                )
            )

        with self._fused or contextlib.nullcontext():
            for rows in batches:
                rate = self.learning_rate_at(state.step)
                loss = self._train_step(rows, rate)
                state.step += 1
                done += len(rows)
                running.append(_Begun(state.step, rate, len(rows), done, _fetch(loss)))
                if len(running) > (self.device.type == "cuda"):  # a GPU works on a step while the next is prepared
                    finish()
            while running:
                finish()
        return total / every

    def learning_rate_at(self, step: int) -> float:
        """Linear warm-up over the first ``warmup_ratio`` of all steps, then linear decay to zero."""
        warmup = math.ceil(self.config.warmup_ratio * self.total_steps)
        if step < warmup:
            return self.config.learning_rate * (step + 1) / warmup
        return self.config.learning_rate * (self.total_steps - step) / max(1, self.total_steps - warmup)

    def _train_step(self, rows: np.ndarray, rate: float) -> Tensor:
        """One optimizer step on the triplets ``rows``; returns their mean loss."""
        texts, inverse = np.unique(self.data.triplets[rows], return_inverse=True)
        inverse = inverse.reshape(-1, 3)
        tokens, places = self.data.tokens, texts
        if self._drop_words is not None:
            places = np.arange(len(texts))
            queries = np.isin(places, inverse[:, 0]) & ~np.isin(places, inverse[:, 1:])
            tokens = self._drop_words(tokens.take(texts), queries, np.random.default_rng([self.seed, self.state.step]))
        lengths = tokens.lengths_of(places)
        shares = distributed.split_by_weight(lengths, distributed.world_size())
        sizes = [(s.stop - s.start, int(lengths[s].sum())) for s in shares]
        mine = shares[distributed.rank()]
        idle = self._idle_passes(lengths, shares)
        chunks = [*self._chunks(tokens, places[mine]), *[places[:1]] * idle]
        outputs = [
            # The first one, and no other is longer, keeps what its backward pass needs.
            self._embed(tokens, chunk, number, grad=number == 0, sizes=sizes if len(chunks) == 1 else None)
            for number, chunk in enumerate(chunks)
        ]
        local = torch.cat(outputs) if outputs else torch.zeros((0, self.encoder.dim), device=self.device)
        local = local[: mine.stop - mine.start]
        everything = distributed.gather_rows(local, [s.stop - s.start for s in shares]).requires_grad_()
        family, mixture = self.data.family[texts], self.data.mixture
        relations = None if mixture is None else mixture.relations(rows, family)
        loss = self.objective(everything, inverse, family, relations)
        (gradient,) = torch.autograd.grad(loss, everything)
        gradient = torch.nn.functional.pad(gradient[mine], (0, 0, 0, idle))
        parts = torch.split(gradient, [len(chunk) for chunk in chunks])
        for number, (chunk, part) in enumerate(zip(chunks, parts, strict=True)):
            output = self._embed(tokens, chunk, number, grad=True) if number else outputs[number]
            torch.autograd.backward(output, part.to(output.dtype))
        parameters = list(self.parameters.values())
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        distributed.sum_over_ranks([p.grad for p in parameters if p.grad is not None])
        torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def _embed(
        self,
        tokens: Tokens,
        texts: np.ndarray,
        chunk: int,
        *,
        grad: bool,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> Tensor:
        """Embeddings of one chunk. ``sizes``: texts and tokens of every rank's, where a captured graph may be used."""
        batch = pack(tokens, texts)
        # Capturing draws random numbers, so it comes before the seed.
        embed = self._graphs.prepare(batch, sizes) if sizes is not None and self._graphs is not None else None
        # The same seed for a text chunk's two passes: dropout must not differ between them.
        seeds = np.random.SeedSequence([self.seed, self.state.step, distributed.rank(), chunk])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        if embed is not None:
            return embed()
        bf16 = self.precision == "bf16" and self._fused is None
        autocast = torch.autocast(self.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()
        with torch.set_grad_enabled(grad), autocast:
            return self.encoder.forward(batch.to(self.device))

    def _chunks(self, tokens: Tokens, texts: np.ndarray) -> Iterator[np.ndarray]:
        """Cut ``texts`` so that each piece stays within the tokens of one forward pass."""
        pieces = pieces_within(tokens.lengths_of(texts), self._most_tokens)
        return (texts[piece] for piece in pieces)

    def _idle_passes(self, lengths: np.ndarray, shares: Sequence[slice]) -> int:
        """Passes of this rank for nothing: every rank takes part in each pass of a model that is split over them."""
        if not self.encoder.sharded:
            return 0
        return distributed.missing([sum(1 for _ in pieces_within(lengths[s], self._most_tokens)) for s in shares])

    def save(self, folder: Path) -> None:
        """Write weights, those of the best epoch, optimizer and position."""
        moments = moments_of(self.optimizer, self.parameters)
        best = {"values": torch.from_numpy(self._best_values)}
        save_checkpoint(folder, Checkpoint(self.state, self.encoder.adapter_state(), self._best, best, moments))

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint. Raises UserError when it is torn or belongs to another model, data or setting."""
        found = load_checkpoint(folder, self.state.fingerprint)
        self.encoder.load_adapter_state(found.weights)
        restore_moments(self.optimizer, self.parameters, found.moments)
        self.state, self._last, self._best = found.state, found.weights, found.best
        self._best_values = found.best_val["values"].numpy()

    def load_kept(self) -> None:
        """Put the weights that are published into the encoder: the kept epoch's, or a mean with the base model's."""
        state = self.state
        kept = self._last if state.kept_epoch == state.epoch else self._best
        if set(kept) != set(self.parameters):
            raise RuntimeError(f"the kept epoch ({state.kept_epoch}) has no weights for every trained parameter")
        self.encoder.load_adapter_state(toward_base(kept, self._base, self._base_share))


def precision_on(device: torch.device, asked: str, layers: bool = False) -> str:
    """``fp32`` or ``bf16``: the ``training.precision`` that is asked for, or, for ``auto``, what fits the device.

    ``layers``: ``CpuFused`` computes; plain PyTorch casts so much in bf16 on a CPU that it gains nothing.
    """
    if asked != "auto":
        return asked
    return "bf16" if device.type == "cuda" or (layers and native_bf16(device)) else "fp32"


@contextlib.contextmanager
def _old_objects_left_alone() -> Iterator[None]:
    """Keeps the garbage collector to what is made from here on: a pass over a whole process takes as long as a step,
    and every rank waits for the one that makes it."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _fetch(loss: Tensor) -> Callable[[], float]:
    """Reads ``loss`` later without waiting for what the GPU is given until then."""
    if loss.device.type != "cuda":
        return lambda: float(loss)
    host = torch.empty((), pin_memory=True)
    host.copy_(loss, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def value() -> float:
        arrived.synchronize()
        return float(host)

    return value
