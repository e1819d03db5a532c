"""The command line. Commands and options follow from ``patent_embed.config``; nothing else is decided here."""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from patent_embed import __version__
from patent_embed.config.commands import (
    COMMANDS,
    AdaptArguments,
    BenchmarkArguments,
    Command,
    CompareArguments,
    EncodeArguments,
    ExportArguments,
    IndexArguments,
    InspectArguments,
    RunArguments,
    SampleArguments,
    ServeArguments,
    SettingsArguments,
    VerifyArguments,
)
from patent_embed.config.load import explain, load_config
from patent_embed.config.options import add_options, given, options_of
from patent_embed.config.run import RunConfig
from patent_embed.config.settings import Config
from patent_embed.credentials import redacted
from patent_embed.errors import BaseStays, UserError
from patent_embed.text import visible
from pipelines import exit_without_teardown

_PROGRAM = "patent-embed"
_SHOWN = 300  # characters of what a system says of a path
_ARGUMENT, _SETTING = "argument:", "setting:"  # prefixes in a parsed namespace: a command's own, and paths of settings
# What libraries say of themselves is for debugging.
_TALKATIVE = ("httpx", "httpcore", "urllib3", "sentence_transformers", "transformers", "ray", "jax", "bm25s")


def program(argv: Sequence[str] | None = None) -> int:
    """``main`` as all that this process does."""
    code = 1
    exit_without_teardown(lambda: code)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or file whose encoding has no Chinese: \u4e2d, no crash
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main(argv)
    except SystemExit as stop:  # argparse's, for one
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        raise
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0 done, 2 a user's mistake, 3 done and the base model stays, 130
    interrupted, 1 anything else."""
    parsed = _parsed(list(sys.argv[1:] if argv is None else argv))
    try:
        _RUN[parsed.command](arguments_of(parsed, COMMANDS[parsed.command]), given(parsed, _SETTING))
    except UserError as error:
        print(_shown(f"{_PROGRAM}: error: {error}"), file=sys.stderr, flush=True)
        return 2
    except OSError as error:
        if error.errno not in _OF_A_PLACE:
            return _failed(error)
        logging.getLogger("patent_embed").debug("of this:", exc_info=error)
        what = f"{os.fsdecode(error.filename)!r} cannot be used: " if isinstance(error.filename, str | bytes) else ""
        told = f"{what}{(str(error.strerror).splitlines() or [''])[0]}"[:_SHOWN] + f"; {_OF_A_PLACE[error.errno]}"
        print(_shown(f"{_PROGRAM}: error: {told}"), file=sys.stderr, flush=True)
        return 2
    except BaseStays as found:
        print(_shown(f"{_PROGRAM}: {found}"), file=sys.stderr, flush=True)
        return 3
    except KeyboardInterrupt:
        print(
            f"{_PROGRAM}: interrupted; the same command goes on, with --resume also inside the training",
            file=sys.stderr,
        )
        return 130
    except Exception as error:  # noqa: BLE001  # whatever it is: the exit code and the last line must tell of it
        if mistake := _mistake_of_a_worker(error):
            print(_shown(f"{_PROGRAM}: error: {mistake}"), file=sys.stderr, flush=True)
            return 2
        return _failed(error)
    return 0


def _mistake_of_a_worker(error: Exception) -> str:
    if "ray" not in sys.modules:  # which takes a second to import
        return ""
    from pipelines.worker_errors import mistake_in

    return mistake_in(error)


# What a user's path may be, or come to be while a command runs: not this program's mistake.
_OF_A_PLACE = {
    errno.ENAMETOOLONG: "name a shorter path",
    errno.ENOTDIR: "a file stands where a folder is needed; name another path",
    errno.EISDIR: "a folder stands where a file is needed; name another path",
    errno.EACCES: "name a path that may be read and written",
    errno.EPERM: "name a path that may be read and written",
    errno.EROFS: "name a path on a disk that can be written",
    errno.ELOOP: "its links lead to each other",
    errno.ENOSPC: "free space, then the same command goes on",
    errno.EDQUOT: "free space, then the same command goes on",
}


def _failed(error: Exception) -> int:
    """Tell of an error that nobody foresaw."""
    print(_shown("".join(traceback.format_exception(error))), file=sys.stderr)
    # The last line says it all: it is what is seen of a log's end.
    what = (str(error).strip().splitlines() or [""])[-1]
    print(_shown(f"{_PROGRAM}: failed: {type(error).__name__}: {what}"), file=sys.stderr, flush=True)
    return 1


def _shown(text: str) -> str:
    """What may be printed of a text."""
    return visible(redacted(text))


class _Parser(argparse.ArgumentParser):
    """Says what is wrong of the command line without a key that may stand there."""

    def error(self, message: str) -> NoReturn:
        super().error(_shown(message))


def _parsed(argv: list[str]) -> argparse.Namespace:
    """The parsed command line. Of arguments that nobody knows only the options are named: a value may be a key."""
    parser = _parser()
    parsed, unknown = parser.parse_known_args(argv)
    if unknown:
        options = [each.partition("=")[0] for each in unknown if each.startswith("-")]
        named = " ".join(options) or f"{len(unknown)} after the command's own"
        parser.error(f"unrecognized arguments: {named}")
    return parsed


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM, description="Fine-tune a text-embedding model for patent retrieval, from a laptop to a cluster."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS.values():
        add_command_options(commands.add_parser(command.name, help=command.help, allow_abbrev=False), command)
    return parser


def add_command_options(parser: argparse.ArgumentParser, command: Command) -> None:
    """Teach ``parser`` all that a command takes: its own arguments, and its settings in a group a section."""
    add_options(parser, options_of(command.arguments), _ARGUMENT, bounded=True)
    for section, options in groupby(command.options(), key=lambda option: option.path.partition(".")[0]):
        add_options(parser.add_argument_group(f"settings of {section}"), options, _SETTING)


def arguments_of(parsed: argparse.Namespace, command: Command) -> Any:
    """A command's own arguments, as its model. Raises UserError where they do not fit together."""
    try:
        return command.arguments.model_validate(given(parsed, _ARGUMENT))
    except ValidationError as error:
        raise UserError(explain(error)) from None


