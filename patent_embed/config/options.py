"""The options of the command line, each of which writes one setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """A command-line option and the setting it writes."""

    name: str
    path: str
    help: str
    type: type = str
    const: Any = None  # given: a flag that writes this value
    optional_value: str | None = None  # given: the value when the option stands alone (--resume)
    choices: tuple[str, ...] = ()


OPTIONS: tuple[Option, ...] = (
    Option("data_dir", "data.data_dir", "folder (searched recursively) or file: .json .jsonl .json[l].gz .parquet"),
    Option("output_dir", "run.output_dir", "where artifacts, model, metrics and report go"),
    Option("model_name", "model.name", "hub id, local folder, or 'bundled'"),
    Option("max_samples", "data.max_samples", "use this many patents", int),
    Option("batch_size", "training.batch_size", "triplets an optimizer step", int),
    Option("learning_rate", "training.learning_rate", "peak learning rate", float),
    Option("num_epochs", "training.epochs", "passes over the training triplets", int),
    Option("margin", "training.margin", "triplet margin", float),
    Option("loss", "training.loss", "training loss", choices=("triplet", "infonce")),
    Option("negatives_per_positive", "negatives.per_positive", "negatives an anchor", int),
    Option(
        "negative_strategy",
        "negatives.strategy",
        "how negatives are chosen",
        choices=(
            "optimized_mixed",
            "same_group_priority",
            "same_subclass_different_group",
            "mixed",
            "random",
            "hard",
        ),
    ),
    Option("use_lora", "training.use_lora", "train LoRA adapters", const=True),
    Option("no_use_lora", "training.use_lora", "train all weights", const=False),
    Option("num_workers", "training.num_workers", "data-parallel training workers", int),
    Option("query_backend", "queries.backend", "who writes the queries", choices=("llm", "api", "rules")),
    Option("use_api_llm", "queries.backend", "same as --query_backend api", const="api"),
    Option("llm_api_key", "queries.api.key", "API key (or OPENAI_API_KEY); never written anywhere"),
    Option("llm_base_url", "queries.api.base_url", "OpenAI-compatible endpoint"),
    Option("llm_model", "queries.llm.model", "query-writing model, local or at the endpoint"),
    Option("no_query_cache", "queries.use_cache", "write every query anew", const=False),
    Option("use_cache", "run.use_cache", "reuse finished steps (default)", const=True),
    Option("no_use_cache", "run.use_cache", "run every step again", const=False),
    Option("resume", "run.resume", "continue an interrupted training", optional_value="latest"),
    Option("checkpoint_every_n_epochs", "training.checkpoint_every_n_epochs", "epochs between checkpoints", int),
    Option("test_only", "run.test_only", "evaluate what is in --output_dir (or --model_name)", const=True),
    Option("seed", "run.seed", "seed of every random choice", int),
    Option("log_level", "run.log_level", "log level", choices=("DEBUG", "INFO", "WARNING", "ERROR")),
)


# What the sweep command takes besides all of these.
TUNE_OPTIONS: tuple[Option, ...] = (
    Option("num_samples", "tune.num_samples", "trials", int),
    Option("max_concurrent", "tune.max_concurrent", "trials at once", int),
    Option("refit", "tune.refit", "train the best settings again, and measure them on test", const=True),
)
