"""The text encoder: load it, tokenize, embed, adapt.

One forward pass (``packing``) serves training, evaluation and mining, so they cannot drift apart.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from patent_embed.arrays import pieces_within
from patent_embed.config.model import Kind, ModelConfig
from patent_embed.config.training import LoraConfig
from patent_embed.encoder import lora_targets, packing
from patent_embed.encoder.head import Head, load_head
from patent_embed.encoder.loading import load_transformer
from patent_embed.encoder.model_files import require_model
from patent_embed.encoder.model_folder import NamedPrompts, Pooling, read_sentence_transformer_files
from patent_embed.encoder.packing import PackedBatch, Tokens, pack
from patent_embed.encoder.padding import padded_forward
from patent_embed.errors import UserError

Precision = Literal["auto", "fp32", "bf16"]

BGE_ZH_QUERY_PROMPT = "为这个句子生成表示以用于检索相关文章："  # from the models' cards
# Prompts of model families that publish them in their cards only; matched against the model's name.
_FAMILY_PROMPTS: tuple[tuple[str, dict[Kind, str]], ...] = (
    (r"bge-(small|base|large)-zh", {"query": BGE_ZH_QUERY_PROMPT, "passage": ""}),
    (r"(^|-)e5-(small|base|large)", {"query": "query: ", "passage": "passage: "}),
)
# What is fast on a device. In a batch of another size an embedding may differ in its last bits.
TOKENS_PER_FORWARD = {"cpu": 4096, "cuda": 65_536}


_HEAD = "dense_head."  # before the names of what follows pooling


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """No bars of transformers for the weights that it reads and writes: they spoil the lines of a terminal."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


