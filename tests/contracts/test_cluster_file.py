"""cluster.yaml passes Ray's own validation, and installs what pyproject.toml asks for."""

import re
import tomllib

import yaml

from tests.conftest import ROOT


def test_ray_accepts_the_launcher_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    types = config["available_node_types"]
    assert types["gpu_worker"]["min_workers"] == types["cpu_worker"]["min_workers"] == 0
    assert config["head_node_type"] in types


def test_setup_commands_pin_what_pyproject_pins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    commands = " ".join(yaml.safe_load((ROOT / "cluster.yaml").read_text())["setup_commands"])
    assert set(re.findall(r'"([^"]+)"', commands)) == set(project["dependencies"])
