"""The steps of the pipeline on Ray, and the commands that run them."""

import atexit
import os
import sys
from collections.abc import Callable

# Ray connects by itself where a call finds no cluster. A thread of Ray Data that outlives its session would so start a
# second cluster in a process that is about to end.
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")


def exit_without_teardown(code: Callable[[], int]) -> None:
    """Have this process end with ``code()`` after its other exit handlers, with nothing taken down any more.

    Threads of Ray, gRPC and vLLM outlive ``ray.shutdown()``, and nobody can join them. One that calls into an
    interpreter that is gone is a segmentation fault (ray-project/ray#47864), and a job that is done counts as failed.
    To be called before Ray is imported: exit handlers run last in, first out.
    """

    def leave() -> None:
        status = code()
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):  # output is lost: the reader is gone, the disk is full
            status = status or 120  # what the interpreter exits with then
        os._exit(status)

    atexit.register(leave)