class Encoder:
    """A text-embedding model: transformer, pooling, Dense layers where it has any, prompts.

    Attributes:
        model: the transformers module, wrapped by PEFT after ``add_lora``.
        tokenizer: its tokenizer.
        pooling: how a text's hidden states become one vector.
        prompts: what is put before a "query" and a "passage".
        max_seq_length: tokens of a text at most, prompt and special tokens included.
        head: what follows pooling.
        width, dim: numbers of a token's state, and of an embedding.
        packs: texts stand in one row without padding; False for what cannot read such a row (``padding``).
        named_prompts: those of the folder, also for other tasks.
        sharded: the model's frozen weights are split over processes, all of which take part in each forward pass.
        source: the folder it was loaded from.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        pooling: Pooling,
        prompts: Mapping[Kind, str],
        max_seq_length: int,
        source: Path,
        head: Head | None = None,
        packs: bool = True,
        named_prompts: NamedPrompts | None = None,
    ) -> None:
        self.model, self.tokenizer, self.source = model, tokenizer, source
        self.pooling, self.prompts, self.max_seq_length = pooling, dict(prompts), max_seq_length
        self.head, self.packs, self.named_prompts = head or Head(), packs, named_prompts
        self.sharded = False
        self.width = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.dim = self.head.dim or self.width
        self._first_position = packing.first_position(model)
        self._first_tokens: packing.FirstTokens | None = None
        if pooling == "cls" and packs:
            with contextlib.suppress(LookupError):
                self._first_tokens = packing.FirstTokens(model)
        for name, parameter in model.named_parameters():
            if "pooler" in name.split("."):  # reads the first token only, and no pooling here uses it
                parameter.requires_grad_(False)

    @classmethod
    @without_bars()
    def load(cls, folder: Path, config: ModelConfig | None = None, *, device: str | torch.device = "cpu") -> Encoder:
        """Load a SentenceTransformer folder or a plain transformers folder, weights in fp32.

        Args:
            folder: from ``resolve_model``.
            config: overrides of prompts and length; None: the defaults.

        Raises:
            UserError: the folder is not whole, or the architecture or a module of it is not supported.
        """
        config = config or ModelConfig()
        require_model(folder)
        files = read_sentence_transformer_files(folder)
        model, tokenizer, packs = load_transformer(
            folder, files.transformer, trust_remote_code=config.trust_remote_code
        )
        head = load_head(folder, files.dense, trust_remote_code=config.trust_remote_code)
        if files.lower_case:
            _lower_case(tokenizer)
        limits = [
            config.max_seq_length,
            files.max_seq_length or config.max_seq_length,
            tokenizer.model_max_length,
            getattr(model.config, "max_position_embeddings", None) or config.max_seq_length,
        ]
        limits[-1] -= packing.first_position(model)
        default: Pooling = "lasttoken" if _is_causal(model) else "mean"
        return cls(
            model.to(device),
            tokenizer,
            pooling=files.pooling or default,
            prompts=prompts_of(folder, config),
            max_seq_length=min(limits),
            source=folder,
            head=head.to(device),
            packs=packs,
            named_prompts=files.named_prompts,
        )

    @property
    def device(self) -> torch.device:
        """Where the model's weights lie."""
        return next(self.model.parameters()).device

    # Embedding

    def tokenize(self, texts: Sequence[str], kind: Kind) -> Tokens:
        """Token ids of ``texts`` with the prompt of their kind, cut to ``max_seq_length``."""
        prompt, parts = self.prompts[kind], []
        for begin in range(0, len(texts), 4096):
            encoded = self.tokenizer(
                [prompt + text for text in texts[begin : begin + 4096]],
                truncation=True,
                max_length=self.max_seq_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            parts.append(Tokens.from_lists(encoded["input_ids"]))
        return Tokens.concat(parts)

    def whole_lengths(self, texts: Sequence[str], kind: Kind) -> np.ndarray:
        """(n,) tokens that the texts would be with nothing cut, prompt and special tokens included."""
        texts = [self.prompts[kind] + text for text in texts]
        encoded = self.tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, verbose=False)
        return np.array([len(ids) for ids in encoded["input_ids"]], np.int64)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Embeddings of a batch that lies on ``device``: (n, dim) fp32, of length 1, in the order asked for."""
        bounds = batch.cu_seq_lens.long()
        with contextlib.nullcontext() if self._first_tokens is None else self._first_tokens.of(batch):
            pooled = (
                packing.packed_forward(self.model, batch, self._first_position)
                if self.packs
                else padded_forward(self.model, batch)
            )
        if self.pooling == "mean":
            pooled = torch.segment_reduce(pooled.float(), "mean", offsets=bounds, axis=0)
        elif self._first_tokens is None and len(pooled) != len(batch.inverse):  # not yet one token a text
            pooled = pooled[bounds[:-1] if self.pooling == "cls" else bounds[1:] - 1]
        return normalize(self.head(pooled.float()[batch.inverse]), dim=-1)

    def encode(
        self,
        texts: Sequence[str] | Tokens,
        kind: Kind = "passage",
        *,
        precision: Precision = "auto",
        max_tokens: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Embeddings without gradient: (n, dim) float32, in the order of ``texts``.

        Args:
            texts: strings, or what ``tokenize`` made of them.
            kind: of the strings; not used for tokens.
            precision: "auto" is bf16 where the device multiplies it natively.
            max_tokens: of one forward pass; None: what is fast on the device.
            progress: called with the number of texts done since the last call.
        """
        tokens = texts if isinstance(texts, Tokens) else self.tokenize(texts, kind)
        device, training = self.device, self.model.training
        bf16 = precision == "bf16" or (precision == "auto" and native_bf16(device))
        most = max_tokens or self._tokens_per_forward()
        result = np.empty((len(tokens), self.dim), np.float32)
        running: deque[tuple[np.ndarray, Tensor]] = deque()

        def finish() -> None:
            rows, embeddings = running.popleft()
            result[rows] = embeddings.cpu().numpy()
            if progress is not None:
                progress(len(rows))

        self.model.eval()
        try:
            with self._without_gradient(), self._in_bf16() if bf16 else contextlib.nullcontext():
                for rows in batches_by_length(tokens.lengths, most):
                    running.append((rows, self.forward(pack(tokens, rows).to(device))))
                    if len(running) > 1:  # a GPU works on the newest while the one before is copied
                        finish()
                while running:
                    finish()
        finally:
            self.model.train(training)
        return result

    def forward_passes(self, lengths: np.ndarray) -> int:
        """How many ``encode`` makes for texts of these lengths."""
        return sum(1 for _ in batches_by_length(lengths, self._tokens_per_forward()))

    def _tokens_per_forward(self) -> int:
        return TOKENS_PER_FORWARD.get(self.device.type, 16_384)

    def _without_gradient(self) -> contextlib.AbstractContextManager[None]:
        # Tensors that a split model gathers are used again in training, which those of inference mode cannot be.
        return torch.no_grad() if self.sharded else torch.inference_mode()

    def _in_bf16(self) -> contextlib.AbstractContextManager[None]:
        """Forward passes compute in bf16: under autocast on a CPU, with bf16 copies of the weights on a GPU."""
        device = self.device
        if device.type == "cpu" or self.sharded:
            return torch.autocast(device.type, torch.bfloat16)
        return _bf16_copies(self.model)

    # Weights

    def state_dict(self) -> dict[str, Tensor]:
        """Every weight by name: the model's, and behind ``dense_head.`` the head's."""
        return {**self.model.state_dict(), **self.head.state_dict(prefix=_HEAD)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set every weight to that of ``state``, which names exactly these."""
        heads = {name for name in state if name.startswith(_HEAD)}
        self.model.load_state_dict({name: value for name, value in state.items() if name not in heads})
        self.head.load_state_dict({name.removeprefix(_HEAD): state[name] for name in heads})

    def weights_digest(self) -> str:
        """SHA-256 of every weight by name: embeddings may be kept under it."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def add_lora(self, config: LoraConfig) -> None:
        """Freeze the model and add LoRA adapters (fp32) by PEFT; the first random weights come from torch's generator.

        Raises:
            UserError: a target module matches nothing.
        """
        import peft

        targets, excluded = self._lora_targets(config.target_modules)
        self.head.requires_grad_(False)
        self.model = peft.get_peft_model(
            self.model,
            peft.LoraConfig(
                r=config.r,
                lora_alpha=config.alpha,
                lora_dropout=config.dropout,
                target_modules=targets,
                exclude_modules=excluded or None,
                task_type="FEATURE_EXTRACTION",
            ),
        )
        for module in self.model.modules():
            if isinstance(module, peft.tuners.lora.LoraLayer):
                # Under autocast the adapters compute in the activations' type; casting those up first is waste.
                module.cast_input_dtype_enabled = False

    def _lora_targets(self, asked: list[str] | None) -> tuple[list[str], list[str]]:
        """Names of linear layers to adapt, and full names of those that are called so too and are not to be."""
        linear = lora_targets.linear_layers(self.model)
        targets = lora_targets.target_names(self.model) if asked is None else asked
        absent = [t for t in targets if not any(name == t or name.endswith(f".{t}") for name in linear)]
        if absent or not targets:
            endings = {name.rpartition(".")[2] for name in linear}
            raise UserError(
                f"LoRA target modules {absent or 'for this architecture'} match no linear layer of the model, so they "
                f"would not be trained; set training.lora.target_modules to some of {', '.join(sorted(endings))}"
            )
        return targets, lora_targets.outside_layers(self.model, targets, poolers_only=asked is not None)

    def trainable_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) of what training changes: the adapters, or the whole model and its head without LoRA."""
        everything = (*self.model.named_parameters(), *self.head.named_parameters(prefix=_HEAD.rstrip(".")))
        return ((name, p) for name, p in everything if p.requires_grad)

    def adapter_state(self) -> dict[str, Tensor]:
        """Copies of the trainable parameters, on the CPU."""
        return {name: p.detach().cpu().clone() for name, p in self.trainable_parameters()}

    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Set the trainable parameters. Raises ValueError when ``state`` does not name exactly these."""
        parameters = dict(self.trainable_parameters())
        if odd := set(parameters) ^ set(state):
            raise ValueError(f"{len(odd)} names are not in both the state and the model, {min(odd)!r} among them")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(state[name])


