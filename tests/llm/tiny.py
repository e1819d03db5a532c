"""A language model of random weights with a chat template: right in form, without sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from patent_embed.config.queries import LlmConfig, QueriesConfig
from patent_embed.data import sample
from patent_embed.queries.prompts import EXAMPLES, chat_messages

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_tiny_model(folder: Path) -> Path:
    """A Qwen2 of two layers."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [message["content"] for language in EXAMPLES for message in chat_messages("", "", "claim", language, 0)]
    texts += [item["abstract"] for item in sample.generate(200)]
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=4000, special_tokens=marks, initial_alphabet=alphabet)
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.chat_template = TEMPLATE
    wrapped.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(wrapped),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        eos_token_id=wrapped.eos_token_id,
        tie_word_embeddings=True,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def settings(model: str | Path, **changes: Any) -> QueriesConfig:
    llm = LlmConfig(
        model=str(model), batch_size=8, max_concurrent_batches=2, engine={"max_num_seqs": 16, "enforce_eager": True}
    )
    return QueriesConfig(backend="llm", llm=llm, max_tokens=48, max_tokens_again=96).model_copy(update=changes)


def corpus(count: int, long: int = -1) -> pa.Table:
    """Generated patents; the abstract of number ``long`` is far too long."""
    rows = []
    for i, item in enumerate(list(sample.generate(2 * count, seed=5))[::2]):
        rows.append(
            {
                "publication_number": item["publication_number"],
                "title": item["title"],
                "abstract": item["abstract"] * (200 if i == long else 1),
                "language": "zh",
            }
        )
    return pa.Table.from_pylist(rows)
