"""From YAML overlays, presets, options and ``--set`` to one checked ``Config``, and back to YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from patent_embed.config.settings import Config
from patent_embed.errors import UserError


def load_config(
    *,
    overlays: Iterable[Path] = (),
    recommended: bool = False,
    quick_test: bool = False,
    preset: str | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Iterable[str] = (),
) -> Config:
    """Merge, later wins: class defaults, YAML ``overlays`` in order, the presets (``recommended`` is short for that
    ``preset``), ``options`` (dotted path to value), ``settings`` (``"section.key=value"`` with a YAML value).
    Raises UserError naming the key and value."""
    if recommended and preset not in (None, "recommended"):
        raise UserError(f"--recommended and --preset {preset} are two recipes; choose one")
    tree: dict[str, Any] = {}
    for path in overlays:
        _merge(tree, _read_yaml(path))
    if recommended or preset == "recommended":
        _merge(tree, recommended_settings())
    elif preset == "best":
        _merge(tree, BEST)
    elif preset is not None:
        raise UserError(f"there is no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    if quick_test:
        _merge(tree, QUICK_TEST)
    for dotted, value in (options or {}).items():
        put(tree, dotted, value)
    for setting in settings:
        dotted, equals, text = setting.partition("=")
        if not equals or not dotted:
            raise UserError(f"--set {setting!r} is not section.key=value, e.g. --set training.margin=0.2")
        put(tree, dotted.strip(), yaml.safe_load(text))
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(explain(error)) from None


# The recommended recipe is the class defaults of these settings, so it cannot drift from them.
_RECOMMENDED = (
    ("training", ("batch_size", "learning_rate", "epochs", "warmup_ratio", "weight_decay", "loss", "distance")),
    ("training", ("margin", "use_lora", "lora", "checkpoint_every_n_epochs", "early_stopping_patience")),
)

PRESETS = ("recommended", "best")

# What did best on the validation queries of real patents: docs/quality.md.
BEST: dict[str, Any] = {
    # The loss already has every other passage of the batch: scored, harder ones made it worse.
    "negatives": {"scoring": {"enabled": False}},
    "training": {
        "loss": "infonce",
        "temperature": 0.02,
        "batch_size": 256,
        "learning_rate": 5e-4,
        "epochs": 12,
        "query_dropout": 0.4,
        "base_share": 0.2,
        "soup_size": 2,
        # The learning rate falls to zero, and a few hundred val queries tell late epochs apart by chance only.
        "early_stopping_patience": 0,
        "publish": "last",
    },
}

QUICK_TEST: dict[str, Any] = {
    "data": {"max_samples": 100},
    "model": {"name": "bundled"},
    "queries": {"backend": "rules"},
    "training": {"epochs": 2, "batch_size": 4},
}


def recommended_settings() -> dict[str, Any]:
    """The settings that ``--recommended`` pins, as a config tree."""
    defaults = Config().model_dump(mode="json")
    tree: dict[str, Any] = {}
    for section, keys in _RECOMMENDED:
        for key in keys:
            tree.setdefault(section, {})[key] = defaults[section][key]
    return tree


def dump_config(config: Config) -> str:
    """The resolved config as YAML, without secrets; ``--config`` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True, sort_keys=False)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"config file {str(path)!r} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"config file {str(path)!r} is not YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"config file {str(path)!r} holds a {type(tree).__name__}, needs sections (training: ...)")
    return tree


def _merge(tree: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    """Write ``value`` at the path ``dotted`` of a config tree."""
    *sections, key = dotted.split(".")
    for name in sections:
        child = tree.setdefault(name, {})
        if not isinstance(child, dict):
            raise UserError(f"{dotted!r}: {name!r} is a value, not a section")
        tree = child
    tree[key] = value


def explain(error: ValidationError) -> str:
    """Every wrong setting with its path and value, but no secret."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "config"
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: there is no such setting")
        else:
            secret = "key" in where.rsplit(".", 1)[-1]
            got = "" if secret or item["type"] == "value_error" else f" (got {item['input']!r})"
            lines.append(f"{where}: {item['msg'].removeprefix('Value error, ')}{got}")
    return "invalid settings:\n  " + "\n  ".join(lines)
