"""What a sweep may vary: ranges of training settings, written as ``uniform(0.05, 0.5)``, checked before it starts."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from patent_embed.config.load import explain, put
from patent_embed.config.settings import Config
from patent_embed.config.training import TrainingConfig
from patent_embed.errors import UserError
from patent_embed.losses.base import LOSSES
from patent_embed.section import Needs, Role, marks, role_of, settings_in

# function → number of arguments, and what they are
_FUNCTIONS = {
    "uniform": "low, high",
    "loguniform": "low, high",
    "quniform": "low, high, step",
    "randint": "low, high (not reached)",
    "lograndint": "low, high (not reached)",
    "choice": "value, value, ...",
}
_TRAINING = "training."
_SHOWN = 200  # characters of what is no range
_LEARNING_RATE = "loguniform(1e-5, 1e-3)"


@dataclass(frozen=True)
class Range:
    """The values of one setting: ``function`` of ``arguments``, e.g. ``uniform`` of (0.05, 0.5)."""

    function: str
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(repr, self.arguments))})"

    @property
    def examples(self) -> tuple[Any, ...]:
        """Values that must be valid for all of the range to be: its ends and one between them, or every choice."""
        if self.function == "choice":
            return self.arguments
        low, high = self.arguments[:2]
        if self.function.endswith("randint"):
            return low, high - 1
        return low, low + (high - low) / 3, high  # between its ends, a continuous range has fractions


def search_space(config: Config) -> dict[str, Range]:
    """The ranges of ``config.tune.space`` by the path of their setting, e.g. ``training.margin``; where none is given,
    of the learning rate and of what the loss names.

    Raises UserError for what cannot be read, is no training setting, has a bound that the setting does not take, or
    would change nothing of a trial.
    """
    given = dict(config.tune.space) or {"learning_rate": _LEARNING_RATE} | dict(LOSSES[config.training.loss].ranges)
    space = {}
    for name, text in given.items():
        path = name if name.startswith(_TRAINING) else f"{_TRAINING}{name}"
        if path in space:
            raise UserError(f"tune.space has {path!r} twice; leave one out")
        space[path] = _parse(name, text)
    for path, values in space.items():
        _check(config, path, values, space)
    return space


def offered(training: TrainingConfig) -> list[str]:
    """Paths of the settings that a trial with these ones reads, so that a sweep may vary them."""
    every = (path for path, _ in settings_in(TrainingConfig, _TRAINING.rstrip(".")))
    return [path for path in every if not _refusal(training, path, {})]


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """``config`` with the settings ``values`` (by path). Raises UserError where they are not valid."""
    tree = config.model_dump()
    tree["queries"]["api"]["key"] = config.queries.api.key
    for path, value in values.items():
        put(tree, path, value)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(explain(error)) from None


def _parse(name: str, text: str) -> Range:
    advice = "; ".join(f"{function}({arguments})" for function, arguments in _FUNCTIONS.items())
    wrong = f"tune.space.{name} is {text[:_SHOWN]!r}, which is no range; write one of {advice}"
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
            raise UserError(wrong)
        function, arguments = call.func.id, tuple(ast.literal_eval(argument) for argument in call.args)
        json.dumps(arguments)  # sets, bytes and complex numbers are no settings, and no journal could keep them
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise UserError(wrong) from None
    if function not in _FUNCTIONS:
        raise UserError(wrong)
    if function == "choice":
        if len(arguments) < 2:
            raise UserError(f"tune.space.{name}: {text!r} leaves nothing to choose; name at least two values")
        return Range(function, arguments)
    wanted = 3 if function == "quniform" else 2
    whole = function.endswith("randint")
    numbers = all(isinstance(a, int if whole else int | float) and not isinstance(a, bool) for a in arguments)
    if len(arguments) != wanted or not numbers:
        raise UserError(f"tune.space.{name}: {text!r} must be {function}({_FUNCTIONS[function]}) of numbers")
    low, high, *step = arguments
    if low >= high - whole or (function.startswith("log") and low <= 0) or any(each <= 0 for each in step):
        raise UserError(
            f"tune.space.{name}: {text!r} holds no two values; set low below high"
            + (", and low above 0" if function.startswith("log") else "")
        )
    return Range(function, arguments)


def _check(config: Config, path: str, values: Range, space: Mapping[str, Range]) -> None:
    if refusal := _refusal(config.training, path, space):
        raise UserError(f"tune.space: {path} {refusal}")
    # With a value that makes it count, so that a margin is checked against the triplet loss.
    counts = {}
    for other, needed in _needed(_field_name(path)).items():
        now = getattr(config.training, other)
        counts[f"{_TRAINING}{other}"] = now if now in needed else needed[0]
    for value in values.examples:
        try:
            with_values(config, counts | {path: value})
        except UserError as error:
            raise UserError(f"tune.space.{path} = {values}: {error}") from None


def _refusal(training: TrainingConfig, path: str, space: Mapping[str, Range]) -> str:
    """Why trials that vary ``space`` would not read the setting ``path``, and what to do. Empty where they do; and
    where there is no such setting, which is told when a value of it is tried."""
    name = _field_name(path)
    if name not in TrainingConfig.model_fields:
        return ""
    role = role_of(TrainingConfig.model_fields[name])
    if role in (Role.PREPARED, Role.LOGISTICS):
        return (
            "cannot differ between trials, which share what is prepared and where it runs; set it for the whole sweep "
            f"with --set {path}=..."
        )
    if role is Role.PUBLISHED:
        return (
            "changes nothing, it is read when a training is published, which a trial is not; leave it out, and set it "
            f"for the run that trains the best again with --set {path}=..."
        )
    for other, needed in _needed(name).items():
        varied = space.get(f"{_TRAINING}{other}")
        possible = varied.examples if varied else (getattr(training, other),)
        if not any(value in possible for value in needed):
            values = " or ".join(map(str, needed))
            return f"changes nothing, it needs {_TRAINING}{other}={values}; leave it out, or set that"
    return ""


def _needed(name: str) -> dict[str, tuple[Any, ...]]:
    """Settings of the training, each with its values for which the setting ``name`` is read; none: it always is."""
    losses = tuple(loss.name for loss in LOSSES if name in loss.settings.model_fields)
    field = TrainingConfig.model_fields.get(name)
    needs = marks(field, Needs) if field is not None else []
    return {mark.name: (mark.value,) for mark in needs} | ({"loss": losses} if losses else {})


def _field_name(path: str) -> str:
    """The field of the training section that ``path`` is, or is in: ``training.lora.r`` → ``lora``."""
    return path.removeprefix(_TRAINING).partition(".")[0]
