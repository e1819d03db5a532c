"""The command line. Every option is one row of ``OPTIONS`` and ends in a setting; nothing else is decided here."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from patent_embed import __version__
from patent_embed.config import OPTIONS, PRESETS, TUNE_OPTIONS, Config, Option, load_config
from patent_embed.errors import UserError

_PROGRAM = "patent-embed"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 2 a user's mistake, 130 interrupted, 1 anything else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_run_options(commands.add_parser("run", help="prepare, train, evaluate", allow_abbrev=False))
    add_tune_options(commands.add_parser("tune", help="search for training settings", allow_abbrev=False))
    _add_sample_options(commands.add_parser("sample", help="write generated sample patents", allow_abbrev=False))
    parsed = parser.parse_args(arguments)
    try:
        return {"run": _run, "tune": _tune, "sample": _sample}[parsed.command](parsed)
    except UserError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print(
            f"{_PROGRAM}: interrupted; the same command goes on, with --resume also inside the training",
            file=sys.stderr,
        )
        return 130
    except Exception as error:
        traceback.print_exc()
        # The last line says it all: it is what is seen of a log's end.
        what = (str(error).strip().splitlines() or [""])[-1]
        print(f"{_PROGRAM}: failed: {type(error).__name__}: {what}", file=sys.stderr, flush=True)
        return 1


def spellings(name: str) -> list[str]:
    """``max_samples`` → ``--max_samples`` and ``--max-samples``."""
    return list(dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"]))


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """All options of ``run``. Unset options stay out of the result, so that they override nothing."""
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML overlay; may be repeated")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any setting; may be repeated"
    )
    for name, text in (
        ("recommended", "pin the recommended recipe against the config file (--preset recommended)"),
        ("quick_test", "smoke run: 100 patents, 2 epochs, batch 4, bundled encoder, rule queries"),
        ("plan", "print what would run or be reused, and stop"),
    ):
        parser.add_argument(*spellings(name), action="store_true", dest=name, help=text)
    parser.add_argument("--preset", choices=PRESETS, help="a recipe: the recommended one, or what did best on val")
    for option in OPTIONS:
        _add_option(parser, option)


def add_tune_options(parser: argparse.ArgumentParser) -> None:
    """All options of ``tune``: those of ``run``, and its own."""
    add_run_options(parser)
    for option in TUNE_OPTIONS:
        _add_option(parser, option)


def _add_option(parser: argparse.ArgumentParser, option: Option) -> None:
    names = spellings(option.name)
    dest = f"setting:{option.path}"
    if option.const is not None:
        parser.add_argument(
            *names, dest=dest, action="store_const", const=option.const, default=argparse.SUPPRESS, help=option.help
        )
    elif option.optional_value is not None:
        parser.add_argument(
            *names, dest=dest, nargs="?", const=option.optional_value, default=argparse.SUPPRESS, help=option.help
        )
    else:
        parser.add_argument(
            *names,
            dest=dest,
            type=option.type,
            choices=option.choices or None,
            default=argparse.SUPPRESS,
            metavar=None if option.choices else option.name.upper(),
            help=option.help,
        )


def config_from(parsed: argparse.Namespace) -> Config:
    """The resolved config of a parsed ``run`` command. Key and endpoint may also come from OPENAI_API_KEY and
    OPENAI_BASE_URL."""
    options = {key.removeprefix("setting:"): value for key, value in vars(parsed).items() if key.startswith("setting:")}
    key = os.environ.get("OPENAI_API_KEY")
    if key and "queries.api.key" not in options:
        options["queries.api.key"] = key
    config = load_config(
        overlays=[Path(path) for path in parsed.config],
        recommended=parsed.recommended,
        quick_test=parsed.quick_test,
        preset=parsed.preset,
        options=options,
        settings=parsed.set,
    )
    # Resolved here, since workers on other machines have another environment.
    if config.queries.api.base_url is None and (url := os.environ.get("OPENAI_BASE_URL")):
        config.queries.api.base_url = url
    return config


def _run(parsed: argparse.Namespace) -> int:
    config = config_from(parsed)
    _quiet_libraries(config)
    from pipelines.pipeline import Pipeline

    pipeline = Pipeline(config)
    if parsed.plan:
        pipeline.print_plan()
    else:
        pipeline.run()
    return 0


def _tune(parsed: argparse.Namespace) -> int:
    config = config_from(parsed)
    _quiet_libraries(config)
    for name in ("optuna", "tensorboardX"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from pipelines.sweep import print_plan, run_sweep

    (print_plan if parsed.plan else run_sweep)(config)
    return 0


def _quiet_libraries(config: Config) -> None:
    logging.basicConfig(
        level=config.run.log_level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True
    )
    if config.run.log_level != "DEBUG":  # what libraries say of themselves is for debugging
        for name in ("httpx", "httpcore", "urllib3", "sentence_transformers", "transformers", "ray", "jax", "bm25s"):
            logging.getLogger(name).setLevel(logging.ERROR)


def _add_sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--count", type=int, default=600, help="how many patents (600)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layout", choices=("files", "jsonl", "jsonl.gz"), default="files")


def _sample(parsed: argparse.Namespace) -> int:
    from patent_embed.sample import write_sample

    write_sample(parsed.folder, parsed.count, seed=parsed.seed, layout=parsed.layout, queries=True)
    print(f"{parsed.count} generated patents and queries for them in {parsed.folder}")
    return 0
