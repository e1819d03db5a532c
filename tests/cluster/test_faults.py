"""Three nodes give what one gives, and go on when one of them, or the driver, is killed in the middle of a step."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from benchmarks.faults import FAULTS, SETTINGS, answer, contents, forget, run_with_fault, write_patents
from patent_embed.folders import folder_at
from tests.openai_server import OpenAiServer
from tests.ray_nodes import Driver, RayNodes, wait_for

pytest.importorskip("openai")
pytestmark = pytest.mark.ray
STEPS = ("ingest", "splits", "queries", "negatives", "tokens", "train")
STEPS += ("embed-base", "evaluate-base", "embed-tuned", "evaluate-tuned")


@dataclass
class World:
    """A cluster of a head that runs no tasks and two nodes, and a run without faults on one node.

    A CPU gives other last digits with another number of threads, so that the one node has a core, like the two.
    """

    cluster: RayNodes
    server: OpenAiServer
    arguments: tuple[str | Path, ...]
    data: Path
    reference: Path

    def copy(self, out: Path, without: str) -> dict[str, str]:
        """The finished run again, of which a step is to run anew. Returns that step's files."""
        shutil.copytree(self.reference, out)
        expected = contents(out, without)
        forget(out, without)
        return expected


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    data, reference = folder / "data", folder / "reference"
    write_patents(data, 140)
    with pytest.MonkeyPatch.context() as patch, OpenAiServer({}, answer) as server:
        patch.setenv("OPENAI_API_KEY", "sk-not-a-real-one")
        arguments = ("--model_name", tiny_model, *SETTINGS, "--llm_base_url", server.url, "--llm_model", "m")
        with RayNodes(0) as cluster:
            cluster.add(1)
            alone = Driver((*arguments, "--data_dir", data, "--output_dir", reference), cluster.env)
            assert alone.wait() == 0, alone.output
            cluster.add(1)
            yield World(cluster, server, arguments, data, reference)


def test_three_nodes_and_a_store_give_what_one_machine_gives(world: World, s3: str) -> None:
    data, out = folder_at(f"{s3}/data"), folder_at(f"{s3}/out")
    data.put(world.data)
    driver = Driver((*world.arguments, "--data_dir", data.address, "--output_dir", out.address), world.cluster.env)
    assert driver.wait() == 0, driver.output
    fetched = out.fetch_all(world.reference.with_name("fetched"))
    for step in STEPS:
        assert contents(fetched, step) == contents(world.reference, step), step
    assert (fetched / "metrics.json").read_bytes() == (world.reference / "metrics.json").read_bytes()
    assert {path.name for path in fetched.iterdir()} == {path.name for path in world.reference.iterdir()}
    shutil.rmtree(fetched)
    again = Driver(
        (*world.arguments, "--data_dir", data.address, "--output_dir", out.address), {}
    )  # from another machine
    assert again.wait() == 0, again.output
    assert sum(line.endswith(" reused") and line.startswith("[") for line in again.lines) == 11


@pytest.mark.parametrize("step", FAULTS)
def test_a_node_is_killed(world: World, tmp_path: Path, step: str) -> None:
    out = tmp_path / "out"
    expected = world.copy(out, without=step)
    world.server.delay = 0.4 if step == "queries" else 0
    run_with_fault(world.cluster, (*world.arguments, "--data_dir", world.data, "--output_dir", out), FAULTS[step])
    assert contents(out, step) == expected
    assert (out / "metrics.json").read_bytes() == (world.reference / "metrics.json").read_bytes()


def test_the_driver_is_killed_and_started_again(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    expected = world.copy(out, without="train")
    arguments = (*world.arguments, "--data_dir", world.data, "--output_dir", out)
    driver = Driver(arguments, world.cluster.env)
    wait_for(lambda: driver.saw("epoch 2 done"), 600, "the second epoch")
    driver.kill()
    driver = Driver((*arguments, "--resume"), world.cluster.env)
    assert driver.wait() == 0, driver.output
    assert "going on after epoch" in driver.output
    assert contents(out, "train") == expected
    weights = [load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (out, world.reference)]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[1])
