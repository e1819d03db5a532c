"""The command line. Every option is one row of ``OPTIONS`` and ends in a setting; nothing else is decided here."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from patent_embed import __version__
from patent_embed.config.load import PRESETS, load_config
from patent_embed.config.options import OPTIONS, TUNE_OPTIONS, Option
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from pipelines import exit_without_teardown

_PROGRAM = "patent-embed"


def program(argv: Sequence[str] | None = None) -> int:
    """``main`` as all that this process does."""
    code = 1
    exit_without_teardown(lambda: code)
    try:
        code = main(argv)
    except SystemExit as stop:  # argparse's, for one
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 2 a user's mistake, 130 interrupted, 1 anything else."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_run_options(commands.add_parser("run", help="prepare, train, evaluate", allow_abbrev=False))
    add_tune_options(commands.add_parser("tune", help="search for training settings", allow_abbrev=False))
    compare = commands.add_parser("compare", help="measure any models on one test set", allow_abbrev=False)
    compare.add_argument("models", nargs="+", metavar="MODEL", help="hub ids or folders; the first is the baseline")
    add_run_options(compare)
    _add_encode_options(commands.add_parser("encode", help="embed a corpus", allow_abbrev=False))
    _add_export_options(commands.add_parser("export", help="a run's model in other formats", allow_abbrev=False))
    _add_sample_options(commands.add_parser("sample", help="write generated sample patents", allow_abbrev=False))
    parsed = parser.parse_args(arguments)
    try:
        return _COMMANDS[parsed.command](parsed)
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
    _add_table(parser, {option.name for option in OPTIONS})


def _add_table(parser: argparse.ArgumentParser, names: set[str]) -> None:
    for option in OPTIONS:
        if option.name in names:
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


def _compare(parsed: argparse.Namespace) -> int:
    given = vars(parsed)
    # Without patents of its own, the comparison is on the test set of the run in the output folder, as it was set.
    of_run = "setting:data.data_dir" not in given
    if of_run:
        settings = Path(given.get("setting:run.output_dir", Config().run.output_dir)) / "config.yaml"
        parsed.config[:0] = [settings] if settings.is_file() else []
    config = config_from(parsed)
    _quiet_libraries(config)
    from pipelines.compare import Comparison

    comparison = Comparison(config, models=parsed.models, of_run=of_run)
    if parsed.plan:
        comparison.print_plan()
    else:
        comparison.run()
    return 0


def _add_encode_options(parser: argparse.ArgumentParser) -> None:
    _add_table(parser, {"data_dir", "output_dir", "model_name", "max_samples", "seed", "log_level"})
    parser.add_argument(*spellings("text_column"), help="column or field with the texts; without it: patents")
    parser.add_argument(*spellings("id_column"), help="column or field that names the texts (file and row)")
    parser.add_argument(
        "--kind", choices=("passage", "query"), default="passage", help="whose prompt is used (passage)"
    )
    parser.add_argument(*spellings("rows_per_file"), type=_positive, default=4096, help="of the result (4096)")
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="YAML overlay; may be repeated")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="any setting")
    parser.set_defaults(recommended=False, quick_test=False, preset=None)


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _encode(parsed: argparse.Namespace) -> int:
    if parsed.id_column is not None and parsed.text_column is None:
        raise UserError(
            f"--id_column {parsed.id_column!r} names texts, but without --text_column the folder holds patents, which "
            "are named by their publication numbers; set --text_column too"
        )
    config = config_from(parsed)
    _quiet_libraries(config)
    from pipelines.encode import Encoding

    Encoding(
        config,
        text_column=parsed.text_column,
        id_column=parsed.id_column,
        kind=parsed.kind,
        rows_per_file=parsed.rows_per_file,
    ).run()
    return 0


def _add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output_dir", help="output folder of a finished run")
    formats = ("fp32", "fp16", "bf16", "onnx", "onnx-int8")
    parser.add_argument("--format", nargs="+", choices=formats, required=True, help="one or more")
    parser.add_argument("--force", action="store_true", help="also write what loses more than 0.5 %% of nDCG@10")
    parser.add_argument(
        *spellings("max_documents"), type=_positive, default=20_000, help="searched to measure the formats (20000)"
    )


def _export(parsed: argparse.Namespace) -> int:
    _quiet_libraries(load_config(options={"run.log_level": "WARNING"}))  # onnxruntime tells of every tensor
    from pipelines.export import export_run

    export_run(parsed.output_dir, parsed.format, force=parsed.force, max_documents=parsed.max_documents)
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
    from patent_embed.data.sample import write_sample

    write_sample(parsed.folder, parsed.count, seed=parsed.seed, layout=parsed.layout, queries=True)
    print(f"{parsed.count} generated patents and queries for them in {parsed.folder}")
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "tune": _tune,
    "compare": _compare,
    "encode": _encode,
    "export": _export,
    "sample": _sample,
}
