"""From YAML overlays, presets, options and ``--set`` to one checked ``Config``, and back to YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from patent_embed.config.settings import Config
from patent_embed.errors import UserError


def load_config(
    *,
    overlays: Iterable[Path] = (),
    presets: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
    settings: Iterable[str] = (),
) -> Config:
    """Merge, later wins: class defaults, YAML ``overlays`` in order, ``presets`` by name, ``options`` (dotted path to
    value), ``settings`` (``"section.key=value"`` with a YAML value). Raises UserError naming the key and value."""
    tree: dict[str, Any] = {}
    for path in overlays:
        _merge(tree, _read_yaml(path))
    for preset in presets:
        _merge(tree, preset_settings(preset))
    for dotted, value in (options or {}).items():
        put(tree, dotted, value)
    for setting in settings:
        dotted, equals, text = setting.partition("=")
        if not equals or not dotted:
            raise UserError(f"--set {setting!r} is not section.key=value, e.g. --set training.margin=0.2")
        try:
            put(tree, dotted.strip(), yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise UserError(f"--set {dotted}: the value is not YAML: {_without_text(error)}") from None
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(explain(error)) from None


def preset_names() -> list[str]:
    """The presets that come with the package: ``presets/*.yaml``, the only place where their values stand."""
    return sorted(file.name.removesuffix(".yaml") for file in _presets().iterdir() if file.name.endswith(".yaml"))


def preset_settings(name: str) -> dict[str, Any]:
    """The settings that a preset pins, as a config tree. Raises UserError where there is none of that name."""
    if name not in (known := preset_names()):
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(known)}")
    return _read_yaml(_presets() / f"{name}.yaml")


def _presets() -> Traversable:
    return resources.files("patent_embed.config") / "presets"


def dump_config(config: Config) -> str:
    """The resolved config as YAML, without secrets; ``--config`` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json"), allow_unicode=True, sort_keys=False)


def _read_yaml(path: Path | Traversable) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"config file {str(path)!r} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"config file {str(path)!r} is not YAML: {_without_text(error)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"config file {str(path)!r} holds a {type(tree).__name__}, needs sections (training: ...)")
    return tree


def _without_text(error: yaml.YAMLError) -> yaml.YAMLError:
    """The error without the lines that it points at, which may hold a key."""
    for mark in (getattr(error, "context_mark", None), getattr(error, "problem_mark", None)):
        if mark is not None:
            mark.buffer = None
    return error


def _merge(tree: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    for key, value in overlay.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = dict(value) if isinstance(value, Mapping) else value


def flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """A config tree as dotted path to value, in its order."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        where = f"{path}.{key}" if path else key
        found |= flat(value, where) if isinstance(value, Mapping) else {where: value}
    return found


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
