"""The cluster files pass Ray's and KubeRay's own checks, and install what pyproject.toml asks for."""

import gzip
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from patent_embed.config.load import load_config
from tests.conftest import ROOT

LAUNCHER_FILES = [ROOT / "cluster.yaml", ROOT / "configs/cluster/gcp.yaml", ROOT / "configs/cluster/onprem.yaml"]
RAY_JOB = ROOT / "configs/cluster/kuberay-rayjob.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [package for extra in ("llm", "api", "offline") for package in PROJECT["optional-dependencies"][extra]]


def read(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.stem)
def test_ray_accepts_the_launcher_file(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read(path)))
    broken = read(path) | {"max_wrokers": 1}
    with pytest.raises(jsonschema.ValidationError):
        validate_config(broken)


@pytest.mark.parametrize("path", LAUNCHER_FILES[:2], ids=lambda path: path.stem)
def test_workers_come_from_zero(path: Path) -> None:
    config = read(path)
    types = config["available_node_types"]
    assert types["gpu_worker"]["min_workers"] == types["cpu_worker"]["min_workers"] == 0
    # Without them Ray could not know what a node of a kind of which there is none would bring.
    assert set(types["gpu_worker"]["resources"]) == {"CPU", "GPU"}
    assert set(types["cpu_worker"]["resources"]) == {"CPU"}
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}


def test_the_overlay_says_what_the_cluster_may_become() -> None:
    types = read(LAUNCHER_FILES[0])["available_node_types"]
    kinds = load_config(overlays=[ROOT / "configs/autoscaling.yaml"]).run.grows_to
    assert [(kind.cpus, kind.gpus, kind.count) for kind in kinds] == [
        (types[name]["resources"]["CPU"], types[name]["resources"].get("GPU", 0), types[name]["max_workers"])
        for name in ("cpu_worker", "gpu_worker")
    ]


@pytest.mark.parametrize("path", LAUNCHER_FILES, ids=lambda path: path.stem)
def test_setup_commands_pin_what_pyproject_pins(path: Path) -> None:
    commands = " ".join(read(path)["setup_commands"])
    assert sorted(re.findall(r'"([^"]+)"', commands)) == sorted([*PROJECT["dependencies"], *EXTRAS])


def strict(schema: Any) -> Any:
    """The schema with unknown fields forbidden, as the API server's strict validation does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    return made


def test_kuberay_accepts_the_ray_job() -> None:
    packed = ROOT / "tests/data/kuberay-rayjob-v1.schema.json.gz"
    validator = jsonschema.Draft202012Validator(strict(json.loads(gzip.decompress(packed.read_bytes()))))
    job = read(RAY_JOB)
    validator.validate(job)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][1]["maxReplica"] = 4
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        validator.validate(job)


def test_the_ray_job_pins_what_pyproject_pins() -> None:
    spec = read(RAY_JOB)["spec"]
    runtime_env = yaml.safe_load(spec["runtimeEnvYAML"])
    ray_itself = [package for package in PROJECT["dependencies"] if package.startswith("ray[")]
    assert sorted([*runtime_env["pip"], *ray_itself]) == sorted([*PROJECT["dependencies"], *EXTRAS])
    low, high = re.findall(r"\d+\.\d+", ray_itself[0])
    images = re.findall(r"rayproject/ray:(\d+\.\d+)", RAY_JOB.read_text())
    assert {spec["rayClusterSpec"]["rayVersion"].rpartition(".")[0], *images} == {low}
    assert low != high
    assert all(group["minReplicas"] == 0 for group in spec["rayClusterSpec"]["workerGroupSpecs"])
