"""docs/settings.md: every setting as the models say it, every command's own arguments, and the presets.

``make docs`` writes it: ``python -m patent_embed.config.docs > docs/settings.md``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from patent_embed.config.commands import COMMANDS
from patent_embed.config.load import flat, preset_names, preset_settings
from patent_embed.config.options import choices_of, options_of, spellings
from patent_embed.config.settings import Config
from patent_embed.section import Cli, Needs, Section, marks, section_in

_HEAD = """\
# Settings

Made by `make docs` from `patent_embed/config/`, where every setting stands once: its type, default, bounds and meaning.

A setting is changed in a YAML file (`--config FILE`), by `--set section.key=value` or by the option in the last column.
Later wins: defaults, `--config`, `--preset`, `--quick_test`, options, `--set`. Options are also known with hyphens.
`None` is written `null` in YAML.
"""
_COLUMNS = ("type", "default", "allowed", "meaning")
_TYPES = {bool: "true or false", int: "integer", float: "number", str: "text", SecretStr: "text", Any: "anything"}


def settings_markdown() -> str:
    """The text of docs/settings.md."""
    blocks = [_HEAD, *_presets()]
    for name, field in Config.model_fields.items():
        if (section := section_in(field.annotation)) is not None:
            blocks += _section(name, section, "", 2)
    blocks += [
        "## Commands\n\nWhat a command takes besides options of settings. `tune` takes what `run` takes; `export` and "
        "`sample` take no settings; `inspect` takes them by `--config` and `--set`.\n"
    ]
    for command in COMMANDS.values():
        if command.name != "tune":
            blocks += [f"### {command.name}\n\n{command.help}\n", _table(("argument", *_COLUMNS), _arguments(command))]
    return "\n".join(blocks)


def _section(path: str, section: type[Section], more: str, level: int) -> Iterator[str]:
    """Heading, meaning (with ``more`` of it) and table of a section; then those of the sections in it."""
    about = " ".join(inspect.cleandoc(section.__doc__ or "").replace("``", "`").split())
    yield f"{'#' * level} {path}\n\n{about}{f' {more[0].upper()}{more[1:]}.' if more else ''}\n"
    inner = {name: found for name, f in section.model_fields.items() if (found := section_in(f.annotation)) is not None}
    plain = {name: f for name, f in section.model_fields.items() if inner.get(name) is not f.annotation}
    rows = ((f"`{path}.{name}`", *_cells(field), _options(field)) for name, field in plain.items())
    yield _table(("setting", *_COLUMNS, "option"), rows)
    for name, found in inner.items():
        listed, about = name in plain, _meaning(section.model_fields[name])
        yield from _section(f"{path}.{name}" + "[]" * listed, found, "" if listed else about, level + 1)


def _arguments(command: Any) -> Iterator[tuple[str, ...]]:
    for option in options_of(command.arguments):
        yield (f"`{option.mark.name if option.mark.positional else '--' + option.mark.name}`", *_cells(option.field))


def _presets() -> Iterator[str]:
    names = preset_names()
    trees = [flat(preset_settings(name)) for name in names]
    defaults = flat(Config().model_dump(mode="json"))
    rows = (
        (f"`{path}`", _code(defaults[path]), *(_code(tree[path]) if path in tree else "" for tree in trees))
        for path in defaults
        if any(path in tree for tree in trees)
    )
    yield (
        "## Presets\n\n`--preset NAME`; `--recommended` and `--quick_test` are short for two of them. An empty cell is "
        "left as it is. The values stand in `patent_embed/config/presets/`.\n"
    )
    yield _table(("setting", "default", *names), rows)


def _cells(field: FieldInfo) -> tuple[str, str, str, str]:
    default = field.get_default(call_default_factory=True, validated_data={})
    shown = "required" if default is PydanticUndefined else _code(default)
    return _type(field.annotation), shown, _allowed(field), _meaning(field)


def _meaning(field: FieldInfo) -> str:
    parts = [field.description] if field.description else []
    return "; ".join(parts + [f"read only where `{need.name}` is {_plain(need.value)}" for need in marks(field, Needs)])


def _options(field: FieldInfo) -> str:
    return " ".join(f"`{spellings(mark.name)[0]}`" for mark in marks(field, Cli))


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join("None" if part is type(None) else _type(part) for part in parts)
    if origin is Literal:
        return "text"
    if origin is Annotated:
        return _type(parts[0])
    if origin is list:
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return f"mapping to {_type(parts[1])}"
    return _TYPES.get(annotation, "mapping" if section_in(annotation) else "path")


def _allowed(field: FieldInfo) -> str:
    """Choices, or bounds."""
    if choices := choices_of(field):
        return " ".join(_code(choice) for choice in choices)
    bounds = []
    for mark in field.metadata:
        match mark:
            case Ge(ge=bound):
                bounds.append(f"≥ {bound}")
            case Gt(gt=bound):
                bounds.append(f"> {bound}")
            case Le(le=bound):
                bounds.append(f"≤ {bound}")
            case Lt(lt=bound):
                bounds.append(f"< {bound}")
            case MinLen(min_length=bound):
                bounds.append(f"at least {bound}")
    return ", ".join(bounds)


def _code(value: Any) -> str:
    """A value as YAML has it, but None as None."""
    return f"`{_plain(value)}`"


def _plain(value: Any) -> str:
    match value:
        case None:
            return "None"
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_plain, value)) + "]"
    return str(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


if __name__ == "__main__":
    print(settings_markdown(), end="")
