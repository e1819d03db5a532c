"""What a sweep may vary: ranges of training settings, written as ``uniform(0.05, 0.5)``, checked before it starts."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from patent_embed.config.load import explain, put
from patent_embed.config.settings import Config
from patent_embed.config.training import TrainingConfig
from patent_embed.errors import UserError

# function → number of arguments, and what they are
_FUNCTIONS = {
    "uniform": "low, high",
    "loguniform": "low, high",
    "quniform": "low, high, step",
    "randint": "low, high (not reached)",
    "lograndint": "low, high (not reached)",
    "choice": "value, value, ...",
}
# Settings that decide what is prepared before the trials, which they share.
_SHARED = ("query_sources", "num_workers", "use_gpu")
# A setting that only one loss, or one kind of training, looks at.
_NEEDS = {
    "margin": ("loss", "triplet"),
    "distance": ("loss", "triplet"),
    "temperature": ("loss", "infonce"),
    "lora": ("use_lora", True),
}


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
    """The ranges of ``config.tune.space`` by the path of their setting, e.g. ``training.margin``; learning rate and, as
    the loss has it, margin or temperature where none is given.

    Raises UserError for what cannot be read, is no training setting, has a bound that the setting does not take, or
    would change nothing.
    """
    given = dict(config.tune.space) or _default_space(config.training)
    space = {}
    for name, text in given.items():
        path = name if name.startswith("training.") else f"training.{name}"
        if path in space:
            raise UserError(f"tune.space has {path!r} twice; leave one out")
        space[path] = _parse(name, text)
    for path, values in space.items():
        _check(config, path, values, space)
    return space


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


def _default_space(training: TrainingConfig) -> dict[str, str]:
    space = {"learning_rate": "loguniform(1e-5, 1e-3)"}
    if training.loss == "triplet":
        return space | {"margin": "uniform(0.05, 0.5)"}
    return space | {"temperature": "loguniform(0.01, 0.1)"}


def _parse(name: str, text: str) -> Range:
    advice = "; ".join(f"{function}({arguments})" for function, arguments in _FUNCTIONS.items())
    wrong = f"tune.space.{name} is {text!r}, which is no range; write one of {advice}"
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
            raise UserError(wrong)
        function, arguments = call.func.id, tuple(ast.literal_eval(argument) for argument in call.args)
    except (SyntaxError, ValueError):
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
    setting = path.removeprefix("training.")
    if setting in _SHARED:
        raise UserError(
            f"tune.space: {path} cannot differ between trials, which share what is prepared and where it runs; "
            f"set it for the whole sweep with --set {path}=..."
        )
    needed = _NEEDS.get(setting.split(".")[0])
    if needed is not None:
        other, value = needed
        varied = space.get(f"training.{other}")
        if value not in (varied.examples if varied else (getattr(config.training, other),)):
            raise UserError(
                f"tune.space: {path} changes nothing, it needs training.{other}={value}; leave it out, or set that"
            )
    for value in values.examples:
        # With the value of a choice that makes it count, so that a margin is checked against the triplet loss.
        counts = {f"training.{needed[0]}": needed[1]} if needed else {}
        try:
            with_values(config, counts | {path: value})
        except UserError as error:
            raise UserError(f"tune.space.{path} = {values}: {error}") from None
