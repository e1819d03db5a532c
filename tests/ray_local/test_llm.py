"""What the engines are told, and what is said when they cannot start; with engines that do start: tests/llm."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import ray

from patent_embed.config.queries import LlmConfig, QueriesConfig
from patent_embed.errors import UserError
from patent_embed.queries.asking import Asking, Form
from patent_embed.queries.prompts import chat_messages, completion_prompt
from pipelines.backends import engine, llm
from pipelines.resources import NodeSize
from tests.llm.tiny import TEMPLATE, write_tiny_model


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm() -> None:
    with pytest.raises(UserError, match=r"vLLM, which is not installed.*--query_backend rules"):
        llm.check_engine(LlmConfig())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_without_enough_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(llm, "_has_distribution", lambda name: False)
    nodes = [NodeSize(8, 3), NodeSize(8, 1)]
    monkeypatch.setattr(llm, "cluster_nodes", lambda: nodes)
    monkeypatch.setattr(llm, "cluster_gpus", lambda: 4)
    with pytest.raises(UserError, match=r"needs 2 engine\(s\) of 2 GPU\(s\).*4 GPU\(s\) hold 1:"):
        llm.check_engine(LlmConfig(replicas=2, tensor_parallel_size=2))
    across = {"distributed_executor_backend": "ray"}
    assert not llm.check_engine(LlmConfig(replicas=2, tensor_parallel_size=2, engine=across))
    assert not llm.check_engine(LlmConfig(replicas=4))


def test_without_the_model(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        llm.has_chat_template(str(tmp_path / "nothing"))


def test_the_template_of_a_folder_is_known_from_its_files_or_its_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    with_template = write_tiny_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(with_template)
    tokenizer.chat_template = None
    without = tmp_path / "without"
    tokenizer.save_pretrained(without)
    (without / "config.json").write_bytes((Path(with_template) / "config.json").read_bytes())
    assert llm.has_chat_template(str(with_template))
    assert not llm.has_chat_template(str(without))
    (without / "tokenizer_config.json").write_text("[")  # says nothing
    assert not llm.has_chat_template(str(without))
    (without / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    assert llm.has_chat_template(str(without))


def test_prompts_begin_with_one_bos(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(write_tiny_model(tmp_path / "model"))
    bos = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    # As in Llama and Gemma: both the tokenizer and the template write <bos>.
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = "{{ bos_token }}" + TEMPLATE
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos)]
    )
    tokenizer.save_pretrained(tmp_path / "bos")
    messages = chat_messages("一种泵", "一种泵，设有叶轮。", "claim", "zh", 100)
    for prompt in (messages, completion_prompt(messages)):
        tokens = engine.prompt_tokens(str(tmp_path / "bos"), prompt)
        assert (tokens[0], tokens.count(bos)) == (bos, 1)
        text = tokenizer.decode(tokens)
        assert "设有叶轮" in text
        assert text.endswith("<|im_start|>assistant\n") == (prompt is messages)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_what_the_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LlmConfig(model="m", replicas=2, tensor_parallel_size=4, engine={"max_num_seqs": 512})
    told = llm.engine_arguments(QueriesConfig(llm=settings))
    assert told["enable_prefix_caching"] is True
    assert told["tensor_parallel_size"] == 4
    assert told["distributed_executor_backend"] == "mp"
    assert told["max_num_seqs"] == 512
    assert told["max_num_batched_tokens"] == 8192
    assert llm.actor_options(QueriesConfig(llm=settings), on_cpu=False) == {"num_gpus": 4}
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 8.0, "accelerator_type:H100": 1.0})
    large = llm.engine_arguments(QueriesConfig())
    assert (large["max_num_seqs"], large["max_num_batched_tokens"]) == (1024, 16384)
    assert large["distributed_executor_backend"] == "uni"
    on_cpu = llm.actor_options(QueriesConfig(llm=settings), on_cpu=True)
    assert on_cpu["num_cpus"] == 0.5
    assert on_cpu["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "1"
    across = settings.model_copy(update={"engine": {"distributed_executor_backend": "ray"}})
    assert llm.actor_options(QueriesConfig(llm=across), on_cpu=False)["num_gpus"] == 0
    form = Form({"json": {"type": "object"}}, "{", temperature=0.25, top_p=0.75)
    chat = engine.sampling(QueriesConfig(), form, chat=True)
    assert chat == {"temperature": 0.25, "top_p": 0.75, "structured_outputs": {"json": {"type": "object"}}}
    assert engine.sampling(QueriesConfig(), form, chat=False)["stop"] == ["\n"]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_block_is_a_batch_with_and_without_gpus(tmp_path: Path, on_cpu: bool) -> None:
    asking = Asking("m", QueriesConfig(llm=LlmConfig(model=str(write_tiny_model(tmp_path / "model")))), 1)
    answers = llm.answering(asking, on_cpu=on_cpu)(ray.data.range(20, override_num_blocks=3), 8)
    last = answers._logical_plan.dag
    assert last.batch_size is None, "late requests would wait until a batch is full"
    assert last.ray_remote_args.get("num_gpus", 0) == (0 if on_cpu else 1)