def config_from(parsed: argparse.Namespace, command: Command) -> Config:
    """The resolved config of a parsed command line. Raises UserError for wrong settings."""
    return _resolved(arguments_of(parsed, command), given(parsed, _SETTING))


def _resolved(arguments: SettingsArguments, settings: Mapping[str, Any]) -> Config:
    """The config of a command with the options ``settings`` (dotted path to value). Key and endpoint may also come
    from OPENAI_API_KEY and OPENAI_BASE_URL."""
    options, key = dict(settings), os.environ.get("OPENAI_API_KEY")
    if key and "queries.api.key" not in options:
        options["queries.api.key"] = key
    config = load_config(
        overlays=arguments.config, presets=arguments.presets(), options=options, settings=arguments.set
    )
    # Resolved here, since workers on other machines have another environment.
    if config.queries.api.base_url is None and (url := os.environ.get("OPENAI_BASE_URL")):
        try:
            config.queries.api.base_url = url
        except ValidationError as error:
            raise UserError(f"OPENAI_BASE_URL: {explain(error)}") from None
    return config


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _shown(super().format(record))


def _quiet_libraries(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level != "DEBUG":
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.ERROR)


# The commands. Each imports its pipeline when it runs, so that help and mistakes need no Ray and no torch.


def _run(arguments: RunArguments, settings: Mapping[str, Any]) -> None:
    config = _resolved(arguments, settings)
    _quiet_libraries(config.run.log_level)
    from pipelines import job

    (job.print_plan if arguments.plan else job.run)(config)


