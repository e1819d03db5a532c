"""From YAML overlays, presets, options and ``--set`` to one checked ``Config``, and back to YAML."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from yaml.reader import ReaderError

from patent_embed.config.settings import Config
from patent_embed.credentials import is_secret_name, redacted
from patent_embed.errors import UserError
from patent_embed.section import settings_in

# PyYAML's own, and what it lets pass: of dates such as 2020-13-45, and of brackets by the thousand.
_SHOWN = 200  # characters of a wrong value
_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


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
            named = re.split(r"[^\w.]", dotted, maxsplit=1)[0]  # what follows may be a key
            shown = redacted(named if named == dotted else f"{named}...")
            raise UserError(f"--set {shown!r} is not section.key=value, e.g. --set training.margin=0.2")
        put(tree, dotted.strip(), _set_value(dotted.strip(), text))
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(explain(error)) from None


def _set_value(dotted: str, text: str) -> Any:
    """The value of ``--set``: YAML, but where the setting is a text, what YAML takes for something else is that text.

    So ``model.query_prompt=query: `` is E5's prompt, with its blank, and no mapping; ``null`` stays None, and quotation
    marks are YAML's.
    """
    field = dict(settings_in(Config)).get(dotted)
    is_text = field is not None and _takes_text(field.annotation)
    try:
        value = yaml.safe_load(text)
    except _NOT_YAML as error:
        if is_text:
            return text
        raise UserError(f"--set {dotted}: the value is not YAML: {_problem(error, text)}") from None
    return text if is_text and not isinstance(value, str | list | None) else value


def _takes_text(annotation: Any) -> bool:
    return annotation is str or (get_origin(annotation) in (Union, UnionType) and str in get_args(annotation))


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
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"config file {str(path)!r} cannot be read: {error.strerror}") from None
    try:
        text = _decoded(content)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"config file {str(path)!r} is no text: line {line} is neither UTF-8 nor GB18030; save it as UTF-8"
        ) from None
    try:
        tree = yaml.safe_load(text)
    except _NOT_YAML as error:
        raise UserError(f"config file {str(path)!r} is not YAML: {_problem(error, text)}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"config file {str(path)!r} holds a {type(tree).__name__}, needs sections (training: ...)")
    return tree


def _decoded(content: bytes) -> str:
    """The text of a file: UTF-8 with or without BOM, UTF-16 with one, else GB18030, as editors on Chinese Windows
    save. Raises UnicodeDecodeError."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("gb18030")


def _problem(error: Exception, text: str) -> str:
    """Where in ``text`` and what is wrong, in one line; not the lines themselves, which may hold a key."""
    if isinstance(error, ReaderError):  # it counts characters, not lines
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}: the character {chr(error.character)!a} may not be there"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    what = getattr(error, "problem", None) or ("nested too deeply" if isinstance(error, RecursionError) else str(error))
    return where + ("a tab, where YAML wants blanks" if "'\\t'" in what else what)


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
    sections = {path for name, _ in settings_in(Config) for path in _parents(name)}
    lines = []
    for item in error.errors(include_url=False):
        where, value = ".".join(str(part) for part in item["loc"]), item.get("input")
        if item["type"] == "extra_forbidden":
            problem = "there is no such setting"
        elif where in sections and not isinstance(value, Mapping | BaseModel):
            problem = f"is a section with settings of its own, not a value: {where or 'section'}.NAME=..."
        else:
            hidden = any(is_secret_name(str(part)) for part in item["loc"]) or item["type"] == "value_error"
            problem = item["msg"].removeprefix("Value error, ") + ("" if hidden else f" (got {_short(value)})")
        lines.append(redacted(f"{where or 'config'}: {problem}"))
    return "invalid settings:\n  " + "\n  ".join(lines)


def _parents(path: str) -> list[str]:
    """``queries.api.key`` → ``queries.api``, ``queries`` and the whole."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(len(parts))]


def _short(value: Any) -> str:
    """A value in one line, its end left out where it is long."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
