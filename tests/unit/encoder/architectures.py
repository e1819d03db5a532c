"""Every architecture that is named in docs/encoders.md, tiny and with random weights, as a SentenceTransformer folder.

The sizes are such that a text of the tests is longer than a local window, and that attention and positions matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

WINDOW = 6  # tokens on each side
LENGTH = 128
PROMPTS = {"query": "Instruct: 查找\nQuery:", "document": "文", "Clustering": "类"}
_DECODER = {"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": LENGTH}


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Attributes:
        kind: of transformers' classes, ``Bert`` for ``BertConfig``.
        settings: of its config, beside those that all have.
        pooling: as its published models pool.
        dense: numbers that each Dense layer gives.
        packs: False where batches are padded.
        epochs: until its loss has fallen.
    """

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    pooling: str = "mean"
    dense: tuple[int, ...] = ()
    packs: bool = True
    epochs: int = 3


ARCHITECTURES = {
    "bert": Architecture("Bert", pooling="cls"),
    "roberta": Architecture("Roberta"),
    "xlm-roberta": Architecture("XLMRoberta", pooling="cls"),
    "electra": Architecture("Electra", {"embedding_size": 16}),
    "ernie": Architecture("Ernie", pooling="cls"),
    "albert": Architecture("Albert", {"embedding_size": 16, "initializer_range": 0.1}, epochs=8),
    "distilbert": Architecture("DistilBert"),
    "mpnet": Architecture("MPNet", packs=False),
    "deberta-v2": Architecture(
        "DebertaV2",
        {
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
        },
        packs=False,
    ),
    "nomic-bert": Architecture("NomicBert"),
    "modernbert": Architecture(
        "ModernBert",
        {
            "local_attention": 2 * WINDOW,
            "global_attn_every_n_layers": 2,
            "num_hidden_layers": 4,
            "cls_token_id": 2,
            "sep_token_id": 3,
        },
        pooling="cls",
    ),
    "embeddinggemma": Architecture(
        "Gemma3Text",
        {
            **_DECODER,
            "use_bidirectional_attention": True,
            "sliding_window": 2 * WINDOW,
            "sliding_window_pattern": 3,
            "query_pre_attn_scalar": 8,
            "num_hidden_layers": 4,
        },
        dense=(48, 24),
    ),
    "gemma3": Architecture(
        "Gemma3Text",
        {
            **_DECODER,
            "sliding_window": WINDOW,
            "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 8,
            "num_hidden_layers": 4,
        },
        pooling="lasttoken",
    ),
    "gemma2": Architecture(
        "Gemma2",
        {**_DECODER, "sliding_window": WINDOW, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 2.0},
        pooling="lasttoken",
        packs=False,
    ),
    "qwen3": Architecture("Qwen3", _DECODER, pooling="lasttoken"),
    "qwen2": Architecture("Qwen2", {"num_key_value_heads": 2, "max_position_embeddings": LENGTH}, pooling="lasttoken"),
    "llama": Architecture("Llama", _DECODER, pooling="lasttoken"),
    "mistral": Architecture("Mistral", {**_DECODER, "sliding_window": WINDOW}, pooling="lasttoken"),
    "eurobert": Architecture(
        "EuroBert", {"max_position_embeddings": LENGTH, "num_key_value_heads": 4, "mask_token_id": 4}
    ),
    "gte": Architecture("Gte", pooling="cls"),
    "jina-v3": Architecture("JinaEmbeddingsV3"),
}
NAMES = [name for name, each in ARCHITECTURES.items() if hasattr(transformers, f"{each.kind}Config")]


def random_transformer(name: str, vocabulary: int) -> nn.Module:
    row = ARCHITECTURES[name]
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": LENGTH + 2,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "initializer_range": 0.3,
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{row.kind}Config")(**(settings | row.settings))
    return transformers.AutoModel.from_config(config).eval()


def byte_tokenizer() -> transformers.PreTrainedTokenizerBase:
    """Qwen2's without merges: transformers takes that class for its folders, whatever they hold."""
    from tokenizers.pre_tokenizers import ByteLevel

    vocabulary = {token: number for number, token in enumerate(["<|endoftext|>", *sorted(ByteLevel.alphabet())])}
    return transformers.Qwen2Tokenizer(vocab=vocabulary, merges=[])


def write_architecture(name: str, tokenizer: Path, folder: Path) -> Path:
    """The SentenceTransformer folder of a random model below ``folder``, as sentence-transformers itself writes it.

    ``tokenizer``: a model folder that has one.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

    row = ARCHITECTURES[name]
    words = byte_tokenizer() if name == "qwen2" else transformers.AutoTokenizer.from_pretrained(tokenizer)
    # 8: some classes of tokenizers add tokens of their own.
    random_transformer(name, len(words) + 8).save_pretrained(folder / "transformer")
    words.save_pretrained(folder / "transformer")
    modules: list[nn.Module] = [
        Transformer(str(folder / "transformer"), max_seq_length=LENGTH),
        Pooling(32, row.pooling),
    ]
    for wide, narrow in zip((32, *row.dense), row.dense, strict=False):
        modules.append(Dense(wide, narrow, bias=False, activation_function=nn.Identity()))
    model = SentenceTransformer(modules=[*modules, Normalize()], prompts=PROMPTS, device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"