def prompts_of(folder: Path, config: ModelConfig | None = None) -> dict[Kind, str]:
    """What is put before a "query" and a "passage": by the settings, else by the model's folder, else by its name."""
    config = config or ModelConfig()
    prompts = {**_family_prompts(folder), **read_sentence_transformer_files(folder).prompts}
    overrides: dict[Kind, str | None] = {"query": config.query_prompt, "passage": config.passage_prompt}
    return prompts | {kind: text for kind, text in overrides.items() if text is not None}


def native_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products are faster than fp32 ones here (on a CPU: AVX512-BF16 or AMX, which implies it)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001 - there is no public one


@contextlib.contextmanager
def _bf16_copies(model: nn.Module) -> Iterator[None]:
    """Weights in bf16. Autocast's casts of them and of every layer's input cost a quarter of the time."""
    exact = [(p, p.data) for p in model.parameters() if p.is_floating_point()]
    try:
        for parameter, data in exact:
            parameter.data = data.to(torch.bfloat16)
        yield
    finally:
        for parameter, data in exact:
            parameter.data = data


def batches_by_length(lengths: np.ndarray, max_tokens: int) -> Iterator[np.ndarray]:
    """Rows of texts of like length, longest first, each batch of at most ``max_tokens`` tokens or one text."""
    order = np.argsort(-lengths, kind="stable")
    return (order[piece] for piece in pieces_within(lengths[order], max_tokens))


def _is_causal(model: nn.Module) -> bool:
    return any(getattr(module, "is_causal", False) for module in model.modules())


def _lower_case(tokenizer: Any) -> None:
    """What sentence-transformers does for ``do_lower_case``."""
    from tokenizers import normalizers

    backend = tokenizer.backend_tokenizer
    steps = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])


def _family_prompts(folder: Path) -> dict[Kind, str]:
    """Prompts known by the model's name: the folder's own, or the hub id in the path of a hub's cache."""
    names = [folder.name, *(part for part in folder.parts if part.startswith("models--")), *folder.parts[-2:-1]]
    for pattern, prompts in _FAMILY_PROMPTS:
        if any(re.search(pattern, name.rpartition("--")[2].lower()) for name in names):
            return dict(prompts)
    return {"query": "", "passage": ""}