def _tune(arguments: RunArguments, settings: Mapping[str, Any]) -> None:
    config = _resolved(arguments, settings)
    _quiet_libraries(config.run.log_level)
    for name in ("optuna", "tensorboardX"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from pipelines.sweep import print_plan, run_sweep

    (print_plan if arguments.plan else run_sweep)(config)


def _coverage(arguments: RunArguments, settings: Mapping[str, Any]) -> None:
    config = _resolved(arguments, settings)
    _quiet_libraries(config.run.log_level)
    from pipelines import coverage

    (coverage.print_plan if arguments.plan else coverage.run)(config)


def _compare(arguments: CompareArguments, settings: Mapping[str, Any]) -> None:
    # Without patents of its own, the comparison is on the test set of the run in the output folder, as it was set.
    of_run = "data.data_dir" not in settings
    if arguments.benchmark is not None and not of_run:
        raise UserError(
            f"--benchmark {arguments.benchmark!r} brings its own documents and queries, so --data_dir "
            f"{settings['data.data_dir']!r} would not be read; leave one of them out"
        )
    if of_run:
        kept = Path(settings.get("run.output_dir", RunConfig().output_dir)).expanduser() / "config.yaml"
        arguments.config[:0] = [kept] if kept.is_file() else []
    config = _resolved(arguments, settings)
    _quiet_libraries(config.run.log_level)
    if arguments.benchmark is not None:
        from pipelines import compare_benchmark

        (compare_benchmark.print_plan if arguments.plan else compare_benchmark.run)(
            config, arguments.models, arguments.benchmark
        )
        return
    from pipelines import compare

    (compare.print_plan if arguments.plan else compare.run)(config, arguments.models, of_run=of_run)


def _encode(arguments: EncodeArguments, settings: Mapping[str, Any]) -> None:
    config = _resolved(arguments, settings)
    _quiet_libraries(config.run.log_level)
    from pipelines import encode

    encode.run(config, arguments)


def _export(arguments: ExportArguments, settings: Mapping[str, Any]) -> None:
    _quiet_libraries("WARNING")  # onnxruntime tells of every tensor
    from pipelines.export import export_run

    export_run(arguments.output_dir, arguments.format, force=arguments.force, max_documents=arguments.max_documents)


def _verify(arguments: VerifyArguments, settings: Mapping[str, Any]) -> None:
    _quiet_libraries("WARNING")
    from pipelines import verify

    verify.run(arguments)


def _adapt(arguments: AdaptArguments, settings: Mapping[str, Any]) -> None:
    _quiet_libraries("WARNING")
    from pipelines import adapt

    adapt.run(arguments)


def _serve(arguments: ServeArguments, settings: Mapping[str, Any]) -> None:
    _quiet_libraries("WARNING")
    from patent_embed.serving.threads import calm_threads

    calm_threads()
    from pipelines import search_server

    search_server.run(arguments)


def _benchmark(arguments: BenchmarkArguments, settings: Mapping[str, Any]) -> None:
    _quiet_libraries("WARNING")
    from pipelines import benchmark

    benchmark.run(arguments)


def _index(arguments: IndexArguments, settings: Mapping[str, Any]) -> None:
    _quiet_libraries("WARNING")
    from pipelines.index import index_run

    index_run(arguments.output_dir, arguments.to, arguments.data_dir)


def _inspect(arguments: InspectArguments, settings: Mapping[str, Any]) -> None:
    config = _resolved(arguments, settings)
    from pipelines import inspect

    config.data.data_dir = arguments.data_dir
    inspect.run(config.data, json_lines=arguments.json_lines, limit=arguments.limit)


def _sample(arguments: SampleArguments, settings: Mapping[str, Any]) -> None:
    from patent_embed.data.sample import write_sample

    count, folder = arguments.count, arguments.folder
    write_sample(folder, count, seed=arguments.seed, layout=arguments.layout, queries=True)
    print(f"{count} generated patents and queries for them in {folder}")


_RUN: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "run": _run,
    "tune": _tune,
    "coverage": _coverage,
    "compare": _compare,
    "encode": _encode,
    "serve": _serve,
    "export": _export,
    "verify": _verify,
    "benchmark": _benchmark,
    "adapt": _adapt,
    "index": _index,
    "inspect": _inspect,
    "sample": _sample,
}
