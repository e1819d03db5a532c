"""What the nodes of a cluster offer, and what a run waits for."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import ray
from ray.autoscaler.v2.schema import ClusterStatus
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from patent_embed.config.run import NodeKind
from patent_embed.progress.clock import duration
from patent_embed.progress.terminal import note

log = logging.getLogger("patent_embed")
_grows_to: Sequence[NodeKind] = ()  # of the session


def may_grow_to(kinds: Sequence[NodeKind]) -> None:
    """Tell what the cluster's autoscaler may add, for the length of the session."""
    global _grows_to
    _grows_to = kinds


class NodeSize(NamedTuple):
    """What a node offers to tasks and actors."""

    cpus: float
    gpus: int


def cluster_nodes() -> list[NodeSize]:
    """Every node of the cluster, and every node that its autoscaler may add (``run.grows_to``).

    So a job on a cluster that starts from zero asks for what it can get, and asking is what makes the nodes come.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = [NodeSize(resources.get("CPU", 0.0), int(resources.get("GPU", 0))) for resources in alive]
    there = Counter(sizes)
    for kind in _grows_to:
        size = NodeSize(float(kind.cpus), kind.gpus)
        sizes += [size] * (kind.count - there[size])
    return [size for size in sizes if size.cpus or size.gpus] or [NodeSize(1.0, 0)]


def cluster_gpus() -> int:
    """GPUs of the whole cluster, grown as far as it may."""
    return sum(size.gpus for size in cluster_nodes())


def here() -> NodeAffinitySchedulingStrategy:
    """Keeps an actor on the driver's node: it dies with the driver, not with a node of the cluster."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


@contextlib.contextmanager
def waiting_is_said(after: float = 30.0, interval: float = 2.0) -> Iterator[None]:
    """Say what the run waits for once the same requests for resources have been pending for ``after`` seconds, and
    again after twice that, and so on. It goes on waiting: nodes may come, other jobs may end."""
    address, stop = ray.get_runtime_context().gcs_address, threading.Event()

    def watch() -> None:
        pending, since, next_word = "", time.monotonic(), after
        while not stop.wait(interval):
            try:
                status = get_cluster_status(address)
            except Exception as error:  # noqa: BLE001  # the view must not end the run
                log.debug("the cluster's status is not available: %s", error)
                continue
            if (found := _pending(status)) != pending:
                pending, since, next_word = found, time.monotonic(), after
            elif pending and (waited := time.monotonic() - since) >= next_word:
                text = f"has waited {duration(waited)} for {pending}; {_offer(status)}"
                note(text)
                next_word *= 2

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=15)


def _pending(status: ClusterStatus) -> str:
    """``2 x (CPU 1, GPU 1)``: what tasks, actors and placement groups ask for and do not have yet."""
    demands = status.resource_demands.ray_task_actor_demand + status.resource_demands.placement_group_demand
    counts: Counter[str] = Counter()
    for demand in demands:
        for request in demand.bundles_by_count:
            shape = ", ".join(f"{name} {value:g}" for name, value in sorted(request.bundle.items()))
            counts[shape] += request.count
    return " and ".join(f"{count} x ({shape})" for shape, count in sorted(counts.items()))


def _offer(status: ClusterStatus) -> str:
    """``the cluster has 2 of 2 CPU in use, no GPU``."""
    usage = {each.resource_name: each for each in status.cluster_resource_usage}
    parts = [
        f"{usage[name].used:g} of {usage[name].total:g} {name} in use" if name in usage else f"no {name}"
        for name in ("CPU", "GPU")
    ]
    coming = len(status.pending_nodes) + sum(launch.count for launch in status.pending_launches)
    return f"the cluster has {', '.join(parts)}" + (f", {coming} more nodes are coming" if coming else "")


def free_resources() -> NodeSize:
    """What nothing holds at this moment."""
    resources = ray.available_resources()
    return NodeSize(float(resources.get("CPU", 0.0)), int(resources.get("GPU", 0)))
