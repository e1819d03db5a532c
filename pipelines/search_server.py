"""``patent-embed serve``: search in a finished run by a browser and an API, in one process of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

from patent_embed.config.commands import ServeArguments
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.terminal import note, say
from patent_embed.serving.guard import TOKEN, Limits
from patent_embed.serving.judgements import LOG_NAME, JudgementLog
from patent_embed.serving.live import Live
from pipelines.preflight import is_loopback
from pipelines.served_run import served_run

_SHORTEST_TOKEN = 16


def run(arguments: ServeArguments) -> None:
    """Open the run, and answer until the process is told to stop. SIGHUP reads the run again."""
    watch = Stopwatch()
    limits = limits_of(arguments, os.environ.get(TOKEN, ""))
    _require_packages()
    import uvicorn

    from patent_embed.serving.app import create_app
    from patent_embed.serving.page import MOST_CHARS_OF_A_LINK

    judgements = judgement_log(arguments)
    live = Live(
        lambda output: served_run(output, arguments.data_dir).engine(), arguments.output_dir, judgements=judgements
    )
    say(f"corpus  {len(live.engine.corpus):,} patents")
    say(f"systems {', '.join(live.engine.systems)}")
    if judgements is not None:
        say(f"judged  {len(judgements):,} in {judgements.path}")
        if judgements.torn:
            note(f"{judgements.torn} lines of it are torn, and left out")
    signal.signal(signal.SIGHUP, lambda number, frame: threading.Thread(target=live.reload_and_tell).start())
    config = uvicorn.Config(
        create_app(live, limits),
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        http="h11",
        h11_max_incomplete_event_size=16 * MOST_CHARS_OF_A_LINK,  # of a request's head, in which a link stands
        limit_concurrency=8 * arguments.max_requests,  # connections, idle ones as well
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    with config.bind_socket() as socket:
        socket.listen()  # whoever reads the lines below may ask at once
        host, port = socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        say(f"started in {watch.seconds:.1f} s; Ctrl-C stops")
        say(f"page    http://{shown}:{port}/   API http://{shown}:{port}/docs")
        with contextlib.suppress(KeyboardInterrupt):  # that is how it is stopped
            server.run([socket])


def limits_of(arguments: ServeArguments, token: str) -> Limits:
    """What the server takes.

    Raises:
        UserError: others than this machine may ask, and there is no token, or one that is soon guessed.
    """
    if token and len(token) < _SHORTEST_TOKEN:
        raise UserError(
            f"{TOKEN} has {len(token)} characters, which is soon guessed; give at least {_SHORTEST_TOKEN} random ones, "
            "such as those of: openssl rand -hex 16"
        )
    if not token and not is_loopback(arguments.host):
        raise UserError(
            f"--host {arguments.host} lets other machines read the patents and queries, and there is no token; set "
            f"{TOKEN} to a secret that they have to send, or leave --host out"
        )
    return Limits(token, arguments.max_requests)


def judgement_log(arguments: ServeArguments) -> JudgementLog | None:
    """Where judgements are kept; None where the output folder is in a store, to whose files nothing can be added."""
    if arguments.judgements is not None:
        return JudgementLog(arguments.judgements)
    if folder_at(arguments.output_dir).everywhere:
        note("no judgements are taken: nothing can be added to a file of a store; set --judgements to a local file")
        return None
    return JudgementLog(Path(arguments.output_dir) / LOG_NAME)


def _require_packages() -> None:
    try:
        import prometheus_client
        import starlette
        import uvicorn
    except ImportError as error:
        raise UserError(
            f'{error.name} is not installed, which answers over HTTP; pip install "patent-embed[serve]"'
        ) from None
    del prometheus_client, starlette, uvicorn
